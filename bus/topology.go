package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/recoveryd/recoveryd/schemas"
)

// minLevel is the JetStream API level of server 2.12. minVersion is the first whose
// work queues neither lose nor repeat messages.
const (
	minLevel   = 2
	minVersion = "2.12.5"
)

// Ensure makes every stream and bucket that is missing, adapts those that may be adapted,
// and refuses the others: schemas.ErrForeign for what recoveryd did not make,
// schemas.ErrMismatch for what cannot be changed. It may run in several daemons at once.
func (b *Bus) Ensure(ctx context.Context) error {
	if err := b.checkServer(ctx); err != nil {
		return err
	}
	all := b.layout()
	info, err := b.ensure(ctx, all[0])
	if err != nil {
		return err // all others depend on its number of partitions
	}
	b.adopt(info, b.cfg.Partitions)
	faults := make([]error, len(all))
	var wg sync.WaitGroup
	for i, want := range all[1:] {
		wg.Go(func() { _, faults[i] = b.ensure(ctx, want) })
	}
	wg.Go(func() { faults[len(all)-1] = b.ensureAdvisories(ctx) })
	wg.Wait()
	return errors.Join(faults...)
}

// Adopt takes the number of partitions and the age from an existing stream of failures
// and changes nothing: for tools beside the daemon. No stream is schemas.ErrNotFound.
func (b *Bus) Adopt(ctx context.Context) error {
	name := b.stream(failed)
	info, err := b.lookup(ctx, name)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(info.Config.Metadata[partitionsKey])
	if err != nil || n < 1 {
		return fmt.Errorf("stream %s: %w: its metadata holds no %s", name, schemas.ErrForeign, partitionsKey)
	}
	b.adopt(info, n)
	return nil
}

func (b *Bus) adopt(info *jetstream.StreamInfo, partitions int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.partitions, b.created = partitions, info.Created
	b.replicated = info.Config.Replicas > 1
}

func (b *Bus) checkServer(ctx context.Context) error {
	account, err := b.account(ctx)
	if err != nil {
		return err
	}
	b.mu.Lock()
	b.level, b.domain = account.API.Level, account.Domain
	b.mu.Unlock()
	return b.tooOld(account.API.Level)
}

// account is what JetStream says of the account of the connection.
func (b *Bus) account(ctx context.Context) (*jetstream.AccountInfo, error) {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	account, err := b.js.AccountInfo(ctx)
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return nil, fmt.Errorf("JetStream is off for this account, turn it on or connect with another one: %w", err)
	case err != nil:
		return nil, fmt.Errorf("account of the connection: %w", clientError(err))
	}
	return account, nil
}

// tooOld is an error if the server is below the floor.
func (b *Bus) tooOld(level int) error {
	version := b.nc.ConnectedServerVersion()
	// Across domains the connected server is not the one that stores.
	if level < minLevel || b.cfg.Domain == "" && older(version, minVersion) {
		return fmt.Errorf("nats-server %s (API level %d) is too old: recoveryd needs %s or later (API level %d), upgrade the server",
			version, level, minVersion, minLevel)
	}
	return nil
}

// older compares dotted versions; what follows a dash and unknown versions do not count.
func older(version, floor string) bool {
	v, _, _ := strings.Cut(version, "-")
	have, want := strings.Split(v, "."), strings.Split(floor, ".")
	for i := range want {
		if i >= len(have) {
			return false
		}
		h, err := strconv.Atoi(have[i])
		w, _ := strconv.Atoi(want[i])
		if err != nil || h != w {
			return err == nil && h < w
		}
	}
	return false
}

// ensureTries is enough for a create that loses against another daemon, an update, and
// the look at its result, once more over.
const ensureTries = 10

// ensure looks, changes one thing and looks again, so that what an old server dropped
// from a configuration is noticed.
func (b *Bus) ensure(ctx context.Context, want jetstream.StreamConfig) (*jetstream.StreamInfo, error) {
	var open []difference
	for try := range ensureTries {
		info, err := b.lookup(ctx, want.Name)
		if errors.Is(err, schemas.ErrNotFound) {
			if err := b.create(ctx, want); err != nil {
				return nil, err
			}
			if try > 0 {
				sleep(ctx, waitFor) // another daemon makes it, and in a cluster it is not there at once
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if info.Config.Metadata[ownerKey] != owner {
			return nil, fmt.Errorf("stream %s: %w (no metadata %s=%s): start recoveryd with another stream prefix, or remove it with: nats stream rm %s",
				want.Name, schemas.ErrForeign, ownerKey, owner, want.Name)
		}
		if open = differences(info.Config, want); len(open) == 0 {
			b.fewer(info)
			return info, nil
		}
		if slices.ContainsFunc(open, isFixed) {
			return nil, mismatch(want.Name, open)
		}
		if err := b.update(ctx, merge(info.Config, want)); err != nil {
			return nil, fmt.Errorf("%w: %w", mismatch(want.Name, open), err)
		}
	}
	if len(open) == 0 {
		return nil, fmt.Errorf("stream %s: %w: it was made, or is being made by another daemon, and is not there yet", want.Name, schemas.ErrTimeout)
	}
	return nil, fmt.Errorf("%w; it was changed and did not stay so: the server is too old or another daemon is configured otherwise",
		mismatch(want.Name, open))
}

// mismatch names the stream, the fields and what to do.
func mismatch(stream string, open []difference) error {
	if i := slices.IndexFunc(open, isFixed); i >= 0 {
		open = open[i : i+1]
	}
	texts := make([]string, len(open))
	for i, d := range open {
		texts[i] = d.String()
	}
	advice := "set the wanted value, or start recoveryd with another stream prefix"
	switch {
	case open[0].field == "partitions":
		advice = fmt.Sprintf("start recoveryd with %v partitions, or drain and remove the stream", open[0].found)
	case isFixed(open[0]):
		advice = "a stream cannot be changed so: drain and remove it, or start recoveryd with another stream prefix"
	}
	return fmt.Errorf("stream %s: %w: %s: %s", stream, schemas.ErrMismatch, strings.Join(texts, "; "), advice)
}

func (b *Bus) lookup(ctx context.Context, name string) (*jetstream.StreamInfo, error) {
	var info jetstream.StreamInfo
	if err := b.request(ctx, "STREAM.INFO."+name, nil, &info); err != nil {
		return nil, fmt.Errorf("stream %s: %w", name, err)
	}
	return &info, nil
}

func (b *Bus) update(ctx context.Context, c jetstream.StreamConfig) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	_, err := b.js.UpdateStream(ctx, c)
	return clientError(err)
}

// create makes the stream. One that another daemon made at the same time is no error: the
// caller looks again. Without a wish three replicas are tried first.
func (b *Bus) create(ctx context.Context, c jetstream.StreamConfig) error {
	auto := c.Replicas == 0
	if auto {
		c.Replicas = 3
	}
	err := b.tryCreate(ctx, c)
	if auto && tooFewServers(err) {
		c.Replicas = 1
		err = b.tryCreate(ctx, c)
	}
	switch codeOf(err) {
	case codeNameInUse:
		return nil
	case codeOverlap:
		return fmt.Errorf("stream %s: %w: another stream already stores %s%s: remove those subjects from it, or start recoveryd with another prefix",
			c.Name, schemas.ErrForeign, subjects(c), b.rivals(ctx, c.Subjects))
	}
	if err != nil {
		return fmt.Errorf("create stream %s with %d replicas: %w", c.Name, c.Replicas, err)
	}
	return nil
}

func (b *Bus) tryCreate(ctx context.Context, c jetstream.StreamConfig) error {
	ctx, cancel := b.bounded(ctx)
	defer cancel()
	_, err := b.js.CreateStream(ctx, c)
	return clientError(err)
}

// tooFewServers tells a small cluster from one that lacks something right now: there a
// stream with one replica would stay so for ever, hence it is an error to mend. The server
// lists what is lacking after a comma.
func tooFewServers(err error) bool {
	switch codeOf(err) {
	case codeNoCluster:
		return true
	case codeNoPeers:
		return !strings.Contains(err.Error(), "placement,")
	}
	return false
}

// rivals names the streams that own some of these subjects.
func (b *Bus) rivals(ctx context.Context, subjects []string) string {
	for _, s := range subjects {
		if name, err := b.Owner(ctx, s); err == nil {
			return " (" + name + ")"
		}
	}
	return ""
}

// ensureAdvisories makes the stream of advisories. Where another stream already records
// them, that one is used.
func (b *Bus) ensureAdvisories(ctx context.Context) error {
	want := b.advisoriesStream()
	name := want.Name
	_, err := b.ensure(ctx, want)
	if errors.Is(err, schemas.ErrForeign) && codeOf(err) == 0 {
		if rival, lookupErr := b.Owner(ctx, want.Subjects[0]); lookupErr == nil && rival != want.Name {
			name, err = rival, nil
		}
	}
	b.mu.Lock()
	b.advisories = name
	b.mu.Unlock()
	return err
}

// Owner is the stream that stores a subject; schemas.ErrNotFound if there is none.
func (b *Bus) Owner(ctx context.Context, subject string) (string, error) {
	names, err := b.Storing(ctx, subject)
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		return "", fmt.Errorf("owner of %s: %w", subject, schemas.ErrNotFound)
	}
	return names[0], nil
}

// Window is for how long a stream recognises a message that is published to it again.
func (b *Bus) Window(ctx context.Context, stream string) (time.Duration, error) {
	info, err := b.lookup(ctx, stream)
	if err != nil {
		return 0, err
	}
	return info.Config.Duplicates, nil
}

// Storing names the streams that store some of what a subject matches, as many as fit into
// one answer: a thousand.
func (b *Bus) Storing(ctx context.Context, subject string) ([]string, error) {
	var names struct {
		Streams []string `json:"streams"`
	}
	if err := b.request(ctx, "STREAM.NAMES", map[string]string{"subject": subject}, &names); err != nil {
		return nil, fmt.Errorf("owner of %s: %w", subject, err)
	}
	return names.Streams, nil
}
