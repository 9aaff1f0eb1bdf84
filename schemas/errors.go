package schemas

import "errors"

// What can go wrong with the bus, as far as anybody acts on it. The bus wraps these
// with the operation and the subject or stream.
var (
	ErrNoStream  = errors.New("no stream stores this subject")                   // nobody answered the publish
	ErrTimeout   = errors.New("no answer in time, it is unknown whether stored") // repeat with the same id
	ErrNotSent   = errors.New("nothing was sent")
	ErrStoreFull = errors.New("the stream is full")
	ErrTooLarge  = errors.New("the message is larger than the stream or the server accepts")
	ErrConflict  = errors.New("somebody else changed the value")
	ErrNotFound  = errors.New("not found")
	ErrClosed    = errors.New("the connection is closed")
	ErrForeign   = errors.New("this stream or bucket was not made by recoveryd")
	ErrMismatch  = errors.New("this cannot be changed on an existing stream")
)
