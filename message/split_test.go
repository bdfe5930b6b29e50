package message

import (
	"bufio"
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
)

// splitReader yields data in pieces that the next function chooses, and io.EOF in the same call as the last piece if
// eager is set, as io.Reader allows.
type splitReader struct {
	data  []byte
	next  func() int
	eager bool
}

func (s *splitReader) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	n := min(len(p), len(s.data), max(1, s.next()))
	copy(p, s.data[:n])
	s.data = s.data[n:]
	if len(s.data) == 0 && s.eager {
		return n, io.EOF
	}
	return n, nil
}

// splitAt yields the first i bytes in one piece and then the rest.
func splitAt(data []byte, i int) io.Reader {
	first := true
	return &splitReader{data: data, next: func() int {
		if first && i > 0 {
			first = false
			return i
		}
		return len(data)
	}}
}

// splitRandom yields pieces of 1 to 9 bytes.
func splitRandom(data []byte, seed uint64) io.Reader {
	rng := rand.New(rand.NewPCG(seed, 1))
	return &splitReader{data: data, next: func() int { return 1 + rng.IntN(9) }, eager: seed%2 == 1}
}

// readIn reads r to its end with a buffer of the given size.
func readIn(r io.Reader, size int) ([]byte, error) {
	var out []byte
	p := make([]byte, size)
	for {
		n, err := r.Read(p)
		out = append(out, p[:n]...)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

// eachSplit calls f with the data whole, cut once at every place, and byte by byte.
func eachSplit(t *testing.T, data string, f func(t *testing.T, r io.Reader)) {
	t.Helper()
	for i := 0; i <= len(data); i++ {
		f(t, splitAt([]byte(data), i))
	}
	f(t, &splitReader{data: []byte(data), next: func() int { return 1 }})
	f(t, &splitReader{data: []byte(data), next: func() int { return 1 }, eager: true})
}

// event is a fault and the offset of the octet that proves it.
type event struct {
	at  int
	err error
}

// firstFault is the definition of the smuggling class written once more, without any state machine: it looks at the
// whole content and picks the fault that is proven first. The end of the content is offset len(b).
func firstFault(b []byte, maxLine int, atEOF bool) error {
	var events []event
	line := 0
	for i, c := range b {
		switch {
		case c == 0:
			events = append(events, event{i, ErrNUL})
		case c == '\r' && i+1 < len(b) && b[i+1] != '\n', c == '\r' && i+1 == len(b) && atEOF:
			events = append(events, event{i + 1, ErrBareCR})
		case c == '\n':
			text := string(b[line:i])
			bare := !strings.HasSuffix(text, "\r")
			if strings.TrimSuffix(text, "\r") == "." && (bare || bareBefore(b, line)) {
				events = append(events, event{i, ErrLoneDot})
			}
			line = i + 1
		case maxLine > 0 && c != '\r' && i-line >= maxLine:
			events = append(events, event{i, ErrLineTooLong})
		}
	}
	if atEOF && string(b[line:]) == "." && bareBefore(b, line) {
		events = append(events, event{len(b), ErrLoneDot})
	}
	return earliest(events)
}

// bareBefore reports whether the line that starts at i follows a bare LF.
func bareBefore(b []byte, i int) bool {
	return i > 0 && (i == 1 || b[i-2] != '\r')
}

// earliest picks the first event; a bare CR goes before what else its next octet may be.
func earliest(events []event) error {
	best := event{at: int(^uint(0) >> 1)}
	for _, e := range events {
		if e.at < best.at || e.at == best.at && e.err == ErrBareCR {
			best = e
		}
	}
	return best.err
}

// canonicalForm is the definition of Canonical for content without faults.
func canonicalForm(b []byte) []byte {
	s := strings.ReplaceAll(string(b), "\r\n", "\n")
	s = strings.ReplaceAll(s, "\n", "\r\n")
	if s != "" && !strings.HasSuffix(s, "\r\n") {
		s += "\r\n"
	}
	return []byte(s)
}

// unstuff is the definition of DotReader: the content, the octets consumed, and whether the terminator was there.
func unstuff(wire []byte) (content []byte, used int, ok bool) {
	for i := 0; i < len(wire); i++ {
		if wire[i] == '.' && (i == 0 || bytes.HasSuffix(wire[:i], []byte("\r\n"))) {
			if bytes.HasPrefix(wire[i:], []byte(".\r\n")) {
				return content, i + 3, true
			}
			continue
		}
		content = append(content, wire[i])
	}
	return content, 0, false
}

func newDot(r io.Reader, size int) (*DotReader, *bufio.Reader) {
	br := bufio.NewReaderSize(r, size)
	return NewDotReader(br), br
}
