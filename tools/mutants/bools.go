package main

import "go/ast"

// bools are what is of the type bool in a package, found without its types.
type bools struct {
	// fields of structs, by name. One that is not bool everywhere is left out.
	fields map[string]bool
	// parameters of functions, by name and place.
	parameters map[string][]bool
}

func newBools() bools { return bools{fields: map[string]bool{}, parameters: map[string][]bool{}} }

// learn adds what a file declares.
func (b bools) learn(file *ast.File) {
	for _, d := range file.Decls {
		if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
			b.parameters[f.Name.Name] = areBool(f.Type.Params)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				for _, name := range f.Names {
					was, known := b.fields[name.Name]
					b.fields[name.Name] = isBool(f.Type) && (was || !known)
				}
			}
		}
		return true
	})
}

// areBool says of each parameter or result whether it is bool.
func areBool(list *ast.FieldList) []bool {
	if list == nil {
		return nil
	}
	var out []bool
	for _, f := range list.List {
		for range max(1, len(f.Names)) {
			out = append(out, isBool(f.Type))
		}
	}
	return out
}

func isBool(t ast.Expr) bool {
	id, ok := t.(*ast.Ident)
	return ok && id.Name == "bool"
}
