package message

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestChunkWriter is what leaves before Close and what with it, in blocks of every size.
func TestChunkWriter(t *testing.T) {
	for _, content := range []string{"", "\r\n", "a\r\n", ".\r\n..\r\nlong line of text\r\n\r\n.x\r\n"} {
		for block := 1; block <= len(content)+1; block++ {
			var sent bytes.Buffer
			w := NewChunkWriter(&sent, int64(len(content)))
			if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{strings.NewReader(content)}, make([]byte, block)); err != nil {
				t.Fatalf("%q in blocks of %d: %v", content, block, err)
			}
			if want := content[:max(len(content)-1, 0)]; sent.String() != want {
				t.Errorf("%q before Close, want %q", sent.String(), want)
			}
			if err := errors.Join(w.Close(), w.Close()); err != nil || sent.String() != content {
				t.Errorf("%q sent, %v, want %q", sent.String(), err, content)
			}
		}
	}
}

func TestChunkWriterRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   int64
		blocks []string
		sent   string
		want   error
	}{
		{"shorter", 6, []string{"a\r\n"}, "a\r", ErrChunkSize},
		{"longer", 3, []string{"a\r\n", "b"}, "a\r", ErrChunkSize},
		{"longer in one block", 3, []string{"a\r\nb"}, "", ErrChunkSize},
		{"no line end", 3, []string{"abc"}, "ab", ErrNotCanonical},
		{"bare CR at the end", 3, []string{"ab\r"}, "ab", ErrNotCanonical},
		{"bare LF", 6, []string{"a\r\n", "b\nc"}, "a\r", ErrNotCanonical},
		{"bare CR between blocks", 6, []string{"a\r\n", "b\r", "c"}, "a\r\nb", ErrNotCanonical},
		{"NUL", 3, []string{"\x00\r\n"}, "", ErrNotCanonical},
	} {
		t.Run(c.name, func(t *testing.T) {
			var sent bytes.Buffer
			w := NewChunkWriter(&sent, c.size)
			for _, b := range c.blocks {
				if _, err := w.Write([]byte(b)); err != nil && !errors.Is(err, c.want) {
					t.Fatal(err)
				}
			}
			if err := w.Close(); !errors.Is(err, c.want) || sent.String() != c.sent {
				t.Errorf("%q sent, %v, want %q and %v", sent.String(), err, c.sent, c.want)
			}
			if _, err := w.Write([]byte("x")); !errors.Is(err, c.want) {
				t.Errorf("Write after a fault: %v", err)
			}
		})
	}
}

func TestChunkWriterPassesError(t *testing.T) {
	broken := errors.New("broken")
	w := NewChunkWriter(failingWriter{broken}, 6)
	if _, err := w.Write([]byte("a\r\n")); !errors.Is(err, broken) {
		t.Errorf("Write: %v", err)
	}
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("Close: %v", err)
	}
}

// FuzzChunkWriter: what is sent is the content itself or a part of it without its last octet.
func FuzzChunkWriter(f *testing.F) {
	f.Add([]byte("a\r\n.\r\n"), int64(6), 3)
	f.Add([]byte("a\nb"), int64(3), 1)
	f.Fuzz(func(t *testing.T, content []byte, size int64, block int) {
		block = min(max(block, 1), 64)
		var sent bytes.Buffer
		w := NewChunkWriter(&sent, size)
		_, werr := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{bytes.NewReader(content)}, make([]byte, block))
		if err := errors.Join(werr, w.Close()); err == nil {
			if !bytes.Equal(sent.Bytes(), content) || size != int64(len(content)) && len(content) > 0 {
				t.Errorf("%q of size %d was sent as %q", content, size, sent.Bytes())
			}
			return
		}
		if !bytes.HasPrefix(content, sent.Bytes()) || int64(sent.Len()) >= size && size > 0 {
			t.Errorf("%q of size %d failed, and %q was sent", content, size, sent.Bytes())
		}
	})
}
