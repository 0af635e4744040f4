package bootstrap_test

import (
	"testing"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

func TestComingUp(t *testing.T) {
	t.Parallel()
	block := func(codes ...bootstrap.Code) bootstrap.Verdict {
		var v bootstrap.Verdict
		for _, c := range codes {
			v.Findings = append(v.Findings, bootstrap.Finding{Code: c, Blocks: true})
		}
		return v
	}
	for _, c := range []struct {
		name  string
		v     bootstrap.Verdict
		stage bootstrap.Stage
		after time.Duration
		want  bool
	}{
		{"no route yet", block(bootstrap.LNK104), bootstrap.StageProbe, time.Second, true},
		{"no metadata yet", block(bootstrap.IMD101), bootstrap.StageInput, 3 * time.Second, true},
		{"no route still", block(bootstrap.LNK104), bootstrap.StageProbe, 4 * time.Second, false},
		{"something else too", block(bootstrap.LNK104, bootstrap.CRD101), bootstrap.StageProbe, time.Second, false},
		{"something else", block(bootstrap.NET105), bootstrap.StageProbe, time.Second, false},
		{"nothing", bootstrap.Verdict{Pass: true}, bootstrap.StageProbe, time.Second, false},
		{"the end", block(bootstrap.LNK104), bootstrap.StageFailed, time.Second, false},
	} {
		started := time.Now()
		o := bootstrap.Outcome{Started: started, Stage: c.stage, Verdict: c.v}
		if got := o.ComingUp(started.Add(c.after)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
