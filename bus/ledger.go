package bus

import (
	"context"
	"fmt"

	"github.com/recoveryd/recoveryd/schemas"
)

// ReadLane returns the entries of one lane of the ledger from a sequence on, in order, at
// most maxMessages and, after the first, about maxBytes. Empty means there is nothing from
// there on; fewer than announced means that a replica lags: read again.
func (b *Bus) ReadLane(ctx context.Context, subject string, from uint64, maxMessages, maxBytes int) ([]schemas.Stored, error) {
	stream, err := b.ledgerWith(subject)
	if err != nil {
		return nil, err
	}
	return b.read(ctx, stream, batch{From: from, Filter: subject, Count: maxMessages, MaxBytes: maxBytes})
}

// ReadEntries returns the messages of one lane with these sequences, in order, without
// those that are gone. It stops once they are maxBytes or more; at least one is returned if
// there is one. Each is a question of its own, so that the server need not look at what
// stands between them.
func (b *Bus) ReadEntries(ctx context.Context, subject string, sequences []uint64, maxBytes int) ([]schemas.Stored, error) {
	stream, err := b.ledgerWith(subject)
	if err != nil {
		return nil, err
	}
	ctx, cancel := b.reads.bind(ctx, 2*b.cfg.PublishTimeout)
	defer cancel()
	found, err := b.lookUp(ctx, stream, sequences, maxBytes)
	if err != nil {
		return nil, fmt.Errorf("read %d messages of %s in stream %s: %w", len(sequences), subject, stream, err)
	}
	for i := range found {
		if found[i].Subject != subject {
			return nil, fmt.Errorf("message %d of stream %s is on %s, not on %s: is the stream another one?", found[i].Sequence, stream, found[i].Subject, subject)
		}
	}
	return found, nil
}

// ReadEntry returns one message of a shard's ledger as the leader of the stream has it;
// schemas.ErrNotFound if it is gone.
func (b *Bus) ReadEntry(ctx context.Context, shard int, sequence uint64) (schemas.Stored, error) {
	stream := b.ledgerOf(shard)
	found, err := b.leaderGet(ctx, stream, batch{From: sequence})
	if err == nil && len(found) == 0 {
		err = schemas.ErrNotFound
	}
	if err != nil {
		return schemas.Stored{}, fmt.Errorf("read message %d of stream %s: %w", sequence, stream, err)
	}
	if lane, err := b.cfg.Subjects.ParseLedger(found[0].Subject); err != nil || lane.Shard != shard {
		return schemas.Stored{}, fmt.Errorf("message %d of stream %s belongs to another shard: %w", sequence, stream, schemas.ErrNotFound)
	}
	return found[0], nil
}

// PurgeLane removes the entries of one lane whose sequence is below before, and returns
// how many they were. Later ones stay, as they may have come after the lane was read.
func (b *Bus) PurgeLane(ctx context.Context, subject string, before uint64) (purged uint64, err error) {
	stream, err := b.ledgerWith(subject)
	if err != nil {
		return 0, err
	}
	return b.purge(ctx, stream, subject, before)
}

// DeleteEntry removes one entry of a shard's ledger. One that is gone is no error.
func (b *Bus) DeleteEntry(ctx context.Context, shard int, sequence uint64) error {
	return b.remove(ctx, b.ledgerOf(shard), sequence)
}

// ledgerWith is the stream that holds a lane.
func (b *Bus) ledgerWith(subject string) (string, error) {
	lane, err := b.cfg.Subjects.ParseLedger(subject)
	if err != nil {
		return "", err
	}
	return b.ledgerOf(lane.Shard), nil
}

// LaneCounts is how many entries each lane of a shard holds, and the last sequence of its
// ledger when it was counted.
func (b *Bus) LaneCounts(ctx context.Context, shard int) (counts map[string]uint64, last uint64, err error) {
	counts = map[string]uint64{}
	for {
		page, err := b.subjectCounts(ctx, b.ledgerOf(shard), b.cfg.Subjects.Ledger(shard), len(counts))
		if err != nil {
			return nil, 0, fmt.Errorf("lanes of shard %d: %w", shard, err)
		}
		if last == 0 {
			last = page.State.Last // of the first page: later ones must be followed
		}
		for subject, n := range page.State.Subjects {
			counts[subject] = n
		}
		if len(page.State.Subjects) == 0 || len(counts) >= page.Total {
			return counts, last, nil
		}
	}
}

// subjectPage is one answer to the question which subjects a stream holds.
type subjectPage struct {
	Total int `json:"total"`
	State struct {
		Last     uint64            `json:"last_seq"`
		Subjects map[string]uint64 `json:"subjects"`
	} `json:"state"`
}

// subjectCounts is one page of the subjects on filter, with the number of messages of each.
func (b *Bus) subjectCounts(ctx context.Context, stream, filter string, offset int) (page subjectPage, err error) {
	err = b.request(ctx, "STREAM.INFO."+stream, struct {
		Filter string `json:"subjects_filter"`
		Offset int    `json:"offset"`
	}{filter, offset}, &page)
	return page, err
}
