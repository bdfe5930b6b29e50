package relay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/mailchute/mailchute/store"
)

// Limits of one reply. A host that exceeds them is hostile or broken: without them an endless greeting fills our memory.
const (
	maxReplyBytes = 64 << 10
	maxReplyLines = 100
	maxReplyText  = 1 << 10 // kept of it
)

// Faults of a reply. All of them leave the session out of step, so the connection is of no more use.
var (
	errReplyTooLong   = errors.New("reply exceeds 64 KiB or 100 lines")
	errReplyMalformed = errors.New("reply is not one of SMTP")
)

// wireReply is a reply as it came, without the codes in front of its lines.
type wireReply struct {
	code  int
	lines []string
}

// readReply reads one complete reply (RFC 5321 4.2). A line end is CRLF, or LF alone, which old servers send. A reply
// without text is accepted (4.2.1), and any text after the code is; but every line must have its end, the same code of
// 200 to 599, and the sign that tells whether more follow. An input that ends within the reply is io.ErrUnexpectedEOF,
// before it io.EOF. The lines are appended to room.
func readReply(br *bufio.Reader, room []string) (wireReply, error) {
	r := wireReply{lines: room[:0]}
	budget := maxReplyBytes
	for {
		line, err := readReplyLine(br, &budget)
		if err != nil {
			if errors.Is(err, io.EOF) && len(r.lines) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return wireReply{}, err
		}
		code, text, more, err := splitReplyLine(line)
		if err != nil {
			return wireReply{}, err
		}
		if len(r.lines) > 0 && code != r.code {
			return wireReply{}, fmt.Errorf("%w: code changes from %d to %d", errReplyMalformed, r.code, code)
		}
		r.code, r.lines = code, append(r.lines, text)
		if !more {
			return r, nil
		}
		if len(r.lines) == maxReplyLines {
			return wireReply{}, errReplyTooLong
		}
	}
}

// readReplyLine returns a line without its end, taking its octets from the budget.
func readReplyLine(br *bufio.Reader, budget *int) (string, error) {
	var line []byte // of what did not fit into the buffer
	for {
		part, err := br.ReadSlice('\n')
		*budget -= len(part)
		if *budget < 0 {
			return "", errReplyTooLong
		}
		if err == nil && line == nil {
			return string(bytes.TrimRight(part, "\r\n")), nil
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return strings.TrimRight(string(line), "\r\n"), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF) && len(line) > 0:
			return "", io.ErrUnexpectedEOF
		default:
			return "", err
		}
	}
}

func splitReplyLine(line string) (code int, text string, more bool, err error) {
	if len(line) < 3 {
		return 0, "", false, fmt.Errorf("%w: %s", errReplyMalformed, excerpt(line))
	}
	for _, c := range []byte(line[:3]) {
		if c < '0' || c > '9' {
			return 0, "", false, fmt.Errorf("%w: %s", errReplyMalformed, excerpt(line))
		}
		code = code*10 + int(c-'0')
	}
	if code < 200 || code > 599 {
		return 0, "", false, fmt.Errorf("%w: code %d", errReplyMalformed, code)
	}
	if len(line) == 3 {
		return code, "", false, nil
	}
	if line[3] != ' ' && line[3] != '-' {
		return 0, "", false, fmt.Errorf("%w: %s", errReplyMalformed, excerpt(line))
	}
	return code, line[4:], line[3] == '-', nil
}

// stored returns the reply as it is kept and shown: the enhanced code apart (RFC 2034), the lines joined, nothing that
// could act on a terminal or a log.
func (r wireReply) stored(host, phase string, at time.Time) store.Reply {
	out := store.Reply{Code: r.code, Command: phase, Host: host, At: at}
	var room [4]string
	lines := append(room[:0], r.lines...)
	for i, l := range lines {
		enhanced, rest, ok := cutEnhanced(l, r.code)
		switch {
		case !ok:
		case i == 0:
			out.Enhanced, l = enhanced, rest
		case enhanced == out.Enhanced:
			l = rest
		}
		lines[i] = strings.TrimSpace(l)
	}
	out.Text = escape(strings.Join(lines, " "))
	return out
}

// cutEnhanced splits an enhanced status code of the reply's class off the text.
func cutEnhanced(text string, code int) (enhanced [3]int, rest string, ok bool) {
	word, rest, _ := strings.Cut(text, " ")
	for i := range enhanced {
		part, after, more := strings.Cut(word, ".")
		if len(part) == 0 || len(part) > 3 || more != (i < 2) {
			return [3]int{}, text, false
		}
		for _, c := range []byte(part) {
			if c < '0' || c > '9' {
				return [3]int{}, text, false
			}
			enhanced[i] = enhanced[i]*10 + int(c-'0')
		}
		word = after
	}
	if enhanced[0] != code/100 {
		return [3]int{}, text, false
	}
	return enhanced, rest, true
}

// excerpt is the start of a line that is no reply, for an error.
func excerpt(line string) string {
	if len(line) > 80 {
		line = line[:80]
	}
	return `"` + escape(line) + `"`
}

// escape makes text of a stranger fit for storing and showing: at most 1 KiB of valid UTF-8 without control or invisible
// characters, those written as \xNN or \uNNNN.
func escape(s string) string {
	if len(s) <= maxReplyText && printable(s) {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		piece := s[:size]
		switch {
		case r == utf8.RuneError && size == 1:
			piece = fmt.Sprintf(`\x%02x`, s[0])
		case r < utf8.RuneSelf && !unicode.IsPrint(r):
			piece = fmt.Sprintf(`\x%02x`, r)
		case !unicode.IsPrint(r):
			piece = fmt.Sprintf(`\u%04x`, r)
		}
		if b.Len()+len(piece) > maxReplyText {
			break
		}
		b.WriteString(piece)
		s = s[size:]
	}
	return b.String()
}

// printable tells whether text is of printable ASCII alone.
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
