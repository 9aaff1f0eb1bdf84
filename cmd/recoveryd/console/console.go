// Package console is the web page of the daemon: one file without anything from elsewhere,
// and the few JSON documents that it shows. It only reads.
package console

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed console.html
var page string

// Source is what the page shows.
type Source interface {
	State(ctx context.Context) State
	Outcomes(after uint64) []Outcome
	Dead(ctx context.Context) (Dead, error)
}

// fresh is how long an answer that costs the server something is used again, however many
// pages are open.
const fresh = 2 * time.Second

// readWithin bounds what a page may cost.
const readWithin = 5 * time.Second

// Handler serves the page and its documents.
func Handler(s Source) http.Handler {
	state := cached(func(ctx context.Context) (any, error) { return s.State(ctx), nil })
	dead := cached(func(ctx context.Context) (any, error) { return s.Dead(ctx) })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(page)) // the reader is gone if this fails
	})
	mux.HandleFunc("GET /api/state", func(w http.ResponseWriter, r *http.Request) { answer(w, r, state) })
	mux.HandleFunc("GET /api/dead", func(w http.ResponseWriter, r *http.Request) { answer(w, r, dead) })
	mux.HandleFunc("GET /api/outcomes", func(w http.ResponseWriter, r *http.Request) {
		after, err := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
		if err != nil && r.URL.Query().Has("after") {
			http.Error(w, "after must be a number", http.StatusBadRequest)
			return
		}
		answer(w, r, func(context.Context) (any, error) { return s.Outcomes(after), nil })
	})
	return mux
}

func answer(w http.ResponseWriter, r *http.Request, read func(context.Context) (any, error)) {
	ctx, cancel := context.WithTimeout(r.Context(), readWithin)
	defer cancel()
	document, err := read(ctx)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	data, err := json.Marshal(document)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data) // the reader is gone if this fails
}

// cached keeps the last good answer for a while.
func cached(read func(context.Context) (any, error)) func(context.Context) (any, error) {
	var mu sync.Mutex
	var at time.Time
	var last any
	return func(ctx context.Context) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		if last != nil && time.Since(at) < fresh {
			return last, nil
		}
		document, err := read(ctx)
		if err == nil {
			last, at = document, time.Now()
		}
		return document, err
	}
}

// ContentSecurityPolicy allows the page its own script and style and nothing else.
var ContentSecurityPolicy = sync.OnceValue(func() string {
	return "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" +
		"; script-src '" + hashOf("script") + "'; style-src '" + hashOf("style") + "'"
})

// hashOf is the hash of the only element of this name in the page.
func hashOf(element string) string {
	_, rest, _ := strings.Cut(page, "<"+element+">")
	text, _, _ := strings.Cut(rest, "</"+element+">")
	sum := sha256.Sum256([]byte(text))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}
