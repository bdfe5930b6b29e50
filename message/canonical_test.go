package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

func TestCanonical(t *testing.T) {
	long := strings.Repeat("x", 998)
	reject := CanonicalOptions{RejectBareLF: true}
	tests := []struct {
		name, in, want string
		opts           CanonicalOptions
		err            error
		bareLFs        int64
	}{
		{name: "empty", in: "", want: ""},
		{name: "canonical", in: "a\r\n\r\nb\r\n", want: "a\r\n\r\nb\r\n"},
		{name: "final CRLF missing", in: "a\r\nb", want: "a\r\nb\r\n"},
		{name: "dot lines between CRLF are content", in: ".\r\n..\r\n.\r\n.", want: ".\r\n..\r\n.\r\n.\r\n"},

		{name: "S35 bare CR", in: "a\rb\r\n", err: ErrBareCR},
		{name: "S35 bare CR before CRLF", in: "a\r\r\n", err: ErrBareCR},
		{name: "S35 bare CR at the end", in: "a\r", err: ErrBareCR},
		{name: "S35 NUL", in: "a\x00b\r\n", err: ErrNUL},
		{name: "S35 LF.LF", in: "a\n.\nb\r\n", err: ErrLoneDot},
		{name: "S35 LF.CRLF", in: "a\n.\r\nb\r\n", err: ErrLoneDot},
		{name: "S35 CR.CR", in: "a\r.\rb\r\n", err: ErrBareCR},
		{name: "S35 CRLF.LF", in: "a\r\n.\nb\r\n", err: ErrLoneDot},
		{name: "S35 CRLF.CR", in: "a\r\n.\rb\r\n", err: ErrBareCR},
		{name: "S35 dot LF at the start", in: ".\nb\r\n", err: ErrLoneDot},
		{name: "S35 LF dot at the end", in: "a\n.", err: ErrLoneDot},
		{name: "S35 goes before S36", in: "a\n.\nb", opts: reject, err: ErrLoneDot},

		{name: "S36 bare LF normalised", in: "a\nb\r\n\nc\n", want: "a\r\nb\r\n\r\nc\r\n", bareLFs: 3},
		{name: "S36 bare LF, dots with text", in: "a\n..\n.b\nc.\n", want: "a\r\n..\r\n.b\r\nc.\r\n", bareLFs: 4},
		{name: "S36 bare LF, final one missing", in: "a\nb", want: "a\r\nb\r\n", bareLFs: 1},
		{name: "S36 bare LF refused", in: "a\nb\r\n", opts: reject, err: ErrBareLF},
		{name: "S36 CRLF not refused", in: "a\r\nb", opts: reject, want: "a\r\nb\r\n"},

		{name: "S38 998 octets", in: long + "\r\n", want: long + "\r\n"},
		{name: "S38 998 octets and LF", in: long + "\n", want: long + "\r\n", bareLFs: 1},
		{name: "S38 998 octets at the end", in: "\r\n" + long, want: "\r\n" + long + "\r\n"},
		{name: "S38 999 octets", in: "a\r\n" + long + "x\r\n", err: ErrLineTooLong},
		{name: "S38 999 octets at the end", in: long + "x", err: ErrLineTooLong},
		{name: "S38 own limit", in: "12345\r\n123456\r\n", opts: CanonicalOptions{MaxLine: 5}, err: ErrLineTooLong},
		{name: "S38 no limit", in: long + long, opts: CanonicalOptions{MaxLine: -1}, want: long + long + "\r\n"},

		{name: "S34 exactly the limit", in: "12345678\r\n", opts: CanonicalOptions{MaxSize: 10}, want: "12345678\r\n"},
		{name: "S34 one over", in: "123456789\r\n", opts: CanonicalOptions{MaxSize: 10}, err: ErrTooLarge},
		{name: "S34 over by the added CR", in: "123\n5678\n", opts: CanonicalOptions{MaxSize: 10}, err: ErrTooLarge},
		{name: "S34 over by the added CRLF", in: "123456789", opts: CanonicalOptions{MaxSize: 10}, err: ErrTooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachSplit(t, tt.in, func(t *testing.T, r io.Reader) {
				c := NewCanonical(r, tt.opts)
				got, err := readIn(c, 4096)
				if !errors.Is(err, tt.err) {
					t.Fatalf("error %v, want %v", err, tt.err)
				}
				if tt.err != nil {
					checkOver(t, c, tt.err)
					return
				}
				if string(got) != tt.want || c.Size() != int64(len(tt.want)) || c.BareLFs() != tt.bareLFs {
					t.Fatalf("got %q, size %d, %d bare LF, want %q and %d", got, c.Size(), c.BareLFs(), tt.want, tt.bareLFs)
				}
			})
		})
	}
}

// checkOver checks that an error is for good.
func checkOver(t *testing.T, r io.Reader, want error) {
	t.Helper()
	if n, err := r.Read(make([]byte, 16)); n != 0 || !errors.Is(err, want) {
		t.Fatalf("after the error: %d, %v", n, err)
	}
}

func TestSmugglingClass(t *testing.T) {
	for _, err := range []error{ErrBareCR, ErrNUL, ErrLoneDot} {
		if !errors.Is(err, ErrSmuggling) {
			t.Errorf("%v is not of the smuggling class", err)
		}
	}
	for _, err := range []error{ErrBareLF, ErrLineTooLong, ErrTooLarge} {
		if errors.Is(err, ErrSmuggling) {
			t.Errorf("%v closes the connection", err)
		}
	}
}

func TestCanonicalPassesSourceError(t *testing.T) {
	broken := errors.New("connection lost")
	got, err := readIn(NewCanonical(io.MultiReader(strings.NewReader("a\nb"), failing{broken}), CanonicalOptions{}), 64)
	if !errors.Is(err, broken) || string(got) != "a\r\nb" {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestCanonicalTornSource(t *testing.T) {
	torn := fmt.Errorf("reading chunk: %w", io.EOF)
	got, err := readIn(NewCanonical(io.MultiReader(strings.NewReader("a"), failing{torn}), CanonicalOptions{}), 64)
	if !errors.Is(err, torn) || string(got) != "a" {
		t.Fatalf("a torn message counts as whole: %q, %v", got, err)
	}
}

func TestCanonicalBrokenSource(t *testing.T) {
	_, err := readIn(NewCanonical(failing{nil}, CanonicalOptions{}), 64)
	if !errors.Is(err, io.ErrNoProgress) {
		t.Fatalf("got %v", err)
	}
}

func TestCanonicalEightBit(t *testing.T) {
	for _, at := range []int{0, 1, 31, 32, 40, 99} {
		b := bytes.Repeat([]byte("x"), 100)
		c := NewCanonical(bytes.NewReader(b), CanonicalOptions{})
		if _, err := readIn(c, 64); err != nil || c.EightBit() {
			t.Fatalf("ASCII: %v, %v", c.EightBit(), err)
		}
		b[at] = 0x80
		c = NewCanonical(bytes.NewReader(b), CanonicalOptions{})
		if _, err := readIn(c, 64); err != nil || !c.EightBit() {
			t.Fatalf("0x80 at %d: %v, %v", at, c.EightBit(), err)
		}
	}
}

// failing returns its error, or nothing at all if that is nil.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{"", "a\r\nb", "a\nb\r\n.\r\n", "\r\n.\n", "a\r\r\n", "\x00", "\n.", "12345678901\r\n", ".\r", "\n\r\n.\r\n."} {
		f.Add([]byte(s), uint64(len(s)), false, 8)
		f.Add([]byte(s), uint64(len(s)), true, 64)
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, reject bool, size int) {
		if size < 1 || size > 1<<16 {
			size = 16
		}
		c := NewCanonical(splitRandom(in, seed), CanonicalOptions{RejectBareLF: reject, MaxLine: 10})
		got, err := readIn(c, size)
		want := firstFault(in, 10, true)
		if want == nil && reject && c.BareLFs() > 0 {
			want = ErrBareLF
		}
		if !errors.Is(err, want) {
			t.Fatalf("%q: error %v, want %v", in, err, want)
		}
		if err == nil && !bytes.Equal(got, canonicalForm(in)) {
			t.Fatalf("%q: got %q", in, got)
		}
	})
}
