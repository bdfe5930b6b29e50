package api

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// written returns a text as an answer has it.
func written(t *testing.T, r io.Reader) (string, error) {
	t.Helper()
	w := httptest.NewRecorder()
	o := (&call{Server: &Server{opts: Options{WriteTimeout: time.Second}}}).object(w, struct{ A int }{1})
	o.text("Text", r)
	if err := o.end(); err != nil {
		return "", err
	}
	var got struct {
		A    int
		Text string
	}
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.A != 1 {
		t.Fatalf("%v in %q", err, w.Body)
	}
	return got.Text, nil
}

func FuzzObjectWriter(f *testing.F) {
	for _, s := range []string{"", "a\"\\\r\n\t\x00\x1f/<>&\u2028ü😀", "\xff\xc3", strings.Repeat("x", pieceOctets-1) + "ü", strings.Repeat("x", pieceOctets-1) + "\xf0\x9f", strings.Repeat("😀", 9000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var want string
		b, _ := json.Marshal(s) // replaces what is not UTF-8
		_ = json.Unmarshal(b, &want)
		for _, r := range []io.Reader{strings.NewReader(s), iotest.HalfReader(strings.NewReader(s)), iotest.DataErrReader(strings.NewReader(s))} {
			if got, err := written(t, r); err != nil || got != want {
				t.Errorf("%q is written as %q, %v", s, got, err)
			}
		}
	})
}

// An answer that cannot be finished ends its connection: nobody takes a part for
// the whole.
func TestObjectWriter_ErrorOfTheSource(t *testing.T) {
	if _, err := written(t, iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("abc")))); err == nil {
		t.Error("no error")
	}
	s := New(nil, nil, nil, nil, Options{})
	defer func() {
		if recover() != http.ErrAbortHandler {
			t.Error("the connection goes on")
		}
	}()
	s.write(httptest.NewRecorder(), streamed(func(http.ResponseWriter) error { return io.ErrUnexpectedEOF }))
}
