package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

func (a *App) dlqExport() *cobra.Command {
	var s selection
	var file string
	c := &cobra.Command{
		Use:   "export [SEQUENCE ...]",
		Short: "Write dead letters to a file, exactly as they are stored",
		Long: `Write dead letters as lines of JSON, exactly as they are stored: every header, and the payload as
base64. All are written unless some are named or selected. They are read from the stream itself: no
daemon has to run, and no letter is too large. dlq import stores them again.`,
		Example: "  recoveryd dlq export --since 24h --file letters.ndjson",
		RunE: func(c *cobra.Command, args []string) error {
			spec, err := s.read(args, time.Now())
			if err != nil {
				return err
			}
			f, err := deadletter.CompileFilter(spec, time.Now())
			if err != nil {
				return &exit{code: exitUsage, err: errors.New(flagged(err.Error()))}
			}
			return a.export(c.Context(), f, file)
		},
	}
	s.flags(c.Flags(), false)
	c.Flags().StringVar(&file, "file", "", "write here instead of stdout; the file must not be there yet")
	a.offerSelection(c)
	return c
}

func (a *App) export(ctx context.Context, f *deadletter.Filter, file string) error {
	client, err := a.dial()
	if err != nil {
		return err
	}
	defer client.end()
	if err := client.adopt(ctx); err != nil {
		return err
	}
	if file == "" {
		return a.exportTo(ctx, client, f, a.Stdout)
	}
	out, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return &exit{code: exitUsage, err: fmt.Errorf("--file: %w", err)}
	}
	err = a.exportTo(ctx, client, f, out)
	if syncErr := errors.Join(out.Sync(), out.Close()); err == nil && syncErr != nil {
		err = fmt.Errorf("--file: %w", syncErr)
	}
	if err != nil && codeOf(err) != exitPartial {
		_ = os.Remove(file) // half an export is none
	}
	return err
}

// exportTo writes the letters that are there now; later ones are left out.
func (a *App) exportTo(ctx context.Context, c *client, f *deadletter.Filter, w io.Writer) error {
	state, err := c.DeadState(ctx)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	n, bytes, refused := 0, 0, 0
	err = c.letters(ctx, f, state.LastSeq, func(m *schemas.Stored) error {
		if name := unwritable(m.Header); name != "" {
			refused++
			fmt.Fprintf(a.Stderr, "dead letter %d is left out: its header %s is no UTF-8 and would not come back as it is\n", m.Sequence, printable(name))
			return nil
		}
		line, err := json.Marshal(deadletter.Export(m))
		if err == nil {
			_, err = out.Write(append(line, '\n'))
		}
		n, bytes = n+1, bytes+len(line)+1
		return err
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	fmt.Fprintf(a.Stderr, "exported %s, %s\n", dead(int64(n)), size(uint64(bytes)))
	if refused > 0 {
		return quiet(exitPartial)
	}
	return nil
}

// unwritable names a header that JSON would change.
func unwritable(h schemas.Header) string {
	for name, values := range h {
		for _, v := range values {
			if !utf8.ValidString(name) || !utf8.ValidString(v) {
				return name
			}
		}
	}
	return ""
}

// letters reads the letters that a filter selects, up to a sequence, from the stream itself.
func (c *client) letters(ctx context.Context, f *deadletter.Filter, last uint64, each func(*schemas.Stored) error) error {
	for at := uint64(1); ; {
		from, ok := f.After(at)
		if !ok || from > last {
			return nil
		}
		n := 1000
		if f.Picks() {
			n = 1
		}
		stored, err := c.ReadDead(ctx, from, n, f.Pattern(c.subjects))
		if err != nil || len(stored) == 0 {
			return err
		}
		at = from + 1
		for i := range stored {
			m := &stored[i]
			if m.Sequence > last || f.Picks() && m.Sequence != from {
				break
			}
			at = m.Sequence + 1
			if l := deadletter.Read(*m, c.subjects); f.Match(&l) {
				if err := each(m); err != nil {
					return err
				}
			}
		}
		if !f.Picks() && stored[len(stored)-1].Sequence >= last {
			return nil
		}
	}
}
