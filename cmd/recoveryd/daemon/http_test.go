package daemon

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
)

// answer asks routes for a path as host, with what prepare adds to the request.
func answer(t *testing.T, h http.Handler, path, host string, prepare func(*http.Request)) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	r.Host = host
	if prepare != nil {
		prepare(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// idle is a daemon with routes, whose engine does not run.
func idle(t *testing.T, pairs ...string) *Daemon {
	t.Helper()
	c, err := config.Load(config.Environment(append(pairs, "RECOVERYD_HTTP_ADDR=off")))
	if err != nil {
		t.Fatal(err)
	}
	d := fresh(t, Options{Config: c})
	for _, part := range []func() error{d.measure, d.loadPolicies} {
		if err := part(); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

func TestWhoMayRead(t *testing.T) {
	t.Parallel()
	basic := func(user, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(user, password) }
	}
	bearer := func(token string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	}
	open := idle(t).routes()
	password := idle(t, "RECOVERYD_HTTP_USER=ops", "RECOVERYD_HTTP_PASSWORD=s3cret").routes()
	token := idle(t, "RECOVERYD_HTTP_TOKEN=t0ken").routes()
	for name, test := range map[string]struct {
		routes  http.Handler
		path    string
		host    string
		prepare func(*http.Request)
		want    int
	}{
		"this machine":                 {open, "/metrics", "127.0.0.1:9222", nil, 200},
		"this machine by name":         {open, "/", "localhost:9222", nil, 200},
		"this machine, version 6":      {open, "/", "[::1]:9222", nil, 200},
		"a name that points to it":     {open, "/", "evil.example:9222", nil, 403},
		"health by any name":           {open, "/livez", "evil.example", nil, 200},
		"details by any name":          {open, "/readyz?verbose", "evil.example", nil, 403},
		"no password":                  {password, "/metrics", "10.0.0.1", nil, 401},
		"password":                     {password, "/metrics", "10.0.0.1", basic("ops", "s3cret"), 200},
		"wrong password":               {password, "/api/state", "10.0.0.1", basic("ops", "s3cre"), 401},
		"wrong user":                   {password, "/", "10.0.0.1", basic("op", "s3cret"), 401},
		"empty token, none configured": {password, "/", "10.0.0.1", bearer(""), 401},
		"health without a password":    {password, "/readyz", "10.0.0.1", nil, 503},
		"details without a password":   {password, "/readyz?verbose", "10.0.0.1", nil, 401},
		"details with a password":      {password, "/readyz?verbose", "10.0.0.1", basic("ops", "s3cret"), 503},
		"token":                        {token, "/metrics", "10.0.0.1", bearer("t0ken"), 200},
		"token as password":            {token, "/", "10.0.0.1", basic("anybody", "t0ken"), 200},
		"wrong token":                  {token, "/metrics", "10.0.0.1", bearer("t0kem"), 401},
		"empty password":               {token, "/metrics", "10.0.0.1", basic("", ""), 401},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if w := answer(t, test.routes, test.path, test.host, test.prepare); w.Code != test.want {
				t.Errorf("%d %s, want %d", w.Code, w.Body, test.want)
			}
		})
	}
}

func TestEveryAnswerIsHardened(t *testing.T) {
	t.Parallel()
	routes := idle(t).routes()
	for _, path := range []string{"/", "/metrics", "/livez", "/nothing"} {
		h := answer(t, routes, path, "localhost", nil).Header()
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY",
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
		} {
			if !strings.HasPrefix(h.Get(name), want) {
				t.Errorf("%s: %s is %q", path, name, h.Get(name))
			}
		}
	}
}

func TestOnlyReadingIsAllowed(t *testing.T) {
	t.Parallel()
	routes := idle(t).routes()
	for _, method := range []string{"POST", "PUT", "DELETE"} {
		r := httptest.NewRequest(method, "/api/state", nil)
		r.Host = "localhost"
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, r)
		if w.Code != http.StatusMethodNotAllowed {
			t.Errorf("%s: %d", method, w.Code)
		}
	}
}

func TestTooManyRequestsAreRefused(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}), make(chan struct{})
	h := limit(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { entered <- struct{}{}; <-leave }))
	for range maxRequests {
		go h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		<-entered
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	close(leave)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("%d, want 503", w.Code)
	}
}
