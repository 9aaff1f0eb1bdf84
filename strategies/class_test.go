package strategies

import (
	"regexp"
	"strings"
	"testing"
)

func TestClasses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		class           Class
		retried, counts bool
	}{
		{"", true, true},
		{ClassTransient, true, true},
		{ClassTimeout, true, true},
		{ClassThrottled, true, true},
		{ClassPermanent, false, false},
		{ClassIgnored, true, false},
	}
	for _, tt := range tests {
		if tt.class.Retried() != tt.retried || tt.class.Counts() != tt.counts {
			t.Errorf("%q: retried %v, counts %v", tt.class, tt.class.Retried(), tt.class.Counts())
		}
		parsed, err := ParseClass(string(tt.class))
		if known := tt.class != ""; known != (err == nil) || known && parsed != tt.class {
			t.Errorf("ParseClass(%q) = %q, %v", tt.class, parsed, err)
		}
	}
	if _, err := ParseClass("Permanent"); err == nil || !strings.Contains(err.Error(), `"Permanent"`) {
		t.Errorf("a class of another case: %v", err)
	}
}

func TestClassify(t *testing.T) {
	t.Parallel()
	rules := Classifier{
		{Codes: []string{"429", "503"}, Class: ClassThrottled},
		{Error: regexp.MustCompile(`(?i)invalid|malformed`), Class: ClassPermanent},
		{Codes: []string{"500"}, Error: regexp.MustCompile(`deadlock`), Class: ClassTimeout},
		{Header: "X-Kind", Value: regexp.MustCompile(`^bulk$`), Class: ClassIgnored},
		{Header: "X-Poison", Class: ClassPermanent},
	}
	tests := []struct {
		name       string
		reported   Class
		code, text string
		headers    map[string]string
		want       Class
	}{
		{"no rule matches, reported", ClassTimeout, "", "boom", nil, ClassTimeout},
		{"no rule matches, nothing reported", "", "", "boom", nil, ClassTransient},
		{"a rule comes before the report", ClassPermanent, "503", "", nil, ClassThrottled},
		{"codes match whole", "", "5031", "", nil, ClassTransient},
		{"first match wins", "", "429", "invalid", nil, ClassThrottled},
		{"text", "", "", "Malformed body", nil, ClassPermanent},
		{"all parts match", "", "500", "a deadlock", nil, ClassTimeout},
		{"only one part matches", "", "500", "crash", nil, ClassTransient},
		{"header value", "", "", "", map[string]string{"X-Kind": "bulk"}, ClassIgnored},
		{"another header value", "", "", "", map[string]string{"X-Kind": "bulky"}, ClassTransient},
		{"header present", "", "", "", map[string]string{"X-Poison": "1"}, ClassPermanent},
		{"header empty", "", "", "", map[string]string{"X-Poison": ""}, ClassTransient},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var header func(string) string
			if tt.headers != nil {
				header = func(name string) string { return tt.headers[name] }
			}
			if got := rules.Classify(tt.reported, tt.code, tt.text, header); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
