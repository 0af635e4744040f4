package vpc_test

import (
	"testing"

	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// Single addresses and extra endpoints can be broken, and mended.
func TestBreak(t *testing.T) {
	t.Parallel()
	v := newVPC(t, vpc.Options{ExtraEndpoints: 2})
	one, two := v.Addresses("extra-0001"), v.Addresses("extra-0002")
	expect := func(silent, stalled string) {
		t.Helper()
		if s := follow(t, v, "extra-0001", one[0], ""); s != silent {
			t.Errorf("the silent address: %s, want %s", s, silent)
		}
		if s := follow(t, v, "extra-0001", one[1], ""); s != "ok" {
			t.Errorf("the other address: %s", s)
		}
		if s := follow(t, v, "extra-0002", two[0], ""); s != stalled {
			t.Errorf("the stalled endpoint: %s, want %s", s, stalled)
		}
	}
	speak, err := v.Silence(one[:1])
	if err != nil {
		t.Fatal(err)
	}
	move, err := v.Stall("extra-0002")
	if err != nil {
		t.Fatal(err)
	}
	expect("silence", "TLS silence")
	if err := speak(); err != nil {
		t.Fatal(err)
	}
	move()
	expect("ok", "ok")
	if _, err := v.Stall("no such service"); err == nil {
		t.Error("an unknown service was stalled")
	}
}
