package policyfile

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/recoveryd/recoveryd/schemas"
)

var update = flag.Bool("update", false, "write the golden files")

var subjects = schemas.Subjects{Prefix: "recovery"}

func TestFaultsAreToldWithTheirPlaces(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			_, err := Load(file, subjects)
			var b strings.Builder
			for _, f := range Faults(err) {
				b.WriteString(f.Error() + "\n" + f.Excerpt())
			}
			golden(t, strings.TrimSuffix(file, ".yaml")+".txt", b.String())
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestGoodFile(t *testing.T) {
	t.Parallel()
	p, err := Load("testdata/good.yaml", subjects)
	if err != nil {
		t.Fatal(err)
	}
	if got := len(p.All()); got != 3 {
		t.Fatalf("%d policies, want 3", got)
	}
	payments, orders := p.For("payments.card"), p.For("orders.new")
	if payments.Retry.MaxAttempts != 8 || payments.Retry.MaxElapsed != 24*time.Hour || payments.Classify[0].Codes[1] != "503" {
		t.Errorf("payments is %+v", payments)
	}
	if orders.Retry.MaxAttempts != 3 || orders.Retry.MaxDelay != 5*time.Minute {
		t.Errorf("merged fields are %+v", orders.Retry)
	}
	if warnings := Warnings(p); len(warnings) != 0 {
		t.Errorf("warnings %q", warnings)
	}
}

func TestMissingFileSaysWhatToDo(t *testing.T) {
	t.Parallel()
	_, err := Load(filepath.Join(t.TempDir(), "none.yaml"), subjects)
	if err == nil || !strings.Contains(err.Error(), "RECOVERYD_POLICY_FILE") || len(Faults(err)) != 0 {
		t.Errorf("error is %v", err)
	}
}

func TestAliasesCannotExplode(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("version: 1\npolicies:\n  - name: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := range 9 {
		b.WriteString("  - fallback: &a" + string(rune('1'+i)) + " [" + strings.Repeat("*a"+string(rune('0'+i))+",", 9) + "]\n")
	}
	_, err := Parse("bomb.yaml", []byte(b.String()), subjects)
	if err == nil {
		t.Error("a bomb was read")
	}
	if n := len(Faults(err)); n > 1000 {
		t.Errorf("%d faults", n)
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	_, err := Parse("large.yaml", []byte(strings.Repeat("#\n", maxSize)), subjects)
	if err == nil || !strings.Contains(err.Error(), "is larger than") {
		t.Errorf("error is %v", err)
	}
}

func TestWarnsOfWhatIsNeverServed(t *testing.T) {
	t.Parallel()
	p, err := Parse("p.yaml", []byte(`version: 1
policies:
  - {name: all, subjects: ["orders.>"]}
  - {name: late, subjects: ["orders.new", "invoices.*"]}
  - {name: later, subjects: ["invoices.new", "invoices.>"]}
`), subjects)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`policy "late" never serves "orders.new": policy "all" stands before it and serves all of it`,
		`policy "later" never serves "invoices.new": policy "late" stands before it and serves all of it`,
	}
	if got := Warnings(p); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.yaml")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, data string) {
		p, err := Parse("fuzz.yaml", []byte(data), subjects)
		if (p == nil) == (err == nil) {
			t.Errorf("policies %v, error %v", p, err)
		}
		for _, fault := range Faults(err) {
			fault.Excerpt()
		}
	})
}
