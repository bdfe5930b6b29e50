//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/store"
)

// The faults of docs/failures.md, with the real program.

// crashing is mailchute built with crash points and faults.
var crashing = sync.OnceValues(func() (string, error) {
	path := filepath.Join(filepath.Dir(binary), "mailchute-failpoints")
	out, err := exec.Command("go", "build", "-tags", "failpoints", "-o", path, "../../cmd/mailchute").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("building mailchute: %w\n%s", err, out)
	}
	return path, err
})

// try submits one message in a session of its own. It returns its ID, or the error of the
// reply that refused it.
func (r *relay) try(to, content string) (string, error) {
	c, err := r.session(r.serverToken, r.serverToken)
	if err != nil {
		return "", err
	}
	defer c.Close()
	text, err := submit(c, "shop@example.com", to, "From: shop@example.com\nTo: "+to+"\nSubject: "+to+"\n\n"+content+"\n")
	return text[strings.LastIndexByte(text, ' ')+1:], err
}

func (r *relay) accept(to, content string) string {
	r.t.Helper()
	id, err := r.try(to, content)
	if err != nil {
		r.t.Fatalf("to %s: %v", to, err)
	}
	return id
}

// exited waits until what serves has ended, and returns its exit code.
func (r *relay) exited() int {
	r.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); r.cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		r.t.Fatalf("the relay does not end:\n%s", r.log)
	}
	return r.cmd.ProcessState.ExitCode()
}

// exit runs a command line that may fail.
func (r *relay) exit(args ...string) (code int, said string) {
	out, err := exec.Command(binary, append(args, "--config", r.config)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return code, string(out)
}

// deliverTo points a stream at a host and lets it go.
func (r *relay) deliverTo(address string) {
	r.t.Helper()
	r.run("stream", "set", "outbound", "--mode", "live", "--smarthost", address, "--tls", "none")
	r.run("stream", "resume", "outbound")
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func recipients(mx *testmx.Server) (to []string) {
	for _, m := range mx.Messages() {
		for _, rcpt := range m.To {
			to = append(to, rcpt.Address)
		}
	}
	return to
}

// TestFault_WritesAndSyncs fails one write or sync of the real program and looks
// at what the client is told, at whether the program goes on, and at what is there
// after a start without the fault.
func TestFault_WritesAndSyncs(t *testing.T) {
	program, err := crashing()
	if err != nil {
		t.Fatal(err)
	}
	const large = 600 << 10 // staged in pieces
	for _, tc := range []struct {
		armed string
		size  int
		code  int // of the reply to the first message
		text  string
	}{
		{"write-file=eio:1", 100, 451, "4.3.0"},
		{"write-file=enospc:1", 100, 452, "4.3.1"},
		{"write-file=eio:1", large, 451, "4.3.0"},
		{"write-file=enospc:1", large, 452, "4.3.1"},
		{"sync-file=eio:2", 100, 451, "4.3.0"}, // the first sync is of the recovery
		{"sync-file=enospc:2", 100, 452, "4.3.1"},
		{"write-view=enospc:1", 100, 250, ""},
	} {
		t.Run(fmt.Sprintf("%s/%d", tc.armed, tc.size), func(t *testing.T) {
			mx := testmx.New(t, testmx.Script{})
			r := startRelay(t, "storage: {min_free: 1B}\n")
			r.run("stream", "set", "outbound", "--mode", "live", "--smarthost", mx.Addr(), "--tls", "none")
			r.run("stream", "pause", "outbound")
			r.accept("before@example.org", "was there")
			r.stop()
			r.program, r.env = []string{program}, []string{"FAILPOINTS=" + tc.armed}
			r.start()
			_, err := r.try("first@example.org", strings.Repeat("twenty octets a line\n", tc.size/20))
			if tc.code == 250 && err != nil || tc.code != 250 && !refused(err, tc.code, tc.text) {
				t.Errorf("the first message: %v, want %d %s", err, tc.code, tc.text)
			}
			want := []string{"before@example.org"}
			if tc.code == 250 {
				want = append(want, "first@example.org")
			}
			r.accept("second@example.org", "goes on")
			want = append(want, "second@example.org")
			r.kill()
			r.env = nil
			r.start()
			if code, said := r.exit("check", "--full"); code != 0 {
				t.Errorf("check: %d\n%s", code, said)
			}
			r.run("stream", "resume", "outbound")
			mx.Wait(len(want))
			r.stop()
			if got := recipients(mx); len(got) != len(want) {
				t.Errorf("arrived: %v, want %v", got, want)
			}
		})
	}
}

// TestFault_ViewWrites fails a write of the view for another reason than space: what is
// in the file is not known then, so the program ends with 74, and a new one has everything.
func TestFault_ViewWrites(t *testing.T) {
	program, err := crashing()
	if err != nil {
		t.Fatal(err)
	}
	for _, armed := range []string{
		"write-view=eio:60", "write-view=erofs:60+",
		"write-view=erofs:60+,write-file=erofs:200+,sync-file=erofs:200+", // as a file system that becomes read-only
	} {
		t.Run(armed, func(t *testing.T) {
			mx := testmx.New(t, testmx.Script{})
			r := startRelay(t, "storage: {min_free: 1B}\n")
			r.run("stream", "set", "outbound", "--mode", "live", "--smarthost", mx.Addr(), "--tls", "none")
			r.run("stream", "pause", "outbound")
			r.stop()
			r.program, r.env = []string{program}, []string{"FAILPOINTS=" + armed}
			r.start()
			want := 0
			if !until(20*time.Second, func() bool {
				_, err := r.try(fmt.Sprintf("m%d@example.org", want), "hello")
				if err == nil {
					want++
				}
				if reply := (*textproto.Error)(nil); errors.As(err, &reply) && !refused(err, 451, "4.3.0") && !refused(err, 421, "4.3.2") {
					t.Errorf("refused with %v", err)
				}
				return err != nil && !dials(r.plain)
			}) {
				t.Fatalf("the relay goes on\n%s", r.log)
			}
			if code := r.exited(); code != 74 || want == 0 {
				t.Errorf("exit code %d after %d messages\n%s", code, want, r.log)
			}
			r.env = nil
			r.start()
			r.run("stream", "resume", "outbound")
			mx.Wait(want)
			r.stop()
			if code, said := r.exit("check", "--full"); code != 0 {
				t.Errorf("check: %d\n%s", code, said)
			}
		})
	}
}

// mounted mounts a small file system on the data directory of a relay that is not started.
func mounted(t *testing.T, r *relay, options string) string {
	t.Helper()
	dir := filepath.Join(r.dir, "data")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options+",mode=700"); err != nil {
		t.Fatalf("mounting needs root: %v", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// TestFault_FullDisk fills a small volume to its last octet. Nothing that was
// acknowledged is lost, and with space again mail is taken without a restart.
func TestFault_FullDisk(t *testing.T) {
	mx := testmx.New(t, testmx.Script{})
	r := relayIn(t, t.TempDir(), "storage: {min_free: 1B}\n")
	dir := mounted(t, r, "size=40m")
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 12<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	r.begin()
	r.run("stream", "set", "outbound", "--mode", "live", "--smarthost", mx.Addr(), "--tls", "none")
	r.run("stream", "pause", "outbound")
	want := 0
	content := strings.Repeat("twenty octets a line\n", 20_000)
	for {
		_, err := r.try(fmt.Sprintf("m%d@example.org", want), content)
		if refused(err, 452, "4.3.1") {
			break
		}
		if err != nil || want > 200 {
			t.Fatalf("message %d: %v, want it taken or 452 4.3.1\n%s", want, err, r.log)
		}
		want++
	}
	if want == 0 {
		t.Fatal("the volume is too small for anything")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r.accept("again@example.org", "there is space")
	r.run("stream", "resume", "outbound")
	mx.Wait(want + 1)
	if code, said := r.exit("check", "--full"); code != 0 {
		t.Errorf("check: %d\n%s", code, said)
	}
	t.Logf("%d messages until the volume was full", want)
}

// TestFault_ReadOnlyMount starts on a file system that has become read-only: it says so
// and ends, and what is stored is as it was.
func TestFault_ReadOnlyMount(t *testing.T) {
	mx := testmx.New(t, testmx.Script{})
	r := relayIn(t, t.TempDir(), "storage: {min_free: 1B}\n")
	dir := mounted(t, r, "size=100m")
	r.begin()
	r.run("stream", "pause", "outbound")
	r.accept("kept@example.org", "kept")
	r.stop()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	r.cmd = exec.Command(binary, "serve", "--config", r.config)
	out, err := r.cmd.CombinedOutput()
	if code := r.cmd.ProcessState.ExitCode(); err == nil || code != 74 && code != 73 || !bytes.Contains(out, []byte("read-only file system")) {
		t.Errorf("serve: exit code %d\n%s", code, out)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.deliverTo(mx.Addr())
	mx.Wait(1)
}

// TestFault_NoDescriptors takes all descriptors away by connections. Those who are
// there already are served, and with descriptors again everybody is.
func TestFault_NoDescriptors(t *testing.T) {
	mx := testmx.New(t, testmx.Script{})
	r := relayIn(t, t.TempDir(), "storage: {min_free: 1B}\n")
	put(t, r.config, strings.Replace(read(t, r.config), "smtp:\n", "smtp:\n  limits: {connections_per_network: 1000, connection_rate: 100000}\n", 1))
	r.program = []string{"sh", "-c", `ulimit -n 100; exec "$0" "$@"`, binary}
	r.begin()
	r.deliverTo(mx.Addr())
	c, err := r.session(r.serverToken, r.serverToken)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := submit(c, "a@example.com", "before@example.org", "From: a@example.com\n\nhello\n"); err != nil {
		t.Fatal(err) // and the journal has its first segment
	}
	mx.Wait(1) // later it would find no descriptor, and wait for its next turn
	var idle []net.Conn
	for range 150 {
		if conn, err := net.DialTimeout("tcp", r.plain, time.Second); err == nil {
			idle = append(idle, conn)
		}
	}
	if _, err := submit(c, "a@example.com", "during@example.org", "From: a@example.com\n\nhello\n"); err != nil {
		t.Errorf("a session that was there already: %v", err)
	}
	for _, conn := range idle {
		conn.Close()
	}
	if !until(15*time.Second, func() bool { _, err := r.try("after@example.org", "hello"); return err == nil }) {
		t.Errorf("no session after the descriptors were given back\n%s", r.log)
	}
	if !until(30*time.Second, func() bool { return len(mx.Messages()) >= 3 }) {
		t.Errorf("%v arrived\n%s", recipients(mx), r.log)
	}
	if code, said := r.exit("health"); code != 0 {
		t.Errorf("health: %d %s", code, said)
	}
}

// TestFault_MemoryLimit sends many large messages at once to a relay that may not have
// the memory for them.
func TestFault_MemoryLimit(t *testing.T) {
	mx := testmx.New(t, testmx.Script{})
	r := relayIn(t, t.TempDir(), "storage: {min_free: 1B}\n")
	r.program = []string{"sh", "-c", `ulimit -d 250000; exec "$0" "$@"`, binary} // KiB of private memory
	r.env = []string{"GOMEMLIMIT=150MiB"}
	r.begin()
	r.run("stream", "pause", "outbound")
	content := strings.Repeat("twenty octets a line\n", 1<<20)
	const messages = 16 // of 21 MiB: more than there is memory
	var work sync.WaitGroup
	for n := range messages {
		work.Go(func() {
			if _, err := r.try(fmt.Sprintf("m%d@example.org", n), content); err != nil {
				t.Errorf("message %d: %v", n, err)
			}
		})
	}
	work.Wait()
	if t.Failed() {
		t.Fatalf("%s", r.log)
	}
	r.deliverTo(mx.Addr())
	mx.Wait(messages)
}

// TestFault_DamagedMessage flips one octet of a stored body. The message is held with an
// event, not an octet of its end leaves, and the mail around it is delivered.
func TestFault_DamagedMessage(t *testing.T) {
	for _, chunking := range []bool{false, true} {
		t.Run(fmt.Sprintf("chunking %v", chunking), func(t *testing.T) {
			mx := testmx.New(t, testmx.Script{Chunking: chunking})
			r := startRelay(t, "storage: {min_free: 1B}\n")
			r.run("stream", "pause", "outbound")
			r.accept("one@example.org", "one")
			id := r.accept("two@example.org", "an octet of this will be another one")
			r.accept("three@example.org", "three")
			r.stop()
			segment := filepath.Join(r.dir, "data", "journal", "00000000000000000001.seg")
			content := []byte(read(t, segment))
			at := bytes.Index(content, []byte("an octet of this"))
			if at < 0 {
				t.Fatal("the body is not in the segment")
			}
			content[at] ^= 1
			put(t, segment, string(content))
			r.start()
			r.deliverTo(mx.Addr())
			var shown string
			if !until(20*time.Second, func() bool {
				shown = string(r.run("message", "show", id))
				return strings.Contains(shown, "held") && len(mx.Messages()) == 2
			}) {
				t.Fatalf("%v arrived\n%s\n%s", recipients(mx), shown, r.log)
			}
			if !strings.Contains(shown, "damaged") {
				t.Errorf("no event speaks of damage:\n%s", shown)
			}
			for _, to := range recipients(mx) {
				if to == "two@example.org" {
					t.Error("the damaged message arrived")
				}
			}
			if code, said := r.exit("check", "--full"); code != 65 || !strings.Contains(said, id) {
				t.Errorf("check --full: %d\n%s", code, said)
			}
		})
	}
}

// TestFault_DamagedPage destroys a page of the view. The start names it, the
// rebuild makes the view anew from the journal, and the mail is delivered.
func TestFault_DamagedPage(t *testing.T) {
	mx := testmx.New(t, testmx.Script{})
	r := startRelay(t, "storage: {min_free: 1B}\n")
	r.run("stream", "set", "outbound", "--mode", "live", "--smarthost", mx.Addr(), "--tls", "none")
	r.run("stream", "pause", "outbound")
	const messages = 100 // so many that the directory has pages of its own
	var id store.ID
	for range messages {
		var err error
		if id, err = store.ParseID(r.accept("kept@example.org", "kept")); err != nil {
			t.Fatal(err)
		}
	}
	r.stop()
	view := filepath.Join(r.dir, "data", "mailchute.db")
	content := []byte(read(t, view))
	const page = 4096
	broken := 0
	for at := bytes.Index(content, id[:]); at >= 0 && at < len(content); {
		clear(content[at/page*page : at/page*page+64])
		broken++
		next := bytes.Index(content[at+1:], id[:])
		if next < 0 {
			break
		}
		at += 1 + next
	}
	if broken == 0 {
		t.Fatal("the message is not in the view")
	}
	put(t, view, string(content))
	if code, said := r.exit("serve"); code != 65 || !strings.Contains(said, "page") || !strings.Contains(said, "check --rebuild") {
		t.Errorf("serve: %d\n%s", code, said)
	}
	if code, said := r.exit("check", "--rebuild"); code != 0 {
		t.Errorf("check --rebuild: %d\n%s", code, said)
	}
	r.start()
	r.run("stream", "resume", "outbound")
	mx.Wait(messages)
}

// TestFault_NoSpaceForAMigration starts on the files of the first version with less space
// than the copy before a migration takes. Nothing is migrated, and with space it goes
// through.
func TestFault_NoSpaceForAMigration(t *testing.T) {
	r := relayIn(t, t.TempDir(), "storage: {min_free: 1B}\n")
	dir := mounted(t, r, "size=4m")
	if err := os.CopyFS(dir, os.DirFS("../../store/local/testdata/v1")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	view := filepath.Join(dir, "mailchute.db")
	before := read(t, view)
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = ballast.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	// Something has to be left for what a start writes before: less than the copy takes.
	if err := errors.Join(ballast.Truncate(filled(t, ballast)-8192), ballast.Close()); err != nil {
		t.Fatal(err)
	}
	if code, said := r.exit("serve"); code != 73 && code != 74 || !strings.Contains(said, "no space left on device") {
		t.Errorf("serve: %d\n%s", code, said)
	}
	if _, err := os.Stat(view + ".v1"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a copy that is not whole has its name: %v", err)
	}
	if err := os.Remove(ballast.Name()); err != nil {
		t.Fatal(err)
	}
	r.run("key", "reset", "--yes") // the files of the test come without theirs
	if code, said := r.exit("check", "--full"); code != 0 {
		t.Errorf("check: %d\n%s", code, said)
	}
	if len(read(t, view+".v1")) != len(before) {
		t.Error("there is no copy of the file from before")
	}
	if listed := r.run("message", "list", "--json"); bytes.Count(listed, []byte(`"accepted"`)) < 4 {
		t.Errorf("mail is missing:\n%s", listed)
	}
}

func filled(t testing.TB, f *os.File) int64 {
	t.Helper()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
