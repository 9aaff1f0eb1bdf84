package schemas

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Classes of failures, as reported.
const (
	ClassTransient = "transient"
	ClassThrottled = "throttled"
	ClassTimeout   = "timeout"
	ClassPermanent = "permanent"
	ClassIgnored   = "ignored"
)

// LastAttempt is the attempt number of a report whose Recovery-Attempt is unreadable: the
// last one under any policy, because a corrupt header must not retry for ever.
const LastAttempt = math.MaxInt32

// Failure is a report read from the intake stream. Reading never fails: what cannot be
// read is named in Faults or Malformed, and the report goes on its way with a value that
// does no harm.
type Failure struct {
	Work

	Intake     string    // the subject the report is about: the original one, or a fallback
	At         time.Time // when the stream stored the report; decisions use this time
	OccurredAt time.Time // when the work failed, at most At, for breakers not long before it
	since      time.Time // what the reporter said about it; zero = nothing
	Sequence   uint64    // of the report in its stream

	Sealed     bool // the state in the headers is recoveryd's own; see Unseal
	Generation int64
	Probe      bool
	Ramp       bool          // released while its breaker was recovering
	Hint       time.Duration // from At; negative = do not retry
	HasHint    bool

	Faults    []string // unreadable values, one text each
	Truncated []string // user headers that were dropped for their size
	Malformed string   // why the body is no failure envelope although it says so
}

// Reader reads reports. It is safe for concurrent use.
type Reader struct {
	Subjects Subjects
	Sealer   *Sealer
	Created  time.Time     // creation of the intake stream: tells its sequences from a former one's
	Window   time.Duration // how far Recovery-Occurred-At may lie before the report; 0 = 1 minute
}

// Failure reads a stored report.
func (r *Reader) Failure(m *Stored) Failure {
	f := Failure{At: m.Time, OccurredAt: m.Time, Sequence: m.Sequence}
	if _, subject, err := r.Subjects.ParseIntake(m.Subject); err == nil {
		f.Intake = subject
	} else if wild, ok := strings.CutPrefix(m.Subject, r.Subjects.Failed("")); ok {
		f.Intake = wild // the server's transform passes over subjects with wildcards
	} else {
		f.Intake, f.Malformed = m.Subject, err.Error()
	}
	own, user, barred := split(m.Header)
	f.Subject, f.Body, f.Header, f.Barred, f.Fallback = f.Intake, m.Body, user, barred, NoFallback
	switch {
	case isEnvelope(user):
		r.openEnvelope(&f, own)
	case isBinaryFailure(user):
		r.openBinary(&f, own)
	}
	f.fitHeaders()
	r.readReport(&f, own)
	r.readState(&f, own)
	return f
}

// fitHeaders drops the largest headers of a reporter who sends too many.
func (f *Failure) fitHeaders() {
	if f.Header.Size()+f.Barred.Size() <= MaxUserHeaders {
		return
	}
	const limit = MaxUserHeaders - maxTruncated
	if f.Header.Size() > MaxUserHeaders {
		f.Truncated = fitUser(f.Header, limit)
	}
	f.Truncated = append(f.Truncated, fitUser(f.Barred, limit-f.Header.Size())...)
	noteTruncated(f.Header, f.Truncated)
}

// readReport reads what a reporter may say about the failure.
func (r *Reader) readReport(f *Failure, own Header) {
	f.Error = line(own.Get(HeaderError), MaxErrorRunes)
	f.Code = line(own.Get(HeaderCode), MaxCode)
	f.Class = ClassTransient
	if v := own.Get(HeaderClass); v != "" {
		if class := strings.ToLower(strings.TrimSpace(v)); knownClass(class) {
			f.Class = class
		} else {
			f.fault(HeaderClass, v, "is none of transient, throttled, timeout, permanent, ignored; taken as transient")
		}
	}
	if v := own.Get(HeaderOccurredAt); v != "" {
		if t, err := time.Parse(time.RFC3339Nano, v); err != nil {
			f.fault(HeaderOccurredAt, v, "is no RFC 3339 time; the time of the report is taken")
		} else {
			f.OccurredAt, f.since = r.clamp(t, f.At), t
		}
	}
	if v := own.Get(HeaderRetryAfter); v != "" {
		if hint, ok := parseHint(v, f.At); ok {
			f.Hint, f.HasHint = hint, true
		} else {
			f.fault(HeaderRetryAfter, v, "is no number of seconds, duration, HTTP date or RFC 3339 time; ignored")
		}
	}
	f.Origin.Stream = line(own.Get(HeaderStream), MaxName)
	f.Origin.Consumer = line(own.Get(HeaderConsumer), MaxName)
	f.Origin.Sequence = f.number(own, HeaderSequence)
	f.Origin.Deliveries = f.number(own, HeaderDeliveries)
}

// readState reads what an earlier delivery carried. Without a valid seal nothing in it is
// believed but the id, and an attempt number that raises the count.
func (r *Reader) readState(f *Failure, own Header) {
	f.Sealed = r.Sealer.Valid(own)
	f.ID = own.Get(HeaderID)
	if f.ID != "" && !CheckID(f.ID) {
		f.fault(HeaderID, line(f.ID, MaxID), "is not 1 to 128 printable ASCII characters without spaces; an id was derived")
		f.ID = ""
	}
	if f.ID == "" {
		f.ID = r.deriveID(f)
	}
	f.Attempt = f.attempt(own)
	f.Delivery = f.Attempt
	f.FirstFailedAt, f.LastFailedAt = f.first(), f.OccurredAt
	if !f.Sealed {
		if own.Get(HeaderSeal) != "" {
			f.fault(HeaderSeal, own.Get(HeaderSeal), "does not fit the state it seals; the state was ignored")
		}
		if f.Delivery == LastAttempt {
			f.Delivery = 1
		}
		return
	}
	f.Subject = own.Get(HeaderSubject)
	f.Delivery = max(1, int(f.number(own, HeaderDelivery)))
	f.Replay = int(f.number(own, HeaderReplay))
	f.Held = time.Duration(f.number(own, HeaderHeld)) * time.Millisecond
	f.Generation = int64(f.number(own, HeaderGeneration))
	f.Probe, f.Ramp = own.Get(HeaderProbe) != "", own.Get(HeaderRamp) != ""
	f.History = own.Get(HeaderHistory)
	if own.Get(HeaderFallback) != "" {
		f.Fallback = int(f.number(own, HeaderFallback))
	}
	if t, err := time.Parse(time.RFC3339Nano, own.Get(HeaderFirstFailedAt)); err == nil {
		f.FirstFailedAt = t
	}
}

// Unseal takes the sealed state back, for a report about a subject that the work was never
// sent to under its policy: it begins a new life on the subject of the report. A seal says
// only that the state is recoveryd's own, not that it belongs to this report.
func (f *Failure) Unseal() {
	f.fault(HeaderSubject, f.Subject, "is not delivered to "+line(f.Intake, 64)+" under its policy; the state was ignored")
	f.Sealed, f.Subject, f.Fallback, f.Delivery = false, f.Intake, NoFallback, f.Attempt
	f.Replay, f.Held, f.Generation, f.Probe, f.Ramp, f.History = 0, 0, 0, false, false, ""
	f.FirstFailedAt = f.first()
}

// first is when the work failed first, as far as its first report says: the reporter's own
// time, however late the report comes, so that a repeat of it says the same.
func (f *Failure) first() time.Time {
	if f.since.IsZero() || f.since.After(f.At) {
		return f.OccurredAt
	}
	return f.since
}

func (f *Failure) attempt(own Header) int {
	if _, given := own[HeaderAttempt]; !given {
		return 1
	}
	v := own.Get(HeaderAttempt)
	n, err := strconv.Atoi(strings.TrimSpace(v))
	if err != nil || n < 1 || n > LastAttempt {
		f.fault(HeaderAttempt, v, "is no attempt number; taken as the last attempt")
		return LastAttempt
	}
	return n
}

func (f *Failure) number(own Header, name string) uint64 {
	v := own.Get(name)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil {
		f.fault(name, v, "is no number; ignored")
		return 0
	}
	return n
}

func (f *Failure) fault(name, value, what string) {
	f.Faults = append(f.Faults, fmt.Sprintf("%s: %q %s", name, line(value, 64), what))
}

func (r *Reader) deriveID(f *Failure) string {
	if o := f.Origin; o.Stream != "" && o.Sequence > 0 {
		return o.id()
	}
	return deriveID("report", r.Created.UTC().Format(time.RFC3339Nano), strconv.FormatUint(f.Sequence, 10))
}

func (r *Reader) clamp(t, at time.Time) time.Time {
	window := r.Window
	if window <= 0 {
		window = time.Minute
	}
	if earliest := at.Add(-window); t.Before(earliest) {
		return earliest
	}
	if t.After(at) {
		return at
	}
	return t
}

func knownClass(class string) bool {
	switch class {
	case ClassTransient, ClassThrottled, ClassTimeout, ClassPermanent, ClassIgnored:
		return true
	}
	return false
}

// maxHint keeps absurd hints from overflowing; policies bound them far lower.
const maxHint = 366 * 24 * time.Hour

// parseHint reads seconds (with or without a fraction), a Go duration, an HTTP date or an
// RFC 3339 time; the result counts from at. A time in the past is a hint of zero.
func parseHint(v string, at time.Time) (time.Duration, bool) {
	v = strings.TrimSpace(v)
	if s, err := strconv.ParseFloat(v, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		if math.IsNaN(s) || err == nil && math.IsInf(s, 0) { // the words, not too many digits
			return 0, false
		}
		return clampHint(s * float64(time.Second)), true
	}
	if d, err := time.ParseDuration(v); err == nil {
		return clampHint(float64(d)), true
	}
	for _, layout := range []string{time.RFC3339Nano, time.RFC1123, time.RFC1123Z, time.RFC850, time.ANSIC} {
		if t, err := time.ParseInLocation(layout, v, time.UTC); err == nil {
			return clampHint(max(0, float64(t.Sub(at)))), true
		}
	}
	return 0, false
}

func clampHint(ns float64) time.Duration {
	if ns < 0 {
		return -1
	}
	return time.Duration(math.Min(ns, float64(maxHint)))
}
