package bootstrap

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// Deps are the hands and eyes of Run. No function is optional. Metadata,
// Machine, Network, Probe and Write may run at the same time as each other,
// none at the same time as itself.
type Deps struct {
	// Metadata reads the metadata service once. An error is or wraps a
	// *MetadataError, unless a file stands in for the service.
	Metadata func(context.Context) (Metadata, error)
	// Machine reads what the instance is and has. With an error it returns what it
	// could read.
	Machine func(context.Context) (Machine, error)
	// Network reads the machine's network without sending a packet.
	Network func(context.Context) (netcfg.State, error)
	// Sources reads the configuration directories, lowest precedence first;
	// userData takes its place among them.
	Sources func(userData *Source) ([]Source, error)
	// Look asks the kernel how it would reach addresses, without sending a packet.
	Look func(context.Context, []netip.Addr) ([]netcfg.Destination, error)
	// Probe runs one round over the targets and calls progress, when not nil,
	// each time a result grows.
	Probe func(ctx context.Context, s netcfg.State, targets []probe.Target, e probe.Experiments, progress func(probe.Report)) probe.Report
	// Clock asks time servers and returns within two seconds.
	Clock func(ctx context.Context, servers []netip.AddrPort) []probe.ClockReading
	// FlushDNS empties the cache of the machine's own resolver, if it has one.
	FlushDNS func(context.Context) error
	// Joined reads the marker that this node joined its cluster before, and
	// MarkJoined writes it; a Marker's zero value is none.
	Joined     func() (Marker, error)
	MarkJoined func(Marker) error
	// Scripts says whether user scripts (cloud-final) may still change the configuration.
	Scripts func(context.Context) (ScriptState, error)
	// Write replaces files atomically; unchanged files are not touched.
	Write func([]File) ([]WrittenFile, error)
	// Host opens the gate and starts units.
	Host Host
	// Publish shows a changed Outcome in every window. It must not block.
	Publish func(Outcome)
	// Status shows one line while something is being waited for.
	Status func(string)
	// Extend tells systemd that no sign of life is due before d has passed.
	Extend func(d time.Duration)
	// Ready tells systemd that the kubelet was started.
	Ready func()
	// Changes delivers a value when links, addresses or routes may have
	// changed. It may be nil.
	Changes <-chan struct{}
}

// Host is what Run asks of the machine once the verdict passed.
type Host interface {
	// OpenGate creates the gate file.
	OpenGate() error
	// GateState says whether the gate file exists and who made it.
	GateState() (Gate, error)
	// Start starts a unit and reads the job's result and the unit's state
	// under the context's deadline.
	Start(ctx context.Context, unit string) UnitResult
	// Inspect reads the unit's state and the kubelet's healthz.
	Inspect(ctx context.Context, unit string) UnitResult
}

// A Marker says that this instance joined a cluster. It outlives reboots.
type Marker struct {
	InstanceID string `json:"instanceID"`
	Cluster    string `json:"cluster"`
	CASHA256   string `json:"caSHA256"` // of the cluster's CA bundle, lower-case hex
	// At is when the kubelet had stayed up for the settle time.
	At time.Time `json:"at"`
}

// Metadata is one complete reading of the metadata service.
type Metadata struct {
	Instance Instance
	// Clock is this machine's clock against the Date header of the answer that took the
	// shortest time (NewMetadataClock); nil when no answer had one.
	Clock *probe.ClockReading
	// UserData is nil when the service answered that there is none (404).
	UserData []byte
}

// A MetadataError is a reading that failed: the request, and why.
type MetadataError struct {
	Method string // PUT for the token
	Path   string
	// Status is the HTTP status, 0 when no answer came.
	Status int
	Server string // the Server header of the answer
	Phase  probe.Phase
	Took   time.Duration
	Err    error
	// Address is the service's that was asked, zero when it is given by a name.
	Address netip.AddrPort
	// Tokenless is the status of a GET without a token. It was sent after the token
	// request was answered 404 or 405, or not at all over a connection that was made; 0 when
	// it was not sent or got no answer.
	Tokenless int
}

// Error describes the request and its failure.
func (e *MetadataError) Error() string {
	switch {
	case e.Status == 0:
		return fmt.Sprintf("%s %s: %v", e.Method, e.Path, e.Err)
	case e.Err == nil:
		return fmt.Sprintf("%s %s: HTTP status %d", e.Method, e.Path, e.Status)
	default:
		return fmt.Sprintf("%s %s: HTTP status %d: %v", e.Method, e.Path, e.Status, e.Err)
	}
}

// Unwrap returns the underlying error.
func (e *MetadataError) Unwrap() error { return e.Err }

// ScriptState is what cloud-init's last stage is doing.
type ScriptState struct {
	// Pending says that scripts run or will run.
	Pending bool
	Unit    string // cloud-final.service
	State   string // ActiveState, or not-found
}
