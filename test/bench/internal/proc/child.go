package proc

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Command says what to run.
type Command struct {
	Name string // for errors
	Path string
	Args []string
	Env  []string // besides this process's own
	Log  string   // file that standard error is appended to
}

// Child is a running process.
type Child struct {
	command Command
	cmd     *exec.Cmd
	pipe    *os.File
	out     *bufio.Reader
	exited  chan struct{}
}

// Start runs a command. Kill or Stop it at the end.
func Start(c Command) (*Child, error) {
	log, err := os.OpenFile(c.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log of the %s: %w", c.Name, err)
	}
	defer log.Close()
	cmd := exec.Command(c.Path, c.Args...)
	cmd.Env, cmd.Stderr = append(os.Environ(), c.Env...), log
	// A pipe of our own: that of the package is closed by Wait while it may still be read.
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the %s: %w", c.Name, err)
	}
	defer write.Close()
	cmd.Stdout = write
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the %s: %w", c.Name, err), read.Close())
	}
	p := &Child{command: c, cmd: cmd, pipe: read, out: bufio.NewReader(read), exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is told by its log
		close(p.exited)
	}()
	return p, nil
}

// Pid is the number of the process.
func (p *Child) Pid() int { return p.cmd.Process.Pid }

// Line is the next line of its standard output; the rest of its output must be little.
func (p *Child) Line() (string, error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		return "", p.Failed(err)
	}
	return strings.TrimSpace(line), nil
}

// Exited is closed when the process has ended.
func (p *Child) Exited() <-chan struct{} { return p.exited }

// Usage is what the process has used so far.
func (p *Child) Usage() (Usage, error) {
	u, err := Read(p.Pid())
	if err != nil {
		return u, p.Failed(err)
	}
	return u, nil
}

// Kill ends the process with SIGKILL and waits for it.
func (p *Child) Kill() { p.end(syscall.SIGKILL, 0) }

// Stop asks the process to end, and kills it after a while.
func (p *Child) Stop(within time.Duration) { p.end(syscall.SIGTERM, within) }

func (p *Child) end(signal syscall.Signal, within time.Duration) {
	_ = p.cmd.Process.Signal(signal) // it may have ended already
	if within > 0 {
		select {
		case <-p.exited:
		case <-time.After(within):
			_ = p.cmd.Process.Kill()
		}
	}
	<-p.exited
	_ = p.pipe.Close() // twice does no harm
}

// Failed adds the last lines of the log to an error.
func (p *Child) Failed(err error) error {
	return fmt.Errorf("%s: %w; its log ends with:\n%s", p.command.Name, err, tail(p.command.Log, 2000))
}

func tail(path string, most int64) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > most {
		_, _ = f.Seek(-most, io.SeekEnd) // else all of it is shown
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
