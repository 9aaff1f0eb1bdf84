//go:build !unix

package chaos

func (p *process) freeze() error { return errFreeze }

func (p *process) thaw() {}
