package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

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
	return client.ask(ctx, resource, verb, request, reply)
}

// ask sends a request on an open connection.
func (c *client) ask(ctx context.Context, resource, verb string, request, reply any) (json.RawMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var raw json.RawMessage
	if err := c.Call(ctx, resource, verb, request, &raw); err != nil {
		return nil, refusal(err, c)
	}
	if err := decodeReply(raw, reply, c.version); err != nil {
		return nil, err
	}
	return raw, nil
}

func decodeReply(data []byte, reply any, version string) error {
	if err := json.Unmarshal(data, reply); err != nil {
		return fmt.Errorf("the daemon's answer cannot be read, is it another version than %s? %w", version, err)
	}
	return nil
}

// refusal says what to do about an error of the API.
func refusal(err error, c *client) error {
	var fault *schemas.APIError
	switch {
	case errors.Is(err, bus.ErrNoResponders):
		return &exit{code: exitConnect, err: fmt.Errorf("no daemon answers at %s below %s.api: start one with recoveryd run, or name another server or %sPREFIX", c.url, c.subjects.Prefix, "RECOVERYD_")}
	case errors.As(err, &fault) && fault.Code == 400:
		return &exit{code: exitUsage, err: errors.New(flagged(fault.Message))}
	case errors.As(err, &fault) && fault.Code == 404:
		return errors.New(flagged(fault.Message))
	case errors.As(err, &fault) && fault.Code == 403:
		return &exit{code: exitRefused, err: errors.New(flagged(fault.Message))}
	}
	return err
}

// flagOf says which flag sets a field of a request.
var flagOf = map[string]string{
	"filter.subject": "--subject", "filter.causes": "--cause", "filter.reasons": "--dead-reason", "filter.classes": "--class", "filter.codes": "--code",
	"filter.policies": "--policy", "filter.since": "--since", "filter.until": "--until", "filter.headers": "--header", "filter.min_attempts": "--attempts",
	"filter.max_attempts": "--attempts", "filter.min_replays": "--replays", "filter.max_replays": "--replays", "filter.ids": "--id", "filter.sequences": "SEQUENCE",
	"filter.error": "--text", "by": "--by", "limit": "--limit", "offset": "--offset", "state": "--state", "kind": "--kind", "rate": "--rate", "reason": "--reason",
	"to": "--to", "canary": "--canary", "ramp": "--ramp", "stop_failures": "--stop-on-failures", "stop_permille": "--stop-on-failures", "max_replays": "--max-replays",
	"max_letters": "--max-letters", "follow_ms": "--outcome-timeout", "set": "--set-header", "unset": "--unset-header", "patch": "--json-patch", "body": "--edit",
}

var fieldOfFault = regexp.MustCompile(`(^|; |\n)((?:filter\.)?[a-z_]+)(\[\d+\])?: `)

// flagged names the flags of the fields that an error of the API names.
func flagged(message string) string {
	return fieldOfFault.ReplaceAllStringFunc(message, func(found string) string {
		part := fieldOfFault.FindStringSubmatch(found)
		flag, ok := flagOf[part[2]]
		switch {
		case !ok:
			return found
		case "--"+part[2] == flag:
			return part[1] + flag + ": "
		}
		return part[1] + flag + " (" + part[2] + part[3] + "): "
	})
}

// printReply prints a reply exactly as it came.
func (a *App) printReply(raw json.RawMessage) error {
	_, err := fmt.Fprintf(a.Stdout, "%s\n", raw)
	return err
}

// changeFlags are those of a command that looks, asks, and then changes something.
func changeFlags(f *pflag.FlagSet, reason *string, why string, dryRun *bool, look string, yes, asJSON *bool) {
	f.StringVar(reason, "reason", "", why)
	f.BoolVar(dryRun, "dry-run", false, look)
	f.BoolVarP(yes, "yes", "y", false, "do not ask")
	f.BoolVar(asJSON, "json", false, "print the reply")
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
