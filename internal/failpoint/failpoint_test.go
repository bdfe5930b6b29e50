package failpoint_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/internal/failpoint"
)

// TestPoints_EachStandsInOnePlace keeps the list and the program together: the
// crash harness goes by the list.
func TestPoints_EachStandsInOnePlace(t *testing.T) {
	consts := constants(t)
	uses := hits(t)
	listed := map[failpoint.Point]bool{}
	for _, p := range failpoint.Points() {
		if listed[p] {
			t.Errorf("%s is listed twice", p)
		}
		listed[p] = true
	}
	for name, value := range consts {
		if n := uses[name]; listed[value] && n != 1 {
			t.Errorf("failpoint.Hit(failpoint.%s) stands in %d places, want 1", name, n)
		} else if !listed[value] && n > 0 {
			t.Errorf("failpoint.%s can be hit and is not in the list", name)
		}
	}
}

// constants are the points by the name of their constant.
func constants(t *testing.T) map[string]failpoint.Point {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "failpoint.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]failpoint.Point{}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		if lit, ok := v.Values[0].(*ast.BasicLit); ok {
			out[v.Names[0].Name] = failpoint.Point(strings.Trim(lit.Value, `"`))
		}
		return true
	})
	return out
}

// hits counts the calls of Hit in the program by the constant that they name.
func hits(t *testing.T) map[string]int {
	t.Helper()
	out := map[string]int{}
	err := filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == ".git" {
			return fs.SkipDir // git removes directories in its own time
		}
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && selector(call.Fun) == "Hit" && len(call.Args) == 1 {
				out[selector(call.Args[0])]++
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// selector is X in failpoint.X.
func selector(e ast.Expr) string {
	s, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if pkg, ok := s.X.(*ast.Ident); !ok || pkg.Name != "failpoint" {
		return ""
	}
	return s.Sel.Name
}
