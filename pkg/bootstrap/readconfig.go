package bootstrap

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxProblems bounds the problems reported of each severity; the rest is counted.
const maxProblems = 100

// ReadConfig decodes all sources, merges them in their order (later wins) and
// validates the result. It reports every mistake it can find at once, sorted by
// place. The Config holds all that could be read, also beside problems, so that
// probing may begin; its Kubelet.Config is never nil.
//
// Whether the region's partition is known is found by NewPlan. The validity of
// the cluster's CA is judged by m.Now, and not at all when that is zero; flags
// are judged by m.KubeletVersion.
func ReadConfig(sources []Source, inst Instance, m Machine) (Config, []Problem) {
	r := newConfigReader()
	r.read(sources)
	cfg := Config{Instance: inst, Machine: m}
	r.checkPresence(sources)
	r.checkSupported()
	r.checkLocks()
	cfg.Cluster = r.cluster(inst, m)
	r.reportCut()
	cfg.Kubelet = r.kubelet(m.KubeletVersion)
	cfg.Policy = r.policy(m.Now)
	cfg.Origin = r.origins(inst)
	return cfg, r.sorted()
}

func newConfigReader() *configReader {
	return &configReader{
		node: nodeConfigKind(), prep: prepConfigKind(), attempted: map[string]bool{}, referenced: map[string]Source{}, merged: newMerger(), image: newMerger(),
	}
}

// read decodes and merges all sources.
func (r *configReader) read(sources []Source) {
	for _, s := range sources {
		r.fromImage = !s.UserData && strings.HasPrefix(s.Name, imageConfigDir+"/")
		switch {
		case s.Referenced:
			r.referenced[s.Name] = s
		case s.UserData:
			r.readUserData(s)
		default:
			r.readFile(s)
		}
	}
}

// A configReader collects what the sources say and what is wrong with it.
type configReader struct {
	node, prep *documentKind // NodeConfig, PrepConfig
	merged     merger
	// image holds what the image's own files say, which may be locked; fromImage says
	// that one of them is being read.
	image     merger
	fromImage bool
	problems  []locatedProblem
	foreign   []foreign
	places    int
	// nodeConfigs and prepConfigs count the documents read.
	nodeConfigs, prepConfigs int
	// unreadable says that a piece could not be read, so that what is missing
	// may have been in it.
	unreadable bool
	// cut is where the user data ends without a line end at EC2's limit, nil
	// when it does not; cutMatters says that something is missing then.
	cut        *place
	cutMatters bool
	// attempted holds the paths whose value was given but refused, which are
	// not missing.
	attempted map[string]bool
	// referenced are the files that configuration names, by path.
	referenced map[string]Source
}

// A place says where something stands.
type place struct {
	source string // Source.Name
	part   string // "2" or, in a nested multipart, "2.1"; empty without parts
	line   int    // from 1, within the decoded part or source; 0 for none
	order  int    // of the piece among all pieces
}

// String is the form shown to people: "user data part 2, line 7".
func (p place) String() string {
	s := p.source
	if p.part != "" {
		s += " part " + p.part
	}
	if p.line > 0 {
		s += fmt.Sprintf(", line %d", p.line)
	}
	return s
}

// nextPlace begins a new piece of a source.
func (r *configReader) nextPlace(source string) place {
	r.places++
	return place{source: source, order: r.places}
}

type locatedProblem struct {
	at place
	Problem
}

// add reports a problem at a place.
func (r *configReader) add(at place, p Problem) {
	p.Origin = at.String()
	r.problems = append(r.problems, locatedProblem{at, p})
}

// addNowhere reports a problem of something absent.
func (r *configReader) addNowhere(p Problem) {
	r.problems = append(r.problems, locatedProblem{place{order: math.MaxInt}, p})
}

// sorted returns the problems in the order of their places, at most
// maxProblems errors and as many warnings.
func (r *configReader) sorted() []Problem {
	slices.SortStableFunc(r.problems, func(a, b locatedProblem) int {
		return cmp.Or(cmp.Compare(a.at.order, b.at.order), cmp.Compare(a.at.line, b.at.line))
	})
	var out []Problem
	kept, dropped := map[bool]int{}, map[bool]int{}
	for _, p := range r.problems {
		if kept[p.Warning]++; kept[p.Warning] > maxProblems {
			dropped[p.Warning]++
			continue
		}
		out = append(out, p.Problem)
	}
	for _, warning := range []bool{false, true} {
		if n := dropped[warning]; n > 0 {
			out = append(out, Problem{
				Code: CFG102, Warning: warning, Message: fmt.Sprintf("%d more problems of this kind are not shown", n),
				Remedy: "Correct the ones above first.",
			})
		}
	}
	return out
}

// readFile reads a configuration file, which is YAML or JSON and nothing else.
func (r *configReader) readFile(s Source) {
	at := r.nextPlace(s.Name)
	switch {
	case len(s.Data) > maxSourceText:
		r.unreadable = true
		r.add(at, Problem{
			Code: CFG102, Message: fmt.Sprintf("the file is larger than %d bytes", maxSourceText),
			Remedy: "Split the file, or remove what does not belong into it.",
		})
	default:
		r.readDocuments(at, bytes.TrimPrefix(s.Data, utf8BOM), false)
	}
}

// readDocument decodes one document by its apiVersion and kind.
func (r *configReader) readDocument(at place, doc *yaml.Node) {
	w := &walker{r: r, at: at}
	if doc.Kind != yaml.MappingNode {
		r.unreadable = true
		w.problem(doc, "", "the document is "+describeNode(doc, true)+", not a mapping",
			"Begin a configuration with apiVersion: node.eks.aws/v1alpha1.")
		return
	}
	kind := w.identify(doc)
	if kind == nil {
		r.unreadable = true
		return
	}
	if kind.lenient {
		r.nodeConfigs++
	} else {
		r.prepConfigs++
	}
	var settings []setting
	w.object(doc, kind, kind.fields, "", 0, &settings)
	for _, s := range settings {
		if r.allowed(s) {
			r.merged.add(s)
		}
	}
}

// identify finds the kind of a document. A misspelt apiVersion or kind is
// reported, and the kind that was meant is returned.
func (w *walker) identify(doc *yaml.Node) *documentKind {
	apiVersion, kindName := topLevel(doc, "apiVersion"), topLevel(doc, "kind")
	kinds := []*documentKind{w.r.node, w.r.prep}
	for _, k := range kinds {
		if apiVersion.value == k.apiVersion && kindName.value == k.kind {
			return k
		}
	}
	var meant *documentKind
	for _, k := range kinds {
		if resembles(apiVersion.value, k.apiVersion) || resembles(kindName.value, k.kind) {
			meant = k
		}
	}
	if meant == nil {
		message := "the document is neither a NodeConfig nor a PrepConfig"
		if apiVersion.value != "" || kindName.value != "" {
			message = fmt.Sprintf("the document is of apiVersion %s and kind %s, which nodeprep does not read",
				excerpt(apiVersion.value), excerpt(kindName.value))
		}
		w.problem(doc, "", message, "Begin a configuration with apiVersion: node.eks.aws/v1alpha1 and kind: NodeConfig.")
		return nil
	}
	for _, f := range []struct {
		name string
		got  topLevelValue
		want string
	}{{"apiVersion", apiVersion, meant.apiVersion}, {"kind", kindName, meant.kind}} {
		if f.got.value == f.want {
			continue
		}
		at, message := doc, "is missing"
		if f.got.value != "" {
			at, message = f.got.node, "is "+excerpt(f.got.value)+", which nodeprep does not know; did you mean "+f.want+"?"
		}
		w.problem(at, f.name, message, "Write "+f.name+": "+f.want+".")
	}
	return meant
}

// resembles reports whether a value was probably meant to be want.
func resembles(value, want string) bool {
	group, _, versioned := strings.Cut(want, "/")
	if versioned && strings.HasPrefix(strings.ToLower(value), group) {
		return true
	}
	return value != "" && editDistance(foldName(value), foldName(want), 2) <= 2
}

type topLevelValue struct {
	node  *yaml.Node // nil when the field is absent
	value string
}

// topLevel returns a scalar field of the document itself.
func topLevel(doc *yaml.Node, name string) topLevelValue {
	for i := 0; i+1 < len(doc.Content); i += 2 {
		if doc.Content[i].Value == name {
			n := doc.Content[i+1]
			if n.Kind == yaml.ScalarNode && !isNull(n) {
				return topLevelValue{n, n.Value}
			}
			return topLevelValue{n, ""}
		}
	}
	return topLevelValue{}
}

// origins says where every field came from.
func (r *configReader) origins(inst Instance) map[string]string {
	out := map[string]string{"mode": "default", "needs": "default", "endpoints": "default", "giveUpAfter": "default"}
	for _, path := range r.merged.paths {
		s := r.merged.settings[path]
		path = strings.TrimPrefix(path, "spec.")
		switch v := s.value.(type) {
		case *tree:
			v.leaves(path, func(path string, at place) { out[path] = at.String() })
		case []listItem:
			for i, item := range v {
				out[fmt.Sprintf("%s[%d]", path, i)] = item.at.String()
			}
		case []element:
			out[path] = s.at.String()
			for i, g := range v {
				for _, sub := range g.settings {
					out[fmt.Sprintf("%s[%d].%s", path, i, sub.field.name)] = sub.at.String()
				}
			}
		default:
			out[path] = s.at.String()
		}
	}
	for name, set := range map[string]bool{
		"id": inst.ID != "", "type": inst.Type != "", "architecture": inst.Architecture != "", "accountID": inst.AccountID != "",
		"region": inst.Region != "", "zone": inst.Zone != "", "dnsSuffix": inst.DNSSuffix != "", "mac": inst.MAC != "",
		"localHostname": inst.LocalHostname != "", "localIPv4": inst.LocalIPv4.IsValid(), "ipv6": len(inst.IPv6) > 0,
		"vpc": len(inst.VPC) > 0, "subnet": len(inst.Subnet) > 0, "role": inst.Role != "",
	} {
		if set {
			out["instance."+name] = "metadata"
		}
	}
	return out
}
