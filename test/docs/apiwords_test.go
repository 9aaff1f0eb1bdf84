package docs

// fieldMeanings says what a field of the control API is, where its type does not.
var fieldMeanings = map[string]string{
	"actor": "Who asks for it, or did it.", "at": "When it happened. RFC 3339 with fraction.", "attempt": "Number of the delivery that failed last.",
	"body": "The payload: standard base64 of its bytes.", "body_after": "Payload after the edit: standard base64.", "body_before": "Payload before the edit: standard base64.",
	"breakers": "The breakers, those that need attention first.", "breakers_not_closed": "Breakers that are not closed.", "bytes": "Size in bytes.",
	"cause": "Fingerprint of the reason and the normalised error.", "causes": "Fingerprints of causes.", "changed_at": "When its state changed last. RFC 3339 with fraction.",
	"class": "How the failure is handled.", "classes": "Classes of failures.", "code": "Short machine code of the failure.", "codes": "Codes of failures.",
	"count": "How many there are.", "created_at": "When it was created. RFC 3339 with fraction.", "dead_at": "When it became a dead letter. RFC 3339 with fraction.",
	"deliveries": "How often the consumer delivered it.", "consumer": "Consumer that delivered it.", "stream": "Stream of the failed message.",
	"delivery": "How often the work was delivered.", "detail": "More about why.", "distinct": "Different ids among the failures it counts.", "dry_run": "Change nothing, only say what would happen.",
	"due_at": "When it is due. RFC 3339 with fraction.", "eligible": "Letters that the job would act on.", "error": "Text of the error.",
	"failed_again": "Replayed letters that failed again.", "failures": "Failures it counts.", "far": "Work in the ledger until it is due.", "faults": "What is wrong, one text each.",
	"filter": "What is selected.", "finished_at": "When it ended. RFC 3339 with fraction.", "first_at": "Time of the first letter. RFC 3339 with fraction.",
	"first_failed_at": "When the work failed first. RFC 3339 with fraction.", "followed": "What became of the letters.", "generation": "Rises with every change of the breaker.",
	"groups": "The groups, the largest first.", "handle": "Place of a waiting item, as a list of what waits names it.", "headers": "User headers, each with its values.",
	"headers_after": "Headers after the edit.", "headers_before": "Headers before the edit.", "held": "Work held back by breakers.", "held_at": "Since when it is held. RFC 3339 with fraction.",
	"id": "Id of the work, or of the job.", "ids": "Ids of work.", "ineligible": "Letters that the job would leave alone, by the reason.", "instance": "Name of the replica.", "items": "What waits.",
	"job": "The job.", "jobs": "The jobs.", "key": "Key of the breaker; by default the subject.", "last_at": "Time of the last letter. RFC 3339 with fraction.",
	"last_failed_at": "When the work failed last. RFC 3339 with fraction.", "last_success": "When success was reported last. RFC 3339 with fraction.", "letters": "The letters.",
	"level": "How often it opened without recovering in between.", "matched": "Letters that fit the filter.", "max_attempts": "Most deliveries, the original included.", "max_replays": "Most replays.",
	"messages": "Number of messages.", "min_attempts": "Fewest attempts.", "min_replays": "Fewest replays.", "more": "There are more that are not listed.", "more_subjects": "Further subjects that are not listed.",
	"name": "Name of the stream.", "near": "Work in memory until it is due.", "offset": "How many to leave out at the beginning.", "oldest_due": "When the work was due that is due first. RFC 3339 with fraction.",
	"open_until": "When it becomes half open. RFC 3339 with fraction.", "origin": "Where the failed message came from.", "plan": "What the job would do.", "policies": "Names of policies.", "policy": "Name of the policy.",
	"policy_hash": "Hash of the policies; equal on all replicas unless one has others.", "prefix": "First tokens of all subjects.", "ramp_limit": "Releases that may be in flight at once.",
	"reason": "Why.", "reasons": "Reasons of dead letters.", "recovered": "Replayed letters whose success is known.", "replay": "How often the work was replayed.", "replicas": "Replicas of the stream.",
	"request": "What the job was asked for.", "samples": "Examples.", "sequence": "Sequence in its stream.", "sequences": "Sequences in the stream of dead letters.",
	"shard": "Number of the shard.", "shards": "The shards of the replica.", "skipped": "Letters that the job left alone, by the reason.", "started": "When the replica started. RFC 3339 with fraction.",
	"state": "State that it is in.", "step": "What happens when it is due.", "stored": "Letters that were stored.", "stored_at": "When it was stored. RFC 3339 with fraction.", "streams": "The streams of recoveryd.",
	"subject": "Original subject.", "target": "Subject that letters would go to.", "targets": "Where letters would go.", "total": "How many there are in all.", "total_groups": "Groups in all.",
	"total_letters": "Letters that fit the filter.", "truncated": "Names of headers that were dropped for their size.", "until": "When the operator's act ends. RFC 3339 with fraction.",
	"updated_at": "When it changed last. RFC 3339 with fraction.", "version": "Version of the replica.", "wanted": "State that an operator asked for.", "watches": "The watches.", "why": "Why they are left alone.",
}

func oneOf[T any](values ...T) pairs { return pairs{{"enum", values}} }

func between(least, most int) pairs { return pairs{{"minimum", least}, {"maximum", most}} }

var (
	waits  = []string{"near", "far", "held", "parked"}
	states = []string{"closed", "open", "half_open", "recovering", "forced_open", "disabled"}
)

// fieldLimits narrows fields further than their types do, as the requests are checked.
var fieldLimits = map[string]pairs{
	"WaitingRequest.limit":      between(0, 1000),
	"WaitingRequest.state":      oneOf(append([]string{""}, waits...)...),
	"WaitingItem.state":         oneOf(waits...),
	"WaitingItem.due_at":        {{"anyOf", []pairs{{{"format", "date-time"}}, {{"const", ""}}}}}, // empty: it cannot be read
	"BreakerListRequest.limit":  between(0, 1000),
	"BreakerListRequest.state":  oneOf(append([]string{""}, states...)...),
	"BreakerStatus.state":       oneOf(states...),
	"BreakerRequest.key":        {{"minLength", 1}},
	"BreakerRequest.for_ms":     {{"minimum", 0}},
	"DeadListRequest.limit":     between(0, 1000),
	"DeadGroupsRequest.limit":   between(0, 500),
	"DeadGroupsRequest.offset":  {{"minimum", 0}},
	"DeadGroupsRequest.by":      oneOf("", "cause", "subject", "both"),
	"DeadShowRequest.offset":    {{"minimum", 0}},
	"DeadShowRequest.length":    between(0, 256<<10),
	"JobListRequest.limit":      between(0, 200),
	"JobListRequest.kind":       oneOf("", "replay", "discard", "edit"),
	"JobStatus.kind":            oneOf("replay", "discard", "edit"),
	"JobStatus.state":           oneOf("running", "following", "paused", "stopped", "cancelled", "done"),
	"JobRequest.sample":         between(0, 20),
	"JobRequest.body":           {{"maxLength", 4 * (700<<10 + 2) / 3}},
	"JobNameRequest.id":         {{"minLength", 1}},
	"WatchListReply.mode":       oneOf("off", "watch", "all"),
	"WatchRequest.stream":       {{"minLength", 1}, {"maxLength", 255}},
	"WatchRequest.consumer":     {{"minLength", 1}, {"maxLength", 255}},
	"DeadImportRequest.letters": {{"maxItems", 1000}},
}
