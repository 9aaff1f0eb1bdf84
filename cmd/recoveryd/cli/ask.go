package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// ask sends a request to a daemon. It returns the reply as it came, for --json, and
// decodes it into reply.
func (a *App) ask(ctx context.Context, resource, verb string, request, reply any) (json.RawMessage, error) {
	client, err := a.dial()
	if err != nil {
		return nil, err
	}
	defer client.end()
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var raw json.RawMessage
	if err := client.Call(ctx, resource, verb, request, &raw); err != nil {
		return nil, refusal(err, client)
	}
	if err := json.Unmarshal(raw, reply); err != nil {
		return nil, fmt.Errorf("the daemon's answer cannot be read, is it another version than %s? %w", a.Version, err)
	}
	return raw, nil
}

// refusal says what to do about an error of the API.
func refusal(err error, c *client) error {
	var fault *schemas.APIError
	switch {
	case errors.Is(err, bus.ErrNoResponders):
		return &exit{code: exitConnect, err: fmt.Errorf("no daemon answers at %s below %s.api: start one with recoveryd run, or name another server or %sPREFIX", c.url, c.subjects.Prefix, "RECOVERYD_")}
	case errors.As(err, &fault) && fault.Code == 400:
		return &exit{code: exitUsage, err: err}
	}
	return err
}

// printReply prints a reply exactly as it came.
func (a *App) printReply(raw json.RawMessage) error {
	_, err := fmt.Fprintf(a.Stdout, "%s\n", raw)
	return err
}

// confirm asks whether to go on. Without somebody to ask it needs --yes.
func (a *App) confirm(question string, yes bool) error {
	if yes {
		return nil
	}
	fmt.Fprintf(a.Stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(io.LimitReader(a.Stdin, 100)).ReadString('\n')
	if err != nil && answer == "" {
		fmt.Fprintln(a.Stderr)
		return &exit{code: exitUsage, err: errors.New("nobody is there to answer: add --yes to do it, or --dry-run to look")}
	}
	if word := strings.ToLower(strings.TrimSpace(answer)); word != "y" && word != "yes" {
		return &exit{code: exitFailed, err: errors.New("left as it is")}
	}
	return nil
}
