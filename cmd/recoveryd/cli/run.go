package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/daemon"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/tracing"
)

func (a *App) run() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon",
		Long: `Run the daemon until SIGTERM or SIGINT; a second signal ends it at once.
Settings come from the environment, see recoveryd config --reference. Traces are sent where the
variables OTEL_* of OpenTelemetry say.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := a.settings()
			if err != nil {
				return err
			}
			boundHeap(int64(settings.MemoryLimit))
			return a.serve(c.Context(), settings, nil)
		},
	}
}

// boundHeap has the garbage collector work harder before the process takes much more than
// work may take: its own buffers, and twice as much garbage as there is work. Below that it works
// less than by default. GOMEMLIMIT and GOGC, if they are set, rule.
func boundHeap(work int64) {
	const own = 24 << 20
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(3*work + own)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(200)
	}
}

// serve runs a daemon until a signal or a fault ends it. started is told when it is up.
func (a *App) serve(ctx context.Context, settings *config.Config, started func(*daemon.Daemon)) error {
	signals, stop := a.Signals()
	defer stop()
	if err := a.connection().Validate(); err != nil && !settings.Embedded {
		return &exit{code: exitUsage, err: err}
	}
	traces, err := tracing.Read(a.Environ)
	if err != nil {
		return &exit{code: exitUsage, err: fmt.Errorf("the environment has faults\n%w", err)}
	}
	log := a.logger(settings)
	for _, w := range settings.Warnings() {
		log.Warn().Msg(w)
	}
	d, err := daemon.Start(ctx, daemon.Options{
		Config: settings, Connection: a.connection(), Version: a.Version, Instance: instance(), Log: log, Traces: traces,
	})
	if err != nil {
		return startError(err)
	}
	if started != nil {
		go func() {
			select {
			case <-d.Ready():
				started(d)
			case <-ctx.Done():
			}
		}()
	}
	return supervise(ctx, d, signals, time.Duration(settings.ShutdownTimeout), log)
}

// stoppable is what supervise needs of a daemon.
type stoppable interface {
	Wait() error
	Stop(ctx context.Context) error
}

// supervise waits for the end: the daemon's own, a signal's or that of ctx.
func supervise(ctx context.Context, d stoppable, signals <-chan os.Signal, timeout time.Duration, log zerolog.Logger) error {
	ended := make(chan error, 2) // both of its goroutines may leave a word behind
	go func() { ended <- d.Wait() }()
	select {
	case err := <-ended:
		return err
	case s := <-signals:
		log.Info().Str("signal", s.String()).Stringer("within", timeout).Msg("stopping, once more to stop at once")
	case <-ctx.Done():
	}
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	go func() { ended <- d.Stop(stopCtx) }()
	select {
	case err := <-ended:
		return err
	case <-signals:
		return errors.New("stopped at once by a second signal: what was in flight is delivered again")
	}
}

// startError says with which code a daemon that did not start ends.
func startError(err error) error {
	var known *daemon.StartError
	if errors.As(err, &known) {
		switch known.Part {
		case daemon.PartPolicy:
			return policyFault(err)
		case daemon.PartConnection:
			return &exit{code: exitConnect, err: err}
		}
	}
	return err
}

// instance names this process among the replicas.
func instance() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return host + "-" + strings.ToLower(rand.Text()[:6])
}

// logger writes to stderr: lines for a person on a terminal, else JSON.
func (a *App) logger(c *config.Config) zerolog.Logger {
	level, err := zerolog.ParseLevel(c.LogLevel)
	if err != nil {
		level = zerolog.InfoLevel // cannot happen: the configuration allows known words only
	}
	var w io.Writer = a.Stderr
	if c.LogFormat == "console" || c.LogFormat == "auto" && terminal(a.Stderr) {
		w = zerolog.ConsoleWriter{Out: a.Stderr, TimeFormat: "15:04:05.000", NoColor: !a.colour(a.Stderr)}
	}
	return zerolog.New(w).Level(level).Hook(zerolog.HookFunc(stamp))
}

// stamp writes milliseconds, which zerolog does only by a setting of the whole process.
func stamp(e *zerolog.Event, _ zerolog.Level, _ string) {
	e.Str(zerolog.TimestampFieldName, time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00"))
}
