package bootstrap_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

var updateUserData = flag.Bool("update-userdata", false, "write the goldens of testdata/userdata anew")

// testMachine has a fixed clock: the certificates of testdata/userdata/ca are
// made around it.
func testMachine() bootstrap.Machine {
	return bootstrap.Machine{Now: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)}
}

// TestUserData reads every file of testdata/userdata. The name says what is
// done to the file: plain.yaml.gz.b64 is compressed, then encoded. Inside,
// @CA valid@ stands for ca/valid.pem in base64 (see expandCA), a block between
// "@begin gz b64@" and @end@ is encoded in place. A txtar archive holds several
// sources in their order, and optionally the instance.
func TestUserData(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"ok", "bad"} {
		files, err := filepath.Glob(filepath.Join("testdata", "userdata", dir, "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no cases in %s: %v", dir, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, ".golden") {
				continue
			}
			t.Run(dir+"/"+filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				sources, inst := readCase(t, file)
				cfg, problems := bootstrap.ReadConfig(sources, inst, testMachine())
				failed := slices.ContainsFunc(problems, func(p bootstrap.Problem) bool { return !p.Warning })
				if failed != (dir == "bad") {
					t.Errorf("refused = %v", failed)
				}
				checkProblems(t, problems)
				compareGolden(t, file+".golden", describeConfig(t, cfg)+describeProblems(problems))
			})
		}
	}
}

// checkProblems holds what is true of every problem.
func checkProblems(t *testing.T, problems []bootstrap.Problem) {
	t.Helper()
	for _, p := range problems {
		if p.Code.Area() != "CFG" || p.Message == "" || p.Remedy == "" {
			t.Errorf("incomplete problem: %+v", p)
		}
		if p.Origin == "" && !p.Missing && !strings.Contains(p.Message, "not shown") {
			t.Errorf("problem without a place: %+v", p)
		}
	}
}

// describeConfig prints what was read, without what the metadata service said.
func describeConfig(t *testing.T, cfg bootstrap.Config) string {
	t.Helper()
	var subjects []string
	for rest := cfg.Cluster.CA; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		sum := sha256.Sum256(block.Bytes)
		subjects = append(subjects, hex.EncodeToString(sum[:4]))
	}
	origin := map[string]string{}
	for path, o := range cfg.Origin {
		if o != "default" && o != "metadata" {
			origin[path] = o
		}
	}
	// The cases of cut off user data are filled up with flags.
	if n := len(cfg.Kubelet.Flags); n > 100 {
		cfg.Kubelet.Flags = []string{fmt.Sprintf("%d flags", n)}
		maps.DeleteFunc(origin, func(path, _ string) bool { return strings.HasPrefix(path, "kubelet.flags[") })
	}
	out, err := json.MarshalIndent(map[string]any{
		"cluster": cfg.Cluster, "ca": subjects, "kubelet": cfg.Kubelet, "policy": decided(t, cfg.Policy), "origin": origin,
	}, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out) + "\n"
}

// decided is what a policy says beyond the defaults, and the mode.
func decided(t *testing.T, p bootstrap.Policy) map[string]any {
	t.Helper()
	fields := func(p bootstrap.Policy) map[string]any {
		text, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		var out map[string]any
		if err := json.Unmarshal(text, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	defaults, _ := bootstrap.ReadConfig(nil, bootstrap.Instance{}, bootstrap.Machine{})
	out := fields(p)
	for name, value := range fields(defaults.Policy) {
		if name != "mode" && reflect.DeepEqual(out[name], value) {
			delete(out, name)
		}
	}
	return out
}

func describeProblems(problems []bootstrap.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		kind := "error"
		if p.Warning {
			kind = "warning"
		}
		if p.Missing {
			kind += " (missing)"
		}
		fmt.Fprintf(&b, "\n%s %s", p.Code, kind)
		if p.Origin != "" {
			fmt.Fprintf(&b, " in %s", p.Origin)
		}
		fmt.Fprintf(&b, "\n  %s\n  -> %s\n", strings.TrimSpace(p.Path+" "+p.Message), strings.ReplaceAll(strings.TrimSpace(p.Remedy), "\n", "\n     "))
	}
	return b.String()
}

func compareGolden(t *testing.T, file, got string) {
	t.Helper()
	if *updateUserData {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", file, diff)
	}
}

// readCase reads a test file into sources.
func readCase(tb testing.TB, file string) ([]bootstrap.Source, bootstrap.Instance) {
	tb.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	inst := bootstrap.Instance{Region: "us-west-2", DNSSuffix: "amazonaws.com"}
	name, transforms, _ := strings.Cut(filepath.Base(file), ".")
	_, transforms, _ = strings.Cut(transforms, ".")
	if strings.HasSuffix(file, ".txtar") {
		var sources []bootstrap.Source
		marks := archiveMark.FindAllSubmatchIndex(data, -1)
		for i, m := range marks {
			end := len(data)
			if i+1 < len(marks) {
				end = marks[i+1][0]
			}
			section, body := string(data[m[2]:m[3]]), data[m[1]:end]
			if section == "instance" {
				inst = bootstrap.Instance{}
				if err := json.Unmarshal(body, &inst); err != nil {
					tb.Fatal(err)
				}
				continue
			}
			name, referenced := strings.CutSuffix(section, " (referenced)")
			sources = append(sources, bootstrap.Source{Name: name, UserData: name == "user data", Referenced: referenced, Data: expand(tb, body)})
		}
		return sources, inst
	}
	data = expand(tb, data)
	for transform := range strings.SplitSeq(transforms, ".") {
		if transform != "" {
			data = encode(tb, name, transform, data)
		}
	}
	return []bootstrap.Source{{Name: "user data", UserData: true, Data: data}}, inst
}

// encode applies one step of a file's name or of a block.
func encode(tb testing.TB, name, transform string, data []byte) []byte {
	tb.Helper()
	switch transform {
	case "gz":
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if _, err := z.Write(data); err != nil {
			tb.Fatal(err)
		}
		if err := z.Close(); err != nil {
			tb.Fatal(err)
		}
		return b.Bytes()
	case "b64":
		return []byte(base64.StdEncoding.EncodeToString(data))
	case "half":
		return data[:len(data)/2]
	case "crlf":
		return bytes.ReplaceAll(data, []byte("\n"), []byte("\r\n"))
	case "bom":
		return append([]byte("\xef\xbb\xbf"), data...)
	case "cut": // at EC2's limit
		if len(data) <= 16384 {
			tb.Fatalf("%s is only %d bytes long", name, len(data))
		}
		return data[:16384]
	default:
		tb.Fatalf("%s: unknown step %s", name, transform)
		return nil
	}
}

var (
	archiveMark  = regexp.MustCompile(`(?m)^-- (.+) --\n`)
	encodedBlock = regexp.MustCompile(`(?s)@begin ([a-z0-9 ]+)@\n(.*?)@end@\n`)
	caReference  = regexp.MustCompile(`@(CA|PEM|FILE) ([a-z ]+)@`)
)

// expand replaces the placeholders of a test file.
func expand(tb testing.TB, data []byte) []byte {
	tb.Helper()
	data = caReference.ReplaceAllFunc(data, func(m []byte) []byte {
		sub := caReference.FindSubmatch(m)
		return expandCA(tb, string(sub[1]), strings.Fields(string(sub[2])))
	})
	data = bytes.ReplaceAll(data, []byte("@fill@"), []byte(numbered("      - --v=fill-%d\n", 2000)))
	data = bytes.ReplaceAll(data, []byte("@fill-flow@"), []byte(numbered("      --v=fill-%d,\n", 2000)))
	return encodedBlock.ReplaceAllFunc(data, func(m []byte) []byte {
		sub := encodedBlock.FindSubmatch(m)
		block := sub[2]
		for transform := range strings.FieldsSeq(string(sub[1])) {
			block = encode(tb, "block", transform, block)
		}
		return append(wrap(block), '\n')
	})
}

// expandCA joins the named certificates and does to them what the other words say.
func expandCA(tb testing.TB, form string, words []string) []byte {
	tb.Helper()
	var bundle, out []byte
	var after []string
	for _, word := range words {
		data, err := os.ReadFile(filepath.Join("testdata", "userdata", "ca", word+".pem"))
		if err != nil {
			after = append(after, word)
			continue
		}
		bundle = append(bundle, data...)
	}
	switch form {
	case "FILE":
		return bundle
	case "PEM":
		return bytes.ReplaceAll(bundle, []byte("\n"), []byte("\n      "))
	}
	block, _ := pem.Decode(bundle)
	for _, word := range after {
		switch word {
		case "der":
			bundle = block.Bytes
		case "cutpem":
			bundle = append(bundle, bundle[:len(bundle)/2]...)
		case "twice":
			bundle = []byte(base64.StdEncoding.EncodeToString(bundle))
		case "key":
			bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("hush")})...)
		case "garbage":
			bundle = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("hush")})
		}
	}
	out = []byte(base64.StdEncoding.EncodeToString(bundle))
	for _, word := range after {
		switch word {
		case "truncated":
			out = out[:len(out)/2+1]
		case "folded":
			out = bytes.ReplaceAll(wrap(out), []byte("\n"), []byte("\n      "))
		case "qp":
			out = bytes.ReplaceAll(out, []byte("="), []byte("=3D"))
			out = append(slices.Clone(out[:50]), append([]byte("=\n"), out[50:]...)...)
		}
	}
	return out
}

// wrap breaks text into lines of 76 characters.
func wrap(b []byte) []byte {
	var out []byte
	for chunk := range slices.Chunk(b, 76) {
		if len(out) > 0 {
			out = append(out, '\n')
		}
		out = append(out, chunk...)
	}
	return out
}
