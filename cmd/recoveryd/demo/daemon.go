package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/config"
	"github.com/recoveryd/recoveryd/cmd/recoveryd/daemon"
)

// startDaemon runs a daemon with the policies of the scenes and waits until it serves.
func (s *stage) startDaemon(ctx context.Context, folder string) error {
	settings, err := s.settings(folder)
	if err != nil {
		return fmt.Errorf("settings of the demonstration: %w", err)
	}
	s.daemon, err = daemon.Start(ctx, daemon.Options{
		Config: settings, Connection: s.Connection, Version: s.Version, Instance: "demo-" + s.run,
		Log: zerolog.New(zerolog.SyncWriter(s.Log)).Level(zerolog.WarnLevel).With().Timestamp().Logger(),
	})
	if err != nil {
		return err
	}
	s.later(s.daemon.Stop)
	go func() {
		err := s.daemon.Wait() // at the latest after Stop
		s.broke(fmt.Errorf("the daemon of the demonstration ended: %w", err))
	}()
	select {
	case <-s.daemon.Ready():
		return nil
	case err := <-s.fault:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(readyWithin):
		return fmt.Errorf("the daemon of the demonstration does not serve after %s", readyWithin)
	}
}

// readyWithin is how long the daemon may take to make its streams.
const readyWithin = 30 * time.Second

func (s *stage) settings(folder string) (*config.Config, error) {
	file := filepath.Join(folder, "policy.yaml")
	text, err := json.MarshalIndent(policies(s.names, s.Scenes, s.Beat), "", "  ") // JSON is YAML
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	values := map[string]string{
		"PREFIX": s.subjects().Prefix, "STREAM_PREFIX": s.streams(), "PARTITIONS": "2", "JS_DOMAIN": s.Domain,
		"POLICY_FILE": file, "HTTP_ADDR": config.HTTPOff,
	}
	if s.Embedded {
		values["EMBEDDED"], values["EMBEDDED_DIR"], values["EMBEDDED_ADDR"] = "true", filepath.Join(folder, "nats"), "127.0.0.1:0"
	}
	return config.Load(config.Source{Name: "demo", Values: values})
}
