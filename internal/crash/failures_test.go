package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName   = regexp.MustCompile(`\bTest[A-Z]\w*`)
	scriptName = regexp.MustCompile(`\b\w+\.txt\b`)
	testFunc   = regexp.MustCompile(`(?m)^func (Test[A-Z]\w*)\(`)
)

// TestFailures_EachRowNamesItsTests holds docs/failures.md to the tests: the
// last cell of every row names at least one, and all that it names are there.
func TestFailures_EachRowNamesItsTests(t *testing.T) {
	root := filepath.Join("..", "..")
	text, err := os.ReadFile(filepath.Join(root, "docs", "failures.md"))
	if err != nil {
		t.Fatal(err)
	}
	there := tests(t, root)
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| failure ") {
			continue
		}
		rows++
		if len(cells) != 5 {
			t.Errorf("%d cells: %s", len(cells), line)
			continue
		}
		names := testName.FindAllString(cells[4], -1)
		scripts := scriptName.FindAllString(cells[4], -1)
		if len(names)+len(scripts) == 0 {
			t.Errorf("names no test: %s", line)
		}
		for _, name := range names {
			if !there[name] {
				t.Errorf("there is no %s: %s", name, line)
			}
		}
		for _, name := range scripts {
			if _, err := os.Stat(filepath.Join(root, "testdata", "script", name)); err != nil {
				t.Errorf("%v: %s", err, line)
			}
		}
	}
	if rows < 25 {
		t.Errorf("only %d rows were found", rows)
	}
}

// tests are the names of all test functions, whatever their build tags.
func tests(t *testing.T, root string) map[string]bool {
	t.Helper()
	there := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") { // git removes directories in its own time
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		source, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a temporary one of somebody else
		}
		for _, m := range testFunc.FindAllSubmatch(source, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return there
}
