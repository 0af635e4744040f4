package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// build compiles the package's tests with every mutant in them.
func build(ctx context.Context, root, dir string, o options) ([]mutant, string, error) {
	pkg := filepath.Join(root, o.pkg)
	var files []string
	for pattern := range strings.FieldsSeq(o.files) {
		names, err := filepath.Glob(filepath.Join(pkg, pattern))
		if err != nil {
			return nil, "", err
		}
		files = append(files, slices.DeleteFunc(names, func(n string) bool { return strings.HasSuffix(n, "_test.go") })...)
	}
	known := newBools()
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, "", err
		}
		known.learn(parsed)
	}
	var all []mutant
	overlay := map[string]string{}
	name := ""
	for _, file := range files {
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, "", err
		}
		mutated, found, pkgName, err := mutate(filepath.Base(file), source, len(all)+1, o.only, known)
		if err != nil {
			return nil, "", err
		}
		name, all = pkgName, append(all, found...)
		copied := filepath.Join(dir, filepath.Base(file))
		if err := os.WriteFile(copied, mutated, 0o600); err != nil {
			return nil, "", err
		}
		overlay[file] = copied
	}
	if len(all) == 0 {
		return nil, "", errors.New("no predicate in these files")
	}
	switchFile := filepath.Join(dir, "mutant_switch.go")
	if err := os.WriteFile(switchFile, []byte(switchSource(name)), 0o600); err != nil {
		return nil, "", err
	}
	overlay[filepath.Join(pkg, "mutant_switch.go")] = switchFile
	list, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return nil, "", err
	}
	overlayFile, binary := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "mutants.test")
	if err := os.WriteFile(overlayFile, list, 0o600); err != nil {
		return nil, "", err
	}
	cmd := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", overlayFile, "-o", binary, "./"+o.pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, "", fmt.Errorf("%w\n%s", err, out)
	}
	return all, binary, nil
}

// switchSource is the function that every predicate goes through.
func switchSource(pkg string) string {
	return "package " + pkg + `

import (
	"os"
	"strconv"
)

var activeMutant, _ = strconv.Atoi(os.Getenv("` + variable + `"))

func mutant(number int, predicate bool) bool { return predicate != (number == activeMutant) }
`
}
