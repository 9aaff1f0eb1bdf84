package cli

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/recoveryd/recoveryd/schemas"
)

// selection is which dead letters a command is about.
type selection struct {
	filter            schemas.DeadFilter
	headers           []string
	since, until      string
	attempts, replays string
	all               bool
}

// flags adds what selects letters. Where --reason says why an operator acts, letters are
// selected by --dead-reason alone.
func (s *selection) flags(f *pflag.FlagSet, acts bool) {
	f.StringVar(&s.filter.Subject, "subject", "", "only letters of subjects that match, e.g. 'orders.>'")
	f.StringSliceVar(&s.filter.Causes, "cause", nil, "only these causes, as dlq groups shows them")
	f.StringSliceVar(&s.filter.Reasons, "dead-reason", nil, "only letters that died for: "+strings.Join(schemas.Reasons[:], ", "))
	f.StringSliceVar(&s.filter.Classes, "class", nil, "only these classes: transient, throttled, timeout, permanent, ignored")
	f.StringArrayVar(&s.filter.Codes, "code", nil, "only this code, e.g. 429; may be repeated")
	f.StringSliceVar(&s.filter.Policies, "policy", nil, "only letters of these policies")
	f.StringVar(&s.since, "since", "", "only what died since: a duration like 2h or 2d, or a time like 2026-01-02T15:04:05Z")
	f.StringVar(&s.until, "until", "", "only what died before, said like --since")
	f.StringArrayVar(&s.headers, "header", nil, "only letters with this header, NAME=VALUE or NAME alone; may be repeated")
	f.StringVar(&s.attempts, "attempts", "", "only after so many attempts: 3, 3-5, 3- or -5")
	f.StringVar(&s.replays, "replays", "", "only what was replayed so often: 0, 1-2, 1- or -2")
	f.StringArrayVar(&s.filter.IDs, "id", nil, "only the work with this id; may be repeated")
	f.StringVar(&s.filter.Error, "text", "", "only letters with this in their error, in upper or lower case")
	if acts {
		f.BoolVar(&s.all, "all", false, "all dead letters, when nothing else selects them")
		return
	}
	f.StringSliceVar(&s.filter.Reasons, "reason", nil, "the same as --dead-reason")
}

// read is the filter that was asked for. Times become absolute, so that what is shown first
// is what is acted on later.
func (s *selection) read(sequences []string, now time.Time) (schemas.DeadFilter, error) {
	f := s.filter
	var faults []error
	note := func(err error) { faults = append(faults, err) }
	for _, text := range sequences {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || n == 0 {
			note(fmt.Errorf("%q is no sequence of a dead letter: see recoveryd dlq ls", text))
		}
		f.Sequences = append(f.Sequences, n)
	}
	for _, each := range s.headers {
		name, value, _ := strings.Cut(each, "=")
		if name == "" {
			note(fmt.Errorf("--header: %q is not NAME=VALUE", each))
		}
		if f.Headers == nil {
			f.Headers = map[string]string{}
		}
		if _, twice := f.Headers[name]; twice {
			note(fmt.Errorf("--header: %q is given twice", name))
		}
		f.Headers[name] = value
	}
	var err error
	if f.Since, err = instant("--since", s.since, now); err != nil {
		note(err)
	}
	if f.Until, err = instant("--until", s.until, now); err != nil {
		note(err)
	}
	if f.MinAttempts, f.MaxAttempts, err = extent("--attempts", s.attempts, 0); err != nil {
		note(err)
	}
	low, high, err := extent("--replays", s.replays, -1)
	if err != nil {
		note(err)
	}
	if f.MinReplays = low; high >= 0 {
		f.MaxReplays = &high
	}
	if err := errors.Join(faults...); err != nil {
		return f, &exit{code: exitUsage, err: err}
	}
	return f, nil
}

func instant(flag, value string, now time.Time) (string, error) {
	at, err := moment(flag, value, now)
	if err != nil || at.IsZero() {
		return "", err
	}
	return at.UTC().Format(time.RFC3339Nano), nil
}

// extent reads 3, 3-5, 3- or -5; open is what stands for no upper end.
func extent(flag, text string, open int) (low, high int, err error) {
	if text == "" {
		return 0, open, nil
	}
	first, last, isRange := strings.Cut(text, "-")
	high = open
	if first != "" {
		low, err = strconv.Atoi(first)
	}
	if !isRange {
		high = low
	} else if last != "" && err == nil {
		high, err = strconv.Atoi(last)
	}
	if err != nil || text == "-" || low < 0 || high != open && high < low {
		return 0, open, fmt.Errorf("%s: %q is no range like 3, 3-5, 3- or -5", flag, text)
	}
	return low, high, nil
}

// chosen insists that letters were selected before something is done to them.
func (s *selection) chosen(c *cobra.Command, sequences []string) error {
	given := len(sequences) > 0
	for _, name := range selectors {
		given = given || c.Flags().Changed(name)
	}
	switch {
	case !given && !s.all:
		return usage(c, errors.New("which dead letters? Select them, or say --all"))
	case given && s.all:
		return usage(c, errors.New("--all and a selection are given together: keep one of them"))
	}
	return nil
}

var selectors = []string{"subject", "cause", "dead-reason", "class", "code", "policy", "since", "until", "header", "attempts", "replays", "id", "text"}

// notASelection refuses a --reason that was meant to select letters.
func notASelection(reason string) error {
	if slices.Contains(schemas.Reasons[:], reason) {
		return &exit{code: exitUsage, err: fmt.Errorf("--reason says why you do it; letters that died for %q are selected by --dead-reason %s", reason, reason)}
	}
	return nil
}

// again is the command that goes on where this one ended: its flags with one changed.
func again(c *cobra.Command, args []string, flag, value string) string {
	words := append([]string{c.CommandPath()}, args...)
	say := func(name, value string) { words = append(words, "--"+name, value) }
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		list, isList := f.Value.(pflag.SliceValue)
		switch {
		case !f.Changed || f.Name == flag:
		case isList:
			for _, v := range list.GetSlice() {
				say(f.Name, quoted(v))
			}
		case f.Value.Type() == "bool":
			words = append(words, "--"+f.Name)
		default:
			say(f.Name, quoted(f.Value.String()))
		}
	})
	say(flag, value)
	return strings.Join(words, " ")
}

// quoted is a word as a shell reads it.
func quoted(word string) string {
	plain := word != "" && strings.IndexFunc(word, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._-:/=@,+%", r))
	}) < 0
	if plain {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
