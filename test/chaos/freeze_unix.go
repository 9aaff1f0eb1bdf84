//go:build unix

package chaos

import "syscall"

func (p *process) freeze() error {
	p.signal(syscall.SIGSTOP)
	return nil
}

func (p *process) thaw() { p.signal(syscall.SIGCONT) }
