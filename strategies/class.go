package strategies

import (
	"fmt"
	"slices"
)

// Class says what a failure means for the work and for its handler. The zero value counts as transient.
type Class string

const (
	ClassTransient Class = "transient" // may pass by itself
	ClassThrottled Class = "throttled" // the handler asked for fewer or later
	ClassTimeout   Class = "timeout"   // no answer in time
	ClassPermanent Class = "permanent" // the message is at fault: trying again cannot help
	ClassIgnored   Class = "ignored"   // says nothing about message or handler, such as a shutdown
)

// ParseClass returns the class named s, or an error that lists the known ones.
func ParseClass(s string) (Class, error) {
	known := []Class{ClassTransient, ClassThrottled, ClassTimeout, ClassPermanent, ClassIgnored}
	if !slices.Contains(known, Class(s)) {
		return "", fmt.Errorf("unknown failure class %q: want one of %v", s, known)
	}
	return Class(s), nil
}

// Retried reports whether work that failed this way is tried again.
func (c Class) Retried() bool { return c != ClassPermanent }

// Counts reports whether a failure of this class is evidence against the handler.
func (c Class) Counts() bool { return c != ClassPermanent && c != ClassIgnored }
