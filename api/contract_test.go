package api_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/mailchute/mailchute/api/openapi"
	"github.com/mailchute/mailchute/internal/contract"
)

// checker holds every exchange of the tests of this package to the document.
var checker = sync.OnceValues(func() (*contract.Checker, error) {
	doc, err := openapi.JSON()
	if err != nil {
		return nil, err
	}
	return contract.New(doc)
})

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if code == 0 && wholeRun() {
			code = covered()
		}
		os.Exit(code)
	}))
}

// wholeRun tells whether all tests have run, of which covered asks.
func wholeRun() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if flag.Lookup(name).Value.String() != "" {
			return false
		}
	}
	return true
}

// covered tells what the document and the package have and no test has got from
// a running server.
func covered() int {
	c, err := checker()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	var missing []string
	for _, name := range c.Unanswered() {
		missing = append(missing, "no test gets 200 from "+name)
	}
	codes, err := declared("errors.go")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for name, code := range codes {
		if !c.Came(code) {
			missing = append(missing, fmt.Sprintf("no test gets ErrorCode %d (%s)", code, name))
		}
	}
	if len(missing) > 0 {
		fmt.Println("FAIL: " + strings.Join(missing, "\nFAIL: "))
		return 1
	}
	return 0
}

// declared returns the constants of the type Code.
func declared(file string) (map[string]int, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return nil, err
	}
	codes := map[string]int{}
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || fmt.Sprint(spec.Type) != "Code" {
			return true
		}
		if lit, ok := spec.Values[0].(*ast.BasicLit); ok {
			codes[spec.Names[0].Name], err = strconv.Atoi(lit.Value)
		}
		return true
	})
	if err == nil && len(codes) < 30 {
		err = fmt.Errorf("%s has only %d codes: %v", file, len(codes), codes)
	}
	return codes, err
}

// checked is a client whose exchanges are all held to the document.
func checked(t testing.TB) *http.Client {
	t.Helper()
	c, err := checker()
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: &contract.Transport{Base: &http.Transport{}, Checker: c, Report: func(err error) { t.Error(err) }}}
}

func TestDescribe(t *testing.T) {
	a := wantOK(t, newRig(t, rigOptions{}).do("GET", "/OpenAPI.json/", ""))
	if a.text("openapi") != "3.1.0" || !strings.Contains(a.raw, "/message-streams/{stream}/archive") {
		t.Errorf("document %.300s", a.raw)
	}
}
