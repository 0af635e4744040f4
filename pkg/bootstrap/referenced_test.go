package bootstrap_test

import (
	"slices"
	"testing"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// However the key is written, the file that it names is read.
func TestReferencedFiles(t *testing.T) {
	t.Parallel()
	const head = "apiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec:\n  endpoints:\n"
	endpoint := func(key string) string { return head + "    - name: cache\n      " + key + " /etc/pki/a.pem\n" }
	for name, c := range map[string]struct {
		text string
		none bool
	}{
		"plain":         {text: endpoint("ca:")},
		"quoted":        {text: endpoint(`"ca":`)},
		"single quotes": {text: endpoint("'ca':")},
		"escaped":       {text: endpoint(`"\x63a":`)},
		"tagged":        {text: endpoint("!!str ca:")},
		"alias":         {text: head + "    - {name: &n ca, host: a}\n    - {*n : /etc/pki/a.pem}\n"},
		"explicit":      {text: head + "    - name: a\n      ? ca\n      : /etc/pki/a.pem\n"},
		"flow":          {text: head + "    [{name: a,ca: /etc/pki/a.pem}]\n"},
		"JSON":          {text: `{"apiVersion":"nodeprep.io/v1alpha1","kind":"PrepConfig","spec":{"endpoints":[{"ca":"/etc/pki/a.pem"}]}}`},
		// Misspelt: reported, and read all the same.
		"capitals":   {text: endpoint("CA:")},
		"hyphen":     {text: endpoint("c-a:")},
		"a key less": {text: head + "    - {name: cache, host: a, why: the /etc/pki/a.pem of carla}\n", none: true},
	} {
		var want []string
		if !c.none {
			want = []string{"/etc/pki/a.pem"}
		}
		got := bootstrap.ReferencedFiles([]bootstrap.Source{{Name: "/etc/nodeprep/conf.d/10.yaml", Data: []byte(c.text)}})
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
