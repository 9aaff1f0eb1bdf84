package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// breaker carries out a schedule.
type breaker struct {
	*installation
	log func(format string, args ...any)
}

// run breaks and mends what the schedule says, and returns when everything is whole again.
func (b *breaker) run(ctx context.Context, faults []fault) {
	begin := time.Now()
	var wg sync.WaitGroup
	for _, f := range faults {
		if !pause(ctx, time.Until(begin.Add(f.at))) {
			break
		}
		b.log("%v", f)
		wg.Go(func() {
			if err := b.do(ctx, f); err != nil {
				b.log("%v: %v", f, err)
			}
		})
	}
	wg.Wait()
}

func (b *breaker) do(ctx context.Context, f fault) error {
	switch f.kind {
	case killServer, restartServer, freezeServer:
		return b.breakProcess(ctx, f, b.servers[f.victim%len(b.servers)])
	case killDaemon, restartDaemon, freezeDaemon:
		return b.breakProcess(ctx, f, b.daemons[f.victim%len(b.daemons)])
	case cutNetwork, stallNetwork:
		proxies := b.proxies[f.victim%len(b.proxies)]
		for _, p := range proxies {
			p.set(f.kind == cutNetwork, f.kind == stallNetwork)
		}
		pause(ctx, f.lasts)
		for _, p := range proxies {
			p.set(false, false)
		}
		return nil
	case stepDown:
		return b.stepDown(ctx, f.victim)
	case dropConsumer:
		return b.dropConsumer(ctx, f.victim)
	}
	return fmt.Errorf("unknown fault %q", f.kind)
}

func (b *breaker) breakProcess(ctx context.Context, f fault, p *process) error {
	switch f.kind {
	case freezeServer, freezeDaemon:
		if err := p.freeze(); err != nil {
			return err
		}
		pause(ctx, f.lasts)
		p.thaw()
		return nil
	case restartServer, restartDaemon:
		if took := p.terminate(); f.kind == restartDaemon && took > 3*time.Second {
			b.log("%s took %s to stop", p.name, took.Round(time.Millisecond))
		}
	default:
		p.kill()
	}
	pause(ctx, f.lasts)
	return p.start()
}

// stepDown has the leader of a stream or of one of its consumers hand over.
func (b *breaker) stepDown(ctx context.Context, n int) error {
	streams := []string{"RECOVERY_FAILED", "RECOVERY_LEDGER_0", "RECOVERY_LEDGER_1", "RECOVERY_OUTCOMES", "RECOVERY_DEAD", "KV_RECOVERY_LEASES", "KV_RECOVERY_STATE", "JOBS", "consumer"}
	name := streams[n%len(streams)]
	if name != "consumer" {
		return b.api(ctx, "STREAM.LEADER.STEPDOWN."+name)
	}
	return b.onShard(ctx, n, "CONSUMER.LEADER.STEPDOWN.RECOVERY_FAILED.")
}

func (b *breaker) dropConsumer(ctx context.Context, n int) error {
	return b.onShard(ctx, n, "CONSUMER.DELETE.RECOVERY_FAILED.")
}

// onShard calls the API for the consumer of a shard.
func (b *breaker) onShard(ctx context.Context, n int, call string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	m, err := b.nc.RequestWithContext(ctx, "$JS.API.CONSUMER.NAMES.RECOVERY_FAILED", nil)
	if err != nil {
		return err
	}
	var names struct{ Consumers []string }
	if err := json.Unmarshal(m.Data, &names); err != nil || len(names.Consumers) == 0 {
		return fmt.Errorf("no consumers: %w", err)
	}
	return b.api(ctx, call+names.Consumers[n%len(names.Consumers)])
}

func (b *breaker) api(ctx context.Context, call string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	b.log("        %s", call)
	_, err := b.nc.RequestWithContext(ctx, "$JS.API."+call, nil)
	return err
}
