package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
)

const module = "github.com/nodeprep/nodeprep"

// words returns the values of every closed set of the packages: the constants of
// a named string type, by "import path.Type".
func words(dirs ...string) (map[string][]any, error) {
	sets := map[string][]any{}
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			if err != nil {
				return nil, err
			}
			for _, d := range f.Decls {
				if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
					constants(g, module+"/"+filepath.ToSlash(dir)+".", sets)
				}
			}
		}
	}
	return sets, nil
}

// constants adds the exported typed string constants of one declaration.
func constants(g *ast.GenDecl, prefix string, sets map[string][]any) {
	for _, s := range g.Specs {
		v, ok := s.(*ast.ValueSpec)
		if !ok {
			continue
		}
		t, ok := v.Type.(*ast.Ident)
		if !ok || !t.IsExported() || t.Name == "Code" {
			continue
		}
		for i, value := range v.Values {
			lit, ok := value.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING || !v.Names[i].IsExported() {
				continue
			}
			if text, err := strconv.Unquote(lit.Value); err == nil {
				sets[prefix+t.Name] = append(sets[prefix+t.Name], text)
			}
		}
	}
}
