package bus

import (
	"slices"
)

// Worker is what a program needs that reports what became of the work on its subjects. What
// it needs to get that work is not recoveryd's to say.
func (a Access) Worker(subjects []string) Permissions {
	var p Permissions
	for _, s := range subjects {
		p.Publish.allow("report what became of work on "+s, a.Subjects.Failed(s), a.Subjects.Succeeded(s))
	}
	a.listen(&p)
	return p
}

// Observer is what a program needs that hears outcomes and changes of breakers, live or
// from their stream, also with a consumer that remembers.
func (a Access) Observer() Permissions {
	var p Permissions
	events := a.stream(outcomes)
	p.Publish.allow("look at the streams", a.api("STREAM.INFO", a.stream(failed), events)...)
	a.readEvents(&p.Publish)
	p.Publish.allow("look at a consumer that remembers, remove one that does not, and acknowledge",
		slices.Concat(a.api("CONSUMER.INFO", events+".*"), a.api("CONSUMER.DELETE", events+".*"), answerTo("ACK", events+".*"))...)
	a.listen(&p)
	p.Subscribe.allow("hear events live", a.Subjects.Prefix+".outcomes.>", a.Subjects.Prefix+".breakers.>")
	return p
}

func (a Access) readEvents(r *Rules) {
	r.allow("read outcomes and changes of breakers", a.consume(a.stream(outcomes))...)
}

// Operator is what the commands need that look at a running daemon and tell it what to do.
func (a Access) Operator() Permissions {
	var p Permissions
	p.Publish.allow("ask the control API", a.Subjects.API("*", "*"))
	p.Publish.allow("ask each daemon for itself", a.peers())
	p.Publish.allow("look at the account, and which stream stores a subject", slices.Concat(a.api("INFO"), a.api("STREAM.NAMES"))...)
	p.Publish.allow("look at streams and buckets, those of the application too", a.api("STREAM.INFO", "*")...)
	p.Publish.allow("list the leases, by which daemons are known", slices.Concat(a.api("CONSUMER.CREATE", a.bucket(leases)+".>"), a.api("CONSUMER.DELETE", a.bucket(leases)+".*"))...)
	a.readEvents(&p.Publish)
	p.Publish.allow("read the newest outcomes", slices.Concat(a.api("DIRECT.GET", a.stream(outcomes)), a.api("STREAM.MSG.GET", a.stream(outcomes)))...)
	p.Publish.allow("export dead letters", slices.Concat(a.api("DIRECT.GET", a.stream(dead)), a.api("STREAM.MSG.GET", a.stream(dead)))...)
	a.listen(&p)
	return p
}
