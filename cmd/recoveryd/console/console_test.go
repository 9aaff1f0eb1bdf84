package console

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

type source struct {
	reads int
	err   error
}

func (s *source) State(context.Context) State {
	s.reads++
	return State{Version: "1.2.3", Checks: []Check{{Name: "shards", OK: true}}}
}

func (s *source) Outcomes(after uint64) []Outcome {
	return []Outcome{{Number: after + 1, Outcome: &schemas.Outcome{Kind: "dead", ID: "<script>"}}}
}

func (s *source) Dead(context.Context) (Dead, error) { return Dead{Total: 1 << 40}, s.err }

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

func TestThePageNeedsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	w := get(Handler(&source{}), "/")
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("%d %s", w.Code, w.Header())
	}
	if found := regexp.MustCompile(`https?://|//[a-z]+\.|@import|url\(`).FindAllString(w.Body.String(), -1); found != nil {
		t.Errorf("the page refers to %q", found)
	}
}

func TestThePageRunsNothingThatStrangersWrote(t *testing.T) {
	t.Parallel()
	for _, dangerous := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", " onclick=", " style="} {
		if strings.Contains(page, dangerous) {
			t.Errorf("the page uses %s", dangerous)
		}
	}
	csp := ContentSecurityPolicy()
	for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'", "script-src 'sha256-", "style-src 'sha256-"} {
		if !strings.Contains(csp, want) {
			t.Errorf("policy %q lacks %s", csp, want)
		}
	}
	if strings.Contains(csp, "unsafe") || strings.Count(page, "<script>") != 1 || strings.Count(page, "<style>") != 1 {
		t.Error("the policy does not fit the page")
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	h := Handler(&source{})
	for path, want := range map[string]string{
		"/api/state":             `"checks":[{"name":"shards","ok":true,"essential":false,"detail":""}]`,
		"/api/outcomes?after=41": `"number":42`,
		"/api/outcomes":          `"id":"\u003cscript\u003e"`,
		"/api/dead":              `"total":1099511627776`,
	} {
		w := get(h, path)
		if w.Code != 200 || !json.Valid(w.Body.Bytes()) || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s, want %s", path, w.Code, w.Body, want)
		}
	}
	for path, code := range map[string]int{"/api/outcomes?after=x": 400, "/elsewhere": 404} {
		if w := get(h, path); w.Code != code {
			t.Errorf("%s: %d, want %d", path, w.Code, code)
		}
	}
}

func TestFaultsAreToldNotCached(t *testing.T) {
	t.Parallel()
	s := &source{err: errors.New("no server")}
	h := Handler(s)
	if w := get(h, "/api/dead"); w.Code != 502 || !strings.Contains(w.Body.String(), "no server") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	s.err = nil
	if w := get(h, "/api/dead"); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestManyPagesCostAsMuchAsOne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &source{}
		h := Handler(s)
		for range 100 {
			_, _ = io.Copy(io.Discard, get(h, "/api/state").Body)
		}
		if s.reads != 1 {
			t.Errorf("%d reads", s.reads)
		}
		time.Sleep(fresh)
		get(h, "/api/state")
		if s.reads != 2 {
			t.Errorf("%d reads after a while", s.reads)
		}
	})
}
