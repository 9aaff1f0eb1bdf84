package schemas

import "errors"

// FieldError is a fault of one field of a document, named by its path, e.g.
// policies[0].retry.base.
type FieldError struct {
	Path string
	Err  error
}

func (e *FieldError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *FieldError) Unwrap() error { return e.Err }

// FieldErrors lists the field errors joined in err, in their order.
func FieldErrors(err error) []*FieldError {
	var f *FieldError
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []*FieldError
		for _, e := range joined.Unwrap() {
			all = append(all, FieldErrors(e)...)
		}
		return all
	}
	if errors.As(err, &f) {
		return []*FieldError{f}
	}
	return nil
}
