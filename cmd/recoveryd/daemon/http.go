package daemon

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/console"
)

// maxRequests is how many HTTP requests are answered at the same time.
const maxRequests = 64

// listen serves metrics, health and the console.
func (d *Daemon) listen() error {
	if d.Config.HTTPAddr == config.HTTPOff {
		return nil
	}
	listener, err := net.Listen("tcp", d.Config.HTTPAddr)
	if err != nil {
		return fmt.Errorf("HTTP: %w: choose another %sHTTP_ADDR, or off", err, config.Prefix)
	}
	d.listener = listener
	server := &http.Server{
		Handler:           d.routes(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	d.stack.add("http", func(ctx context.Context) error {
		if err := server.Shutdown(ctx); err != nil {
			return errors.Join(err, server.Close())
		}
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

func (d *Daemon) routes() http.Handler {
	g := newGate(d.Config)
	page := console.Handler(d)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", d.livez)
	mux.Handle("GET /readyz", d.readyz(g))
	mux.Handle("GET /metrics", g.guard(promhttp.HandlerFor(d.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})))
	mux.Handle("GET /", g.guard(page))
	return limit(harden(mux))
}

func (d *Daemon) livez(w http.ResponseWriter, _ *http.Request) {
	if d.ctx.Err() != nil {
		http.Error(w, "stopping", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// readyz answers probes without a password; the details need one.
func (d *Daemon) readyz(g *gate) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		checks := d.checks()
		ready := d.ctx.Err() == nil
		var text strings.Builder
		for _, c := range checks {
			ready = ready && (c.OK || !c.Essential)
			fmt.Fprintf(&text, "%s %s: %s\n", c.Mark(), c.Name, c.Detail)
		}
		status, word := http.StatusOK, "ok"
		if !ready {
			status, word = http.StatusServiceUnavailable, "not ready"
		}
		if !r.URL.Query().Has("verbose") {
			text.Reset()
		} else if !g.open(r) {
			g.refuse(w)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		fmt.Fprint(w, text.String(), word, "\n")
	})
}

// gate lets those in who may read.
type gate struct {
	user, password, token string
	local                 bool // nobody is asked for a password, so only this machine is served
}

func newGate(c *config.Config) *gate {
	g := &gate{user: c.HTTPUser, password: c.HTTPPassword.Reveal(), token: c.HTTPToken.Reveal()}
	g.local = g.password == "" && g.token == ""
	return g
}

func (g *gate) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !g.open(r) {
			g.refuse(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// open says whether a request may read. A browser can only send a user and a password, so
// the token is taken as a password too.
func (g *gate) open(r *http.Request) bool {
	if g.local {
		return loopbackHost(r.Host)
	}
	user, password, _ := r.BasicAuth()
	bearer, isBearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	byToken := g.token != "" && (isBearer && same(bearer, g.token) || same(password, g.token))
	byPassword := g.password != "" && same(user, g.user) && same(password, g.password)
	return byToken || byPassword
}

func (g *gate) refuse(w http.ResponseWriter) {
	if g.local {
		http.Error(w, "only served to this machine: use 127.0.0.1 or localhost in the address", http.StatusForbidden)
		return
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="recoveryd", charset="UTF-8"`)
	http.Error(w, "user and password, or the token, are needed", http.StatusUnauthorized)
}

// loopbackHost refuses names that somebody else's DNS points to this machine.
func loopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// same compares in a time that tells nothing about the secret, not even its length.
func same(a, b string) bool {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}

func harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", console.ContentSecurityPolicy())
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func limit(next http.Handler) http.Handler {
	slots := make(chan struct{}, maxRequests)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			next.ServeHTTP(w, r)
		default:
			http.Error(w, "too many requests at the same time", http.StatusServiceUnavailable)
		}
	})
}
