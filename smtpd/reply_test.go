package smtpd

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/store"
)

// constants reads the replies out of the one file that has them.
func constants(t *testing.T) map[string]reply {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "reply.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]reply{}
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "reply") {
			return true
		}
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		all[spec.Names[0].Name] = reply(text)
		return true
	})
	return all
}

// TestReplies: every reply has the shape of RFC 5321 4.2 and RFC 2034 4, and
// comes through go-smtp unchanged.
func TestReplies(t *testing.T) {
	all := constants(t)
	if len(all) < 60 {
		t.Fatalf("found %d replies", len(all))
	}
	shape := regexp.MustCompile(`^([245])\d\d ([245])\.\d{1,3}\.\d{1,3} [ -~]+$`)
	for name, r := range all {
		if r.code() == 354 {
			continue
		}
		m := shape.FindStringSubmatch(string(r))
		if m == nil || m[1] != m[2] || len(r) > 510 {
			t.Errorf("%s = %q", name, r)
			continue
		}
		e := r.smtpError()
		if got := fmt.Sprintf("%d %d.%d.%d %s", e.Code, e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2], e.Message); got != string(r) {
			t.Errorf("%s comes out as %q", name, got)
		}
		if r.code() == 421 && !r.closes() {
			t.Errorf("%s does not close", name)
		}
	}
}

// TestRepliesLiveInOneFile: no other file of the package has a code of its own.
func TestRepliesLiveInOneFile(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile(`"[2-5][0-5]\d[ -]`)
	for _, f := range files {
		if name := f.Name(); strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go") && name != "reply.go" {
			src, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if m := code.Find(src); m != nil {
				t.Errorf("%s has a reply: %s", name, m)
			}
		}
	}
}

// TestReplyFor: the verdict on every kind and on errors that nobody foresaw.
func TestReplyFor(t *testing.T) {
	kinds := map[intake.Kind]string{
		intake.KindRevoked: "535 5.7.8", intake.KindSender: "550 5.7.1", intake.KindRecipient: "550 5.1.3", intake.KindStream: "550 5.7.1",
		intake.KindSuppressed: "550 5.7.1", intake.KindSmuggling: "550 5.5.2", intake.KindBareLF: "550 5.5.2", intake.KindLineTooLong: "554 5.6.0",
		intake.KindHeaderSyntax: "554 5.6.0", intake.KindHeaderFields: "550 5.6.0", intake.KindControl: "550 5.6.0", intake.KindLoop: "554 5.4.6",
		intake.KindTooLarge: "552 5.3.4", intake.KindFull: "452 4.3.1", intake.KindShuttingDown: "421 4.3.2", intake.KindUnavailable: "451 4.3.0",
		intake.KindNoMailbox: "550 5.1.1", intake.KindRelaying: "550 5.7.1", intake.KindBusy: "451 4.7.1",
		intake.KindNullMX: "556 5.1.10", intake.KindNoDomain: "550 5.1.2", intake.KindConflict: "550 5.6.0",
	}
	for k := intake.KindRevoked; k <= intake.KindConflict; k++ {
		got := replyFor(fmt.Errorf("wrapped: %w", &intake.Refusal{Kind: k, Err: errors.New("secret path")}))
		if kinds[k] == "" || !strings.HasPrefix(string(got), kinds[k]+" ") || strings.Contains(string(got), "secret") {
			t.Errorf("kind %d: %q, want %s", k, got, kinds[k])
		}
	}
	errs := []struct {
		err  error
		want reply
	}{
		{fmt.Errorf("x: %w", store.ErrUnknown), replyTemporary}, {store.ErrClosed, replyStopping}, {errTransfer, replyTemporary},
		{fmt.Errorf("x: %w", store.ErrFull), replyFull}, {&intake.Refusal{Kind: 99, Reason: "odd"}, "451 4.3.0 odd"},
	}
	for _, test := range errs {
		if got := replyFor(test.err); got != test.want {
			t.Errorf("%v: %q, want %q", test.err, got, test.want)
		}
	}
	if got := authReply(errors.New("odd")); got != replyAuthUnavailable {
		t.Errorf("unknown auth error: %q", got)
	}
	if got := authReply(fmt.Errorf("x: %w", &auth.DeniedError{})); got != replyAuthDenied {
		t.Errorf("denied: %q", got)
	}
}
