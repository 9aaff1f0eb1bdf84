package schemas

import "encoding/json"

// Signals are successes that a shard tells the one that is home to a breaker, collected
// for a moment: the body of an entry whose Record is a Success.
type Signals struct {
	Plain int      `json:"plain,omitempty"` // of deliveries that belong to no generation
	At    int64    `json:"at,omitempty"`    // when the last of them was, unix nanoseconds
	Each  []Signal `json:"each,omitempty"`  // of deliveries that a breaker let go while it was not closed
}

// Signal is the success of one delivery.
type Signal struct {
	ID         string `json:"id"`
	Delivery   int    `json:"delivery"`
	Generation int64  `json:"generation"`
	At         int64  `json:"at"`
	Probe      bool   `json:"probe,omitempty"`
}

// Entry is how signals are stored for the shard that is home to the breaker of key.
func (s *Signals) Entry(subject, policy, key string) (Entry, error) {
	body, err := json.Marshal(s)
	return Entry{
		Work: Work{ID: "signal", Subject: subject, Fallback: NoFallback, Body: body}, Step: StepDiscard, Key: key, Policy: policy,
		Record: &Record{OccurredAt: s.At, At: s.At, Success: true},
	}, err
}

// ParseSignals reads the body of such an entry. Fields of newer versions are passed over.
func ParseSignals(body []byte) (Signals, error) {
	var s Signals
	err := json.Unmarshal(body, &s)
	return s, err
}
