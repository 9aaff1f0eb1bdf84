package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

func (a *App) dlqImport() *cobra.Command {
	var i importing
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Store dead letters again that were exported",
		Long: `Store dead letters again that dlq export wrote; - reads stdin. All lines are checked before the first
letter is stored. Letters that the store has already are left as they are, so that an import may be
repeated.`,
		Example: "  recoveryd dlq import letters.ndjson",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			file, clean, err := a.seekable(args[0])
			if err != nil {
				return &exit{code: exitUsage, err: err}
			}
			defer clean()
			i.file = file
			return a.importLetters(c.Context(), &i)
		},
	}
	f := c.Flags()
	f.BoolVar(&i.dryRun, "dry-run", false, "only check the file")
	f.BoolVarP(&i.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&i.asJSON, "json", false, "print what became of the letters as a reply of dlq.import")
	return c
}

// importing is an import on its way.
type importing struct {
	file                io.ReadSeeker
	dryRun, yes, asJSON bool

	present  map[string]bool // the letters of the file by their identity, and which of them the store has
	subjects map[string]bool // of the letters of the file

	mu    sync.Mutex
	reply schemas.DeadImportReply
	left  int // faults that are not told
}

// seekable is a file that can be read twice; stdin is copied first.
func (a *App) seekable(name string) (file *os.File, clean func(), err error) {
	if name != "-" {
		if file, err = os.Open(name); err != nil {
			return nil, nil, err
		}
		return file, func() { file.Close() }, nil
	}
	if file, err = os.CreateTemp("", "recoveryd-import-"); err != nil {
		return nil, nil, err
	}
	clean = func() { file.Close(); os.Remove(file.Name()) }
	if _, err = io.Copy(file, a.Stdin); err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		clean()
		return nil, nil, fmt.Errorf("stdin: %w", err)
	}
	return file, clean, nil
}

func (a *App) importLetters(ctx context.Context, i *importing) error {
	client, err := a.dial()
	if err != nil {
		return err
	}
	defer client.end()
	if err := client.adopt(ctx); err != nil {
		return err
	}
	n, err := client.check(i)
	if err != nil {
		return &exit{code: exitUsage, err: err}
	}
	fmt.Fprintf(a.Stderr, "the file holds %s\n", dead(int64(n)))
	if i.dryRun || n == 0 {
		return a.imported(i)
	}
	if err := a.confirm(fmt.Sprintf("Store %s?", them(int64(n))), i.yes); err != nil {
		return err
	}
	if err := client.storeAll(ctx, i); err != nil {
		return err
	}
	return a.imported(i)
}

func (a *App) imported(i *importing) error {
	for _, fault := range i.reply.Faults {
		fmt.Fprintln(a.Stderr, fault)
	}
	if i.left > 0 {
		fmt.Fprintf(a.Stderr, "and %d more\n", i.left)
	}
	var err error
	switch {
	case i.asJSON:
		var raw []byte
		if raw, err = json.Marshal(&i.reply); err == nil {
			err = a.printReply(raw)
		}
	case !i.dryRun:
		_, err = fmt.Fprintf(a.Stdout, "stored %s, %d were there already\n", dead(int64(i.reply.Stored)), i.reply.Present)
	}
	if err == nil && len(i.reply.Faults) > 0 {
		return quiet(exitPartial)
	}
	return err
}

// Bounds of an import.
const (
	mostLine   = 128 << 20 // bytes; a server takes at most 64 MiB
	mostFaults = 20
	onTheirWay = 64 // letters at once
)

// read calls each with every letter of the file, or why a line is none.
func (i *importing) read(each func(line int, x *schemas.DeadExport, err error) error) error {
	if _, err := i.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	lines := bufio.NewScanner(i.file)
	lines.Buffer(make([]byte, 0, 1<<20), mostLine)
	line := 0
	for lines.Scan() {
		line++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var x schemas.DeadExport
		err := schemas.DecodeStrict(lines.Bytes(), &x)
		if err != nil {
			err = fmt.Errorf("this is no exported letter: %w", err)
		}
		if err = each(line, &x, err); err != nil {
			return err
		}
	}
	return lines.Err()
}

// check reads the whole file and changes nothing.
func (c *client) check(i *importing) (n int, err error) {
	i.present, i.subjects = map[string]bool{}, map[string]bool{}
	var faults []error
	more := 0
	err = i.read(func(line int, x *schemas.DeadExport, err error) error {
		n++
		var m schemas.Message
		if err == nil {
			m, err = deadletter.Import(x, c.subjects)
		}
		if i.subjects[m.Subject] = true; err == nil {
			i.present[identity(m.Subject, m.Header)] = false
		}
		if err == nil && len(m.Body) > c.MaxBody() {
			err = fmt.Errorf("body: has %d bytes, at most %d can be stored", len(m.Body), c.MaxBody())
		}
		if err != nil && len(faults) < mostFaults {
			faults = append(faults, fmt.Errorf("line %d: %w", line, err))
		} else if err != nil {
			more++
		}
		return nil
	})
	if more > 0 {
		faults = append(faults, fmt.Errorf("and %d more", more))
	}
	return n, errors.Join(append(faults, err)...)
}

// storeAll stores the letters, some at the same time.
func (c *client) storeAll(ctx context.Context, i *importing) error {
	if err := c.known(ctx, i.present, i.subjects); err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	places := make(chan struct{}, onTheirWay)
	return i.read(func(line int, x *schemas.DeadExport, err error) error {
		var m schemas.Message
		if err == nil {
			m, err = deadletter.Import(x, c.subjects)
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		id := identity(m.Subject, m.Header)
		if i.present[id] {
			i.note(line, true, nil)
			return nil
		}
		i.present[id] = true
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		wg.Go(func() {
			defer func() { <-places }()
			i.note(line, false, c.storeAgain(ctx, m))
		})
		return nil
	})
}

func (i *importing) note(line int, present bool, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case err == nil && present:
		i.reply.Present++
	case err == nil:
		i.reply.Stored++
	case len(i.reply.Faults) < mostFaults:
		i.reply.Faults = append(i.reply.Faults, fmt.Sprintf("line %d: %v", line, err))
	default:
		i.left++
	}
}
