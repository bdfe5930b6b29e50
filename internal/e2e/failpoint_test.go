//go:build e2e

package e2e

import (
	"bytes"
	"os"
	"testing"

	"github.com/mailchute/mailchute/internal/failpoint"
)

// TestFailpoint_NothingInTheNormalBuild looks for the names of crash points, and of
// the variables that arm them, in the binary.
func TestFailpoint_NothingInTheNormalBuild(t *testing.T) {
	program, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"FAILPOINT"}
	for _, p := range failpoint.Points() {
		names = append(names, string(p))
	}
	for _, name := range names {
		if bytes.Contains(program, []byte(name)) {
			t.Errorf("the program contains %q", name)
		}
	}
}
