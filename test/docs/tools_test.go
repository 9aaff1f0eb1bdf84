package docs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// TestMain makes this binary, where it is called nats, do what the commands of the
// documentation ask the stock nats tool for, so that they can be run without it.
func TestMain(m *testing.M) {
	if strings.TrimSuffix(filepath.Base(os.Args[0]), ".exe") == "nats" {
		if err := natsTool(context.Background(), os.Args[1:]); err != nil {
			fmt.Fprintln(os.Stderr, "nats:", err)
			os.Exit(1)
		}
		return
	}
	code := m.Run()
	if folder, err := built(); err == nil {
		_ = os.RemoveAll(folder)
	}
	os.Exit(code)
}

// tools is a folder with recoveryd, and with nats if this machine has none.
func tools(t *testing.T) string {
	t.Helper()
	folder, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return folder
}

var built = sync.OnceValues(func() (string, error) {
	folder, err := os.MkdirTemp("", "recoveryd-docs-")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", folder+string(filepath.Separator), "./cmd/recoveryd")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return folder, fmt.Errorf("go build: %w\n%s", err, out)
	}
	if _, err := exec.LookPath("nats"); err == nil {
		return folder, nil
	}
	self, err := os.Executable()
	if err != nil {
		return folder, err
	}
	return folder, os.Symlink(self, filepath.Join(folder, "nats"))
})

// natsTool knows the few commands that the documentation uses.
func natsTool(ctx context.Context, args []string) error {
	words, flags := parse(args)
	nc, err := nats.Connect(os.Getenv("NATS_URL"))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	switch command := arg(0) + " " + arg(1); {
	case command == "stream add":
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: arg(2), Subjects: flags["--subjects"]})
		return err
	case command == "stream get":
		return streamGet(ctx, js, arg(2), arg(3))
	case arg(0) == "pub":
		return publish(ctx, js, arg(1), arg(2), flags["-H"])
	case arg(0) == "sub":
		return follow(ctx, js, arg(1))
	}
	return fmt.Errorf("the stand-in for the nats tool does not know %q", args)
}

// parse tells words from flags; those with a value are known by name.
func parse(args []string) (words []string, flags map[string][]string) {
	flags = map[string][]string{}
	for i := 0; i < len(args); i++ {
		switch {
		case (args[i] == "-H" || args[i] == "--subjects") && i+1 < len(args):
			flags[args[i]] = append(flags[args[i]], args[i+1])
			i++
		case strings.HasPrefix(args[i], "-"):
			flags[args[i]] = []string{""}
		default:
			words = append(words, args[i])
		}
	}
	return words, flags
}

func publish(ctx context.Context, js jetstream.JetStream, subject, body string, headers []string) error {
	m := nats.NewMsg(subject)
	m.Data = []byte(body)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ":")
		m.Header.Set(name, strings.TrimSpace(value))
	}
	_, err := js.PublishMsg(ctx, m)
	return err
}

func streamGet(ctx context.Context, js jetstream.JetStream, stream, sequence string) error {
	n, err := strconv.ParseUint(sequence, 10, 64)
	if err != nil {
		return err
	}
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return err
	}
	m, err := s.GetMsg(ctx, n)
	if err != nil {
		return err
	}
	fmt.Printf("Item: %s#%d received %s (1.00s) on Subject %s\n\nHeaders:\n", stream, n, m.Time.UTC(), m.Subject)
	for name, values := range m.Header {
		fmt.Printf("  %s: %s\n", name, strings.Join(values, ", "))
	}
	fmt.Printf("\n%s\n", m.Data)
	return nil
}

// follow prints what a stream holds on a subject, and what comes.
func follow(ctx context.Context, js jetstream.JetStream, subject string) error {
	stream, err := js.StreamNameBySubject(ctx, subject)
	if err != nil {
		return err
	}
	c, err := js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		return err
	}
	messages, err := c.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Printf("Received on %q\n%s\n\n", m.Subject(), m.Data())
	}
}
