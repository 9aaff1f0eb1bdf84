package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/recoveryd/recoveryd/schemas"
)

// letterEdit is how one letter is edited and replayed.
type letterEdit struct {
	request             schemas.JobRequest
	yes, follow, asJSON bool
}

// editLetter opens the payload in an editor, shows what changed, asks, and replays what was
// made of it. The daemon removes the letter once the replay is stored.
func (a *App) editLetter(ctx context.Context, q schemas.DeadShowRequest, e letterEdit) error {
	l, err := a.wholeLetter(ctx, q)
	if err != nil {
		return err
	}
	file, body, err := a.editText(ctx, l)
	if err != nil {
		return err
	}
	switch {
	case bytes.Equal(body, l.Body):
		_ = os.RemoveAll(filepath.Dir(file)) // a leftover below the temporary folder harms nobody
		return &exit{code: exitFailed, err: errors.New("nothing was changed, so nothing is replayed")}
	case len(body) == 0:
		return &exit{code: exitFailed, err: errors.New("the payload was emptied, so nothing is replayed")}
	}
	if err = a.showEdit(l, body); err == nil {
		e.request.Body, e.request.Filter = body, schemas.DeadFilter{Sequences: []uint64{l.Sequence}}
		err = a.startJob(ctx, order{resource: "replay", verb: "create", act: "Replay", request: e.request, yes: e.yes, follow: e.follow, asJSON: e.asJSON, sampled: true})
	}
	if err != nil && codeOf(err) != exitPartial || e.request.DryRun {
		fmt.Fprintf(a.Stderr, "what you wrote is kept in %s\n", file)
		return err
	}
	_ = os.RemoveAll(filepath.Dir(file))
	return err
}

func (a *App) wholeLetter(ctx context.Context, q schemas.DeadShowRequest) (*schemas.DeadLetterItem, error) {
	client, err := a.dial()
	if err != nil {
		return nil, err
	}
	defer client.end()
	var l schemas.DeadLetterItem
	if _, err := client.ask(ctx, "dlq", "show", q, &l); err != nil {
		return nil, err
	}
	return &l, client.complete(ctx, &l)
}

// editText lets the operator's editor have the payload. An editor that ends the last line of
// what had no such end did not change anything.
func (a *App) editText(ctx context.Context, l *schemas.DeadLetterItem) (file string, body []byte, err error) {
	editor := cmp.Or(a.getenv("VISUAL"), a.getenv("EDITOR"))
	if editor == "" {
		return "", nil, &exit{code: exitUsage, err: errors.New("--edit: no editor is named: set VISUAL or EDITOR")}
	}
	folder, err := os.MkdirTemp(a.getenv("TMPDIR"), "recoveryd-edit-")
	if err != nil {
		return "", nil, err
	}
	file = filepath.Join(folder, fmt.Sprintf("dead-letter-%d%s", l.Sequence, extension(l.Body)))
	if err := os.WriteFile(file, l.Body, 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", editor+` "$1"`, "sh", file)
	cmd.Stdout, cmd.Stderr, cmd.Env = a.Stderr, a.Stderr, a.Environ
	if terminal(a.Stdout) {
		cmd.Stdout = a.Stdout
	}
	if f, ok := a.Stdin.(*os.File); ok {
		cmd.Stdin = f
	}
	if err := cmd.Run(); err != nil {
		return file, nil, fmt.Errorf("--edit: the editor %s: %w; what it left is in %s", editor, err, file)
	}
	if body, err = os.ReadFile(file); err != nil {
		return file, nil, fmt.Errorf("--edit: %w", err)
	}
	if n := len(body); n > 0 && body[n-1] == '\n' && !bytes.HasSuffix(l.Body, []byte("\n")) {
		body = body[:n-1]
	}
	return file, body, nil
}

// extension lets editors know what they show.
func extension(body []byte) string {
	if json.Valid(body) {
		return ".json"
	}
	return ".txt"
}

// showEdit shows the difference; of white space alone it says so.
func (a *App) showEdit(l *schemas.DeadLetterItem, body []byte) error {
	text := difference(bodyLines(l.Body), bodyLines(body), a.colour(a.Stderr))
	if text == "" {
		text = "  only white space differs\n"
	}
	if json.Valid(l.Body) && !json.Valid(body) {
		text += "it was JSON, and is no more\n"
	}
	_, err := fmt.Fprintf(a.Stderr, "dead letter %d, id %s\n%s\n", l.Sequence, printable(l.ID), text)
	return err
}
