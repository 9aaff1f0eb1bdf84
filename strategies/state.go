package strategies

import (
	"fmt"
	"slices"
)

// State of a breaker. The zero value is Closed, which is also the state of a key that nobody has heard of.
type State uint8

const (
	Closed     State = iota // everything due is released
	Open                    // everything due is held
	HalfOpen                // a few messages of the lane probe
	Recovering              // the lane drains along a ramp
	ForcedOpen              // an operator holds everything
	Disabled                // an operator releases everything
	states
)

var stateNames = [states]string{"closed", "open", "half_open", "recovering", "forced_open", "disabled"}

func (s State) String() string {
	if s < states {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// ParseState is the reverse of String.
func ParseState(s string) (State, error) {
	i := slices.Index(stateNames[:], s)
	if i < 0 {
		return 0, fmt.Errorf("unknown breaker state %q: want one of %v", s, stateNames)
	}
	return State(i), nil
}

// MarshalText writes the name of the state.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the name of a state.
func (s *State) UnmarshalText(text []byte) (err error) {
	*s, err = ParseState(string(text))
	return err
}
