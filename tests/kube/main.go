// Command roadstead-kube starts throw-away Kubernetes clusters for tests: a real control plane in
// ordinary processes, with simulated nodes and pods. One binary holds etcd, the API server, the
// controller manager, the scheduler and kubectl; README.md tells how to use it.
//
// Read next: commands.go (our own commands), components.go (how each process is started).
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	// A link named after a component runs that component, so a folder of links can stand on PATH.
	if run, found := components[filepath.Base(os.Args[0])]; found {
		os.Exit(run())
	}
	if len(os.Args) > 1 {
		if run, found := components[os.Args[1]]; found {
			// Every component reads os.Args itself; it must not see our sub-command.
			os.Args = os.Args[1:]
			os.Exit(run())
		}
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := 0
	if err := newRootCommand().ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "roadstead-kube: %v\n", err)
		code = 1
	}
	stop()
	os.Exit(code)
}
