// Command recoveryd is the recovery plane for NATS JetStream.
package main

import (
	"os"

	"github.com/recoveryd/recoveryd/cmd/recoveryd/cli"
)

func main() { os.Exit(cli.Main()) }
