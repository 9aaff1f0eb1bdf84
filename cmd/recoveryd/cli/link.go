package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/schemas"
)

// link is the connection that the flags ask for, in the words of NATS tools.
type link struct{ o bus.Options }

func (l *link) flags(f *pflag.FlagSet) {
	f.StringVarP(&l.o.Servers, "server", "s", "", "URLs of NATS servers (NATS_URL)")
	f.StringVar(&l.o.Context, "context", "", "context of the nats tool (NATS_CONTEXT)")
	f.StringVar(&l.o.Creds, "creds", "", "credentials file (NATS_CREDS)")
	f.StringVar(&l.o.NKey, "nkey", "", "file with the seed of a user (NATS_NKEY)")
	f.StringVar(&l.o.User, "user", "", "user, or a token if there is no password (NATS_USER)")
	f.StringVar(&l.o.Password, "password", "", "password (NATS_PASSWORD)")
	f.StringVar(&l.o.TLSCert, "tlscert", "", "certificate file (NATS_CERT)")
	f.StringVar(&l.o.TLSKey, "tlskey", "", "key file (NATS_KEY)")
	f.StringVar(&l.o.TLSCA, "tlsca", "", "file with the authorities to trust (NATS_CA)")
}

// connection is what flags and environment ask for together.
func (a *App) connection() bus.Options { return a.link.o.WithEnv(a.getenv) }

// client is a connection for one command.
type client struct {
	*bus.Bus
	subjects schemas.Subjects
	settings *config.Config
	url      string
	version  string       // of this command line
	closed   <-chan error // hears that the connection was closed for good
	end      func()
}

// answerWithin is how long a command waits for an answer.
const answerWithin = 30 * time.Second

// dial opens a connection for a command.
func (a *App) dial() (*client, error) {
	settings, err := a.settings()
	if err != nil {
		return nil, err
	}
	closed := make(chan error, 1)
	o := a.connection()
	o.Name = "recoveryd/" + a.Version + " command line"
	o.OnEvent = func(kind string, err error) {
		if kind == "closed" {
			select {
			case closed <- fmt.Errorf("%w: %w", schemas.ErrClosed, err):
			default:
			}
		}
	}
	if err := o.Validate(); err != nil {
		return nil, &exit{code: exitUsage, err: err}
	}
	nc, err := bus.Connect(o)
	if err != nil {
		return nil, &exit{code: exitConnect, err: err}
	}
	subjects := schemas.Subjects{Prefix: settings.Prefix}
	b, err := bus.New(nc, bus.Config{Subjects: subjects, StreamPrefix: settings.StreamPrefix, Domain: settings.JSDomain})
	if err != nil {
		nc.Close()
		return nil, &exit{code: exitUsage, err: err}
	}
	return &client{
		Bus: b, subjects: subjects, settings: settings, url: nc.ConnectedUrlRedacted(), version: a.Version, closed: closed,
		end: func() { b.Close(); nc.Close() },
	}, nil
}

// adopt finds the streams that a daemon made.
func (c *client) adopt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if err := c.Adopt(ctx); err != nil {
		return adoption(err, c.url, c.settings)
	}
	return nil
}

func adoption(err error, url string, c *config.Config) error {
	if errors.Is(err, schemas.ErrNotFound) {
		return fmt.Errorf("there is no stream %s_FAILED at %s: start the daemon there with recoveryd run, or name another server, %sSTREAM_PREFIX or %sJS_DOMAIN",
			c.StreamPrefix, url, config.Prefix, config.Prefix)
	}
	return fmt.Errorf("streams at %s: %w", url, err)
}

// settings are those of the daemon, for commands that must agree with it.
func (a *App) settings(more ...config.Source) (*config.Config, error) {
	c, err := config.Load(append([]config.Source{config.Environment(a.Environ)}, more...)...)
	if err != nil {
		return nil, &exit{code: exitUsage, err: fmt.Errorf("the environment has faults\n%w", err)}
	}
	return c, nil
}
