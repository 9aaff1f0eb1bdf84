// Package config reads the settings of the daemon from its environment.
//
// The fields of Config are the whole truth about a variable: its name, unit, range,
// default and meaning are tags, from which reading, checking, `recoveryd config` and the
// reference documentation are made.
package config

import (
	"errors"
	"reflect"
	"slices"
	"strings"

	"github.com/caarlos0/env/v10"

	"github.com/recoveryd/recoveryd/schemas"
)

// Prefix begins the name of every variable.
const Prefix = "RECOVERYD_"

// Config is what the environment says. An empty variable counts as one that is not set.
//
// Tags: env is the name without Prefix, range is "least..most" in the unit of the field,
// zero is what 0 means although it is out of range, oneof lists the words allowed.
type Config struct {
	PolicyFile       string           `env:"POLICY_FILE" unit:"path" doc:"YAML file with the policies, read again when it changes; without it one built-in policy serves every subject"`
	Prefix           string           `env:"PREFIX" envDefault:"recovery" unit:"subject" doc:"first tokens of all subjects of recoveryd"`
	StreamPrefix     string           `env:"STREAM_PREFIX" envDefault:"RECOVERY" unit:"name" doc:"beginning of the names of its streams and buckets"`
	Replicas         int              `env:"REPLICAS" envDefault:"0" unit:"copies" range:"0..5" doc:"copies of each stream; 0 = 3 if the cluster has that many servers, else 1"`
	Partitions       int              `env:"PARTITIONS" envDefault:"8" unit:"shards" range:"1..256" doc:"shards of the failed work; fixed once the stream exists"`
	Near             schemas.Duration `env:"NEAR" envDefault:"5s" unit:"duration" range:"100ms..45s" doc:"waits up to this long stay in the daemon's memory, longer ones go to the ledger"`
	MemoryLimit      Bytes            `env:"MEMORY_LIMIT" envDefault:"64MiB" unit:"bytes" range:"8MiB..1TiB" doc:"memory for work that waits; what is over it goes to the ledger"`
	FailedMaxBytes   Bytes            `env:"FAILED_MAX_BYTES" envDefault:"0" unit:"bytes" range:"1MiB..1PiB" zero:"no limit" doc:"size of the stream of failures; when full, reports are refused"`
	OutcomesMaxBytes Bytes            `env:"OUTCOMES_MAX_BYTES" envDefault:"1GiB" unit:"bytes" range:"1MiB..1PiB" zero:"no limit" doc:"size of the stream of outcomes; when full, the oldest go"`
	DeadMaxBytes     Bytes            `env:"DEAD_MAX_BYTES" envDefault:"0" unit:"bytes" range:"1MiB..1PiB" zero:"no limit" doc:"size of the store of dead letters; when full, new letters wait in the ledger"`
	DeadMaxAge       schemas.Duration `env:"DEAD_MAX_AGE" envDefault:"0s" unit:"duration" range:"1h..36500d" zero:"ever" doc:"how long dead letters are kept"`
	Advisories       string           `env:"ADVISORIES" envDefault:"watch" unit:"word" oneof:"off watch all" doc:"whose messages are recovered when they reach max_deliver or are terminated: off = nobody's, watch = those of consumers that recoveryd watch lists, all = also those of every other consumer with max_deliver"`
	JSDomain         string           `env:"JS_DOMAIN" unit:"name" doc:"JetStream domain of the streams"`
	HTTPAddr         string           `env:"HTTP_ADDR" envDefault:"127.0.0.1:9222" unit:"host:port" doc:"where metrics, health and the console are served; off = nowhere"`
	HTTPUser         string           `env:"HTTP_USER" unit:"text" doc:"user who may read metrics and console; together with HTTP_PASSWORD"`
	HTTPPassword     Secret           `env:"HTTP_PASSWORD" unit:"text" doc:"password of HTTP_USER"`
	HTTPToken        Secret           `env:"HTTP_TOKEN" unit:"text" doc:"bearer token that may read metrics and console"`
	LogLevel         string           `env:"LOG_LEVEL" envDefault:"info" unit:"word" oneof:"debug info warn error" doc:"least level that is logged"`
	LogFormat        string           `env:"LOG_FORMAT" envDefault:"auto" unit:"word" oneof:"auto console json" doc:"form of the log; auto = console on a terminal, else json"`
	ShutdownTimeout  schemas.Duration `env:"SHUTDOWN_TIMEOUT" envDefault:"10s" unit:"duration" range:"100ms..10m" doc:"time to settle what is in flight after SIGTERM"`
	Embedded         bool             `env:"EMBEDDED" envDefault:"false" unit:"true or false" doc:"run a NATS server in this process and connect to it"`
	EmbeddedDir      string           `env:"EMBEDDED_DIR" unit:"path" doc:"where the embedded server stores its streams; needed with EMBEDDED"`
	EmbeddedAddr     string           `env:"EMBEDDED_ADDR" envDefault:"127.0.0.1:4222" unit:"host:port" doc:"where the embedded server listens; loopback only"`

	settings []Setting
	warnings []string
}

// Source is where values come from, e.g. the environment or a flag. Names are those of
// variables without Prefix.
type Source struct {
	Name   string
	Values map[string]string
}

// Environment is the source made of the variables of a process, as os.Environ lists them.
func Environment(environ []string) Source {
	s := Source{Name: "environment", Values: map[string]string{}}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if rest, ok := strings.CutPrefix(name, Prefix); ok && value != "" {
			s.Values[rest] = value
		}
	}
	return s
}

// Load reads the sources, of which later ones prevail. The error joins one *Fault for each
// fault there is.
func Load(sources ...Source) (*Config, error) {
	merged, origin := merge(sources)
	c := &Config{}
	faults := parse(c, merged)
	broken := map[string]bool{}
	for _, f := range faults {
		broken[f.Variable] = true
	}
	for _, v := range Variables() {
		field := reflect.ValueOf(c).Elem().FieldByIndex(v.field.Index)
		setting := v.setting(field, merged, origin)
		if !broken[v.Name] {
			faults = append(faults, v.check(field, setting.Value)...)
		}
		c.settings = append(c.settings, setting)
	}
	faults = append(faults, c.relations()...)
	c.warnings = unknown(merged)
	slices.SortStableFunc(faults, func(a, b *Fault) int { return order(a.Variable) - order(b.Variable) })
	return c, join(faults)
}

func merge(sources []Source) (values, origin map[string]string) {
	values, origin = map[string]string{}, map[string]string{}
	for _, s := range sources {
		for name, value := range s.Values {
			values[name], origin[name] = value, s.Name
		}
	}
	return values, origin
}

// parse fills c and tells what could not be read.
func parse(c *Config, values map[string]string) []*Fault {
	err := env.ParseWithOptions(c, env.Options{Environment: values})
	var all env.AggregateError
	if !errors.As(err, &all) {
		return nil
	}
	var faults []*Fault
	for _, e := range all.Errors {
		var unreadable env.ParseError
		if errors.As(e, &unreadable) {
			v := variableOf(unreadable.Name)
			faults = append(faults, v.fault(values[strings.TrimPrefix(v.Name, Prefix)], "cannot be read"))
		}
	}
	return faults
}

// Settings lists the effective values with their sources, secrets masked.
func (c *Config) Settings() []Setting { return c.settings }

// Warnings names variables that look like settings but are none.
func (c *Config) Warnings() []string { return c.warnings }
