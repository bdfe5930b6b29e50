package relay

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// These tests are inside the package: the reply parser has no exported face.

func TestReadReply(t *testing.T) {
	for _, c := range []struct {
		in   string
		want string // code and lines, or an error
		err  error
	}{
		{"250 ok\r\n", `250 ["ok"]`, nil},
		{"250 ok\n", `250 ["ok"]`, nil},
		{"250\r\n", `250 [""]`, nil},
		{"250 \r\n", `250 [""]`, nil},
		{"250-a\r\n250-b\r\n250 c\r\n", `250 ["a" "b" "c"]`, nil},
		{"250-a\r\n250\r\n", `250 ["a" ""]`, nil},
		{"299 odd\r\n", `299 ["odd"]`, nil},
		{"599 odd\r\n", `599 ["odd"]`, nil},
		{"250 first\r\n250 second\r\n", `250 ["first"]`, nil},
		{"", "", io.EOF},
		{"250", "", io.ErrUnexpectedEOF},
		{"250 ok", "", io.ErrUnexpectedEOF},
		{"250-a\r\n", "", io.ErrUnexpectedEOF},
		{"\r\n", "", errReplyMalformed},
		{"25\r\n", "", errReplyMalformed},
		{"2500 ok\r\n", "", errReplyMalformed},
		{"250ok\r\n", "", errReplyMalformed},
		{"25x ok\r\n", "", errReplyMalformed},
		{"199 ok\r\n", "", errReplyMalformed},
		{"600 ok\r\n", "", errReplyMalformed},
		{"000 ok\r\n", "", errReplyMalformed},
		{"250-a\r\n251 b\r\n", "", errReplyMalformed},
		{strings.Repeat("250-a\r\n", 100) + "250 b\r\n", "", errReplyTooLong},
		{"250 " + strings.Repeat("a", 65<<10) + "\r\n", "", errReplyTooLong},
	} {
		r, err := readReply(bufio.NewReaderSize(strings.NewReader(c.in), 16), nil)
		if !errors.Is(err, c.err) {
			t.Errorf("readReply(%.40q) = %v, want %v", c.in, err, c.err)
		}
		if got := fmt.Sprintf("%d %q", r.code, r.lines); err == nil && got != c.want {
			t.Errorf("readReply(%.40q) = %s, want %s", c.in, got, c.want)
		}
	}
}

func TestReply_Stored(t *testing.T) {
	for _, c := range []struct {
		code     int
		lines    []string
		enhanced [3]int
		text     string
	}{
		{550, []string{"5.1.1 no such user"}, [3]int{5, 1, 1}, "no such user"},
		{550, []string{"5.1.1 no such", "5.1.1 user"}, [3]int{5, 1, 1}, "no such user"},
		{550, []string{"4.1.1 of another class"}, [3]int{}, "4.1.1 of another class"},
		{550, []string{"5.1 short"}, [3]int{}, "5.1 short"},
		{550, []string{"5.1.1234 long"}, [3]int{}, "5.1.1234 long"},
		{550, []string{"5.7.26"}, [3]int{5, 7, 26}, ""},
		{250, []string{"2.0.0 Ok: queued"}, [3]int{2, 0, 0}, "Ok: queued"},
		{550, []string{"red \x1b[31m \x00 \xff \u202e \u00e9"}, [3]int{}, `red \x1b[31m \x00 \xff \u202e é`},
	} {
		got := wireReply{c.code, c.lines}.stored("mx", phaseRcpt, time.Time{})
		if got.Enhanced != c.enhanced || got.Text != c.text {
			t.Errorf("stored(%d %q) = %v %q, want %v %q", c.code, c.lines, got.Enhanced, got.Text, c.enhanced, c.text)
		}
	}
	long := wireReply{550, []string{strings.Repeat("é", 2000)}}.stored("mx", phaseRcpt, time.Time{})
	if len(long.Text) > maxReplyText || !utf8.ValidString(long.Text) {
		t.Errorf("long reply is kept with %d octets", len(long.Text))
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add([]byte("220-hello\r\n220 there\r\n"))
	f.Add([]byte("550 5.1.1 \x1b[2Jno\r\n"))
	f.Add([]byte("250"))
	f.Add(bytes.Repeat([]byte("250-x\r\n"), 120))
	f.Fuzz(func(t *testing.T, in []byte) {
		br := bufio.NewReaderSize(bytes.NewReader(in), 16)
		r, err := readReply(br, nil)
		if err != nil {
			if r.code != 0 || r.lines != nil {
				t.Fatalf("error with a reply: %+v", r)
			}
			return
		}
		if r.code < 200 || r.code > 599 || len(r.lines) == 0 || len(r.lines) > maxReplyLines {
			t.Fatalf("reply out of bounds: %d with %d lines", r.code, len(r.lines))
		}
		s := r.stored("mx", phaseDot, time.Time{})
		if len(s.Text) > maxReplyText || !utf8.ValidString(s.Text) {
			t.Fatalf("text of %d octets, valid %v", len(s.Text), utf8.ValidString(s.Text))
		}
		for _, c := range s.Text {
			if !unicode.IsPrint(c) {
				t.Fatalf("text contains %U", c)
			}
		}
		if s.Enhanced != [3]int{} && s.Enhanced[0] != r.code/100 {
			t.Fatalf("enhanced code %v for %d", s.Enhanced, r.code)
		}
		whole, _, _ := bytes.Cut(in, []byte("\n")) // what is accepted ends in a line end
		if len(whole) == len(in) {
			t.Fatalf("accepted without a line end: %q", in)
		}
		parseExtensions(r.lines)
	})
}
