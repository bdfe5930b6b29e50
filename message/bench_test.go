package message

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
)

// benchSizes are the sizes of message that the claims are about.
var benchSizes = [...]int{4 << 10, 1 << 20}

// sampleMessage returns a canonical message of about size octets with lines of 76.
func sampleMessage(size int) []byte {
	var b bytes.Buffer
	for i := range 16 {
		fmt.Fprintf(&b, "X-Field-%d: %s\r\n", i, strings.Repeat("v", 40))
	}
	b.WriteString("From: a@example.org\r\nSubject: sample\r\n\r\n")
	line := strings.Repeat("abcdefghijklmno ", 5)[:76] + "\r\n"
	for b.Len() < size {
		b.WriteString(line)
	}
	return b.Bytes()
}

func benchEach(b *testing.B, f func(b *testing.B, msg []byte)) {
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			msg := sampleMessage(size)
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			f(b, msg)
		})
	}
}

func BenchmarkDotReader(b *testing.B) {
	benchEach(b, func(b *testing.B, msg []byte) {
		wire := append(bytes.Clone(msg), ".\r\n"...)
		src, p := bytes.NewReader(nil), make([]byte, 32<<10)
		br := bufio.NewReaderSize(src, 32<<10)
		for b.Loop() {
			src.Reset(wire)
			br.Reset(src)
			drain(b, NewDotReader(br), p)
		}
	})
}

func BenchmarkCanonical(b *testing.B) {
	benchEach(b, func(b *testing.B, msg []byte) {
		src, p := bytes.NewReader(nil), make([]byte, 32<<10)
		for b.Loop() {
			src.Reset(msg)
			drain(b, NewCanonical(src, CanonicalOptions{}), p)
		}
	})
}

// BenchmarkCanonicalBareLF is the slow way: every block has to be rewritten.
func BenchmarkCanonicalBareLF(b *testing.B) {
	benchEach(b, func(b *testing.B, msg []byte) {
		msg = bytes.ReplaceAll(msg, []byte("\r\n"), []byte("\n"))
		src, p := bytes.NewReader(nil), make([]byte, 32<<10)
		for b.Loop() {
			src.Reset(msg)
			drain(b, NewCanonical(src, CanonicalOptions{}), p)
		}
	})
}

func BenchmarkDotWriter(b *testing.B) {
	benchEach(b, func(b *testing.B, msg []byte) {
		for b.Loop() {
			w := NewDotWriter(io.Discard)
			if _, err := w.Write(msg); err != nil {
				b.Fatal(err)
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func drain(b *testing.B, r io.Reader, p []byte) {
	for {
		if _, err := r.Read(p); err == io.EOF {
			return
		} else if err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkReadHeader(b *testing.B) {
	benchEach(b, func(b *testing.B, msg []byte) {
		src := bytes.NewReader(nil)
		b.SetBytes(int64(bytes.Index(msg, []byte("\r\n\r\n")) + 4))
		for b.Loop() {
			src.Reset(msg)
			if _, _, err := ReadHeader(src, HeaderLimits{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
