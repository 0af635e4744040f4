package bootstrap

import (
	"cmp"
	"fmt"
	"time"
)

// roleGrace is how long a role that was just attached may take to appear.
const roleGrace = time.Minute

// noRole: without credentials the kubelet has no token.
func noRole(v *view) []*candidate {
	if !v.plan.Instance.RoleAbsent {
		return nil
	}
	c := &candidate{code: CRD101, force: true, because: "the metadata service lists no role for this instance"}
	if seen, ok := v.history[Finding{Code: CRD101}.Key()]; ok {
		if d := v.now.Sub(seen.First); d >= roleGrace {
			c.severity = Fatal // a new profile would have arrived
			c.because += ", for " + d.Round(time.Second).String() + " now"
		}
	}
	return []*candidate{c}
}

// badCredentials: there is a role, and its credentials cannot be used.
func badCredentials(v *view) []*candidate {
	cr := v.plan.Instance.Credentials
	switch cr.Code {
	case "", "Success":
	default:
		return []*candidate{{
			code: CRD102, force: true, because: "the metadata service gives no credentials: Code is " + cr.Code,
			fields: []string{"detail", cr.Code, "suffix", cmp.Or(v.plan.Instance.DNSSuffix, awsSuffixes[0])},
			not:    []RuledOut{{CRD101, "there is a role"}},
		}}
	}
	// This machine's own clock is no witness: it may be what is wrong.
	ref, _ := v.offset()
	if cr.Expiration.IsZero() || ref == nil {
		return nil
	}
	now := v.now.Add(time.Duration(ref.Offset))
	if !now.Add(-time.Duration(ref.Within)).After(cr.Expiration) {
		return nil
	}
	return []*candidate{{
		code: CRD103, force: true,
		because: fmt.Sprintf("the credentials expired %s, and it is %s by %s", cr.Expiration.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339), ref.Source),
	}}
}
