package intake

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/message"
)

func TestCombine(t *testing.T) {
	yes, no := true, false
	meta := func(pairs ...string) (out []message.Metadatum) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, message.Metadatum{Key: pairs[i], Value: pairs[i+1]})
		}
		return out
	}
	for _, tt := range []struct {
		name                 string
		beside, header, want message.Controls
	}{
		{"header alone", message.Controls{}, message.Controls{Tag: "h", Stream: "s"}, message.Controls{Tag: "h", Stream: "s"}},
		{"beside wins", message.Controls{Tag: "b", TrackOpens: &no, TrackLinks: "None"}, message.Controls{Tag: "h", TrackOpens: &yes, TrackLinks: "HtmlOnly"},
			message.Controls{Tag: "b", TrackOpens: &no, TrackLinks: "None"}},
		{"same stream twice", message.Controls{Stream: "s"}, message.Controls{Stream: "s"}, message.Controls{Stream: "s"}},
		{"metadata together", message.Controls{Metadata: meta("ID", "2", "new key", "3")}, message.Controls{Metadata: meta("id", "1", "x", "y")},
			message.Controls{Metadata: meta("ID", "2", "x", "y", "new key", "3")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := combine(tt.beside, tt.header)
			if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
				t.Errorf("error %v, controls (-want +got):\n%s", err, diff)
			}
		})
	}
	var r *Refusal
	if _, err := combine(message.Controls{Stream: "a"}, message.Controls{Stream: "b"}); !errors.As(err, &r) || r.Kind != KindStream {
		t.Errorf("two streams: error %v, want a refusal of KindStream", err)
	}
}
