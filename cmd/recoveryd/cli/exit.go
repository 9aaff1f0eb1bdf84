package cli

import (
	"errors"

	"github.com/recoveryd/recoveryd/schemas"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailed  = 1
	exitUsage   = 2 // also configuration and policy files
	exitPartial = 3
	exitConnect = 4
	exitRefused = 5
)

// exit is an error with its exit code.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string { return e.err.Error() }
func (e *exit) Unwrap() error { return e.err }

// quiet ends with a code when everything was said already.
func quiet(code int) error { return &exit{code: code, err: errors.New("")} }

func codeOf(err error) int {
	var e *exit
	switch {
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, schemas.ErrClosed):
		return exitConnect
	case errors.Is(err, schemas.ErrForeign), errors.Is(err, schemas.ErrMismatch):
		return exitUsage
	}
	return exitFailed
}
