package bus

import (
	"cmp"
	"strings"
)

// Permissions are what a user of the server may publish and subscribe to.
type Permissions struct{ Publish, Subscribe Rules }

// Rules are allowed and denied subjects; what is not allowed is denied.
type Rules struct{ Allow, Deny []Grant }

// Grant is some subjects that belong together, and why they are needed.
type Grant struct {
	Why      string
	Subjects []string
}

// List is the subjects of all grants, each once.
func List(grants []Grant) []string {
	all, seen := []string{}, map[string]bool{}
	for _, g := range grants {
		for _, s := range g.Subjects {
			if !seen[s] {
				seen[s] = true
				all = append(all, s)
			}
		}
	}
	return all
}

func (r *Rules) allow(why string, subjects ...string) { add(&r.Allow, why, subjects) }
func (r *Rules) deny(why string, subjects ...string)  { add(&r.Deny, why, subjects) }

func add(grants *[]Grant, why string, subjects []string) {
	if len(subjects) > 0 {
		*grants = append(*grants, Grant{why, subjects})
	}
}

// Access derives the permissions of each role. The configuration says where the streams are
// and how many shards there are.
type Access struct {
	Config
	Inbox string // prefix of the user's inboxes; "" = _INBOX
}

const standardInbox = "_INBOX"

func (a Access) inbox() string { return cmp.Or(a.Inbox, standardInbox) + ".>" }

// listen is the inbox, which every role needs.
func (a Access) listen(p *Permissions) {
	p.Subscribe.allow("answers to its requests; who may subscribe to the same inbox reads them too", a.inbox())
}

func (a Access) stream(name string) string { return a.StreamPrefix + "_" + name }
func (a Access) bucket(name string) string { return "KV_" + a.stream(name) }

// ledgers are the names of the streams of the ledger.
func (a Access) ledgers() (names []string) {
	for i := range min(a.withDefaults().Partitions, maxLedgers) {
		names = append(names, a.stream(ledgerName(i)))
	}
	return names
}

// stores are the names of every stream and bucket.
func (a Access) stores() []string {
	names := []string{a.stream(failed), a.stream(succeeded), a.stream(outcomes), a.stream(dead), a.stream(advisories), a.bucket(state), a.bucket(leases)}
	return append(names, a.ledgers()...)
}

// api is subjects of the JetStream API. With a domain they are also those of the domain: a
// server of the domain itself checks the first, one that passes requests on the second.
func (a Access) api(verb string, ends ...string) (all []string) {
	if len(ends) == 0 {
		ends = []string{""}
	}
	for _, end := range ends {
		subject := strings.TrimSuffix(verb+"."+end, ".")
		all = append(all, "$JS.API."+subject)
		if a.Domain != "" {
			all = append(all, "$JS."+a.Domain+".API."+subject)
		}
	}
	return all
}

// consume is how messages of streams are pulled by consumers made for it.
func (a Access) consume(streams ...string) (all []string) {
	for _, s := range streams {
		all = append(all, a.api("CONSUMER.CREATE", s+".>")...)
		all = append(all, a.api("CONSUMER.MSG.NEXT", s+".*")...)
	}
	return all
}

// answerTo is where consumers of a stream are answered: to acknowledge (ACK) or to say that
// there is room for more (FC). The longer form has a domain and an account (ADR-15).
func answerTo(kind, consumers string) []string {
	return []string{"$JS." + kind + "." + consumers + ".>", "$JS." + kind + ".*.*." + consumers + ".>"}
}
