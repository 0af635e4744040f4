package main

import (
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", "..", "root of the repository")
	flag.Parse()
	if err := run(*root); err != nil {
		log.Fatalln("codes:", err)
	}
}

func run(root string) error {
	data, err := os.ReadFile(filepath.Join(root, source))
	if err != nil {
		return err
	}
	t, err := parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", source, err)
	}
	told, err := records(filepath.Join(root, reportsDir))
	if err != nil {
		return err
	}
	files, err := generate(t, told)
	if err != nil {
		return err
	}
	for path, content := range files {
		name := filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	return removeStale(root, files)
}

// removeStale removes pages of codes that no longer exist.
func removeStale(root string, files map[string][]byte) error {
	pages, err := filepath.Glob(filepath.Join(root, docsDir, "*.md"))
	if err != nil {
		return err
	}
	for _, page := range pages {
		rel, err := filepath.Rel(root, page)
		if err != nil {
			return err
		}
		if _, ok := files[filepath.ToSlash(rel)]; !ok {
			if err := os.Remove(page); err != nil {
				return err
			}
		}
	}
	return nil
}
