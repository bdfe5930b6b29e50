package relay_test

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay"
)

// TestChunk_NotKnownAfterAll is a host that offers CHUNKING and does not know BDAT: DATA follows in a new session at once,
// and BDAT is not tried again soon.
func TestChunk_NotKnownAfterAll(t *testing.T) {
	for name, script := range map[string]testmx.Script{
		"500":                   {Extra: []string{"CHUNKING"}},
		"502":                   {Chunking: true, Steps: steps{testmx.Dot: {{Reply: "502 5.5.1 not implemented"}}}},
		"504, second recipient": {Chunking: true, Steps: steps{testmx.Dot: {{Reply: "504 5.5.4 what?"}}}, Rcpt: map[string][]testmx.Step{"c@example.test": {reply("550 5.1.1 no")}}},
	} {
		t.Run(name, func(t *testing.T) {
			w, mx := single(t, script)
			tr := transport(t, w.options())
			want := "delivered 250 dot, delivered 250 dot"
			if script.Rcpt != nil {
				want = "delivered 250 dot, permanent 550 rcpt"
			}
			for range 2 {
				if got := fates(tr.Send(t.Context(), job("b@example.test", "c@example.test"))); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
			if mx.Connections() != 2 || len(mx.Messages()) != 2 || mx.Reached(testmx.Data) != 2 {
				t.Errorf("%d sessions, %d messages, DATA %d times, want 2 each: %q", mx.Connections(), len(mx.Messages()), mx.Reached(testmx.Data), mx.Transcripts())
			}
		})
	}
}

// TestChunk_Unbearable is a host that hangs up within a chunk: the next attempt uses DATA.
func TestChunk_Unbearable(t *testing.T) {
	w, mx := single(t, testmx.Script{Chunking: true, Steps: steps{testmx.Body: {{Drop: true}}}})
	tr := transport(t, w.options())
	if got := tr.Send(t.Context(), job())[0]; got.Verdict() == relay.Delivered {
		t.Errorf("first attempt: %s", fate(got))
	}
	if got := tr.Send(t.Context(), job())[0]; got.Verdict() != relay.Delivered || mx.Reached(testmx.Data) != 1 {
		t.Errorf("second attempt: %s, DATA %d times", fate(got), mx.Reached(testmx.Data))
	}
}

// TestChunk_Reuse: a chunk that was taken ends its transaction, one that was refused is followed by RSET.
func TestChunk_Reuse(t *testing.T) {
	w, mx := single(t, testmx.Script{TLS: testmx.NoTLS, Chunking: true, Steps: steps{testmx.Dot: {{}, {Reply: "550 5.7.1 spam"}}}})
	tr := transport(t, w.options())
	for _, want := range []string{"delivered 250 dot", "permanent 550 dot", "delivered 250 dot"} {
		if got := fate(tr.Send(t.Context(), job())[0]); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	if got := strings.Join(commands(mx, 1), "|"); mx.Connections() != 1 || strings.Count(got, "RSET") != 1 || !strings.Contains(got, "(content)|RSET|MAIL") {
		t.Errorf("%d sessions: %s", mx.Connections(), got)
	}
}

// TestChunk_NotWhatWasAnnounced: a body that is not as long as the store says, or not canonical, never leaves whole.
func TestChunk_NotWhatWasAnnounced(t *testing.T) {
	for name, content := range map[string]string{"shorter": body[:len(body)-6], "longer": body + "x\r\n", "bare LF": strings.Replace(body, "Hello\r\n", "Hello!\n", 1)} {
		w, mx := single(t, testmx.Script{TLS: testmx.NoTLS, Chunking: true})
		j := job()
		j.Open = open(content)
		tr := transport(t, w.options())
		if got := tr.Send(t.Context(), j)[0]; got.Verdict() != relay.Damaged || len(mx.Messages()) != 0 {
			t.Errorf("%s: %s, and the host has %d messages", name, fate(got), len(mx.Messages()))
		}
		if got := tr.Send(t.Context(), job())[0]; got.Verdict() != relay.Delivered || mx.Reached(testmx.Data) != 0 {
			t.Errorf("%s: the next message: %s", name, fate(got))
		}
	}
}

// TestChunk_PointOfNoReturn cancels while the content is being read, and while its answer is awaited.
func TestChunk_PointOfNoReturn(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		w, mx := single(t, testmx.Script{Chunking: true})
		ctx, cancel := context.WithCancel(t.Context())
		j := job()
		j.Open = func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader(body), readerFunc(func([]byte) (int, error) {
				cancel()
				return 0, io.EOF
			}))), nil
		}
		got := transport(t, w.options()).Send(ctx, j)[0]
		if mx.WaitClosed(); got.Verdict() != relay.Interrupted || len(mx.Messages()) != 0 {
			t.Errorf("%s, and the host has %d messages", fate(got), len(mx.Messages()))
		}
	})
	t.Run("after", func(t *testing.T) {
		w, mx := single(t, testmx.Script{Chunking: true, Steps: steps{testmx.Dot: {{Stall: true}}}})
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan relay.Result, 1)
		tr := transport(t, w.options())
		go func() { results <- tr.Send(ctx, job())[0] }()
		mx.WaitStalled(testmx.Dot, 1)
		cancel()
		mx.Release()
		select {
		case got := <-results:
			if got.Verdict() != relay.Delivered {
				t.Errorf("%s", fate(got))
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no result")
		}
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// BenchmarkContent compares the two ways of sending 256 KiB.
func BenchmarkContent(b *testing.B) {
	big := strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n", 4096)
	for _, way := range []string{"DATA", "BDAT"} {
		b.Run(way, func(b *testing.B) {
			mx := testmx.New(b, testmx.Script{TLS: testmx.NoTLS, Chunking: way == "BDAT"})
			w := newWorld()
			w.host("example.test", 1, mx)
			tr := transport(b, w.options())
			b.SetBytes(int64(len(big)))
			for b.Loop() {
				j := job()
				content(big)(&j)
				if got := tr.Send(b.Context(), j)[0]; got.Verdict() != relay.Delivered {
					b.Fatal(fate(got))
				}
			}
		})
	}
}
