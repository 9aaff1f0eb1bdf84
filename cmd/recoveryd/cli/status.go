package cli

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/recoveryd/recoveryd/schemas"
)

func (a *App) status() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "status", Short: "Show a daemon, its shards and its streams", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var reply schemas.StatusReply
			raw, err := a.ask(c.Context(), "status", "get", schemas.StatusRequest{}, &reply)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printReply(raw)
			}
			return a.showStatus(&reply, time.Now())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the reply")
	return c
}

func (a *App) showStatus(s *schemas.StatusReply, now time.Time) error {
	err := table(a.Stdout,
		[]string{"daemon", s.Instance + ", version " + s.Version + ", up " + since(s.Started, now)},
		[]string{"policy", s.PolicyHash + ": " + strings.Join(s.Policies, ", ")},
		[]string{"clock", fmt.Sprintf("server is %d ms ahead, corrected for", int64(math.Round(s.ClockMS)))},
	)
	if err != nil {
		return err
	}
	rows := [][]string{{"SHARD", "NEAR", "FAR", "HELD", "PARKED", "IN FLIGHT", "MEMORY", "NEXT DUE", "BREAKERS NOT CLOSED"}}
	var all schemas.ShardStatus
	for _, sh := range s.Shards {
		rows = append(rows, shardRow(strconv.Itoa(sh.Shard), sh))
		all.Near, all.Far, all.Held, all.Parked = all.Near+sh.Near, all.Far+sh.Far, all.Held+sh.Held, all.Parked+sh.Parked
		all.InFlight, all.Bytes, all.Open = all.InFlight+sh.InFlight, all.Bytes+sh.Bytes, all.Open+sh.Open
		if sh.OldestDue != "" && (all.OldestDue == "" || sh.OldestDue < all.OldestDue) {
			all.OldestDue = sh.OldestDue
		}
	}
	fmt.Fprintln(a.Stdout)
	if err := table(a.Stdout, append(rows, shardRow("all", all))...); err != nil {
		return err
	}
	rows = [][]string{{"STREAM", "MESSAGES", "SIZE", "LIMIT", "COPIES"}}
	for _, st := range s.Streams {
		limit := "none"
		if st.MaxBytes > 0 {
			limit = size(uint64(st.MaxBytes))
		}
		rows = append(rows, []string{st.Name, strconv.FormatUint(st.Messages, 10), size(st.Bytes), limit, strconv.Itoa(st.Replicas)})
	}
	fmt.Fprintln(a.Stdout)
	if err := table(a.Stdout, rows...); err != nil {
		return err
	}
	for _, fault := range s.Faults {
		fmt.Fprintf(a.Stdout, "\n%s %s\n", paint("fault:", red, a.colour(a.Stdout)), printable(fault))
	}
	return nil
}

func shardRow(name string, s schemas.ShardStatus) []string {
	return []string{
		name, strconv.Itoa(s.Near), strconv.FormatInt(s.Far, 10), strconv.FormatInt(s.Held, 10), strconv.FormatInt(s.Parked, 10),
		strconv.Itoa(s.InFlight), size(uint64(max(s.Bytes, 0))), day(s.OldestDue), strconv.Itoa(s.Open),
	}
}

// size writes bytes for a person.
func size(n uint64) string {
	value, unit := float64(n), 0
	for ; value >= 1024 && unit < 5; unit++ {
		value /= 1024
	}
	if unit == 0 {
		return strconv.FormatUint(n, 10) + " B"
	}
	return fmt.Sprintf("%.1f %ciB", value, "KMGTP"[unit-1])
}

// since is how long ago a time of the API was, in whole seconds.
func since(at string, now time.Time) string {
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return at
	}
	return now.Sub(t).Truncate(time.Second).String()
}
