package bus

import (
	"cmp"
	"slices"

	"github.com/recoveryd/recoveryd/schemas"
)

// DaemonAccess is what the permissions of a daemon depend on besides its configuration.
type DaemonAccess struct {
	Targets []string          // patterns of the subjects that its policies send work to
	Asked   []string          // those of them that are requests: it reports their failures itself
	Acks    []schemas.AckSpec // consumers whose acknowledgements it hears
	Watched []schemas.Watch   // consumers whose messages it recovers when they give them up; a name may be *
	Askers  string            // prefix of the inboxes of those who ask it; "" = _INBOX
}

// Daemon is what `recoveryd run` needs.
func (a Access) Daemon(d DaemonAccess) Permissions {
	var p Permissions
	a.keep(&p.Publish)
	a.remove(&p.Publish)
	a.read(&p.Publish)
	a.tell(&p.Publish)
	a.send(&p.Publish, d)
	a.hearAcks(&p, d.Acks)
	a.recoverFor(&p.Publish, d.Watched)
	p.Publish.allow("ask other daemons", a.peers())
	p.Publish.allow("answer other daemons", a.inbox())
	if askers := cmp.Or(d.Askers, standardInbox) + ".>"; askers != a.inbox() {
		p.Publish.allow("answer those who ask it", askers)
	}
	a.listen(&p)
	p.Subscribe.allow("serve the control API", a.Subjects.API("*", "*"))
	p.Subscribe.allow("serve other daemons", a.peers())
	p.Subscribe.allow("be found as the NATS micro service recoveryd", "$SRV.*", "$SRV.*."+owner, "$SRV.*."+owner+".*")
	return p
}

func (a Access) peers() string { return a.Subjects.API("at", ">") }

// keep is to make streams and buckets, and to change and watch them.
func (a Access) keep(r *Rules) {
	r.allow("look at the account, and which stream stores a subject", slices.Concat(a.api("INFO"), a.api("STREAM.NAMES"))...)
	r.allow("make its streams and buckets", a.api("STREAM.CREATE", a.stores()...)...)
	r.allow("adapt them when settings change", a.api("STREAM.UPDATE", a.stores()...)...)
	r.allow("look at them", a.api("STREAM.INFO", a.stores()...)...)
}

// remove is to take out what is done.
func (a Access) remove(r *Rules) {
	r.allow("remove reports, what waited, and dead letters when they are done",
		slices.Concat(a.api("STREAM.PURGE", append(a.ledgers(), a.stream(failed), a.stream(dead))...),
			a.api("STREAM.MSG.DELETE", append(a.ledgers(), a.stream(dead))...))...)
}

// read is to read streams, with a consumer or without.
func (a Access) read(r *Rules) {
	direct := append(a.ledgers(), a.stream(dead))
	r.allow("read single messages, and values of the bucket", slices.Concat(a.api("DIRECT.GET", append(direct, a.bucket(state)+".>")...))...)
	r.allow("ask the leader when a replica may lag", a.api("STREAM.MSG.GET", append(direct, a.bucket(leases))...)...)
	r.allow("follow streams and buckets with consumers of its own, whose names are random",
		a.consume(append(a.ledgers(), a.stream(failed), a.stream(outcomes), a.stream(dead), a.bucket(state), a.bucket(leases))...)...)
	r.allow("list values: with a consumer that it removes, and that asks whether there is room",
		slices.Concat(a.api("CONSUMER.DELETE", a.bucket(state)+".*"), answerTo("FC", a.bucket(state)))...)
	shared := a.stream(succeeded) + "." + owner
	r.allow("share reports of success with other daemons",
		slices.Concat(a.api("CONSUMER.CREATE", shared), a.api("CONSUMER.MSG.NEXT", shared), answerTo("ACK", shared))...)
	given := a.stream(advisories) + "." + owner
	r.allow("read which messages consumers gave up",
		slices.Concat(a.api("CONSUMER.CREATE", given), a.api("CONSUMER.MSG.NEXT", given), answerTo("ACK", given))...)
}

// tell is to write to its own streams and buckets.
func (a Access) tell(r *Rules) {
	prefix := a.Subjects.Prefix
	r.allow("keep what waits, and tell what happened", prefix+".ledger.>", prefix+".outcomes.>", prefix+".breakers.>", prefix+".dead.>")
	for _, name := range []string{state, leases} {
		values := "$KV." + a.stream(name) + ".>"
		all := []string{values}
		if a.Domain != "" {
			all = append(all, "$JS."+a.Domain+".API."+values)
		}
		r.allow(map[string]string{state: "note where it is", leases: "share the work with other daemons"}[name], all...)
	}
}

// send is to deliver work. What the daemon never uses is denied where a policy would allow it.
func (a Access) send(r *Rules, d DaemonAccess) {
	never := func(pattern string) bool { return a.Subjects.CheckTargets(pattern) != nil }
	targets, asked := slices.DeleteFunc(slices.Clone(d.Targets), never), slices.DeleteFunc(slices.Clone(d.Asked), never)
	prefix := a.Subjects.Prefix
	unused := slices.Concat([]string{prefix + ".intake.>", prefix + ".succeeded.>", "$SYS.>"},
		a.api("STREAM.DELETE", "*"), a.api("STREAM.RESTORE", "*"), a.api("STREAM.SNAPSHOT", "*"))
	if len(asked) == 0 && len(d.Watched) == 0 {
		unused = append(unused, prefix+".failed.>")
	}
	r.allow("deliver work to where the policies say", targets...)
	var reports []string
	for _, pattern := range asked {
		reports = append(reports, a.Subjects.Failed(pattern))
	}
	r.allow("report failures of its own requests", reports...)
	r.deny("never used, but a policy reaches it", slices.DeleteFunc(unused, func(subject string) bool {
		return !slices.ContainsFunc(targets, func(pattern string) bool { return schemas.Covers(pattern, subject) })
	})...)
}

// hearAcks is to hear of acknowledgements of other consumers.
func (a Access) hearAcks(p *Permissions, acks []schemas.AckSpec) {
	var look, hear []string
	for _, ack := range acks {
		look = append(look, a.api("CONSUMER.INFO", ack.Stream+"."+ack.Consumer)...)
		hear = append(hear, "$JS.EVENT.METRIC.CONSUMER.ACK."+ack.Stream+"."+ack.Consumer)
	}
	p.Publish.allow("look at the consumers whose acknowledgements are the evidence of success", look...)
	p.Subscribe.allow("hear of their acknowledgements", hear...)
}

// recoverFor is to report messages that consumers give up, and to settle them. On which
// subjects they are only their streams tell.
func (a Access) recoverFor(r *Rules, watched []schemas.Watch) {
	var look, read, settle []string
	for _, w := range watched {
		consumer := w.Stream + "." + w.Consumer
		look = append(look, slices.Concat(a.api("STREAM.INFO", w.Stream), a.api("CONSUMER.INFO", consumer))...)
		read = append(read, a.api("STREAM.MSG.GET", w.Stream)...)
		settle = append(settle, "$JS.ACK."+consumer+".>")
	}
	if len(watched) == 0 {
		return
	}
	r.allow("look at the consumers that are watched, and their streams", look...)
	r.allow("read what they gave up", read...)
	r.allow("report it as failed", a.Subjects.Failed(">"))
	r.allow("settle it in their name", settle...)
}

// Wide says whether a pattern matches requests to the server, too.
func Wide(pattern string) bool { return schemas.Covers(pattern, "$JS.API.>") }
