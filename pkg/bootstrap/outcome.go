package bootstrap

import (
	"time"

	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// Schema is the version of the report's JSON form. Within /1 it only grows.
const Schema = "nodeprep.report/1"

// Outcome is the whole record of one run: journal, console, systemctl status
// and report are views of it.
type Outcome struct {
	Schema  string    `json:"schema"`
	Version string    `json:"version"` // of nodeprep
	RunID   string    `json:"runID"`
	BootID  string    `json:"bootID,omitempty"`
	Started time.Time `json:"started"`
	Updated time.Time `json:"updated"`

	Stage Stage `json:"stage"`
	// Status is the one line of systemctl status.
	Status string `json:"status"`
	// Round counts the rounds of probing, from 1.
	Round int `json:"round"`
	// NextRound is when the next round begins, zero when none is planned.
	NextRound time.Time `json:"nextRound,omitzero"`
	// Stages says how long each finished stage took.
	Stages []StageTook `json:"stages,omitempty"`

	Plan    Plan         `json:"plan"`
	Network netcfg.State `json:"network"`
	Report  probe.Report `json:"measurements"`
	Verdict Verdict      `json:"verdict"`
	History History      `json:"history,omitempty"`
	// Origin says where each configured field came from.
	Origin map[string]string `json:"origin,omitempty"`

	Files   []WrittenFile `json:"files,omitempty"`
	Gate    Gate          `json:"gate"`
	Kubelet UnitResult    `json:"kubelet,omitzero"` // absent before a start
	// Exit is the exit code this run ends with, or would end with now.
	Exit int `json:"exit"`
	// Err is nodeprep's own failure, empty for none.
	Err string `json:"error,omitempty"`
}

// ForReport returns o as it is written: times in UTC, and empty lists where
// there are none, so that a reader need not tell null from []. While it runs,
// o keeps its own times: they have a monotonic part, which a clock that is set
// during the boot does not disturb.
func (o Outcome) ForReport() Outcome {
	o.Started, o.Updated, o.NextRound = o.Started.UTC(), o.Updated.UTC(), o.NextRound.UTC()
	o.Report.Started, o.Gate.At = o.Report.Started.UTC(), o.Gate.At.UTC()
	history := make(History, len(o.History))
	for key, seen := range o.History {
		seen.First, seen.Last = seen.First.UTC(), seen.Last.UTC()
		history[key] = seen
	}
	o.History = history
	o.Report.Results = orEmpty(o.Report.Results)
	o.Plan.Targets, o.Plan.Files, o.Plan.Units = orEmpty(o.Plan.Targets), orEmpty(o.Plan.Files), orEmpty(o.Plan.Units)
	o.Network.Links, o.Network.Routes = orEmpty(o.Network.Links), orEmpty(o.Network.Routes)
	o.Network.DNS.Servers = orEmpty(o.Network.DNS.Servers)
	return o
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// A Stage is one step of a run.
type Stage string

// The stages in order.
const (
	StageInput   Stage = "input"   // metadata, user data, network state
	StageProbe   Stage = "probe"   // rounds of probing and judging
	StageScripts Stage = "scripts" // passed, but user scripts still run
	StageStart   Stage = "start"   // gate open, kubelet being started
	StageConfirm Stage = "confirm" // kubelet runs, watched for the settle time
	StageDone    Stage = "done"
	StageFailed  Stage = "failed" // ended without a kubelet
)

// StageTook is the duration of one stage.
type StageTook struct {
	Stage Stage          `json:"stage"`
	Took  probe.Duration `json:"tookMS"`
}

// A WrittenFile is one file of the plan as it is on disk.
type WrittenFile struct {
	Path    string `json:"path"`
	SHA256  string `json:"sha256"` // lower-case hex
	Changed bool   `json:"changed"`
}

// Gate is the state of the gate file.
type Gate struct {
	Open bool `json:"open"`
	// By is nodeprep, or override when somebody else made the file.
	By string    `json:"by,omitempty"`
	At time.Time `json:"at,omitzero"`
}

// A UnitResult is what systemd said about starting a unit.
type UnitResult struct {
	Unit string `json:"unit,omitempty"`
	// Job is the job's result: done, failed, timeout, dependency, skipped; empty before a start.
	Job         string `json:"job,omitempty"`
	ActiveState string `json:"activeState,omitempty"` // active, inactive, failed, …
	SubState    string `json:"subState,omitempty"`
	Result      string `json:"result,omitempty"` // success, exit-code, signal, …
	ExitStatus  int    `json:"exitStatus,omitempty"`
	Restarts    int    `json:"restarts,omitempty"`
	// ConditionMet is false when a Condition of the unit kept it from starting.
	ConditionMet bool `json:"conditionMet"`
	// Healthy says that the kubelet's healthz answered ok.
	Healthy bool   `json:"healthy"`
	Err     string `json:"error,omitempty"`
}
