package nearest

import "testing"

func TestOf(t *testing.T) {
	t.Parallel()
	known := []string{"max_attempts", "max_delay", "initial_delay", "jitter", "key"}
	for s, want := range map[string]string{
		"max_atempts": "max_attempts", "maxdelay": "max_delay", "jiter": "jitter", "ekys": "", "kye": "key", "timeout": "", "": "",
	} {
		if got, ok := Of(s, known); got != want && ok || ok != (want != "") {
			t.Errorf("%q is nearest to %q (%t), want %q", s, got, ok, want)
		}
	}
}
