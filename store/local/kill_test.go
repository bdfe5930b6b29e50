package local_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// loadDir names the directory in which the test binary, started again by
// TestKill, makes load until it is killed.
const loadDir = "MAILCHUTE_TEST_LOAD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(loadDir); dir != "" {
		if err := load(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// load accepts and delivers from several goroutines and prints a line for
// every promise, after it was made.
func load(dir string) error {
	s, err := local.Open(dir, small)
	if err != nil {
		return err
	}
	const workers = 4
	failed := make(chan error, workers)
	for n := range workers {
		go func() { failed <- work(s, n) }()
	}
	return <-failed
}

func work(s *local.Store, n int) error {
	ctx := context.Background()
	for i := 0; ; i++ {
		m := store.Message{ID: store.NewID(), Server: 1, Stream: "outbound", Accepted: time.Now(), From: "a@example.com"}
		ds := []store.Delivery{{Destination: "example.org", Due: m.Accepted, Recipients: []store.Recipient{{Address: "b@example.org", State: store.Queued}}}}
		d, err := s.Begin(ctx)
		if err != nil {
			return err
		}
		body := bodyFor(m.ID, i)
		if _, err := d.Write(body); err != nil {
			return err
		}
		if err := d.Commit(ctx, m, ds); err != nil {
			return err
		}
		fmt.Printf("accepted %s %d\n", m.ID, len(body))
		if (i+n)%3 == 0 {
			continue
		}
		c, err := s.Claim(ctx, store.DeliveryID{Message: m.ID}, 0, m.Accepted, m.Accepted.Add(time.Hour))
		if err != nil {
			return err
		}
		c.Delivery.Recipients[0].State = store.Sent
		if err := s.Resolve(ctx, store.Resolution{Delivery: c.Delivery}); err != nil {
			return err
		}
		fmt.Printf("sent %s 0\n", m.ID)
	}
}

// bodyFor makes a body; each fiftieth is staged in chunks.
func bodyFor(id store.ID, i int) []byte {
	if i%50 == 49 {
		return bytes.Repeat(id[:], 40<<10)
	}
	return bytes.Repeat(id[:], 100)
}

// TestKill kills the engine's process in the midst of load, again and again on one
// directory, and looks for every promise it made.
func TestKill(t *testing.T) {
	const rounds = 5
	dir := t.TempDir()
	accepted, sent := map[store.ID]int{}, map[store.ID]bool{}
	rnd := rand.New(rand.NewPCG(3, 4))
	for round := range rounds {
		out := killed(t, dir, time.Duration(20+rnd.IntN(150))*time.Millisecond)
		lines := bufio.NewScanner(bytes.NewReader(out[:bytes.LastIndexByte(out, '\n')+1]))
		for lines.Scan() {
			var what, id string
			var size int
			if _, err := fmt.Sscanf(lines.Text(), "%s %s %d", &what, &id, &size); err != nil {
				t.Fatalf("line %q: %v", lines.Text(), err)
			}
			parsed, err := store.ParseID(id)
			if err != nil {
				t.Fatal(err)
			}
			if sent[parsed] = what == "sent"; !sent[parsed] {
				accepted[parsed] = size
			}
		}
		if len(accepted) < round+1 {
			t.Fatalf("round %d: only %d messages were accepted in all", round, len(accepted))
		}
		wantPromises(t, dir, accepted, sent)
	}
	t.Logf("%d messages accepted over %d kills", len(accepted), rounds)
	verify(t, dir)
}

// killed runs load for a while after its first promise and returns what it
// printed before it was killed.
func killed(t *testing.T, dir string, after time.Duration) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), loadDir+"="+dir)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(pipe)
	first, err := out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("no promise: %v, %s", err, complaint.String())
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	rest, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Exited() {
		t.Fatalf("the process ended by itself: %v, %s", err, complaint.String())
	}
	return append(first, rest...)
}

func wantPromises(t *testing.T, dir string, accepted map[store.ID]int, sent map[store.ID]bool) {
	t.Helper()
	s, err := local.Open(dir, small)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for id, size := range accepted {
		r, err := s.Record(t.Context(), id)
		if err != nil {
			t.Fatalf("an accepted message is lost: %v", err)
		}
		if sent[id] && !r.Deliveries[0].Done() {
			t.Errorf("message %s was recorded as sent and is queued", id)
		}
		body, err := s.Body(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(body)
		if err = errors.Join(err, body.Close()); err != nil || !bytes.Equal(b, bytes.Repeat(id[:], size/16)) {
			t.Errorf("body of %s = %d octets, %v, want %d", id, len(b), err, size)
		}
	}
}
