package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/deadletter"
	"github.com/recoveryd/recoveryd/schemas"
)

func (a *App) replay() *cobra.Command {
	return group("replay", "Show the jobs over dead letters, and pause, resume or cancel them", a.replayLs(), a.replayShow(),
		a.steer("pause", "Let a job rest until it is resumed"),
		a.steer("resume", "Let a job go on that was paused or stopped"),
		a.steer("cancel", "End a job; letters that it has not reached stay as they are"))
}

func (a *App) replayLs() *cobra.Command {
	var q schemas.JobListRequest
	var asJSON bool
	c := &cobra.Command{
		Use: "ls", Short: "List the jobs, the newest first", Args: cobra.NoArgs,
		Example: "  recoveryd replay ls --state running",
		RunE: func(c *cobra.Command, _ []string) error {
			var reply schemas.JobListReply
			raw, err := a.ask(c.Context(), "replay", "ls", q, &reply)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printReply(raw)
			}
			return a.listJobs(&reply)
		},
	}
	f := c.Flags()
	f.StringVar(&q.State, "state", "", "only this state: "+strings.Join(deadletter.JobStates[:], ", "))
	f.StringVar(&q.Kind, "kind", "", "only this kind: replay, discard, edit")
	f.IntVar(&q.Limit, "limit", 50, "list at most so many, 1 to 200")
	f.BoolVar(&asJSON, "json", false, "print the reply")
	offerStates(c)
	return c
}

func (a *App) listJobs(r *schemas.JobListReply) error {
	if len(r.Jobs) == 0 {
		fmt.Fprintln(a.Stderr, "no job fits")
		return nil
	}
	rows := [][]string{{"JOB", "KIND", "STATE", "DONE", "RECOVERED", "FAILED", "LEFT", "CREATED", "REASON"}}
	for i := range r.Jobs {
		j := &r.Jobs[i]
		recovered, failed := "", ""
		if j.Kind == deadletter.JobReplay {
			recovered, failed = strconv.FormatInt(j.Followed.Recovered+j.Followed.Presumed, 10), strconv.FormatInt(j.Followed.Failed, 10)
		}
		done := strconv.FormatInt(j.Done, 10)
		if j.Matched > 0 {
			done += "/" + strconv.FormatInt(j.Matched, 10)
		}
		rows = append(rows, []string{j.ID, j.Kind, j.State, done, recovered, failed, positive(handled(j) - j.Done), day(j.CreatedAt), printable(j.Reason)})
	}
	if err := a.fitted(rows...); err != nil {
		return err
	}
	if r.More {
		fmt.Fprintln(a.Stderr, "there are more: see them with --limit, or narrow it down")
	}
	return nil
}

func (a *App) replayShow() *cobra.Command {
	var follow, asJSON bool
	c := &cobra.Command{
		Use: "show JOB", Short: "Show a job and what failed again", Args: cobra.ExactArgs(1), ValidArgsFunction: a.jobs,
		Long: `Show a job and what failed again. With --follow it is shown until it has ended; leaving it then
does not end the job.`,
		Example: "  recoveryd replay show 4xk2m7qhzt5a --follow",
		RunE: func(c *cobra.Command, args []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			defer client.end()
			var j schemas.JobStatus
			raw, err := client.ask(c.Context(), "replay", "show", schemas.JobNameRequest{ID: args[0]}, &j)
			switch {
			case err != nil:
				return err
			case follow:
				return a.followJob(c.Context(), client, j.ID, j.Matched, asJSON)
			case asJSON:
				return a.printReply(raw)
			}
			return a.showJob(&j)
		},
	}
	c.Flags().BoolVarP(&follow, "follow", "f", false, "show the progress until the job has ended")
	c.Flags().BoolVar(&asJSON, "json", false, "print the reply")
	return c
}

func (a *App) showJob(j *schemas.JobStatus) error {
	rate, share := "", ""
	if r := j.Request.Rate; r != nil {
		rate = fmt.Sprintf("%g letters a second", *r)
	}
	if j.Edited {
		share = "the letters are changed on their way"
	}
	f := j.Followed
	rows := fields("job", j.ID, "kind", j.Kind, "state", j.State, "wanted", j.Wanted, "why", j.Reason, "by", j.Actor, "waits for", j.Waiting, "stopped", j.Stopped,
		"fault", j.Fault, "to", j.Request.To, "rate", rate, "edit", share, "created", j.CreatedAt, "ended", j.FinishedAt, "done", progressOf(j))
	if j.Kind == deadletter.JobReplay {
		rows = append(rows, fields("recovered", positive(f.Recovered), "presumed recovered", positive(f.Presumed), "failed again", positive(f.Failed),
			"awaited", positive(f.Pending), "unknown", positive(f.Open))...)
	}
	for _, s := range skippedRows("left alone", j.Skipped) {
		rows = append(rows, []string{s[0], s[1] + " " + s[2]})
	}
	for _, c := range j.Causes {
		rows = append(rows, []string{"new cause " + c.Cause, fmt.Sprintf("%d × %s", c.Count, printable(c.Error))})
	}
	if err := table(a.Stdout, rows...); err != nil || len(j.Failures) == 0 {
		return err
	}
	rows = [][]string{{"FAILED AGAIN", "SEQ", "OUTCOME", "CAUSE", "SUBJECT", "ERROR"}}
	for _, x := range j.Failures {
		rows = append(rows, []string{shorten(printable(x.ID), 30), positive(int64(x.Sequence)), x.Kind, x.Cause, shorten(printable(x.Subject), 40), printable(x.Error)})
	}
	fmt.Fprintln(a.Stdout)
	return a.fitted(rows...)
}

// positive is a count, or nothing.
func positive(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}

// progressOf says how many of its letters a job has done.
func progressOf(j *schemas.JobStatus) string {
	text := strconv.FormatInt(j.Done, 10)
	if j.Matched > 0 {
		text += fmt.Sprintf(" of %d", j.Matched)
	}
	return text
}

// steering is what an operator wants of a job.
type steering struct {
	verb                string
	request             schemas.JobNameRequest
	yes, dryRun, asJSON bool
}

func (a *App) steer(verb, short string) *cobra.Command {
	s := steering{verb: verb}
	c := &cobra.Command{
		Use: verb + " JOB", Short: short, Args: cobra.ExactArgs(1), ValidArgsFunction: a.jobs,
		Example: "  recoveryd replay " + verb + " 4xk2m7qhzt5a",
		RunE: func(c *cobra.Command, args []string) error {
			s.request.ID = args[0]
			return a.steerJob(c.Context(), s)
		},
	}
	f := c.Flags()
	f.StringVar(&s.request.Reason, "reason", "", "why, for those who look at it later")
	f.BoolVar(&s.dryRun, "dry-run", false, "only show the job")
	f.BoolVarP(&s.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&s.asJSON, "json", false, "print the reply")
	return c
}

// steerJob shows the job, asks, and then acts.
func (a *App) steerJob(ctx context.Context, s steering) error {
	client, err := a.dial()
	if err != nil {
		return err
	}
	defer client.end()
	var j schemas.JobStatus
	raw, err := client.ask(ctx, "replay", "show", s.request, &j)
	if err != nil {
		return err
	}
	if s.dryRun {
		return a.steered(raw, &j, s.asJSON)
	}
	fmt.Fprintln(a.Stderr, jobLine(&j))
	if err := a.confirm(strings.ToUpper(s.verb[:1])+s.verb[1:]+" it?", s.yes); err != nil {
		return err
	}
	s.request.Actor = a.actor()
	var now schemas.JobStatus
	if raw, err = client.ask(ctx, "replay", s.verb, s.request, &now); err != nil {
		return err
	}
	return a.steered(raw, &now, s.asJSON)
}

func (a *App) steered(raw []byte, j *schemas.JobStatus, asJSON bool) error {
	if asJSON {
		return a.printReply(raw)
	}
	text := jobLine(j)
	if j.Wanted != "" && !resting(j) {
		text += "; " + map[string]string{deadletter.WantRun: "it will go on", deadletter.WantPause: "it will pause", deadletter.WantCancel: "it will end"}[j.Wanted]
	}
	_, err := fmt.Fprintln(a.Stdout, text)
	return err
}
