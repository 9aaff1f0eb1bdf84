package embedded

import "fmt"

// listener passes the server's log on, if anybody wants it, and keeps what the server
// says when it cannot go on: the server itself would only log it.
type listener struct {
	Logger
	fatal chan<- string
}

func (l *listener) Fatalf(format string, v ...any) {
	select {
	case l.fatal <- fmt.Sprintf(format, v...):
	default: // the first reason counts
	}
	l.to(Logger.Fatalf, format, v)
}

func (l *listener) Noticef(format string, v ...any) { l.to(Logger.Noticef, format, v) }
func (l *listener) Warnf(format string, v ...any)   { l.to(Logger.Warnf, format, v) }
func (l *listener) Errorf(format string, v ...any)  { l.to(Logger.Errorf, format, v) }
func (l *listener) Debugf(format string, v ...any)  { l.to(Logger.Debugf, format, v) }
func (l *listener) Tracef(format string, v ...any)  { l.to(Logger.Tracef, format, v) }

func (l *listener) to(log func(Logger, string, ...any), format string, v []any) {
	if l.Logger != nil {
		log(l.Logger, format, v...)
	}
}
