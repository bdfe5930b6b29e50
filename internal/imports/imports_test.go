// Package imports holds the test of the import direction: which package of the
// project may import which, and where each library is fenced in.
package imports

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/mailchute/mailchute/"

// direction lists, for every package, the packages of ours that its own files
// may import. What is not listed may not exist.
var direction = map[string][]string{
	"cmd/mailchute":         {"api", "api/confirm", "api/unsubscribe", "smtpd", "intake", "auth", "message", "message/bounce", "message/dkim", "relay", "relay/dane", "relay/mtasts", "relay/tlsrpt", "domains", "doctor", "returns", "store", "store/local", "store/journal", "webhook", "internal/failpoint", "internal/smtpbase"},
	"api":                   {"internal/failpoint", "api/openapi", "domains", "intake", "auth", "message", "message/bounce", "message/compose", "store"},
	"api/confirm":           {"api/page", "auth", "intake", "message", "message/compose", "store"},
	"api/openapi":           {},
	"api/page":              {},
	"api/unsubscribe":       {"api/page", "message", "store"},
	"smtpd":                 {"internal/failpoint", "intake", "auth", "message", "store"},
	"intake":                {"auth", "message", "message/dkim", "store"},
	"doctor":                {"message/dkim", "relay/dane"},
	"webhook":               {"internal/failpoint", "message", "message/bounce", "store"},
	"domains":               {"auth", "message", "message/dkim", "store"},
	"relay":                 {"internal/failpoint", "message", "message/bounce", "store", "relay/dane", "relay/mtasts", "relay/tlsrpt"},
	"returns":               {"auth", "intake", "message", "message/bounce", "relay", "store"},
	"relay/dane":            {},
	"relay/atomicfile":      {},
	"relay/mtasts":          {"message", "relay/atomicfile"},
	"relay/tlsrpt":          {"relay/atomicfile"},
	"auth":                  {"store"},
	"message":               {},
	"message/bounce":        {"message"},
	"message/compose":       {"message"},
	"message/dkim":          {},
	"store":                 {},
	"store/local":           {"internal/failpoint", "store", "store/journal", "store/local/boltwrites"},
	"store/journal":         {"internal/failpoint"}, // nothing of it is in the normal build
	"store/journal/faultfs": {"store/journal"},
	"store/storetest":       {"store"},
	"internal/contract":     {},
	"internal/testmx":       {},
	"internal/testdns":      {},
	"internal/smtpbase":     {},
	"internal/imports":      {},
	"internal/e2e":          {},
	"internal/plots":        {},

	"store/local/boltwrites": {},
	"internal/failpoint":     {},
	"internal/crash":         {"internal/failpoint", "store", "store/local", "store/journal"},
}

// fences lists, for a library, the only packages that may import it. Test files
// count: a fence that tests may climb is none.
var fences = map[string][]string{
	"github.com/emersion/go-smtp":    {"smtpd", "relay", "internal"},
	"github.com/emersion/go-sasl":    {"smtpd", "auth", "internal/smtpbase"},
	"go.etcd.io/bbolt":               {"store/local"},
	"github.com/spf13/viper":         {"cmd/mailchute"},
	"github.com/spf13/cobra":         {"cmd/mailchute"},
	"github.com/emersion/go-msgauth": {"message", "domains"},
	"github.com/miekg/dns":           {"relay", "internal", "message/dkim", "domains"},
	"blitiri.com.ar/go/spf":          {"doctor"},
	"github.com/emersion/go-message": {"message/compose"},
	"github.com/go-analyze/charts":   {"internal/plots"},
	"github.com/santhosh-tekuri":     {"api", "internal/contract"},
	"go.yaml.in/yaml":                {"api/openapi"},
	"os/signal":                      {"cmd/mailchute", "internal/crash", "internal/plots"},
}

// file is one Go file with what it imports.
type file struct {
	pkg, name string
	imports   []string
}

func TestImportDirection(t *testing.T) {
	for _, f := range files(t) {
		allowed, known := direction[f.pkg]
		if !known {
			t.Errorf("package %s is not in the list of packages", f.pkg)
			continue
		}
		if strings.HasSuffix(f.name, "_test.go") {
			continue
		}
		for _, path := range f.imports {
			if own, ok := strings.CutPrefix(path, module); ok && !slices.Contains(allowed, own) {
				t.Errorf("%s/%s imports %s, which %s may not", f.pkg, f.name, own, f.pkg)
			}
		}
	}
}

func TestLibraryFences(t *testing.T) {
	for _, f := range files(t) {
		for _, path := range f.imports {
			for lib, inside := range fences {
				if path != lib && !strings.HasPrefix(path, lib+"/") {
					continue
				}
				fenced := slices.ContainsFunc(inside, func(p string) bool { return f.pkg == p || strings.HasPrefix(f.pkg, p+"/") })
				if !fenced {
					t.Errorf("%s/%s imports %s, which belongs in %v only", f.pkg, f.name, path, inside)
				}
			}
		}
	}
}

// TestViperStandsInOneFile keeps configuration in one room.
func TestViperStandsInOneFile(t *testing.T) {
	var in []string
	for _, f := range files(t) {
		if slices.Contains(f.imports, "github.com/spf13/viper") {
			in = append(in, f.pkg+"/"+f.name)
		}
	}
	if !slices.Equal(in, []string{"cmd/mailchute/config.go"}) {
		t.Errorf("viper is imported by %v, want cmd/mailchute/config.go alone", in)
	}
}

func files(t *testing.T) []file {
	t.Helper()
	root := filepath.Join("..", "..")
	var out []file
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(path) != ".go" {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		f := file{pkg: filepath.ToSlash(filepath.Dir(rel)), name: d.Name()}
		for _, spec := range parsed.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			f.imports = append(f.imports, p)
		}
		out = append(out, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatal("found no Go files")
	}
	return out
}
