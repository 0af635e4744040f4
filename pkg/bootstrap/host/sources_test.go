package host_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

// A file that configuration names is read with it, below the same root; what cannot be
// read says why.
func TestReadSourcesReferenced(t *testing.T) {
	t.Parallel()
	prep := "apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec: {endpoints: [{name: a, ca: /etc/pki/a.pem}, {name: b, ca: /etc/pki/b.pem}, {name: c, ca: c.pem}]}\n"
	root := tree(t, map[string]string{"/etc/nodeprep/conf.d/10.yaml": prep, "/etc/pki/a.pem": "PEM"})
	got, err := host.ReadSources(root, nil)
	if err != nil || len(got) != 3 {
		t.Fatalf("%v, %v", got, err)
	}
	a, b := got[1], got[2]
	if a.Name != "/etc/pki/a.pem" || !a.Referenced || string(a.Data) != "PEM" || a.Err != nil {
		t.Errorf("got %+v", a)
	}
	if b.Name != "/etc/pki/b.pem" || !b.Referenced || !errors.Is(b.Err, fs.ErrNotExist) {
		t.Errorf("got %+v", b)
	}
}
