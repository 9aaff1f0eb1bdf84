package schemas

import "encoding/json"

// DeadFilter selects dead letters: a letter must fit everything that is given, and one of
// the values of each list. The zero value selects all.
type DeadFilter struct {
	Subject      string            `json:"subject,omitempty"` // pattern of original subjects
	Causes       []string          `json:"causes,omitempty"`
	Reasons      []string          `json:"reasons,omitempty"`
	Classes      []string          `json:"classes,omitempty"`
	Codes        []string          `json:"codes,omitempty"`
	Policies     []string          `json:"policies,omitempty"`
	Since        string            `json:"since,omitempty"`   // dead at this time or later: RFC 3339, or a duration before now
	Until        string            `json:"until,omitempty"`   // dead before this time
	Headers      map[string]string `json:"headers,omitempty"` // user headers and one of their values; "" = any value
	MinAttempts  int               `json:"min_attempts,omitempty"`
	MaxAttempts  int               `json:"max_attempts,omitempty"` // 0 = any
	MinReplays   int               `json:"min_replays,omitempty"`
	MaxReplays   *int              `json:"max_replays,omitempty"`
	IDs          []string          `json:"ids,omitempty"`
	Sequences    []uint64          `json:"sequences,omitempty"`
	Error        string            `json:"error,omitempty"`         // part of the error text, in upper or lower case
	LastSequence uint64            `json:"last_sequence,omitempty"` // no later letters; 0 = any
}

// DeadListRequest asks for a page of dead letters, oldest first.
type DeadListRequest struct {
	Filter  DeadFilter `json:"filter,omitzero"`
	From    uint64     `json:"from,omitempty"`    // first sequence to look at: 0, or next of the page before
	Limit   int        `json:"limit,omitempty"`   // 1 to 1,000; 0 = 50
	Details bool       `json:"details,omitempty"` // with history and headers
	Payload bool       `json:"payload,omitempty"` // with bodies, as far as they have room in the reply
}

// DeadListReply is a page of dead letters. A page also ends when it took half a second to
// find: Next then says where to go on.
type DeadListReply struct {
	Letters []DeadLetterItem `json:"letters"`
	Next    uint64           `json:"next"`    // where the next page begins, 0 = this was the last
	Scanned int              `json:"scanned"` // letters looked at
	Total   uint64           `json:"total"`   // letters in the store, whatever the filter
}

// DeadLetterItem is a dead letter as it is told. Body has the bytes of the payload, base64
// in JSON; they are never encoded otherwise.
type DeadLetterItem struct {
	Sequence      uint64   `json:"sequence"`
	StoredAt      string   `json:"stored_at"`
	ID            string   `json:"id"`
	Subject       string   `json:"subject"`
	Cause         string   `json:"cause"`
	Reason        string   `json:"reason"`
	Error         string   `json:"error,omitempty"`
	Code          string   `json:"code,omitempty"`
	Class         string   `json:"class,omitempty"`
	Policy        string   `json:"policy,omitempty"`
	Attempt       int      `json:"attempt"`
	Delivery      int      `json:"delivery"`
	Replay        int      `json:"replay,omitempty"`
	FirstFailedAt string   `json:"first_failed_at,omitempty"`
	LastFailedAt  string   `json:"last_failed_at,omitempty"`
	DeadAt        string   `json:"dead_at,omitempty"`
	Origin        Origin   `json:"origin,omitzero"`
	Size          int      `json:"size"`            // of the payload, bytes
	Job           string   `json:"job,omitempty"`   // that is replaying, discarding or editing it
	Fault         string   `json:"fault,omitempty"` // why it cannot be read as a dead letter
	Truncated     []string `json:"truncated,omitempty"`

	History string `json:"history,omitempty"` // JSON
	Headers Header `json:"headers,omitempty"` // the user's
	Aside   Header `json:"aside,omitempty"`   // of the original message, kept but not sent
	Body    []byte `json:"body,omitempty"`
	Offset  int    `json:"offset,omitempty"`      // of body in the payload
	Partial bool   `json:"partial,omitempty"`     // body is not the whole payload
	Hidden  bool   `json:"body_hidden,omitempty"` // the payload was not asked for
}

// DeadShowRequest asks for one letter: by its sequence, or the newest with an id.
type DeadShowRequest struct {
	Sequence uint64 `json:"sequence,omitempty"`
	ID       string `json:"id,omitempty"`
	Hide     bool   `json:"hide,omitempty"`   // no payload
	Offset   int    `json:"offset,omitempty"` // of the first byte of the payload
	Length   int    `json:"length,omitempty"` // most bytes of the payload; 0 = 256 KiB, the most
}

// DeadGroupsRequest asks how many letters there are of each kind.
type DeadGroupsRequest struct {
	Filter DeadFilter `json:"filter,omitzero"`
	By     string     `json:"by,omitempty"` // cause (default), subject, or both
	Offset int        `json:"offset,omitempty"`
	Limit  int        `json:"limit,omitempty"` // 1 to 500; 0 = 50
}

// DeadGroupsReply lists groups, the largest first.
type DeadGroupsReply struct {
	Groups       []DeadGroup `json:"groups"`
	TotalGroups  int         `json:"total_groups"`
	TotalLetters uint64      `json:"total_letters"`
	LastSequence uint64      `json:"last_sequence"` // of the store: give it to a replay to leave out later letters
	Partial      bool        `json:"partial"`       // not everything could be looked at in time
}

// DeadGroup is dead letters with one cause, or on one subject, or both.
type DeadGroup struct {
	Cause    string         `json:"cause,omitempty"`
	Subject  string         `json:"subject,omitempty"`
	Count    uint64         `json:"count"`
	FirstAt  string         `json:"first_at,omitempty"`
	LastAt   string         `json:"last_at,omitempty"`
	Error    string         `json:"error,omitempty"` // of the last letter
	Reason   string         `json:"reason,omitempty"`
	Classes  []string       `json:"classes,omitempty"` // of the first and the last letter, as the next
	Policies []string       `json:"policies,omitempty"`
	Subjects []SubjectCount `json:"subjects,omitempty"` // of a cause, the most frequent 10
	More     int            `json:"more_subjects,omitempty"`
}

// SubjectCount is how many letters a subject has.
type SubjectCount struct {
	Subject string `json:"subject"`
	Count   uint64 `json:"count"`
}

// JobRequest asks for a job over dead letters: replay.create, dlq.discard or dlq.edit. Its
// filter is frozen when it is created: later letters are not its own.
type JobRequest struct {
	Filter DeadFilter `json:"filter,omitzero"`
	DryRun bool       `json:"dry_run,omitempty"` // only tell the plan
	Reason string     `json:"reason,omitempty"`
	Actor  string     `json:"actor,omitempty"`
	Rate   *float64   `json:"rate,omitempty"` // letters per second; left out = as fast as it goes

	// Of replays.
	To           string `json:"to,omitempty"`            // subject other than the letter's own, if policy allows
	Canary       int    `json:"canary,omitempty"`        // replay so many first, and go on if all recover
	Ramp         bool   `json:"ramp,omitempty"`          // in rounds of 1, 2, 5, 10, 20, 50, …, each after the outcomes of the one before
	StopFailures int    `json:"stop_failures,omitempty"` // stop when so many failed again
	StopPermille int    `json:"stop_permille,omitempty"` // stop when this share of those with an outcome failed again
	MaxReplays   int    `json:"max_replays,omitempty"`   // leave out letters that were replayed so often; 0 = 3
	MaxLetters   int    `json:"max_letters,omitempty"`   // 0 = all
	FollowMS     int64  `json:"follow_ms,omitempty"`     // how long an outcome is awaited; 0 = outcome_timeout of the policy

	// Of edits, and of replays that change what they send.
	Set    map[string]string `json:"set,omitempty"`    // user headers and their new value
	Unset  []string          `json:"unset,omitempty"`  // user headers to remove
	Patch  json.RawMessage   `json:"patch,omitempty"`  // JSON Patch (RFC 6902) of the payload
	Body   []byte            `json:"body,omitempty"`   // payload in place of the one letter's that the filter names by its sequence, at most 700 KiB
	Sample int               `json:"sample,omitempty"` // differences shown by a dry run, at most 20; 0 = 3
}

// JobReply is a new job, or the plan of one that was only asked about.
type JobReply struct {
	Job  *JobStatus `json:"job,omitempty"`
	Plan *JobPlan   `json:"plan,omitempty"`
}

// JobPlan is what a job would do.
type JobPlan struct {
	Matched      int64        `json:"matched"`
	Eligible     int64        `json:"eligible"`
	Ineligible   []JobSkipped `json:"ineligible"`
	Causes       []CauseCount `json:"causes"` // of the eligible, the most frequent 50
	Targets      []TargetPlan `json:"targets"`
	Seconds      float64      `json:"seconds"`       // estimate, without waiting for outcomes
	LastSequence uint64       `json:"last_sequence"` // no later letters would be its own
	Partial      bool         `json:"partial"`       // not everything could be looked at in time
	Samples      []EditSample `json:"samples,omitempty"`
}

// TargetPlan is where letters would go.
type TargetPlan struct {
	Target string `json:"target"`
	Count  int64  `json:"count"`
}

// JobSkipped is letters that a job leaves alone, and why: one of unreadable, refused,
// no_policy, mode, target, max_replays, in_flight, undeliverable, too_large, edit, gone.
type JobSkipped struct {
	Why      string `json:"why"`
	Count    int64  `json:"count"`
	Sequence uint64 `json:"sequence"` // of the first of them
	Detail   string `json:"detail,omitempty"`
}

// EditSample shows what an edit makes of one letter. Bodies are cut to 4 KiB.
type EditSample struct {
	Sequence      uint64 `json:"sequence"`
	ID            string `json:"id"`
	HeadersBefore Header `json:"headers_before"`
	HeadersAfter  Header `json:"headers_after"`
	BodyBefore    []byte `json:"body_before"`
	BodyAfter     []byte `json:"body_after"`
}

// JobNameRequest names a job, to show or steer it.
type JobNameRequest struct {
	ID     string `json:"id"`
	Reason string `json:"reason,omitempty"`
	Actor  string `json:"actor,omitempty"`
}

// JobListRequest selects jobs.
type JobListRequest struct {
	State string `json:"state,omitempty"`
	Kind  string `json:"kind,omitempty"`  // replay, discard or edit
	Limit int    `json:"limit,omitempty"` // 1 to 200; 0 = 50
}

// JobListReply lists jobs, the newest first.
type JobListReply struct {
	Jobs []JobStatus `json:"jobs"`
	More bool        `json:"more"`
}

// JobStatus is a job as it is now.
type JobStatus struct {
	ID         string       `json:"id"`
	Kind       string       `json:"kind"`  // replay, discard or edit
	State      string       `json:"state"` // running, following, paused, stopped, cancelled or done
	Wanted     string       `json:"wanted,omitempty"`
	Request    JobRequest   `json:"request"`          // its body only while the job is not over, and when one job is shown
	Edited     bool         `json:"edited,omitempty"` // it changes the letters
	Matched    int64        `json:"matched"`          // when it was created, as far as subjects alone tell; else 0
	CreatedAt  string       `json:"created_at"`
	UpdatedAt  string       `json:"updated_at"`
	FinishedAt string       `json:"finished_at,omitempty"`
	Position   uint64       `json:"position"` // letters before this sequence were looked at
	Done       int64        `json:"done"`     // replayed, discarded or edited
	Repeated   int64        `json:"repeated"` // of them, already stored at their target by an earlier try
	Skipped    []JobSkipped `json:"skipped"`
	Followed   Followed     `json:"followed"`
	Waiting    string       `json:"waiting,omitempty"` // for what
	Stopped    string       `json:"stopped,omitempty"` // why it stopped by itself
	Fault      string       `json:"fault,omitempty"`   // what is wrong and being tried again
	Actor      string       `json:"actor,omitempty"`   // who steered it last
	Reason     string       `json:"reason,omitempty"`

	Failures []JobFailure `json:"failures,omitempty"` // that failed again, the newest 50; only when one job is shown
	Causes   []CauseCount `json:"causes,omitempty"`   // of those that failed again
}

// Followed is what became of replayed letters.
type Followed struct {
	Recovered int64 `json:"recovered"`
	Presumed  int64 `json:"presumed_recovered"` // did not fail in time, where success is not reported
	Failed    int64 `json:"failed_again"`
	Pending   int64 `json:"pending"` // awaited
	Open      int64 `json:"open"`    // no longer awaited, nothing is known
}

// JobFailure is a replayed letter that failed again.
type JobFailure struct {
	ID       string `json:"id"`
	Subject  string `json:"subject"`
	Kind     string `json:"kind"` // of the outcome: dead, rejected, fallback or discarded
	Reason   string `json:"reason,omitempty"`
	Cause    string `json:"cause,omitempty"`
	Error    string `json:"error,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"` // of the new dead letter
	At       string `json:"at"`
}

// DeadExportRequest asks for letters exactly as they are stored, oldest first.
type DeadExportRequest struct {
	Filter DeadFilter `json:"filter,omitzero"`
	From   uint64     `json:"from,omitempty"` // first sequence to look at: 0, or next of the page before
}

// DeadExportReply is a page of them. Letters that do not fit into a reply are named in
// TooLarge: read them from the stream itself.
type DeadExportReply struct {
	Letters  []DeadExport `json:"letters"`
	Next     uint64       `json:"next"`                // where the next page begins, 0 = this was the last
	TooLarge []uint64     `json:"too_large,omitempty"` // sequences of letters that do not fit into a reply
}

// DeadImportRequest stores exported letters again.
type DeadImportRequest struct {
	Letters []DeadExport `json:"letters"` // at most 1,000
	DryRun  bool         `json:"dry_run,omitempty"`
	Reason  string       `json:"reason,omitempty"`
	Actor   string       `json:"actor,omitempty"`
}

// DeadImportReply says what became of the letters, in their order.
type DeadImportReply struct {
	Stored  int      `json:"stored"`
	Present int      `json:"present"` // in the store already
	Faults  []string `json:"faults,omitempty"`
}

// DeadExport is a stored letter, one line of an export: everything as it is stored. Headers
// are lists of a name and its values, sorted by name, the values in their order.
type DeadExport struct {
	Subject  string     `json:"subject"`
	Headers  [][]string `json:"headers"`
	Body     []byte     `json:"body"`
	Sequence uint64     `json:"sequence,omitempty"` // where it was, as the next
	StoredAt string     `json:"stored_at,omitempty"`
}
