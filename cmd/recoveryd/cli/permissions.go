package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/bus"
	"github.com/recoveryd/recoveryd/schemas"
)

// roles are those who use a server together with recoveryd.
var roles = []string{"daemon", "worker", "observer", "operator"}

// asked is whose permissions are printed, and how.
type asked struct {
	role, file    string
	subjects      []string
	watched       []string // STREAM/CONSUMER
	inbox, askers string
	asJSON        bool
}

func (a *App) permissions() *cobra.Command {
	var q asked
	c := &cobra.Command{
		Use:   "permissions ROLE",
		Short: "Print the least that a user of the NATS server must be allowed",
		Long: `Print the least that a user of the NATS server must be allowed: the block permissions of a user in
the server's configuration, with a reason for each group. No server is needed. What is not named is
denied. Prefixes, domain and shards are those of the environment, as for recoveryd run.

daemon     recoveryd run. It may send work only to where its policies say: print it again when they change,
           and with --watch for each consumer that recoveryd watch ls lists.
worker     reports failures and successes on its own subjects, and nothing else.
observer   hears outcomes and changes of breakers, live and from their stream; no payloads.
operator   status, top, doctor, ls, show, now, cancel, outcomes, breaker, watch, replay, dlq (but not dlq
           import), streams ls.

dlq import and streams replicate write to the streams themselves: run them as the daemon's user.

Where a domain is set, each request is named twice: a server of that domain checks the plain name, one
that only passes it on the other. CONSUMER.CREATE is open at its end as names of consumers are random.

--json prints the same as the value of permissions, without reasons; that, too, can be pasted.`,
		Example: "  recoveryd permissions daemon --policy policy.yaml --inbox _INBOX_recoveryd\n  recoveryd permissions daemon --policy policy.yaml --watch ORDERS/worker\n  recoveryd permissions worker --subject 'orders.>' --subject payments.card",
		Args:    cobra.ExactArgs(1), ValidArgs: roles,
		RunE: func(c *cobra.Command, args []string) error {
			q.role = args[0]
			if err := q.check(); err != nil {
				return usage(c, err)
			}
			return a.printPermissions(&q)
		},
	}
	f := c.Flags()
	f.StringArrayVar(&q.subjects, "subject", nil, "of a worker: its subjects, e.g. 'orders.>'; may be repeated")
	f.StringVar(&q.file, "policy", "", "of a daemon: its policy file (RECOVERYD_POLICY_FILE; else the built-in policy, which serves every subject)")
	f.StringArrayVar(&q.watched, "watch", nil, "of a daemon: STREAM/CONSUMER that it watches, '*/*' for all; may be repeated")
	f.StringVar(&q.inbox, "inbox", "_INBOX", "prefix of the user's inboxes")
	f.StringVar(&q.askers, "operator-inbox", "_INBOX", "of a daemon: prefix of the inboxes of those who ask it")
	f.BoolVar(&q.asJSON, "json", false, "print JSON")
	return c
}

// watches reads the consumers that are watched.
func (q *asked) watches() (all []schemas.Watch, err error) {
	for _, s := range q.watched {
		stream, consumer, ok := strings.Cut(s, "/")
		if !ok {
			return nil, fmt.Errorf("--watch: %q is not written as STREAM/CONSUMER", s)
		}
		for _, name := range []string{stream, consumer} {
			if err := schemas.CheckName(name); name != "*" && err != nil {
				return nil, fmt.Errorf("--watch: %w", err)
			}
		}
		all = append(all, schemas.Watch{Stream: stream, Consumer: consumer})
	}
	return all, nil
}

func (q *asked) check() error {
	if !slices.Contains(roles, q.role) {
		return fmt.Errorf("ROLE: %q is none of %s", q.role, strings.Join(roles, ", "))
	}
	if q.role != "worker" && len(q.subjects) > 0 {
		return fmt.Errorf("--subject: only a worker has subjects of its own, not the %s", q.role)
	}
	if q.role != "daemon" && (q.file != "" || q.askers != "_INBOX" || len(q.watched) > 0) {
		return fmt.Errorf("--policy, --watch and --operator-inbox are of the daemon, not of the %s", q.role)
	}
	if _, err := q.watches(); err != nil {
		return err
	}
	if q.role == "worker" && len(q.subjects) == 0 {
		return errors.New("--subject is missing: name the worker's own subjects, e.g. --subject 'orders.>'")
	}
	if err := schemas.CheckLiteral(q.inbox); err != nil {
		return fmt.Errorf("--inbox: %w", err)
	}
	if err := schemas.CheckLiteral(q.askers); err != nil {
		return fmt.Errorf("--operator-inbox: %w", err)
	}
	return nil
}

// checkSubjects refuses what would allow a worker to report for everybody.
func (q *asked) checkSubjects(own schemas.Subjects) error {
	for _, s := range q.subjects {
		err := own.CheckTargets(s)
		if err == nil && strings.Trim(s, "*>.") == "" {
			err = fmt.Errorf("pattern %q names no subject: it would let the worker have anything delivered anywhere", s)
		}
		if err != nil {
			return fmt.Errorf("--subject: %w", err)
		}
	}
	return nil
}

func (a *App) printPermissions(q *asked) error {
	settings, err := a.settings()
	if err != nil {
		return err
	}
	access := bus.Access{Inbox: q.inbox, Config: bus.Config{
		Subjects: schemas.Subjects{Prefix: settings.Prefix}, StreamPrefix: settings.StreamPrefix, Domain: settings.JSDomain, Partitions: settings.Partitions,
	}}
	if err := access.Validate(); err != nil {
		return &exit{code: exitUsage, err: err}
	}
	if err := q.checkSubjects(access.Subjects); err != nil {
		return &exit{code: exitUsage, err: err}
	}
	var p bus.Permissions
	switch q.role {
	case "daemon":
		if p, err = a.daemonPermissions(access, q); err != nil {
			return err
		}
	case "worker":
		p = access.Worker(q.subjects)
	case "observer":
		p = access.Observer()
	case "operator":
		p = access.Operator()
	}
	if q.asJSON {
		return printJSON(a.Stdout, listed(p))
	}
	return writePermissions(a.Stdout, p)
}

func (a *App) daemonPermissions(access bus.Access, q *asked) (bus.Permissions, error) {
	policies, err := a.policies(q.file)
	if err != nil {
		return bus.Permissions{}, err
	}
	targets := policies.Targets()
	if i := slices.IndexFunc(targets, bus.Wide); i >= 0 {
		fmt.Fprintf(a.Stderr, "a policy sends work to %q: the daemon may then publish nearly anything; name the subjects in the policies\n", targets[i])
	}
	watched, err := q.watches()
	if err != nil {
		return bus.Permissions{}, err
	}
	return access.Daemon(bus.DaemonAccess{Targets: targets, Asked: policies.Asked(), Acks: policies.Acks(), Watched: watched, Askers: q.askers}), nil
}
