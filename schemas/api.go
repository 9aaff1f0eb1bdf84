package schemas

// The control API: requests to <prefix>.api.v1.<resource>.<verb> and their replies, JSON.
// The command line prints the replies unchanged with --json.

// APIVersion is the version in the subjects of the API.
const APIVersion = "v1"

// API is where requests of a kind go.
func (s Subjects) API(resource, verb string) string {
	return s.Prefix + ".api." + APIVersion + "." + resource + "." + verb
}

// Peer is where requests to one replica in particular go, from other replicas and from
// doctor and top; name is "<resource>.<verb>".
func (s Subjects) Peer(instance, name string) string {
	return s.Prefix + ".api." + APIVersion + ".at." + EscapeKey(instance) + "." + name
}

// APIError is an error of the API: it goes into the headers Nats-Service-Error and
// Nats-Service-Error-Code.
type APIError struct {
	Code    int // as in HTTP: 400 bad request, 403 refused by policy, 404 not found, 409 conflict, 503 try again
	Message string
}

func (e *APIError) Error() string { return e.Message }

// StatusRequest asks for the state of a replica.
type StatusRequest struct{}

// StatusReply is the state of one replica and of the streams. Their sizes are at most five
// seconds old. What one replica in particular replies holds no streams.
type StatusReply struct {
	Instance   string         `json:"instance"`
	Version    string         `json:"version"`
	Started    string         `json:"started"`
	Prefix     string         `json:"prefix"`
	PolicyHash string         `json:"policy_hash"`
	Policies   []string       `json:"policies"`
	ClockMS    float64        `json:"clock_difference_ms"` // server minus local
	Shards     []ShardStatus  `json:"shards"`
	Streams    []StreamStatus `json:"streams"`
	Faults     []string       `json:"faults"`

	Instances []InstanceStatus `json:"instances"`         // all live replicas, this one included
	At        string           `json:"at,omitempty"`      // time of the server, as this replica estimates it
	Counts    *Counts          `json:"counts,omitempty"`  // of this replica since it started: of two replies the difference tells how fast it goes
	Targets   []string         `json:"targets,omitempty"` // subjects and patterns that policies deliver to and a stream must store, as far as they are named
}

// Counts is what a replica did since it started, whatever policies let it publish.
type Counts struct {
	Failures    int64 `json:"failures"`    // reports read
	Scheduled   int64 `json:"scheduled"`   // retries decided
	Held        int64 `json:"held"`        // releases that a breaker held back
	Redelivered int64 `json:"redelivered"` // work stored on its subject again
	Recovered   int64 `json:"recovered"`   // successes that are known
	Fallback    int64 `json:"fallback"`    // deliveries to fallbacks
	Dead        int64 `json:"dead"`        // dead letters
	Discarded   int64 `json:"discarded"`   // work that was dropped
	Rejected    int64 `json:"rejected"`    // work refused at the door
	Replayed    int64 `json:"replayed"`    // dead letters sent again
}

// InstanceStatus is what a replica says of itself every three seconds.
type InstanceStatus struct {
	Instance   string  `json:"instance"`
	Version    string  `json:"version"`
	Started    string  `json:"started"`
	PolicyHash string  `json:"policy_hash"`
	Shards     []int   `json:"shards"`
	Near       int     `json:"near"`
	Far        int64   `json:"far"`
	Held       int64   `json:"held"`
	LagMS      int64   `json:"lag_ms"`              // by how much the oldest due work is late
	ClockMS    float64 `json:"clock_difference_ms"` // server minus local
	AgeMS      int64   `json:"age_ms"`              // of what it said
}

// ShardStatus is what one shard holds.
type ShardStatus struct {
	Shard     int    `json:"shard"`
	Instance  string `json:"instance"`
	Near      int    `json:"near"`      // in memory, not settled
	Far       int64  `json:"far"`       // in the ledger until due
	Held      int64  `json:"held"`      // behind breakers
	Parked    int64  `json:"parked"`    // dead letters that wait for room
	InFlight  int    `json:"in_flight"` // publishes without an answer
	Bytes     int64  `json:"bytes"`     // memory taken by work
	OldestDue string `json:"oldest_due,omitempty"`
	Open      int    `json:"breakers_not_closed"`
}

// StreamStatus is a stream of recoveryd.
type StreamStatus struct {
	Name     string `json:"name"`
	Messages uint64 `json:"messages"`
	Bytes    uint64 `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"` // -1 = unlimited
	Replicas int    `json:"replicas"`
}

// WaitingRequest selects what waits. Empty fields select everything.
type WaitingRequest struct {
	Subject string `json:"subject,omitempty"` // pattern
	State   string `json:"state,omitempty"`   // near, far, held, parked
	Policy  string `json:"policy,omitempty"`
	Limit   int    `json:"limit,omitempty"` // 1 to 1,000; 0 = 50
}

// WaitingReply lists what waits, soonest first within each state. Total counts everything
// of the states asked for, whatever the other filters.
type WaitingReply struct {
	Items []WaitingItem `json:"items"`
	Total int64         `json:"total"`
	More  bool          `json:"more"` // some that match may not be listed
}

// WaitingItem is a piece of work that waits.
type WaitingItem struct {
	Handle      string `json:"handle"` // <shard>:<sequence in the ledger>, with .<number> of those stored together, or <shard>:f<sequence of the report>
	State       string `json:"state"`
	ID          string `json:"id"`
	Subject     string `json:"subject"`
	Policy      string `json:"policy"`
	Step        string `json:"step"`
	Attempt     int    `json:"attempt"` // of the delivery to come
	MaxAttempts int    `json:"max_attempts,omitempty"`
	DueAt       string `json:"due_at"`
	HeldAt      string `json:"held_at,omitempty"`
	Key         string `json:"key,omitempty"`
	Error       string `json:"error,omitempty"`
	Class       string `json:"class,omitempty"`
	FirstFailed string `json:"first_failed_at,omitempty"`
	Size        int    `json:"size"` // of the body, bytes

	History string `json:"history,omitempty"` // JSON; only when one item is shown
	Headers Header `json:"headers,omitempty"`
	Body    []byte `json:"body,omitempty"`
}

// Handle names one item: by its handle or by its id.
type HandleRequest struct {
	ID     string `json:"id,omitempty"`
	Handle string `json:"handle,omitempty"`
}

// CommandRequest names one item, by its handle or by its id, that is to be cancelled or tried
// now.
type CommandRequest struct {
	ID     string `json:"id,omitempty"`
	Handle string `json:"handle,omitempty"`
	Reason string `json:"reason,omitempty"` // for those who look at its outcomes later
	Actor  string `json:"actor,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
}

// Results of commands that are no kind of outcome.
const (
	ResultWaiting = "waiting" // it waits again
	ResultPending = "pending" // not known yet
)

// CommandReply says what became of a command, and of which item.
type CommandReply struct {
	Item   WaitingItem `json:"item"`   // as it waited; without headers, body and history
	Result string      `json:"result"` // kind of the outcome that followed; waiting if it waits again, pending if that is not known yet, empty after a dry run
}

// BreakerListRequest selects breakers.
type BreakerListRequest struct {
	Policy string `json:"policy,omitempty"`
	Key    string `json:"key,omitempty"`   // pattern of subjects, or the key itself
	State  string `json:"state,omitempty"` // empty = all with a record
	Limit  int    `json:"limit,omitempty"` // 1 to 1,000; 0 = 100
}

// BreakerListReply lists breakers that have a record; all others are closed.
type BreakerListReply struct {
	Breakers []BreakerStatus `json:"breakers"`
	More     bool            `json:"more"`
}

// BreakerStatus is a breaker as it is now.
type BreakerStatus struct {
	Policy      string       `json:"policy"`
	Key         string       `json:"key"`
	Shard       int          `json:"shard"`
	State       string       `json:"state"`
	Generation  int64        `json:"generation"`
	Level       int          `json:"level"`
	Held        int          `json:"held"`
	OpenUntil   string       `json:"open_until,omitempty"`
	Until       string       `json:"until,omitempty"`
	ChangedAt   string       `json:"changed_at,omitempty"`
	Reason      string       `json:"reason,omitempty"`
	Actor       string       `json:"actor,omitempty"`
	CauseID     string       `json:"cause_id,omitempty"` // record behind the last change
	Failures    int          `json:"failures"`
	Distinct    int          `json:"distinct"`
	Total       int          `json:"total,omitempty"`
	LastSuccess string       `json:"last_success,omitempty"`
	Samples     []string     `json:"samples,omitempty"` // ids that failed
	Causes      []CauseCount `json:"causes,omitempty"`  // of the failures it counted, the most frequent first
	InFlight    int          `json:"in_flight"`         // probes or releases whose outcome is awaited
	RampLimit   int          `json:"ramp_limit,omitempty"`
	NextAt      string       `json:"next_at,omitempty"` // when it changes by itself: the next probe, the end of a limit
}

// CauseCount is how often a cause was seen.
type CauseCount struct {
	Cause string `json:"cause"` // fingerprint of class and error
	Error string `json:"error"` // the first of its errors, shortened
	Count int    `json:"count"`
}

// BreakerRequest acts on one breaker, or shows it.
type BreakerRequest struct {
	Policy string `json:"policy,omitempty"` // empty = that of the key as a subject
	Key    string `json:"key"`
	ForMS  int64  `json:"for_ms,omitempty"` // of open and disable; 0 = without end
	Reason string `json:"reason,omitempty"`
	Actor  string `json:"actor,omitempty"`
	DryRun bool   `json:"dry_run,omitempty"`
}
