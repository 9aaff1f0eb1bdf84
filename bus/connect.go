package bus

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"
)

// Options are the settings of a connection, those of NATS tools. Empty fields are not set.
type Options struct {
	Servers  string // comma-separated URLs; overrides those of the context; default nats://127.0.0.1:4222
	Context  string // name of a context of the nats tool, or the absolute path of its file
	Creds    string // credentials file
	NKey     string // seed file
	User     string // without Password it is a token
	Password string
	Token    string
	TLSCert  string // PEM files
	TLSKey   string
	TLSCA    string

	Name        string // how the server's monitoring lists the connection
	InboxPrefix string // default _INBOX, or the context's
	Retry       bool   // go on trying if no server can be reached at first

	// OnEvent is told "connected", "disconnected", "reconnected", "closed" (for good:
	// nothing works any more) and "error" (asynchronous, for example a denied publish).
	// It must not block.
	OnEvent func(kind string, err error)
}

// WithEnv fills what is empty from NATS_URL, NATS_CONTEXT, NATS_CREDS, NATS_NKEY,
// NATS_USER, NATS_PASSWORD, NATS_TOKEN, NATS_CERT, NATS_KEY and NATS_CA. Who the user is
// comes from one place: if any of it is given, only a missing password is filled.
func (o Options) WithEnv(getenv func(string) string) Options {
	fill := func(field *string, name string) {
		if *field == "" {
			*field = getenv(name)
		}
	}
	fill(&o.Servers, "NATS_URL")
	fill(&o.Context, "NATS_CONTEXT")
	fill(&o.TLSCert, "NATS_CERT")
	fill(&o.TLSKey, "NATS_KEY")
	fill(&o.TLSCA, "NATS_CA")
	if len(o.identities()) == 0 {
		fill(&o.Creds, "NATS_CREDS")
		fill(&o.NKey, "NATS_NKEY")
		fill(&o.User, "NATS_USER")
		fill(&o.Token, "NATS_TOKEN")
	}
	if o.User != "" {
		fill(&o.Password, "NATS_PASSWORD")
	}
	return o
}

// identities names the settings that say who the user is.
func (o Options) identities() []string {
	var names []string
	for _, s := range []struct{ name, value string }{{"creds", o.Creds}, {"nkey", o.NKey}, {"user", o.User}, {"token", o.Token}} {
		if s.value != "" {
			names = append(names, s.name)
		}
	}
	return names
}

// Validate names every setting that cannot be used, with what to do.
func (o Options) Validate() error {
	var faults []error
	if names := o.identities(); len(names) > 1 {
		faults = append(faults, fmt.Errorf("%s are set together: keep one of them", strings.Join(names, " and ")))
	}
	if o.Password != "" && o.User == "" {
		faults = append(faults, errors.New("password is set without user: set both, or put a token into token"))
	}
	if (o.TLSCert == "") != (o.TLSKey == "") {
		faults = append(faults, errors.New("tlscert and tlskey belong together: set both or none"))
	}
	files := []struct{ setting, path string }{{"creds", o.Creds}, {"nkey", o.NKey}, {"tlscert", o.TLSCert}, {"tlskey", o.TLSKey}, {"tlsca", o.TLSCA}}
	if filepath.IsAbs(o.Context) {
		files = append(files, struct{ setting, path string }{"context", o.Context})
	}
	for _, f := range files {
		if err := readable(f.path); f.path != "" && err != nil {
			faults = append(faults, fmt.Errorf("%s: cannot read the file, check path and permissions: %w", f.setting, err))
		}
	}
	return errors.Join(faults...)
}

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// Connect opens a connection that reconnects for ever. Publishes fail at once while there
// is no server, instead of being sent by whoever holds the process later.
func Connect(o Options) (*nats.Conn, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("connection settings: %w", err)
	}
	options, err := o.options()
	if err != nil {
		return nil, fmt.Errorf("connection settings: %w", err)
	}
	var nc *nats.Conn
	var servers []string // stays empty if the context cannot be read
	options = append([]nats.Option{o.servers(), func(final *nats.Options) error { servers = final.Servers; return nil }}, options...)
	if o.Context != "" {
		nc, _, err = natscontext.Connect(o.Context, options...)
	} else {
		nc, err = nats.Connect("", options...)
	}
	if err != nil {
		return nil, explain(err, o, servers)
	}
	return nc, nil
}

// servers comes after the context's and wins.
func (o Options) servers() nats.Option {
	return func(final *nats.Options) error {
		if o.Servers != "" {
			final.Url, final.Servers = "", split(o.Servers)
		}
		final.Servers = slices.DeleteFunc(final.Servers, func(s string) bool { return s == "" })
		if len(final.Servers) == 0 {
			final.Servers = []string{nats.DefaultURL}
		}
		return nil
	}
}

func split(list string) []string {
	servers := strings.Split(list, ",")
	for i := range servers {
		servers[i] = strings.TrimSpace(servers[i])
	}
	return servers
}

func (o Options) options() ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name(o.Name),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectBufSize(-1),
		// A server that vanished without a word is noticed within 15 s, not in minutes.
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(5 * time.Second),
		nats.IgnoreAuthErrorAbort(),
		nats.RetryOnFailedConnect(o.Retry),
	}
	options = append(options, o.events()...)
	if len(o.identities()) > 0 {
		options = append(options, forgetIdentity)
	}
	switch {
	case o.Creds != "":
		options = append(options, nats.UserCredentials(o.Creds))
	case o.NKey != "":
		option, err := nats.NkeyOptionFromSeed(o.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey: %s holds no seed of a user: %w", o.NKey, err)
		}
		options = append(options, option)
	case o.User != "" && o.Password == "":
		options = append(options, nats.Token(o.User))
	case o.User != "":
		options = append(options, nats.UserInfo(o.User, o.Password))
	case o.Token != "":
		options = append(options, nats.Token(o.Token))
	}
	if o.TLSCert != "" {
		options = append(options, nats.ClientCert(o.TLSCert, o.TLSKey))
	}
	if o.TLSCA != "" {
		options = append(options, nats.RootCAs(o.TLSCA))
	}
	if o.InboxPrefix != "" {
		options = append(options, nats.CustomInboxPrefix(o.InboxPrefix))
	}
	return options, nil
}

// forgetIdentity drops the context's user, as another one was asked for.
func forgetIdentity(final *nats.Options) error {
	final.User, final.Password, final.Token, final.Nkey = "", "", "", ""
	final.UserInfo, final.TokenHandler, final.UserJWT, final.SignatureCB = nil, nil, nil, nil
	return nil
}

func (o Options) events() []nats.Option {
	tell := o.OnEvent
	if tell == nil {
		tell = func(string, error) {}
	}
	return []nats.Option{
		nats.ConnectHandler(func(*nats.Conn) { tell("connected", nil) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { tell("disconnected", err) }),
		nats.ReconnectHandler(func(*nats.Conn) { tell("reconnected", nil) }),
		nats.ClosedHandler(func(nc *nats.Conn) { tell("closed", nc.LastError()) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { tell("error", err) }),
	}
}

// explain says what to do about a connection that could not be opened.
func explain(err error, o Options, servers []string) error {
	text := err.Error()
	is := func(classes ...error) bool {
		return slices.ContainsFunc(classes, func(class error) bool { return errors.Is(err, class) })
	}
	says := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(text, part) })
	}
	var advice string
	switch {
	case says("x509", "tls:", "certificate") || is(nats.ErrSecureConnRequired, nats.ErrSecureConnWanted):
		advice = "TLS failed, check tlsca, tlscert and tlskey"
	case o.Context != "" && len(servers) == 0:
		return fmt.Errorf("context %q cannot be used, list the known ones with: nats context ls: %w", o.Context, err)
	case o.Creds != "" && says("nkeys", "credentials", "seed"):
		return fmt.Errorf("creds: %s holds no credentials of a user: %w", o.Creds, err)
	case is(nats.ErrNoServers) || says("connection refused", "no such host"):
		advice = "nobody answers there, start a server or set server (NATS_URL) or context"
	case is(nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked):
		advice = "the server refuses the user, check creds, nkey, user and password, or token"
	default:
		advice = "check server (NATS_URL) or context"
	}
	return fmt.Errorf("connect to NATS at %s: %s: %w", redacted(servers), advice, err)
}

// redacted lists servers without passwords.
func redacted(servers []string) string {
	out := slices.Clone(servers)
	for i, s := range out {
		if u, err := url.Parse(s); err == nil {
			out[i] = u.Redacted()
		}
	}
	return strings.Join(out, ", ")
}
