package host_test

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/bootstrap/host"
)

// A file that is checked elsewhere is read as on a node: in the form of its directory,
// and in its place among the others.
func TestFileSource(t *testing.T) {
	t.Parallel()
	var got []bootstrap.Source
	for _, file := range []string{
		"image/etc/nodeprep/conf.d/10.yaml", "user-data.txt", "/usr/lib/nodeprep/conf.d/20.yaml", "/build/etc/eks/nodeadm.d/a.yaml",
		"usr/lib/nodeprep/conf.d/10.yaml", "/usr/lib/nodeprep/conf.d/more/10.yaml", "/usr/lib/nodeprep/conf.d.old/10.yaml",
	} {
		got = append(got, host.FileSource(file, []byte("data of "+file)))
	}
	host.SortSources(got)
	want := []bootstrap.Source{
		{Name: "/usr/lib/nodeprep/conf.d/20.yaml", Data: []byte("data of /usr/lib/nodeprep/conf.d/20.yaml")},
		{Name: "/usr/lib/nodeprep/conf.d/10.yaml", Data: []byte("data of usr/lib/nodeprep/conf.d/10.yaml")},
		{Name: "user-data.txt", UserData: true, Data: []byte("data of user-data.txt")},
		{Name: "/usr/lib/nodeprep/conf.d/more/10.yaml", UserData: true, Data: []byte("data of /usr/lib/nodeprep/conf.d/more/10.yaml")},
		{Name: "/usr/lib/nodeprep/conf.d.old/10.yaml", UserData: true, Data: []byte("data of /usr/lib/nodeprep/conf.d.old/10.yaml")},
		{Name: "/etc/eks/nodeadm.d/a.yaml", Data: []byte("data of /build/etc/eks/nodeadm.d/a.yaml")},
		{Name: "/etc/nodeprep/conf.d/10.yaml", Data: []byte("data of image/etc/nodeprep/conf.d/10.yaml")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

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
