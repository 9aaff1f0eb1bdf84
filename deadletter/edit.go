package deadletter

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	jsonpatch "github.com/evanphx/json-patch/v5"

	"github.com/recoveryd/recoveryd/schemas"
)

// What an edited letter keeps of the one it was made of, in headers that begin with
// Recovery-Original- and are not sent.
const (
	originalSequence = "Dead-Sequence" // of the letter it was made of
	originalBody     = "Body-Sha256"   // of the first letter's payload
)

// MaxEdited is how many bytes a payload may have that a request gives: in base64 the job
// fits into a message of a server as it is set up.
const MaxEdited = 700 << 10

const (
	maxPatch     = 64 << 10 // bytes
	maxPatchOps  = 100
	maxCopied    = 1 << 20 // bytes that copy operations may add
	sampleBody   = 4 << 10 // of a payload in a sample
	headersLimit = 100
)

// Edit changes letters: user headers, and the payload by JSON Patch (RFC 6902). Numbers of
// the payload that the patch does not name keep their digits.
type Edit struct {
	set     map[string]string
	unset   []string
	patch   jsonpatch.Patch
	body    []byte // in place of the payload, nil = none
	options *jsonpatch.ApplyOptions
}

// EditOf is what a request of a kind of job changes, nil if nothing.
func EditOf(kind string, q schemas.JobRequest) (*Edit, error) {
	if kind != JobEdit && len(q.Set)+len(q.Unset)+len(q.Patch)+len(q.Body) == 0 {
		return nil, nil
	}
	return NewEdit(q)
}

// NewEdit checks what a request says; the error joins a *schemas.FieldError for every fault.
func NewEdit(q schemas.JobRequest) (*Edit, error) {
	var faults []error
	bad := func(path, format string, args ...any) {
		faults = append(faults, &schemas.FieldError{Path: path, Err: fmt.Errorf(format, args...)})
	}
	e := &Edit{set: q.Set, unset: q.Unset, body: q.Body, options: jsonpatch.NewApplyOptions()}
	e.options.EscapeHTML, e.options.SupportNegativeIndices, e.options.AccumulatedCopySizeLimit = false, false, maxCopied
	switch {
	case len(q.Set)+len(q.Unset)+len(q.Patch)+len(q.Body) == 0:
		bad("patch", "nothing is changed: give set, unset, patch or body")
	case len(q.Body) > MaxEdited:
		bad("body", "has %d bytes, at most %d can be given", len(q.Body), MaxEdited)
	case len(q.Body) > 0 && len(q.Patch) > 0:
		bad("body", "is given with patch: keep one of them")
	case len(q.Body) > 0 && len(q.Filter.Sequences) != 1:
		bad("body", "is for one letter: name it in filter.sequences")
	}
	if len(q.Set)+len(q.Unset) > headersLimit {
		bad("set", "%d headers, at most %d are changed at once", len(q.Set)+len(q.Unset), headersLimit)
	}
	for _, name := range slices.Sorted(maps.Keys(q.Set)) {
		if err := schemas.CheckUserHeader(name, q.Set[name]); err != nil {
			bad("set", "%w", err)
		}
	}
	for _, name := range q.Unset {
		if err := schemas.CheckUserHeader(name, ""); err != nil {
			bad("unset", "%w", err)
		}
	}
	if len(q.Patch) > 0 {
		var err error
		if e.patch, err = decodePatch(q.Patch); err != nil {
			bad("patch", "%w", err)
		}
	}
	return e, errors.Join(faults...)
}

func decodePatch(data []byte) (jsonpatch.Patch, error) {
	if len(data) > maxPatch {
		return nil, fmt.Errorf("%d bytes, at most %d are taken", len(data), maxPatch)
	}
	patch, err := jsonpatch.DecodePatch(data)
	if err != nil {
		return nil, fmt.Errorf("is no JSON Patch: %s", clip(err.Error()))
	}
	if len(patch) > maxPatchOps {
		return nil, fmt.Errorf("%d operations, at most %d are taken", len(patch), maxPatchOps)
	}
	if len(patch) == 0 {
		return nil, errors.New("holds no operation")
	}
	for i, op := range patch {
		path, err := op.Path()
		if err != nil || path != "" && !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("operation %d: path %q does not begin with /", i, clip(path))
		}
		switch op.Kind() {
		case "add", "replace", "test":
			if _, given := op["value"]; !given {
				return nil, fmt.Errorf("operation %d: %s without value", i, op.Kind())
			}
		case "remove":
		case "move", "copy":
			if from, err := op.From(); err != nil || from != "" && !strings.HasPrefix(from, "/") {
				return nil, fmt.Errorf("operation %d: from %q does not begin with /", i, clip(from))
			}
		default:
			return nil, fmt.Errorf("operation %d: %q is none of add, remove, replace, move, copy, test", i, clip(op.Kind()))
		}
	}
	return patch, nil
}

// Apply returns the letter as it would be stored, changed.
func (e *Edit) Apply(l *Letter) (schemas.DeadLetter, error) {
	d := l.DeadLetter
	d.Header, d.Barred = l.Header.Clone(), l.Barred.Clone()
	for name, value := range e.set {
		keepOriginal(d.Barred, name, l.Header[name])
		d.Header.Set(name, value)
	}
	for _, name := range e.unset {
		keepOriginal(d.Barred, name, l.Header[name])
		delete(d.Header, name)
	}
	if e.patch != nil {
		if len(l.Body) == 0 {
			return d, fmt.Errorf("patch of dead letter %d: its payload is empty", l.Stored.Sequence)
		}
		if !json.Valid(l.Body) {
			return d, fmt.Errorf("patch of dead letter %d: its payload is no JSON", l.Stored.Sequence)
		}
		body, err := e.patch.ApplyWithOptions(l.Body, e.options)
		if err != nil {
			return d, fmt.Errorf("patch of dead letter %d: %s", l.Stored.Sequence, clip(err.Error()))
		}
		d.Body = body
	}
	if len(e.body) > 0 {
		d.Body = e.body
	}
	if e.patch != nil || len(e.body) > 0 {
		sum := sha256.Sum256(l.Body)
		keepOriginal(d.Barred, originalBody, []string{hex.EncodeToString(sum[:])})
	}
	d.Barred.Set(originalSequence, strconv.FormatUint(l.Stored.Sequence, 10))
	return d, nil
}

// keepOriginal keeps what a header was before the first edit.
func keepOriginal(kept schemas.Header, name string, values []string) {
	if _, ok := kept[name]; !ok && len(values) > 0 {
		kept[name] = values
	}
}

// Message is how an edited letter is stored. Its message id is that of this edit of this
// very letter: a second edit, or one that changes headers alone, is no duplicate.
func (e *Edit) Message(d *schemas.DeadLetter, subjects schemas.Subjects) schemas.Message {
	m := subjects.DeadLetterMessage(d)
	m.Header.Set(schemas.HeaderMsgID, d.MsgID(schemas.Step("edit."+d.Barred.Get(originalSequence)), d.Delivery))
	return m
}

// Sample shows what an edit makes of a letter.
func Sample(l *Letter, d *schemas.DeadLetter) schemas.EditSample {
	return schemas.EditSample{
		Sequence: l.Stored.Sequence, ID: l.ID, HeadersBefore: l.Header, HeadersAfter: d.Header,
		BodyBefore: l.Body[:min(len(l.Body), sampleBody)], BodyAfter: d.Body[:min(len(d.Body), sampleBody)],
	}
}
