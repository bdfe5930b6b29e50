package compose_test

import (
	"bytes"
	"testing"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/compose"
)

// TestLetter_BareCRCostsNoLaterLine: every line end of a body arrives, whichever it was.
func TestLetter_BareCRCostsNoLaterLine(t *testing.T) {
	letter := compose.Letter{
		From: message.Mailbox{Address: message.Address{Local: "a", Domain: "x.example"}},
		Text: "\rü\na\r\nb\rc\n",
	}
	var b bytes.Buffer
	if _, err := letter.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	content, err := compose.ReadContent(&b)
	if want := "\r\nü\r\na\r\nb\r\nc\r\n"; err != nil || content.Text != want {
		t.Errorf("text = %q, %v; want %q", content.Text, err, want)
	}
}
