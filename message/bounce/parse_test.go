package bounce

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"github.com/mailchute/mailchute/message"
)

const statusHead = "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mta.example\n"

func parse(t *testing.T, s string) Report {
	t.Helper()
	r, err := Parse(strings.NewReader(s))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestParseStopsAtItsLimits(t *testing.T) {
	big := "From: a@b\nSubject: s\n\n" + strings.Repeat("x", MaxSize)
	if r := parse(t, big); !r.Truncated || len(r.Text) > maxText+2 {
		t.Errorf("large: truncated %v, text of %d", r.Truncated, len(r.Text))
	}
	var groups strings.Builder
	groups.WriteString(statusHead)
	for range maxGroups + 50 {
		groups.WriteString("\nFinal-Recipient: rfc822; a@example.org\nAction: failed\nStatus: 5.1.1\n")
	}
	if r := parse(t, groups.String()); len(r.Recipients) != maxGroups {
		t.Errorf("%d recipients", len(r.Recipients))
	}
	long := statusHead + "\nFinal-Recipient: rfc822; " + strings.Repeat("a", 5000) + "@example.org\nAction: failed\nDiagnostic-Code: smtp; 550 " + strings.Repeat("w", 50_000) + "\n"
	if r := parse(t, long); len(r.Recipients) != 1 || len(r.Recipients[0].Address) > maxAddress || len(r.Recipients[0].Diagnostic) > maxDiagnostic {
		t.Errorf("long fields: %d recipients", len(r.Recipients))
	}
	read := &counter{r: io.MultiReader(strings.NewReader("From: a@b\n\n"), endless{})}
	if _, err := Parse(read); err != nil || read.n > MaxSize+1 {
		t.Errorf("read %d octets, %v", read.n, err)
	}
}

type counter struct {
	r io.Reader
	n int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, "--b\nx: y\n\n"), nil }

func TestParseFailsWithItsReader(t *testing.T) {
	broken := errors.New("connection lost")
	if _, err := Parse(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Error(err)
	}
}

func TestForPrefersTheAddress(t *testing.T) {
	r := Report{Recipients: []Recipient{
		{Address: "a@example.org", Action: message.ActionDelivered},
		{Address: "inner@example.net", Original: "b@example.org", Action: message.ActionDelayed},
		{Address: "c@example.org", Action: message.ActionFailed},
	}}
	for address, want := range map[string]string{"A@Example.org": "a@example.org", "b@example.org": "inner@example.net", "other@example.org": "c@example.org"} {
		if got := r.For(address); got.Address != want {
			t.Errorf("%s: %s, want %s", address, got.Address, want)
		}
	}
	r.Kind = Failure
	for address, want := range map[string]Kind{"a@example.org": Success, "b@example.org": Delay, "c@example.org": Failure, "other@example.org": Failure} {
		if got := r.KindFor(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	if got := (Report{Kind: Failure}).KindFor("a@b"); got != Failure {
		t.Errorf("failure of nobody named: %s", got)
	}
	if got := (Report{}).For("a@b"); got != (Recipient{}) {
		t.Errorf("nobody: %+v", got)
	}
}

func TestCodesIn(t *testing.T) {
	for text, want := range map[string]struct {
		code   int
		status [3]int
	}{
		"550 5.1.1 no":                    {550, [3]int{5, 1, 1}},
		"550-5.7.26 no":                   {550, [3]int{5, 7, 26}},
		"no (#5.1.1)":                     {0, [3]int{5, 1, 1}},
		"554 4.4.7 expired":               {0, [3]int{4, 4, 7}},
		"at 192.0.2.1 port 25":            {0, [3]int{}},
		"in 250 ms: 550":                  {250, [3]int{}},
		"version 5.1.1.2":                 {0, [3]int{}},
		"host 5.1.1.9 said 550 no":        {550, [3]int{}},
		"":                                {0, [3]int{}},
		"5.1.1000 450":                    {450, [3]int{}},
		"said:550 user unknown 5.1.1.":    {550, [3]int{}},
		"smtp;550 5.1.1 <a@b>: no, 4.0.0": {550, [3]int{5, 1, 1}},
	} {
		if code, status := codesIn(text); code != want.code || status != want.status {
			t.Errorf("%q: %d %v, want %v", text, code, status, want)
		}
	}
}

// FuzzParse holds what callers rely on: no input fails, and all that comes out can be stored and shown.
func FuzzParse(fz *testing.F) {
	samples, err := filepath.Glob(filepath.Join("testdata", "*.eml"))
	if err != nil {
		fz.Fatal(err)
	}
	for _, file := range samples {
		b, err := os.ReadFile(file)
		if err != nil {
			fz.Fatal(err)
		}
		fz.Add(b)
	}
	fz.Fuzz(func(t *testing.T, b []byte) {
		r, err := Parse(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		shown := []string{r.Format, r.ReportingMTA, r.MessageID, r.ReturnPath, r.Feedback, r.Subject}
		for _, c := range r.Recipients {
			shown = append(shown, c.Address, c.Original, c.Diagnostic, c.RemoteMTA)
		}
		for _, s := range shown {
			if !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) || len(s) > maxDiagnostic {
				t.Fatalf("%q", s)
			}
		}
		if !utf8.ValidString(r.Text) || strings.ContainsFunc(strings.ReplaceAll(r.Text, "\n", ""), unicode.IsControl) {
			t.Fatalf("%q", r.Text)
		}
		if r.Kind == "" || len(r.Recipients) > 2*maxGroups {
			t.Fatalf("kind %q, %d recipients", r.Kind, len(r.Recipients))
		}
		if c := Classify(r.Evidence("nobody@example.org")); c.Suppress && c.Ours {
			t.Fatalf("%+v", c)
		}
	})
}
