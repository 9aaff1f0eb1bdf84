package schemas

import "time"

// Success is a report that work succeeded.
type Success struct {
	Subject       string // the original one
	Intake        string // the subject that succeeded: the original one, or a fallback
	ID            string
	Attempt       int
	Delivery      int
	Replay        int
	Generation    int64
	Fallback      int
	Probe         bool
	At            time.Time
	FirstFailedAt time.Time
	Sealed        bool // it is the success of a redelivery; else of work that never failed, for rates only
	Faults        []string
	Trace         string // traceparent of the work, if it has one
}

// Success reads a stored success report.
func (r *Reader) Success(m *Stored) (Success, error) {
	subject, err := r.Subjects.ParseSucceeded(m.Subject)
	if err != nil {
		return Success{}, err
	}
	f := Failure{At: m.Time, OccurredAt: m.Time, Sequence: m.Sequence, Intake: subject}
	f.Subject, f.Fallback = subject, NoFallback
	own, _, _ := split(m.Header)
	r.readState(&f, own)
	return Success{
		Subject: f.Subject, Intake: subject, ID: f.ID, Attempt: f.Attempt, Delivery: f.Delivery, Replay: f.Replay, Generation: f.Generation,
		Fallback: f.Fallback, Probe: f.Probe, At: f.At, FirstFailedAt: f.FirstFailedAt, Sealed: f.Sealed, Faults: f.Faults,
		Trace: Traceparent(m.Header),
	}, nil
}

// Unseal takes the sealed state back, as Failure.Unseal does.
func (s *Success) Unseal() {
	s.Faults = append(s.Faults, HeaderSubject+": "+line(s.Subject, 64)+" is not delivered to "+line(s.Intake, 64)+" under its policy; the state was ignored")
	s.Sealed, s.Subject, s.Fallback, s.Delivery = false, s.Intake, NoFallback, s.Attempt
	s.Replay, s.Generation, s.Probe, s.FirstFailedAt = 0, 0, false, s.At
}
