package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/ec2meta"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// input says where a command's input comes from.
type input struct {
	config   string // file in place of the user data
	metadata string // file in place of the metadata service
	root     string // directory in place of /
}

// window is what shows a run to somebody.
type window interface {
	publish(bootstrap.Outcome)
	status(string)
	extend(time.Duration)
	ready()
	// progress shows a round that is under way; nil when nobody watches.
	progress() func(probe.Report)
}

// deps wires the real machine. It is the only place that does.
func (in input) deps(ctx context.Context, w window) bootstrap.Deps {
	client := ec2meta.New(ec2meta.Options{Endpoint: metadataEndpoint()})
	h := host.Host{Gate: in.gate(), Units: host.NewUnits("")}
	prober := &probe.Prober{}
	every := 250 * time.Millisecond
	if w.progress() != nil {
		every = 100 * time.Millisecond // somebody watches
	}
	changes, err := netcfg.Watch(ctx)
	if err != nil {
		changes = nil // the rounds go on without being woken
	}
	return bootstrap.Deps{
		Metadata: func(ctx context.Context) (bootstrap.Metadata, error) { return in.readMetadata(ctx, client) },
		Machine:  in.readMachine,
		Network:  func(ctx context.Context) (netcfg.State, error) { return netcfg.Read(ctx, "/") },
		Sources:  func(ud *bootstrap.Source) ([]bootstrap.Source, error) { return host.ReadSources(in.rootDir(), ud) },
		Look:     netcfg.Look,
		Probe: func(ctx context.Context, s netcfg.State, targets []probe.Target, e probe.Experiments, progress func(probe.Report)) probe.Report {
			saveMemory(len(targets))
			// To copy and judge what is known of many targets takes longer.
			prober.Timing.Progress = every * time.Duration(1+len(targets)/manyTargets)
			prober.Servers, prober.IPv6, prober.Experiments = s.DNS.Servers, s.HasIPv6(), e
			return prober.Run(ctx, targets, both(progress, w.progress()))
		},
		Clock:      probe.ReadClock,
		FlushDNS:   host.FlushDNS,
		Joined:     func() (bootstrap.Marker, error) { return host.ReadJoined(in.rootDir()) },
		MarkJoined: func(m bootstrap.Marker) error { return host.WriteJoined(in.rootDir(), m) },
		Scripts:    h.CloudFinal,
		Write: func(files []bootstrap.File) ([]bootstrap.WrittenFile, error) {
			return host.WriteFiles(in.rootDir(), files)
		},
		Host:    h,
		Publish: w.publish,
		Status:  w.status,
		Extend:  w.extend,
		Ready:   w.ready,
		Changes: changes,
	}
}

// unusable is what is wrong with the files that stand in for the metadata service
// and the user data: unlike those they do not appear by waiting.
func (in input) unusable() error {
	if in.metadata != "" {
		if _, err := ec2meta.ReadFile(in.metadata); err != nil {
			return exitError{Code: bootstrap.ExitInternal, Err: err}
		}
	}
	if in.config != "" {
		if _, err := os.ReadFile(in.config); err != nil {
			return exitError{Code: bootstrap.ExitInternal, Err: err}
		}
	}
	return nil
}

// readMachine reads this machine, and below the root what its units give to
// programs.
func (in input) readMachine(ctx context.Context) (bootstrap.Machine, error) {
	return host.ReadMachine(ctx, "/", in.rootDir())
}

// readMetadata reads the metadata service, or the files given in its place.
func (in input) readMetadata(ctx context.Context, client *ec2meta.Client) (bootstrap.Metadata, error) {
	var (
		m   bootstrap.Metadata
		err error
	)
	if in.metadata != "" {
		m, err = ec2meta.ReadFile(in.metadata)
	} else {
		m, err = client.Read(ctx)
	}
	if err != nil || in.config == "" {
		return m, err
	}
	m.UserData, err = os.ReadFile(in.config)
	return m, err
}

// plan reads the input once and plans, without probing. The network state is that
// of this machine, or none when the metadata are another's.
func (in input) plan(ctx context.Context) (bootstrap.Plan, netcfg.State, []bootstrap.Problem, error) {
	m, err := in.readMetadata(ctx, ec2meta.New(ec2meta.Options{Endpoint: metadataEndpoint()}))
	if err != nil {
		return bootstrap.Plan{}, netcfg.State{}, nil, err
	}
	// Metadata in a file is of another machine, of which nothing else is known.
	var machine bootstrap.Machine
	var state netcfg.State
	if in.metadata == "" {
		if machine, err = in.readMachine(ctx); err != nil {
			return bootstrap.Plan{}, netcfg.State{}, nil, err
		}
		if state, err = netcfg.Read(ctx, "/"); err != nil {
			return bootstrap.Plan{}, netcfg.State{}, nil, err
		}
	}
	machine.Now = time.Now()
	var ud *bootstrap.Source
	if m.UserData != nil {
		ud = &bootstrap.Source{Name: in.userDataName(), UserData: true, Data: m.UserData}
	}
	sources, err := host.ReadSources(in.rootDir(), ud)
	if err != nil {
		return bootstrap.Plan{}, netcfg.State{}, nil, err
	}
	cfg, problems := bootstrap.ReadConfig(sources, m.Instance, machine)
	plan, more := bootstrap.NewPlan(cfg, state)
	return plan, state, append(problems, more...), nil
}

// check reads configuration only and returns what is wrong with it.
func (in input) check(ctx context.Context, stdin io.Reader, files []string) ([]bootstrap.Problem, error) {
	var (
		m       bootstrap.Metadata
		sources []bootstrap.Source
		err     error
	)
	if in.metadata != "" || len(files) == 0 {
		if m, err = in.readMetadata(ctx, ec2meta.New(ec2meta.Options{Endpoint: metadataEndpoint()})); err != nil {
			return nil, err
		}
	}
	for _, name := range files {
		var b []byte
		if name == "-" {
			name = "standard input"
			b, err = io.ReadAll(io.LimitReader(stdin, 4<<20))
		} else {
			b, err = os.ReadFile(name)
		}
		if err != nil {
			return nil, err
		}
		sources = append(sources, host.FileSource(name, b))
	}
	if len(files) > 0 {
		host.SortSources(sources)
		sources = append(sources, host.ReadReferenced(in.rootDir(), sources)...)
	} else {
		var ud *bootstrap.Source
		if m.UserData != nil {
			ud = &bootstrap.Source{Name: "user data", UserData: true, Data: m.UserData}
		}
		if sources, err = host.ReadSources(in.rootDir(), ud); err != nil {
			return nil, err
		}
	}
	_, problems := bootstrap.ReadConfig(sources, m.Instance, bootstrap.Machine{Now: time.Now()})
	if len(files) > 0 && !slices.ContainsFunc(sources, func(s bootstrap.Source) bool { return s.UserData }) {
		// The rest of the configuration is elsewhere.
		problems = slices.DeleteFunc(problems, func(p bootstrap.Problem) bool { return p.Missing })
	}
	return problems, nil
}

// userDataName is how problems name the user data.
func (in input) userDataName() string {
	if in.config != "" {
		return in.config
	}
	return "user data"
}

// rootDir is the absolute path of the directory that stands for /.
func (in input) rootDir() string {
	if in.root == "" {
		return "/"
	}
	dir, err := filepath.Abs(in.root)
	if err != nil {
		return in.root // the working directory is gone; using the path says so
	}
	return dir
}

// gate is the gate file below the root.
func (in input) gate() host.Gate {
	return host.Gate{Path: join(in.rootDir(), host.GatePath)}
}

// metadataEndpoint honours the variable that the AWS SDKs honour, for
// laboratories; empty means the service's own address.
func metadataEndpoint() string { return os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT") }

// both calls two progress functions, either of which may be nil.
func both(a, b func(probe.Report)) func(probe.Report) {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return func(r probe.Report) { a(r); b(r) }
}

// newRunID names one run in the journal and the report.
func newRunID() string {
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return fmt.Sprint(os.Getpid())
	}
	return hex.EncodeToString(b[:])
}
