package main

import (
	"encoding/json"
	"flag"
	"log"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/probe"
)

// output is the schema's place in the repository.
const output = "docs/report.schema.json"

func main() {
	root := flag.String("root", "..", "root of the repository")
	flag.Parse()
	if err := run(*root); err != nil {
		log.Fatalln("schema:", err)
	}
}

func run(root string) error {
	// The comments of the module are read from its folder.
	if err := os.Chdir(root); err != nil {
		return err
	}
	s, err := reportSchema()
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.FromSlash(output), append(b, '\n'), 0o644)
}

// reportSchema describes an Outcome. A report may have further fields: within
// one version it only grows.
func reportSchema() (*jsonschema.Schema, error) {
	dirs := []string{"pkg/bootstrap", "pkg/probe", "pkg/netcfg"}
	sets, err := words(dirs...)
	if err != nil {
		return nil, err
	}
	r := &jsonschema.Reflector{
		BaseSchemaID:              "https://nodeprep.io/schemas",
		AllowAdditionalProperties: true,
		Mapper: func(t reflect.Type) *jsonschema.Schema {
			if s := mapped(t); s != nil {
				return s
			}
			if set := sets[t.PkgPath()+"."+t.Name()]; set != nil {
				return enum(set)
			}
			return nil
		},
	}
	for _, dir := range dirs {
		if err := r.AddGoComments(module, "./"+dir); err != nil {
			return nil, err
		}
	}
	s := r.Reflect(new(bootstrap.Outcome))
	s.ID = "https://nodeprep.io/schemas/report-1.json"
	s.Title = bootstrap.Schema
	return s, nil
}

// mapped describes types whose JSON form reflection cannot see.
func mapped(t reflect.Type) *jsonschema.Schema {
	switch reflect.Zero(t).Interface().(type) {
	case probe.Duration:
		return &jsonschema.Schema{Type: "number", Description: "milliseconds"}
	case probe.Proxy:
		return &jsonschema.Schema{Type: "string", Description: "URL without user and password"}
	case time.Time:
		return &jsonschema.Schema{Type: "string", Format: "date-time"}
	case netip.Addr:
		return &jsonschema.Schema{Type: "string", Description: "IPv4 or IPv6 address, empty for none"}
	case netip.AddrPort:
		return &jsonschema.Schema{Type: "string", Description: "address:port, empty for none"}
	case netip.Prefix:
		return &jsonschema.Schema{Type: "string", Description: "network in CIDR notation, empty for none"}
	case bootstrap.File:
		s := &jsonschema.Schema{Type: "object", Properties: jsonschema.NewProperties(), Required: []string{"path", "mode"}}
		s.Properties.Set("path", &jsonschema.Schema{Type: "string"})
		s.Properties.Set("mode", &jsonschema.Schema{Type: "string", Pattern: "^[0-7]{4}$"})
		return s
	case bootstrap.Code:
		return enum(codes())
	}
	return nil
}

func enum(words []any) *jsonschema.Schema { return &jsonschema.Schema{Type: "string", Enum: words} }

func codes() []any {
	var out []any
	for _, c := range bootstrap.Codes() {
		out = append(out, c.Code)
	}
	return out
}
