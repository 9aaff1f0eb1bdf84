package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/recoveryd/recoveryd/schemas"
)

// replayFlags are options of a replay that are not fields of its request.
type replayFlags struct {
	rate           float64
	stop           string
	set            []string
	patch          string
	outcomeTimeout string
}

func (a *App) dlqReplay() *cobra.Command {
	o := order{resource: "replay", verb: "create", act: "Replay"}
	var s selection
	var r replayFlags
	c := &cobra.Command{
		Use:   "replay [SEQUENCE ...]",
		Short: "Send dead letters again",
		Long: `Send dead letters again: those that are named, or those that are selected. A job of the daemon
does it, which survives restarts, and removes a letter once its replay is stored. Later letters are
not its own. It says what it is going to do and asks before it begins.

--canary and --ramp wait for the outcomes of what was sent before more is sent. --set-header and
--json-patch change what is sent; a sample is shown first.`,
		Example: "  recoveryd dlq replay --cause d0713ce8 --canary 10 --rate 100 --stop-on-failures 5% --follow",
		RunE: func(c *cobra.Command, args []string) error {
			err := errors.Join(s.chosen(c, args), notASelection(o.request.Reason))
			if err != nil {
				return err
			}
			if o.request.Filter, err = s.read(args, time.Now()); err != nil {
				return err
			}
			if err := r.read(c.Flags(), &o.request, a.Stdin); err != nil {
				return &exit{code: exitUsage, err: err}
			}
			return a.startJob(c.Context(), o)
		},
	}
	f := c.Flags()
	s.flags(f, true)
	o.flags(f)
	q := &o.request
	f.Float64Var(&r.rate, "rate", 0, "letters per second, 0.01 to 1000000; default as fast as it goes")
	f.StringVar(&q.To, "to", "", "another subject, if dead_letter.replay_to of the policy allows it")
	f.IntVar(&q.Canary, "canary", 0, "replay so many first, and go on if all of them recover")
	f.BoolVar(&q.Ramp, "ramp", false, "in rounds of 1, 2, 5, 10, 20, 50, ..., each after the outcomes of the one before")
	f.StringVar(&r.stop, "stop-on-failures", "", "stop when so many failed again: a count like 5 or a share like 10%")
	f.IntVar(&q.MaxReplays, "max-replays", 3, "leave out what was replayed so often")
	f.IntVar(&q.MaxLetters, "max-letters", 0, "replay at most so many; 0 = all")
	f.StringVar(&r.outcomeTimeout, "outcome-timeout", "", "how long an outcome is awaited; default as the policy says")
	f.StringArrayVar(&r.set, "set-header", nil, "send this header, NAME=VALUE; may be repeated")
	f.StringArrayVar(&q.Unset, "unset-header", nil, "leave this header out; may be repeated")
	f.StringVar(&r.patch, "json-patch", "", "change JSON payloads as this file says (RFC 6902); - = stdin, with --yes or --dry-run")
	a.offerSelection(c)
	return c
}

// read fills in what the flags say in their own way.
func (r *replayFlags) read(f *pflag.FlagSet, q *schemas.JobRequest, stdin io.Reader) error {
	var faults []error
	if f.Changed("rate") {
		q.Rate = &r.rate
	}
	if f.Changed("max-replays") && q.MaxReplays < 1 {
		faults = append(faults, fmt.Errorf("--max-replays: %d is less than 1", q.MaxReplays))
	}
	var err error
	if q.StopFailures, q.StopPermille, err = stopRule(r.stop); err != nil {
		faults = append(faults, err)
	}
	for _, each := range r.set {
		name, value, ok := strings.Cut(each, "=")
		if !ok || name == "" {
			faults = append(faults, fmt.Errorf("--set-header: %q is not NAME=VALUE", each))
			continue
		}
		if q.Set == nil {
			q.Set = map[string]string{}
		}
		q.Set[name] = value
	}
	if q.Patch, err = readPatch(r.patch, stdin); err != nil {
		faults = append(faults, err)
	}
	if r.outcomeTimeout != "" {
		d, err := schemas.ParseDuration(r.outcomeTimeout)
		if err != nil || d < schemas.Duration(time.Millisecond) {
			faults = append(faults, fmt.Errorf("--outcome-timeout: %q is no duration like 30s or 5m", r.outcomeTimeout))
		}
		q.FollowMS = time.Duration(d).Milliseconds()
	}
	return errors.Join(faults...)
}

// stopRule reads a count, or a share in per cent.
func stopRule(text string) (count, permille int, err error) {
	if text == "" {
		return 0, 0, nil
	}
	if share, ok := strings.CutSuffix(text, "%"); ok {
		percent, err := strconv.ParseFloat(share, 64)
		if err != nil || percent < 0.1 || percent > 100 {
			return 0, 0, fmt.Errorf("--stop-on-failures: %q is no share between 0.1%% and 100%%", text)
		}
		return 0, int(percent*10 + 0.5), nil
	}
	count, err = strconv.Atoi(text)
	if err != nil || count < 1 {
		return 0, 0, fmt.Errorf("--stop-on-failures: %q is neither a count like 5 nor a share like 10%%", text)
	}
	return count, 0, nil
}

// mostPatch is more than any patch that a daemon takes.
const mostPatch = 1 << 20

func readPatch(name string, stdin io.Reader) (json.RawMessage, error) {
	if name == "" {
		return nil, nil
	}
	r := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--json-patch: %w", err)
		}
		defer file.Close()
		r = file
	}
	data, err := io.ReadAll(io.LimitReader(r, mostPatch))
	if err == nil && !json.Valid(data) {
		err = fmt.Errorf("%s holds no JSON", name)
	}
	if err != nil {
		return nil, fmt.Errorf("--json-patch: %w", err)
	}
	return data, nil
}

func (a *App) dlqDiscard() *cobra.Command {
	o := order{resource: "dlq", verb: "discard", act: "Discard"}
	var s selection
	c := &cobra.Command{
		Use:   "discard [SEQUENCE ...]",
		Short: "Remove dead letters for good",
		Long: `Remove dead letters for good: those that are named, or those that are selected. Later letters stay,
also those of the same cause. It says what it is going to do and asks before it begins; for every
letter an outcome with the reason is published.`,
		Example: "  recoveryd dlq discard --subject 'tests.>' --reason 'left over from the load test'",
		RunE: func(c *cobra.Command, args []string) error {
			err := errors.Join(s.chosen(c, args), notASelection(o.request.Reason))
			if err != nil {
				return err
			}
			if o.request.Filter, err = s.read(args, time.Now()); err != nil {
				return err
			}
			return a.startJob(c.Context(), o)
		},
	}
	s.flags(c.Flags(), true)
	o.flags(c.Flags())
	c.Flags().Lookup("reason").Usage = "why, for those who look at it later; it must be said"
	a.offerSelection(c)
	return c
}
