package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/mailchute/mailchute/store"
)

// Bounds of a transcript: a message waits with its newest one, and a million may wait.
const (
	transcriptHead = 60
	transcriptTail = 40
	transcriptText = 160
)

// transcript records the conversation of one attempt. It crosses Transport in the context, as the traces of
// net/http/httptrace do: a Transport that knows nothing of it records nothing. All methods work on nil.
//
// Lines are kept as they came, since few transcripts are ever read: that of a delivered message is thrown away.
type transcript struct {
	attempt int
	wall    time.Time
	began   time.Time // for the monotonic clock

	mu      sync.Mutex // guards what follows
	head    []spoken
	tail    []spoken
	missing int
	hosts   []string // the mail hosts that were found, nil where none were asked for
}

// spoken is one line.
type spoken struct {
	after time.Duration
	who   store.Speaker
	code  int  // of a reply, 0 where the text is all
	more  bool // lines of that reply follow
	text  string
}

func (l spoken) line() store.Line {
	text := l.text
	if l.code != 0 {
		sign := " "
		if l.more {
			sign = "-"
		}
		text = fmt.Sprintf("%03d%s%s", l.code, sign, text)
	}
	if text = escape(text); len(text) > transcriptText {
		text = strings.ToValidUTF8(text[:transcriptText-3], "") + "..."
	}
	return store.Line{After: l.after.Milliseconds(), Speaks: l.who, Text: text}
}

type transcriptKey struct{}

func record(ctx context.Context, attempt int, now time.Time) (context.Context, *transcript) {
	t := &transcript{attempt: attempt, wall: now, began: time.Now(), head: make([]spoken, 0, 12)}
	return context.WithValue(ctx, transcriptKey{}, t), t
}

func transcriptOf(ctx context.Context) *transcript {
	t, _ := ctx.Value(transcriptKey{}).(*transcript)
	return t
}

func (t *transcript) add(l spoken) {
	if t == nil {
		return
	}
	if l.after = time.Since(t.began); len(l.text) > transcriptText+utf8.UTFMax { // escaping makes nothing shorter
		l.text = strings.Clone(l.text[:transcriptText+utf8.UTFMax])
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.head) < transcriptHead {
		t.head = append(t.head, l)
		return
	}
	if len(t.tail) == transcriptTail {
		t.tail = slices.Delete(t.tail, 0, 1)
		t.missing++
	}
	t.tail = append(t.tail, l)
}

func (t *transcript) note(format string, args ...any) {
	if t != nil {
		t.remark(fmt.Sprintf(format, args...))
	}
}

func (t *transcript) remark(text string) { t.add(spoken{who: store.Note, text: text}) }

// said records one of our commands. While the session authenticates nothing but the mechanism is kept.
func (t *transcript) said(line string, secret bool) {
	if secret {
		words := strings.Fields(line)
		if len(words) > 1 && words[0] == "AUTH" {
			line = "AUTH " + words[1]
			if len(words) > 2 {
				line += " ***"
			}
		} else {
			line = "***"
		}
	}
	t.add(spoken{who: store.Client, text: line})
}

// heard records a reply, line by line. A host may repeat a password that it was given, so of an answer to AUTH only the
// code is kept; its text, with the password taken out, is in the result.
func (t *transcript) heard(r wireReply, secret bool) {
	if t == nil {
		return
	}
	if secret {
		t.add(spoken{who: store.Remote, code: r.code, text: "***"})
		return
	}
	for i, l := range r.lines {
		t.add(spoken{who: store.Remote, code: r.code, more: i < len(r.lines)-1, text: l})
	}
}

func (t *transcript) failed(err error, secret bool) {
	if secret && errors.Is(err, errReplyMalformed) {
		err = errReplyMalformed // its excerpt could hold a part of the password
	}
	t.note("%v", err)
}

// found records the mail hosts of a domain.
func (t *transcript) found(domain string, hosts []string) {
	if t == nil {
		return
	}
	t.note("mail hosts of %s: %s", domain, strings.Join(hosts, ", "))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hosts = slices.Clone(hosts)
}

func (t *transcript) mailHosts() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hosts
}

func (t *transcript) conversation() store.Conversation {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := make([]store.Line, 0, len(t.head)+len(t.tail))
	for _, l := range t.head {
		lines = append(lines, l.line())
	}
	for _, l := range t.tail {
		lines = append(lines, l.line())
	}
	return store.Conversation{Attempt: t.attempt, Began: t.wall, Lines: lines, Missing: t.missing}
}
