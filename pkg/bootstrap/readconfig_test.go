package bootstrap_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

func read(userData []byte) (bootstrap.Config, []bootstrap.Problem) {
	return bootstrap.ReadConfig([]bootstrap.Source{{Name: "user data", UserData: true, Data: userData}}, bootstrap.Instance{}, testMachine())
}

// validNodeConfig is a complete NodeConfig with more below spec.
func validNodeConfig(tb testing.TB, more string) string {
	tb.Helper()
	return string(expand(tb, []byte(`apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  cluster:
    name: shop
    apiServerEndpoint: https://api.shop.example
    certificateAuthority: @CA valid@
    cidr: 10.100.0.0/16
`))) + more
}

func TestReadConfigOrigins(t *testing.T) {
	t.Parallel()
	cfg, problems := bootstrap.ReadConfig(
		[]bootstrap.Source{{Name: "/etc/nodeprep/conf.d/a.yaml", Data: []byte(validNodeConfig(t, ""))}},
		bootstrap.Instance{ID: "i-0123", Region: "us-west-2"}, testMachine())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	want := map[string]string{
		"cluster.name":                 "/etc/nodeprep/conf.d/a.yaml, line 5",
		"cluster.apiServerEndpoint":    "/etc/nodeprep/conf.d/a.yaml, line 6",
		"cluster.certificateAuthority": "/etc/nodeprep/conf.d/a.yaml, line 7",
		"cluster.cidr":                 "/etc/nodeprep/conf.d/a.yaml, line 8",
		"mode":                         "default",
		"endpoints":                    "default",
		"needs":                        "default",
		"giveUpAfter":                  "default",
		"instance.id":                  "metadata",
		"instance.region":              "metadata",
	}
	if diff := cmp.Diff(want, cfg.Origin); diff != "" {
		t.Error(diff)
	}
	if cfg.Policy.Mode != bootstrap.ModeQuorum || cfg.Kubelet.Config == nil || !cfg.Machine.Now.Equal(testMachine().Now) {
		t.Errorf("defaults: %+v", cfg)
	}
}

// TestReadConfigClock holds the rule that the CA's validity is not judged by an
// unknown clock.
func TestReadConfigClock(t *testing.T) {
	t.Parallel()
	data := strings.Replace(validNodeConfig(t, ""), string(expand(t, []byte("@CA valid@"))), string(expand(t, []byte("@CA expired@"))), 1)
	for _, test := range []struct {
		name string
		now  time.Time
		want int
	}{
		{"unknown", time.Time{}, 0},
		{"within", time.Date(2015, 1, 1, 0, 0, 0, 0, time.UTC), 0},
		{"after", time.Date(2021, 1, 1, 0, 0, 0, 0, time.UTC), 1},
	} {
		_, problems := bootstrap.ReadConfig([]bootstrap.Source{{Name: "f", Data: []byte(data)}}, bootstrap.Instance{}, bootstrap.Machine{Now: test.now})
		if len(problems) != test.want {
			t.Errorf("%s: %v", test.name, problems)
		}
	}
}

// TestReadConfigLimits reads input that is made to be too much.
func TestReadConfigLimits(t *testing.T) {
	t.Parallel()
	utf16Text := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune("apiVersion: node.eks.aws/v1alpha1\n")) {
		utf16Text = append(utf16Text, byte(u), byte(u>>8))
	}
	random := make([]byte, 30000)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = 'a' + byte(r.IntN(26))
	}
	incompressible := encode(t, "random", "gz", []byte(validNodeConfig(t, "  # "+string(random)+"\n")))
	deepMIME := "Content-Type: application/node.eks.aws\n\nkind: NodeConfig\n"
	for i := range 10 {
		deepMIME = fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n%s\n--b%d--\n", i, i, deepMIME, i)
	}
	for _, test := range []struct {
		name, want string
		data       []byte
	}{
		{"large text", "larger than 1048576 bytes", []byte("# " + strings.Repeat("x", 2<<20))},
		{"gzip bomb", "larger than 1048576 bytes", encode(t, "bomb", "gz", make([]byte, 20<<20))},
		{"deep flow", "", []byte("a: " + strings.Repeat("[", 200000))},
		{"deep but closed", "nested deeper than 100 levels", []byte(validNodeConfig(t, "  kubelet: {config: {a: "+strings.Repeat("[", 500)+strings.Repeat("]", 500)+"}}\n"))},
		{"deep block", "", []byte(strings.Repeat("- ", 100000))},
		{"UTF-16", "UTF-16", utf16Text},
		{"cut gzip", "in the middle of its gzip data: it was cut off", incompressible[:16384]},
		{"many parts", "more than 256 parts", []byte("Content-Type: multipart/mixed; boundary=b\n\n" + strings.Repeat("--b\n\nx\n", 5000) + "--b--\n")},
		{"deep multipart", "nested deeper than 8", []byte(deepMIME)},
		{"not text", "", []byte("\x00\x01\x02\x80\xff")},
		{"many problems", "900 more problems of this kind are not shown", []byte(validNodeConfig(t, "---\napiVersion: nodeprep.io/v1alpha1\nkind: PrepConfig\nspec:\n"+numbered("  f%d: 1\n", 1000)))},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, problems := read(test.data)
			checkProblems(t, problems)
			if i := slices.IndexFunc(problems, func(p bootstrap.Problem) bool { return !p.Warning && strings.Contains(p.Message, test.want) }); i < 0 {
				t.Errorf("no error with %q: %.500v", test.want, problems)
			}
		})
	}
}

func numbered(format string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// TestReadConfigManyWarnings holds that warnings never push an error out.
func TestReadConfigManyWarnings(t *testing.T) {
	t.Parallel()
	_, problems := read([]byte(validNodeConfig(t, numbered("  zzzzzzzz%d: 1\n", 300)+"  kubelet: {flags: [bad]}\n")))
	if !slices.ContainsFunc(problems, func(p bootstrap.Problem) bool { return !p.Warning }) {
		t.Error("the error is lost")
	}
	if len(problems) > 110 {
		t.Errorf("%d problems", len(problems))
	}
}

// TestReadConfigPlainTextStaysPlain holds that text which a trial decode would
// take for base64 is left alone.
func TestReadConfigPlainTextStaysPlain(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"thisisaplainwordthatdecodes", "abcdefghijklmnopqrstuvwxyzabcdef", "YWJj", "0000000000000000", strings.Repeat("deadbeef", 10),
	} {
		_, problems := read([]byte(text))
		for _, p := range problems {
			if strings.Contains(p.Message, "base64") {
				t.Errorf("%s: %s", text, p.Message)
			}
		}
	}
}

// TestReadConfigKeepsSecrets holds that no byte of a CA and no long stretch of
// any value gets into a message.
func TestReadConfigKeepsSecrets(t *testing.T) {
	t.Parallel()
	const secret = "hushhushHUSHHUSHhushhush"
	long := strings.Repeat("longsecret", 30)
	for _, value := range []string{secret, "[" + secret + "]", "{a: " + secret + "}", `"-----BEGIN ` + secret + `"`, "!!binary " + secret, "!!int " + secret, secret + ": x"} {
		_, problems := read([]byte(strings.ReplaceAll(`apiVersion: node.eks.aws/v1alpha1
kind: NodeConfig
spec:
  cluster:
    certificateAuthority: VALUE
    certificateAuthorityData: VALUE
    name: `+long+`
    cidr: `+long+`
  instance: {environment: {default: {PROXY: VALUE}}}
  containerd: {config: VALUE}
`, "VALUE", value)))
		text := describeProblems(problems)
		if strings.Contains(text, secret) || strings.Contains(text, strings.Repeat("longsecret", 5)) {
			t.Errorf("%s: a secret is shown:\n%s", value, text)
		}
	}
}

// TestReadConfigKeepsPartsSecret holds that a part whose encoding is broken is
// not quoted.
func TestReadConfigKeepsPartsSecret(t *testing.T) {
	t.Parallel()
	const secret = "hushhush"
	for _, encoding := range []string{"base64", "quoted-printable", "8bit"} {
		_, problems := read([]byte("Content-Type: application/node.eks.aws\nContent-Transfer-Encoding: " + encoding + "\n\n" +
			"a: b\nPASSWORD=  =" + secret + "!\n\x01: [" + secret + "\n"))
		if text := describeProblems(problems); strings.Contains(text, secret) || len(problems) == 0 {
			t.Errorf("%s: a secret is shown, or nothing at all:\n%s", encoding, text)
		}
	}
}

// TestReadConfigSkeleton holds that what the remedy of CFG-101 shows is a
// NodeConfig in which only the values are missing.
func TestReadConfigSkeleton(t *testing.T) {
	t.Parallel()
	_, problems := read([]byte(bootstrap.ConfigSkeleton))
	for _, p := range problems {
		if p.Path != "spec.cluster.certificateAuthority" {
			t.Errorf("%+v", p)
		}
	}
	_, problems = read(nil)
	if len(problems) != 1 || problems[0].Code != bootstrap.CFG101 || !problems[0].Missing || !strings.Contains(problems[0].Remedy, bootstrap.ConfigSkeleton) {
		t.Errorf("%+v", problems)
	}
}

// TestReadConfigEncodings holds that how valid user data is packed changes
// nothing of what it says.
func TestReadConfigEncodings(t *testing.T) {
	t.Parallel()
	for _, file := range okCases(t, ".yaml", ".mime") {
		sources, inst := readCase(t, file)
		want, _ := bootstrap.ReadConfig(sources, inst, testMachine())
		for _, steps := range [][]string{{"gz"}, {"b64"}, {"b64", "b64"}, {"gz", "b64"}, {"b64", "gz"}, {"crlf"}, {"bom"}, {"crlf", "bom", "gz", "b64"}} {
			data := sources[0].Data
			for _, step := range steps {
				data = encode(t, file, step, data)
			}
			got, problems := bootstrap.ReadConfig([]bootstrap.Source{{Name: "user data", UserData: true, Data: data}}, inst, testMachine())
			if diff := cmp.Diff(want, got, cmpConfig()...); diff != "" {
				t.Errorf("%s as %v: %s\n%v", file, steps, diff, problems)
			}
		}
	}
}

func cmpConfig() []cmp.Option {
	return []cmp.Option{
		cmpopts.EquateComparable(bootstrap.Cluster{}.ServiceCIDR, bootstrap.Instance{}.LocalIPv4), cmpopts.EquateEmpty(),
	}
}

// okCases returns the cases of testdata/userdata/ok with exactly these endings,
// to which no step is applied.
func okCases(tb testing.TB, endings ...string) []string {
	tb.Helper()
	var out []string
	files, err := filepath.Glob(filepath.Join("testdata", "userdata", "ok", "*"))
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range files {
		if slices.Contains(endings, filepath.Ext(f)) {
			out = append(out, f)
		}
	}
	if len(out) < 10 {
		tb.Fatalf("only %d cases", len(out))
	}
	return out
}

// TestReadConfigRoundTrip prints what was read as documents and reads those.
func TestReadConfigRoundTrip(t *testing.T) {
	t.Parallel()
	for _, file := range okCases(t, ".yaml", ".mime") {
		sources, inst := readCase(t, file)
		want, _ := bootstrap.ReadConfig(sources, inst, testMachine())
		got, problems := bootstrap.ReadConfig([]bootstrap.Source{{Name: "file", Data: printConfig(t, want)}}, inst, testMachine())
		if diff := cmp.Diff(want, got, append(cmpConfig(), cmpopts.IgnoreFields(bootstrap.Config{}, "Origin"))...); diff != "" {
			t.Errorf("%s: %s\n%v", file, diff, problems)
		}
	}
}

// printConfig writes a Config as the two documents that say the same.
func printConfig(tb testing.TB, cfg bootstrap.Config) []byte {
	tb.Helper()
	cidr := ""
	if cfg.Cluster.ServiceCIDR.IsValid() {
		cidr = cfg.Cluster.ServiceCIDR.String()
	}
	var out bytes.Buffer
	for _, doc := range []map[string]any{
		{"apiVersion": "node.eks.aws/v1alpha1", "kind": "NodeConfig", "spec": map[string]any{
			"cluster": map[string]any{
				"name": cfg.Cluster.Name, "apiServerEndpoint": cfg.Cluster.APIServer, "certificateAuthority": cfg.Cluster.CA, "cidr": cidr,
			},
			"kubelet": map[string]any{"config": cfg.Kubelet.Config, "flags": cfg.Kubelet.Flags},
		}},
		{"apiVersion": "nodeprep.io/v1alpha1", "kind": "PrepConfig", "spec": printPolicy(cfg.Policy)},
	} {
		data, err := json.Marshal(doc)
		if err != nil {
			tb.Fatal(err)
		}
		fmt.Fprintf(&out, "---\n%s\n", data)
	}
	return out.Bytes()
}

// printPolicy is the spec of a PrepConfig that says the same.
func printPolicy(p bootstrap.Policy) map[string]any {
	duration := func(d probe.Duration, none string) string {
		if d <= 0 && (none == "never" || d < 0) {
			return none
		}
		return time.Duration(d).String()
	}
	cni := "vpc-cni"
	if p.OtherCNI {
		cni = "other"
	}
	spec := map[string]any{
		"mode": p.Mode, "cni": cni, "endpoints": p.Endpoints, "hosts": p.Hosts, "privateOnly": p.PrivateOnly, "enforce": p.Enforce, "waive": p.Waive,
		"names":       map[string]any{"fips": p.FIPS, "dualStack": p.DualStack},
		"assumedHold": duration(p.AssumedHold, "forever"), "rejoinHold": duration(p.RejoinHold, "forever"), "giveUpAfter": duration(p.GiveUpAfter, "never"),
		"experiments": p.Experiments,
	}
	if !p.AssumedNeeds {
		spec["needs"] = p.Needs
	}
	return spec
}

// FuzzReadConfig holds for any input: no panic, every problem is complete, and
// a configuration without problems reads the same after it was printed.
func FuzzReadConfig(f *testing.F) {
	for _, dir := range []string{"ok", "bad"} {
		files, err := filepath.Glob(filepath.Join("testdata", "userdata", dir, "*"))
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, ".golden") || strings.Contains(file, ".cut") {
				continue
			}
			sources, _ := readCase(f, file)
			for _, s := range sources {
				f.Add(s.Data, s.UserData)
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, userData bool) {
		if len(data) > 64<<10 {
			return
		}
		inst := bootstrap.Instance{Region: "us-west-2", DNSSuffix: "amazonaws.com"}
		began := time.Now()
		cfg, problems := bootstrap.ReadConfig([]bootstrap.Source{{Name: "input", UserData: userData, Data: data}}, inst, testMachine())
		if took := time.Since(began); took > 20*time.Second {
			t.Fatalf("took %v", took)
		}
		checkProblems(t, problems)
		if cfg.Kubelet.Config == nil || cfg.Origin == nil {
			t.Fatal("incomplete Config")
		}
		if len(problems) > 0 {
			return
		}
		printed := printConfig(t, cfg)
		again, problems := bootstrap.ReadConfig([]bootstrap.Source{{Name: "printed", Data: printed}}, inst, testMachine())
		if len(problems) > 0 {
			t.Fatalf("%v\n%s", problems, printed)
		}
		if second := printConfig(t, again); !bytes.Equal(printed, second) {
			t.Fatalf("first:\n%s\nsecond:\n%s", printed, second)
		}
	})
}
