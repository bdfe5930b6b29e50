package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestDotReader(t *testing.T) {
	tests := []struct {
		name, wire, want, rest string
		fault, err             error
	}{
		{name: "empty", wire: ".\r\nQUIT\r\n", want: "", rest: "QUIT\r\n"},
		{name: "plain", wire: "a\r\nb\r\n.\r\nQUIT\r\n", want: "a\r\nb\r\n", rest: "QUIT\r\n"},
		{name: "nothing behind", wire: "a\r\n.\r\n", want: "a\r\n"},
		{name: "stuffed", wire: "..\r\n...\r\n..a\r\n.b\r\n.\r\n", want: ".\r\n..\r\n.a\r\nb\r\n"},
		{name: "terminator twice", wire: "a\r\n.\r\n.\r\n", want: "a\r\n", rest: ".\r\n"},
		{name: "no terminator", wire: "a\r\n", want: "a\r\n", err: io.ErrUnexpectedEOF},
		{name: "half a terminator", wire: "a\r\n.\r", want: "a\r\n", err: io.ErrUnexpectedEOF},
		{name: "nothing at all", wire: "", err: io.ErrUnexpectedEOF},

		{name: "S35 bare CR", wire: "a\rb\r\n.\r\nX", want: "a\rb\r\n", rest: "X", fault: ErrBareCR},
		{name: "S35 CR CRLF dot CRLF ends", wire: "a\r\r\n.\r\nX", want: "a\r\r\n", rest: "X", fault: ErrBareCR},
		{name: "S35 NUL", wire: "a\x00\r\n.\r\nX", want: "a\x00\r\n", rest: "X", fault: ErrNUL},
		{name: "S35 LF.LF", wire: "a\n.\nMAIL\r\n.\r\nX", want: "a\n.\nMAIL\r\n", rest: "X", fault: ErrLoneDot},
		{name: "S35 LF.CRLF", wire: "a\n.\r\nMAIL\r\n.\r\nX", want: "a\n.\r\nMAIL\r\n", rest: "X", fault: ErrLoneDot},
		{name: "S35 CR.CR", wire: "a\r.\rMAIL\r\n.\r\nX", want: "a\r.\rMAIL\r\n", rest: "X", fault: ErrBareCR},
		{name: "S35 CR.CRLF", wire: "a\r.\r\nMAIL\r\n.\r\nX", want: "a\r.\r\nMAIL\r\n", rest: "X", fault: ErrBareCR},
		{name: "S35 CRLF.LF", wire: "a\r\n.\nMAIL\r\n.\r\nX", want: "a\r\n\nMAIL\r\n", rest: "X", fault: ErrLoneDot},
		{name: "S35 CRLF.CR loses nothing", wire: "a\r\n.\rMAIL\r\n.\r\nX", want: "a\r\n\rMAIL\r\n", rest: "X", fault: ErrBareCR},
		{name: "S35 CRLF.CRCRLF", wire: "a\r\n.\r\r\nMAIL\r\n.\r\nX", want: "a\r\n\r\r\nMAIL\r\n", rest: "X", fault: ErrBareCR},
		{name: "S35 the first fault counts", wire: "\x00\r\n.\n\r\n.\r\n", want: "\x00\r\n\n\r\n", fault: ErrNUL},

		{name: "S36 bare LF", wire: "a\nb\r\n.\r\nX", want: "a\nb\r\n", rest: "X"},
		{name: "S36 dots behind bare LF are no stuffing", wire: "a\n..\r\n.\r\nX", want: "a\n..\r\n", rest: "X"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 2, 3, 4096} {
				eachSplit(t, tt.wire, func(t *testing.T, r io.Reader) {
					d, br := newDot(r, 16)
					got, err := readIn(d, size)
					if !errors.Is(err, tt.err) || string(got) != tt.want || !errors.Is(d.Fault(), tt.fault) || d.Done() != (tt.err == nil) {
						t.Fatalf("got %q, error %v, fault %v, want %q, %v, %v", got, err, d.Fault(), tt.want, tt.err, tt.fault)
					}
					if tt.err != nil {
						return
					}
					if rest, _ := io.ReadAll(br); string(rest) != tt.rest {
						t.Fatalf("left %q, want %q", rest, tt.rest)
					}
				})
			}
		})
	}
}

func TestDotReaderDoesNotWaitBehindTheTerminator(t *testing.T) {
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		_, err := io.WriteString(w, "a\r\n.\r\n")
		done <- err
	}()
	d, _ := newDot(r, 4096)
	got, err := readIn(d, 4096) // the pipe stays open: a read too many would hang
	if err != nil || string(got) != "a\r\n" {
		t.Fatalf("got %q, %v", got, err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestDotReaderYieldsBeforeItWaits(t *testing.T) {
	r, w := io.Pipe()
	go func() { _, _ = io.WriteString(w, "a\r\n.") }()
	d, _ := newDot(r, 4096)
	p := make([]byte, 64)
	if n, err := d.Read(p); err != nil || string(p[:n]) != "a\r\n" {
		t.Fatalf("got %q, %v", p[:n], err)
	}
	broken := errors.New("timeout")
	_ = w.CloseWithError(broken)
	if _, err := d.Read(p); !errors.Is(err, broken) {
		t.Fatalf("got %v, want the error of the source", err)
	}
	if _, err := d.Read(p); !errors.Is(err, broken) {
		t.Fatalf("the error of the source is not for good: %v", err)
	}
}

func FuzzDotReader(f *testing.F) {
	for _, s := range []string{".\r\n", "a\r\n.\r\nX", "..\r\n.\r\n", "\r\r\n.\r\n", "a\n.\n.\r\n", "\r\n.\r.\r\n.\r\n", "\r\n.\n\r\n.\r\n", "a\r\n..\n\x00\r\n.\r\n"} {
		f.Add([]byte(s), uint64(len(s)), 3)
		f.Add([]byte(s), uint64(len(s)+1), 100)
	}
	f.Fuzz(func(t *testing.T, wire []byte, seed uint64, size int) {
		if size < 1 || size > 1<<16 {
			size = 16
		}
		want, used, ok := unstuff(wire)
		d, br := newDot(splitRandom(wire, seed), 16)
		got, err := readIn(d, size)
		if ok != (err == nil) || ok != d.Done() {
			t.Fatalf("%q: terminator %v, error %v", wire, ok, err)
		}
		if !ok {
			if !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.HasPrefix(want, got) {
				t.Fatalf("%q: got %q, %v", wire, got, err)
			}
			return
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%q: got %q, want %q", wire, got, want)
		}
		if fault := firstFault(wire[:used-3], 0, false); !errors.Is(d.Fault(), fault) || fault == nil && d.Fault() != nil {
			t.Fatalf("%q: fault %v, want %v", wire, d.Fault(), fault)
		}
		if rest, _ := io.ReadAll(br); !bytes.Equal(rest, wire[used:]) {
			t.Fatalf("%q: left %q", wire, rest)
		}
	})
}

func TestDotWriter(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"empty", "", ".\r\n"},
		{"plain", "a\r\nb\r\n", "a\r\nb\r\n.\r\n"},
		{"dots", ".\r\n..\r\n.a\r\nb.\r\n", "..\r\n...\r\n..a\r\nb.\r\n.\r\n"},
		{"only line ends", "\r\n\r\n", "\r\n\r\n.\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for i := 0; i <= len(tt.in); i++ {
				var out bytes.Buffer
				w := NewDotWriter(&out)
				for _, part := range []string{tt.in[:i], tt.in[i:]} {
					if n, err := io.WriteString(w, part); err != nil || n != len(part) {
						t.Fatalf("wrote %d, %v", n, err)
					}
				}
				if err := errors.Join(w.Close(), w.Close()); err != nil || out.String() != tt.want {
					t.Fatalf("cut at %d: got %q, %v, want %q", i, out.String(), err, tt.want)
				}
			}
		})
	}
}

func TestDotWriterRefuses(t *testing.T) {
	for _, in := range []string{"a", "a\r\nb", "a\r", "a\nb\r\n", "a\r\n\n", "a\rb\r\n", "\x00\r\n", "\n", "\r\r\n"} {
		for i := 0; i <= len(in); i++ {
			var out bytes.Buffer
			w := NewDotWriter(&out)
			_, err1 := io.WriteString(w, in[:i])
			_, err2 := io.WriteString(w, in[i:])
			if err := errors.Join(err1, err2, w.Close()); !errors.Is(err, ErrNotCanonical) {
				t.Errorf("%q cut at %d: error %v", in, i, err)
			}
			if strings.HasSuffix(out.String(), "\r\n.\r\n") || out.String() == ".\r\n" {
				t.Errorf("%q cut at %d: terminated: %q", in, i, out.String())
			}
		}
	}
}

func TestDotWriterAfterClose(t *testing.T) {
	var out bytes.Buffer
	w := NewDotWriter(&out)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, "MAIL\r\n"); !errors.Is(err, io.ErrClosedPipe) || out.String() != ".\r\n" {
		t.Fatalf("got %v, sent %q", err, out.String())
	}
}

func TestDotWriterPassesError(t *testing.T) {
	broken := errors.New("connection lost")
	w := NewDotWriter(failingWriter{broken})
	_, err := io.WriteString(w, "a\r\n")
	if !errors.Is(err, broken) || !errors.Is(w.Close(), broken) {
		t.Fatalf("got %v, then %v", err, w.Close())
	}
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

func FuzzDotRoundTrip(f *testing.F) {
	for _, s := range []string{"", ".", ".\r\n.\r\n", "a\n..\nb", "\r\n.a\r\n"} {
		f.Add([]byte(s), uint64(len(s)))
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64) {
		content, err := readIn(NewCanonical(bytes.NewReader(in), CanonicalOptions{MaxLine: -1}), 512)
		if err != nil {
			return
		}
		var wire bytes.Buffer
		w := NewDotWriter(&wire)
		if _, err := io.Copy(w, splitRandom(content, seed)); err != nil {
			t.Fatalf("%q: %v", content, err)
		}
		if err := w.Close(); err != nil {
			t.Fatalf("%q: %v", content, err)
		}
		wire.WriteString("QUIT\r\n")
		d, br := newDot(splitRandom(wire.Bytes(), seed), 16)
		got, err := readIn(d, 7)
		if err != nil || d.Fault() != nil || !bytes.Equal(got, content) {
			t.Fatalf("%q: got %q, %v, fault %v", content, got, err, d.Fault())
		}
		if rest, _ := io.ReadAll(br); string(rest) != "QUIT\r\n" {
			t.Fatalf("%q: left %q", content, rest)
		}
	})
}
