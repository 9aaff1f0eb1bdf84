package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// ReporterOptions are the settings of a Reporter. The zero value is usable.
type ReporterOptions struct {
	Prefix  string        // first part of recoveryd's subjects; "" = recovery
	Timeout time.Duration // how long one try to store a report may take; 0 = 5 s
	Tries   int           // 1 to 100; 0 = 3
}

// Validate names every field that cannot be used.
func (o ReporterOptions) Validate() error {
	var faults []error
	if o.Prefix != "" {
		if err := schemas.CheckLiteral(o.Prefix); err != nil {
			faults = append(faults, fmt.Errorf("Prefix: %w", err))
		}
	}
	if o.Timeout < 0 {
		faults = append(faults, errors.New("Timeout is negative"))
	}
	if o.Tries < 0 || o.Tries > 100 {
		faults = append(faults, fmt.Errorf("Tries is %d, not 1 to 100 or 0 for 3", o.Tries))
	}
	return errors.Join(faults...)
}

// Reporter tells recoveryd what became of messages. It is safe for concurrent use.
//
// A report that returns without an error is stored. After an error it may be stored or
// not: keep the message unacknowledged and report it again when it is delivered again.
// Reporting twice is harmless, because both reports carry the same id.
type Reporter struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects schemas.Subjects
	timeout  time.Duration
	tries    int
}

// NewReporter makes a Reporter on an open connection, which stays the caller's.
func NewReporter(nc *nats.Conn, o ReporterOptions) (*Reporter, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("options of the reporter: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("JetStream client: %w", err)
	}
	r := &Reporter{nc: nc, js: js, subjects: schemas.Subjects{Prefix: schemas.DefaultPrefix}, timeout: 5 * time.Second, tries: 3}
	if o.Prefix != "" {
		r.subjects.Prefix = o.Prefix
	}
	if o.Timeout > 0 {
		r.timeout = o.Timeout
	}
	if o.Tries > 0 {
		r.tries = o.Tries
	}
	return r, nil
}

// Failed reports that the work of a message failed and returns once the report is stored;
// acknowledge the message only then. The error tells the class, the code and when to try
// again if it was marked with Permanent, Throttled, Ignored or WithCode. The id is that of
// the work in all outcomes.
//
// Errors are of the classes of package schemas: ErrTooLarge (the message will never fit),
// ErrNoStream (recoveryd was never started there), ErrStoreFull, ErrTimeout, ErrClosed.
func (r *Reporter) Failed(ctx context.Context, m jetstream.Msg, cause error) (id string, err error) {
	meta, _ := m.Metadata() // of a message that no stream sent there is none
	w := reported{subject: m.Subject(), header: m.Headers(), body: m.Data()}
	if meta != nil {
		w.origin = schemas.Origin{Stream: meta.Stream, Consumer: meta.Consumer, Sequence: meta.Sequence.Stream, Deliveries: meta.NumDelivered}
	}
	return r.failed(ctx, w, cause)
}

// FailedMsg reports that the work of any message failed: of one that came without a
// stream, or of one that never came at all. Otherwise as Failed.
func (r *Reporter) FailedMsg(ctx context.Context, m *nats.Msg, cause error) (id string, err error) {
	meta, _ := m.Metadata()
	w := reported{subject: m.Subject, header: m.Header, body: m.Data}
	if meta != nil {
		w.origin = schemas.Origin{Stream: meta.Stream, Consumer: meta.Consumer, Sequence: meta.Sequence.Stream, Deliveries: meta.NumDelivered}
	}
	return r.failed(ctx, w, cause)
}

// Succeeded reports that the work of a redelivered message succeeded, which makes the
// outcome "recovered" and is the evidence that policies with success_evidence: report
// wait for. Of a message that never failed it counts for the breaker's rate only.
func (r *Reporter) Succeeded(ctx context.Context, m jetstream.Msg) error {
	return r.succeeded(ctx, m.Subject(), m.Headers())
}

// SucceededMsg is Succeeded for a message that came without a stream.
func (r *Reporter) SucceededMsg(ctx context.Context, m *nats.Msg) error {
	return r.succeeded(ctx, m.Subject, m.Header)
}

// MaxBody is the largest body in bytes that can be reported with small headers. It is 0
// while the client has never been connected.
func (r *Reporter) MaxBody() int { return max(0, int(r.nc.MaxPayload())-headroom) }

// reported is the message that a report is about.
type reported struct {
	subject string
	header  nats.Header
	body    []byte
	origin  schemas.Origin
	at      time.Time // when it failed; zero = now
}

func (r *Reporter) failed(ctx context.Context, w reported, cause error) (id string, err error) {
	fault := func(err error) (string, error) {
		return id, fmt.Errorf("report failure of %s (id %s): %w", cut(w.subject, 200), id, err)
	}
	if err := r.subjects.CheckTarget(w.subject); err != nil {
		return fault(fmt.Errorf("it could never be redelivered: %w", err))
	}
	m := &nats.Msg{Subject: r.subjects.Failed(w.subject), Header: echo(w.header), Data: w.body}
	at := w.at
	if at.IsZero() {
		at = time.Now()
	}
	m.Header.Set(schemas.HeaderOccurredAt, at.UTC().Format(time.RFC3339Nano))
	describe(m.Header, cause)
	stamp(m.Header, w.origin)
	id = r.id(w, m.Header)
	m.Header[schemas.HeaderID] = []string{id}
	if size, most := len(m.Data)+schemas.Header(m.Header).Size(), r.MaxBody(); most > 0 && size > most {
		return fault(fmt.Errorf("%w: body and headers have %d bytes, %d can be recovered (max_payload less %d KiB): raise max_payload of the server, or send a reference to the data",
			schemas.ErrTooLarge, size, most, headroom>>10))
	}
	if err := r.store(ctx, m); err != nil {
		return fault(err)
	}
	return id, nil
}

func (r *Reporter) succeeded(ctx context.Context, subject string, h nats.Header) error {
	if err := r.subjects.CheckTarget(subject); err != nil {
		return fmt.Errorf("report success of %s: %w", cut(subject, 200), err)
	}
	m := &nats.Msg{Subject: r.subjects.Succeeded(subject), Header: nats.Header{}}
	for name, values := range echo(h) {
		if strings.HasPrefix(name, schemas.HeaderPrefix) { // the others tell nobody anything
			m.Header[name] = values
		}
	}
	if err := r.store(ctx, m); err != nil {
		return fmt.Errorf("report success of %s (id %s): %w", cut(subject, 200), h.Get(schemas.HeaderID), err)
	}
	return nil
}

// id is the one that the message has, else the one that recoveryd derives from where the
// message came from, else a new one: it must be the same when the report is repeated.
func (r *Reporter) id(w reported, h nats.Header) string {
	if given := h.Get(schemas.HeaderID); schemas.CheckID(given) {
		return given
	}
	delete(h, schemas.HeaderID)
	if w.origin.Stream == "" || w.origin.Sequence == 0 {
		return strings.ToLower(rand.Text())
	}
	reader := schemas.Reader{Subjects: r.subjects}
	m := schemas.Message{Subject: r.subjects.Intake(0, w.subject), Header: schemas.Header(h)}
	return reader.Failure(&schemas.Stored{Message: m}).ID
}

// reportPause is the pause before the second try; it doubles with each further one.
const reportPause = 250 * time.Millisecond

// store publishes until the server says that it stored the message. Repeating is harmless:
// a report is the same at each try, and recoveryd counts it once.
func (r *Reporter) store(ctx context.Context, m *nats.Msg) error {
	for try := 1; ; try++ {
		err := r.publish(ctx, m)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("given up, it is unknown whether it was stored: %w", context.Cause(ctx))
		case !passing(err):
			return fmt.Errorf("not stored: %w", err)
		case try == r.tries:
			return fmt.Errorf("no acknowledgement after %d tries: %w%s", try, err, r.hint(err))
		}
		select {
		case <-ctx.Done():
		case <-time.After(min(reportPause<<min(try-1, 10), 5*time.Second)):
		}
	}
}

func (r *Reporter) publish(ctx context.Context, m *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	_, err := r.js.PublishMsg(ctx, m, jetstream.WithRetryAttempts(0))
	return clientError(err)
}

// passing says whether an error may be gone at the next try. During an election a stream
// does not answer either.
func passing(err error) bool {
	return errors.Is(err, schemas.ErrTimeout) || errors.Is(err, schemas.ErrNoStream) || errors.Is(err, schemas.ErrNotSent)
}

func (r *Reporter) hint(err error) string {
	if errors.Is(err, schemas.ErrNoStream) {
		return fmt.Sprintf(": start recoveryd once in this account, or check Prefix (%s)", r.subjects.Prefix)
	}
	return ""
}
