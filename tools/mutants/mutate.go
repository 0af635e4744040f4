package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// A mutant is one predicate that can be flipped.
type mutant struct {
	number int
	file   string
	line   int
	// function encloses it, empty for that of a variable.
	function string
	text     string
	// nth is its place among equal predicates of the function, from 1.
	nth int
}

// A predicate is an expression and the function around it.
type predicate struct {
	ast.Expr
	function string
}

// mutate wraps every predicate of a file into a call of mutant, numbered from
// first, and returns them with the package's name. Lines without only are left alone.
func mutate(name string, source []byte, first int, only string, known bools) ([]byte, []mutant, string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, "", err
	}
	base := fset.File(file.Pos())
	lines := bytes.Split(source, []byte("\n"))
	var found []mutant
	var edits []edit
	same := map[string]int{}
	for _, e := range predicates(file, known) {
		begin, end := base.Offset(e.Pos()), base.Offset(e.End())
		line := base.Line(e.Pos())
		m := mutant{file: name, line: line, function: e.function, text: strings.Join(strings.Fields(string(source[begin:end])), " ")}
		same[m.key()]++
		m.nth = same[m.key()]
		if !strings.Contains(string(lines[line-1]), only) {
			continue
		}
		m.number = first + len(found)
		found = append(found, m)
		edits = append(edits, edit{begin, -(end - begin), fmt.Sprintf("mutant(%d, ", m.number)}, edit{end, end - begin, ")"})
	}
	// At one place the longer expression opens first and closes last.
	slices.SortStableFunc(edits, func(a, b edit) int {
		if a.at != b.at {
			return a.at - b.at
		}
		return a.rank - b.rank
	})
	var out bytes.Buffer
	last := 0
	for _, e := range edits {
		out.Write(source[last:e.at])
		out.WriteString(e.text)
		last = e.at
	}
	out.Write(source[last:])
	return out.Bytes(), found, file.Name.Name, nil
}

// An edit inserts text at an offset.
type edit struct {
	at, rank int
	text     string
}

// predicates returns the smallest boolean expressions of a file: what && and ||
// join, what ! negates, conditions, cases, the results of functions to bool, and
// what known fields and parameters are set to.
func predicates(file *ast.File, known bools) []predicate {
	seen := map[ast.Expr]bool{}
	var out []predicate
	function := ""
	var leaf func(ast.Expr)
	leaf = func(e ast.Expr) {
		switch x := e.(type) {
		case *ast.ParenExpr:
			leaf(x.X)
			return
		case *ast.UnaryExpr:
			if x.Op == token.NOT {
				leaf(x.X)
				return
			}
		case *ast.BinaryExpr:
			if x.Op == token.LAND || x.Op == token.LOR {
				leaf(x.X)
				leaf(x.Y)
				return
			}
		case *ast.Ident:
			if x.Name == "true" || x.Name == "false" {
				return
			}
		}
		if !seen[e] {
			seen[e] = true
			out = append(out, predicate{e, function})
		}
	}
	var visit func(n ast.Node, results []bool)
	visit = func(n ast.Node, results []bool) {
		ast.Inspect(n, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.FuncDecl:
				if x.Body != nil {
					function = x.Name.Name
					visit(x.Body, areBool(x.Type.Results))
					function = ""
				}
				return false
			case *ast.FuncLit:
				visit(x.Body, areBool(x.Type.Results))
				return false
			case *ast.GenDecl:
				return x.Tok != token.CONST
			case *ast.IfStmt:
				leaf(x.Cond)
			case *ast.ForStmt:
				if x.Cond != nil {
					leaf(x.Cond)
				}
			case *ast.SwitchStmt:
				if x.Tag == nil {
					for _, c := range x.Body.List {
						if c, ok := c.(*ast.CaseClause); ok {
							for _, e := range c.List {
								leaf(e)
							}
						}
					}
				}
			case *ast.ReturnStmt:
				for i, e := range x.Results {
					if len(x.Results) == len(results) && results[i] {
						leaf(e)
					}
				}
			case *ast.KeyValueExpr:
				if key, ok := x.Key.(*ast.Ident); ok && known.fields[key.Name] {
					leaf(x.Value)
				}
			case *ast.AssignStmt:
				for i, to := range x.Lhs {
					if field, ok := to.(*ast.SelectorExpr); ok && len(x.Lhs) == len(x.Rhs) && known.fields[field.Sel.Name] {
						leaf(x.Rhs[i])
					}
				}
			case *ast.CallExpr:
				if f, ok := x.Fun.(*ast.Ident); ok {
					for i, is := range known.parameters[f.Name] {
						if is && i < len(x.Args) {
							leaf(x.Args[i])
						}
					}
				}
			case *ast.BinaryExpr:
				switch x.Op {
				case token.LAND, token.LOR, token.EQL, token.NEQ, token.LSS, token.GTR, token.LEQ, token.GEQ:
					leaf(x)
				default:
				}
			case *ast.UnaryExpr:
				if x.Op == token.NOT {
					leaf(x)
				}
			}
			return true
		})
	}
	visit(file, nil)
	return out
}
