package message_test

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/message"
)

// fileNames writes the body of a message in pieces of so many octets.
func fileNames(t testing.TB, raw string, piece int) []string {
	t.Helper()
	h, body, err := message.ReadHeader(strings.NewReader(raw), message.HeaderLimits{})
	if err != nil {
		return nil
	}
	n := message.NewFileNames(h)
	if n == nil {
		return nil
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{n}, struct{ io.Reader }{body}, make([]byte, piece)); err != nil {
		t.Fatal(err)
	}
	return n.Names()
}

const mixed = "Content-Type: multipart/mixed; boundary=\"b 1\"\r\n\r\n"

func TestFileNames(t *testing.T) {
	for name, tt := range map[string]struct {
		raw  string
		want []string
	}{
		"no parts":     {"Subject: x\r\n\r\n--b\r\nContent-Disposition: attachment; filename=a\r\n\r\n", nil},
		"one":          {mixed + "--b 1\r\n\r\ntext\r\n--b 1\r\nContent-Disposition: attachment; filename=\"a b.pdf\"\r\n\r\nx\r\n--b 1--\r\n", []string{"a b.pdf"}},
		"folded":       {mixed + "--b 1  \r\ncontent-type: text/plain;\r\n\tname=a.txt\r\n\r\nx\r\n--b 1--", []string{"a.txt"}},
		"no name":      {mixed + "--b 1\r\nContent-Disposition: ATTACHMENT\r\n\r\nx\r\n--b 1--", []string{""}},
		"RFC 2231":     {mixed + "--b 1\r\nContent-Disposition: attachment; filename*0*=utf-8''%e2%82; filename*1*=%ac.txt\r\n\r\nx", []string{"€.txt"}},
		"encoded word": {mixed + "--b 1\r\nContent-Type: a/b; name=\"=?iso-8859-1?q?=FC.txt?=\"\r\n\r\nx", []string{"ü.txt"}},
		"nested": {mixed + "--b 1\r\nContent-Type: multipart/related; boundary=in\r\n\r\n--in\r\n\r\n<img>\r\n--in\r\nContent-Type: image/png; name=i.png\r\n\r\n-\r\n--in--\r\n" +
			"--b 1\r\nContent-Disposition: attachment; filename=o\r\n\r\n--b 1--\r\n", []string{"i.png", "o"}},
		"attached message": {mixed + "--b 1\r\nContent-Type: message/rfc822; name=m.eml\r\n\r\nContent-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\nContent-Type: a/b; name=no\r\n\r\n--b 1--", []string{"m.eml"}},
		"other delimiter":  {mixed + "--b 1\r\n\r\n--b\r\nContent-Disposition: attachment; filename=no\r\n\r\n--b 1--\r\n", nil},
		"behind the end":   {mixed + "--b 1\r\n\r\nx\r\n--b 1--\r\nContent-Disposition: attachment; filename=no\r\n\r\n", nil},
		"within a line":    {mixed + "--b 1\r\n\r\nx --b 1\r\nContent-Disposition: attachment; filename=no\r\n\r\n--b 1--", nil},
		"long line":        {mixed + "--b 1\r\n\r\n-" + strings.Repeat("x", 20_000) + "\r\n--b 1\r\nContent-Type: a/b; name=a\r\n\r\n", []string{"a"}},
		"long header":      {mixed + "--b 1\r\nX: " + strings.Repeat("x", 20_000) + "\r\nContent-Type: a/b; name=a\r\n\r\n", []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, piece := range []int{1, 2, 3, 7, 64, 1 << 16} {
				if got := fileNames(t, tt.raw, piece); !slices.Equal(got, tt.want) {
					t.Errorf("in pieces of %d: %q, want %q", piece, got, tt.want)
				}
			}
		})
	}
}

func TestFileNames_AreBounded(t *testing.T) {
	part := "--b 1\r\nContent-Type: a/b; name=\"" + strings.Repeat("n", 500) + "\"\r\n\r\n"
	if n := len(fileNames(t, mixed+strings.Repeat(part, 1000), 1<<16)); n != 100 {
		t.Errorf("%d names", n)
	}
}

// Lines that look like delimiters cost as little where there are many boundaries: a body can be full of them.
func TestFileNames_ManyBoundaries(t *testing.T) {
	h, _, err := message.ReadHeader(strings.NewReader(mixed), message.HeaderLimits{})
	if err != nil {
		t.Fatal(err)
	}
	n := message.NewFileNames(h)
	outer := "b 1"
	for i := range 40 {
		inner := fmt.Sprintf("%060d", i)
		fmt.Fprintf(n, "--%s\r\nContent-Type: multipart/mixed; boundary=%s\r\n\r\n", outer, inner)
		outer = inner
	}
	lines := []byte(strings.Repeat("--\r\n", 1000))
	if allocs := testing.AllocsPerRun(10, func() { _, _ = n.Write(lines) }); allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
	fmt.Fprintf(n, "--%s\r\nContent-Type: a/b; name=innermost\r\n\r\n", outer)
	if names := n.Names(); !slices.Equal(names, []string{"innermost"}) {
		t.Errorf("names = %q", names)
	}
}

// The pieces in which a body comes do not matter.
func FuzzFileNames(f *testing.F) {
	f.Add(mixed+"--b 1\r\nContent-Type: a/b; name=a\r\n\r\nx\r\n--b 1--", uint8(3))
	f.Fuzz(func(t *testing.T, raw string, piece uint8) {
		if a, b := fileNames(t, raw, 1+int(piece)), fileNames(t, raw, 1<<16); !slices.Equal(a, b) {
			t.Errorf("in pieces %q, at once %q", a, b)
		}
	})
}
