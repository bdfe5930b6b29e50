package intake_test

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/intake"
)

// TestSubmit_MemoryIsUsedAgain: what was stored of a message does not change while others use its memory, and nothing of
// one that was refused, cut off or broken is in the next.
func TestSubmit_MemoryIsUsedAgain(t *testing.T) {
	s := account(t)
	in := newIntake(s)
	submit := func(word string, content io.Reader) error {
		e := envelope(serverToken)
		e.From, e.Hello, e.EnvID = word+"@verified.example", word+".local", word
		e.Recipients = []intake.Recipient{{Address: word + "@one.example", ORcpt: "rfc822;" + word + "@one.example"}, {Address: word + "@two.example"}}
		_, err := in.Submit(t.Context(), e, content)
		return err
	}
	text := func(word string) string {
		return strings.ReplaceAll("From: W <W@verified.example>\r\nTo: \"W\" <W@one.example>, W@two.example\r\nSubject: =?utf-8?q?W?= W\r\nX-PM-Tag: W\r\n"+
			"X-PM-Metadata-W: W\r\nMessage-ID: <W@app>\r\nContent-Type: multipart/mixed; boundary=W\r\n\r\n--W\r\nContent-Type: a/b; name=W\r\n\r\nW\r\n--W--\r\n", "W", word)
	}
	stored := func() string {
		b, err := json.Marshal([]any{s.message, s.deliveries})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if err := submit("first", strings.NewReader(text("first"))); err != nil {
		t.Fatal(err)
	}
	want, m, ds := stored(), s.message, s.deliveries
	for range 20 { // a pool gives back what it likes
		if err := submit("Later", strings.NewReader(text("Later"))); err != nil {
			t.Fatal(err)
		}
		if have := stored() + string(s.body); strings.Contains(have, "first") || strings.Contains(have, "other") {
			t.Errorf("of another message: %s", have)
		}
		_ = submit("other", strings.NewReader("X-PM-Nothing: other\r\nX-PM-Tag: other\r\n"+text("other"))) // two tags
		_ = submit("other", io.MultiReader(strings.NewReader(text("other")), &failing{errors.New("cut off")}))
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			_ = submit("other", io.MultiReader(strings.NewReader(text("other")), panicking{}))
		}()
	}
	if s.committed != 21 || s.discarded != 40 {
		t.Errorf("%d messages committed, %d discarded", s.committed, s.discarded)
	}
	s.message, s.deliveries = m, ds
	if have := stored(); have != want {
		t.Errorf("the first message has become\n%s, was\n%s", have, want)
	}
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("the front end broke") }
