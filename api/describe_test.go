package api

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/api/openapi"
	"github.com/mailchute/mailchute/internal/contract"
)

// The document has the operations of the route table, with the same tokens, and
// no others.
func TestRoutes_AreTheDocuments(t *testing.T) {
	doc, err := openapi.JSON()
	if err != nil {
		t.Fatal(err)
	}
	checker, err := contract.New(doc)
	if err != nil {
		t.Fatal(err)
	}
	var routes []string
	for _, r := range (&Server{}).routes() {
		name := r.method + " " + r.path
		routes = append(routes, name+map[role]string{forServer: " server", forAccount: " account", forAnyone: ""}[r.role])
	}
	slices.Sort(routes)
	if diff := cmp.Diff(routes, checker.Operations()); diff != "" {
		t.Errorf("routes (-) and operations of the document (+):\n%s", diff)
	}
}
