// Command demo shows nodeprep at work: it builds a VPC with a fault, boots a node
// with a real systemd in it, prints what the operator of that node would see,
// removes the fault and waits for the node to join. It runs without any network
// but its own, checks what it shows, and fails when nodeprep does otherwise.
//
// make demo builds what it needs and runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nodeprep/nodeprep/test/e2e/node"
)

// limit bounds the whole demonstration.
const limit = 3 * time.Minute

func main() {
	var p play
	fault := flag.String("fault", "ecr-api-drop", "`name` of the fault, none, or ? for a list")
	flag.StringVar(&p.image, "image", "", "root tree of the node, as image.sh builds it")
	flag.StringVar(&p.parts.Nodeprep, "nodeprep", "bin/nodeprep", "the program")
	flag.StringVar(&p.parts.Kubelet, "kubelet", "bin/kubelet", "the kubelet's stand-in")
	flag.StringVar(&p.parts.Units, "units", "systemd", "the folder of the units")
	check := flag.Bool("check", false, "only make sure that there is such a fault and that this user may show it")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "demo: unexpected argument", flag.Arg(0))
		os.Exit(2)
	}
	if *fault == "?" {
		listFaults(os.Stdout)
		return
	}
	var ok bool
	if p.fault, ok = find(*fault); !ok {
		listFaults(os.Stderr)
		fmt.Fprintf(os.Stderr, "\ndemo: there is no fault %q; above are those there are\n", *fault)
		os.Exit(2)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "demo: booting a node needs root")
		os.Exit(1)
	}
	if *check {
		return
	}
	os.Exit(node.Isolated(nil, func() int { return isolated(p) }))
}

// isolated plays in the process that is cut off from the machine's network.
func isolated(p play) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %v", limit))
	defer cancel()
	p.screen = newScreen(os.Stdout)
	summary, err := p.run(ctx)
	if err != nil {
		if errors.Is(context.Cause(ctx), context.Canceled) {
			p.screen.end("interrupted", false)
			return 130
		}
		p.screen.end(err.Error(), false)
		return 1
	}
	p.screen.end(summary, true)
	return 0
}
