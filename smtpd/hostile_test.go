package smtpd

import (
	"bufio"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// memListener hands out in-memory connections, so that the clock of a bubble
// rules their deadlines.
type memListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMemListener() *memListener {
	return &memListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *memListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *memListener) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

// bubble runs a session with the default limits under a clock of its own. The
// client of a pipe has no address, so authentication in clear is for all.
func bubble(t *testing.T, f func(t *testing.T, r *rig, p *peer)) {
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, auth: &fakeAuth{}, in: &fakeIntake{}, log: &lockedBuffer{}}
		s, err := New(r.auth, r.in, Options{Hostname: "mail.test", TLS: testTLS()})
		if err != nil {
			t.Fatal(err)
		}
		r.server = s
		l := newMemListener()
		r.run(Listener{Listener: l})
		client, server := net.Pipe()
		l.conns <- withAddr{server}
		f(t, r, &peer{t: t, conn: noDeadline{client}, br: bufio.NewReader(client)})
		client.Close()
		if err := r.stop(); err != nil {
			t.Error(err)
		}
	})
}

// withAddr is a pipe that comes from the loopback.
type withAddr struct{ net.Conn }

func (withAddr) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// noDeadline waits as long as the server does.
type noDeadline struct{ net.Conn }

func (noDeadline) SetReadDeadline(time.Time) error  { return nil }
func (noDeadline) SetWriteDeadline(time.Time) error { return nil }

// drip sends s an octet a second until the server has had enough, and returns
// what it said.
func drip(p *peer, s string) (replies []string, took time.Duration) {
	start := time.Now()
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range len(s) {
			if _, err := p.conn.Write([]byte{s[i]}); err != nil {
				return
			}
			select {
			case <-time.After(time.Second):
			case <-stop:
				return
			}
		}
	}()
	for {
		r := p.reply()
		replies = append(replies, r)
		if r == "CLOSED" || strings.HasPrefix(r, "ERROR") {
			took = time.Since(start)
			close(stop)
			p.conn.Close()
			<-done
			return replies, took
		}
	}
}

func wantOnly(t *testing.T, r *rig, replies []string, prefix string) {
	t.Helper()
	if len(replies) != 2 || !strings.HasPrefix(replies[0], prefix) || replies[1] != "CLOSED" {
		t.Errorf("replies %q, want %s and the end", replies, prefix)
	}
	if got := r.in.queued(); len(got) != 0 {
		t.Errorf("queued %v", got)
	}
}

func wantTook(t *testing.T, took, want time.Duration) {
	t.Helper()
	if took < want || took > want+2*time.Second {
		t.Errorf("took %v, want %v", took, want)
	}
}

// TestHostile_StallInData: a client that stops inside DATA.
func TestHostile_StallInData(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		p.play("S: 220 …\nLOGIN\nMAIL\n" + data + "R: From: a@example.org\\r\\n")
		start := time.Now()
		replies := []string{p.reply(), p.reply()}
		wantOnly(t, r, replies, "421 4.4.2 ")
		wantTook(t, time.Since(start), time.Minute)
	})
}

// TestHostile_DripInData: a body of commands at one octet a second.
func TestHostile_DripInData(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		p.play("S: 220 …\nLOGIN\nMAIL\n" + data)
		replies, took := drip(p, strings.Repeat("RSET\r\nNOOP\r\n", 100))
		wantOnly(t, r, replies, "421 4.4.2 ")
		wantTook(t, took, time.Minute)
	})
}

// TestHostile_DripInChunk: the same in BDAT.
func TestHostile_DripInChunk(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		p.play("S: 220 …\nLOGIN\nMAIL\nC: BDAT 100000 LAST")
		replies, took := drip(p, strings.Repeat("RSET\r\nNOOP\r\n", 100))
		wantOnly(t, r, replies, "421 4.4.2 ")
		wantTook(t, took, time.Minute)
	})
}

// TestHostile_DripInCommand: a command line that never ends.
func TestHostile_DripInCommand(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		p.play("S: 220 …")
		replies, took := drip(p, "NOOP "+strings.Repeat("x", 1000))
		wantOnly(t, r, replies, "421 4.4.2 ")
		wantTook(t, took, 5*time.Minute)
	})
}

// TestHostile_DripJustFastEnough: the minimum rate ends at the total limit.
func TestHostile_DripJustFastEnough(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		p.play("S: 220 …\nLOGIN\nMAIL\n" + data)
		start := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				if _, err := io.WriteString(p.conn, strings.Repeat("x", 598)+"\r\n"); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		}()
		replies := []string{p.reply(), p.reply()}
		took := time.Since(start)
		p.conn.Close()
		<-done
		wantOnly(t, r, replies, "421 4.4.2 ")
		wantTook(t, took, time.Hour)
	})
}

// TestHostile_ErrorsAreSlowed: from the tenth error on each costs a second.
func TestHostile_ErrorsAreSlowed(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		p.play("S: 220 …")
		start := time.Now()
		p.play(strings.Repeat("C: BOGUS\nS: 500 5.5.2 …\n", 20) + "S: 421 4.7.0 …\nS: CLOSED")
		wantTook(t, time.Since(start), 10*time.Second)
	})
}

// TestHostile_LoginDelay: the verifier's delay is kept, and a stop ends it.
func TestHostile_LoginDelay(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		r.auth.delay = 10 * time.Second
		p.play("S: 220 …\nC: EHLO x\nS: 250 …")
		start := time.Now()
		p.play("C: AUTH PLAIN " + plainIR("a", "b") + "\nS: 535 5.7.8 …")
		wantTook(t, time.Since(start), 10*time.Second)
		p.play("C: AUTH PLAIN " + plainIR("a", "b"))
		synctest.Wait()
		start = time.Now()
		go r.stop()
		p.play("S: 535 5.7.8 …\nS: 421 4.3.2 …\nS: CLOSED")
		wantTook(t, time.Since(start), 0)
	})
}

// TestHostile_SlowStoreIsNotTheClient: waiting for our own disk does not count
// against the minimum rate.
func TestHostile_SlowStoreIsNotTheClient(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		r.in.hold = make(chan struct{})
		p.play("S: 220 …\nLOGIN\nMAIL\n" + data + "R: x\\r\\n.\\r\\n")
		time.Sleep(10 * time.Minute)
		close(r.in.hold)
		p.play("S: 250 2.0.0 queued …\n" + alive)
	})
}

// TestHostile_200WrongPasswords: on one connection, and as many connections as it
// takes.
func TestHostile_200WrongPasswords(t *testing.T) {
	r := newRig(t, quick())
	for sent := 0; sent < 200; sent += 3 {
		r.dial().play("S: 220 …\nC: EHLO x\nS: 250 …\nR: " + strings.Repeat("AUTH PLAIN "+plainIR("a", "b")+"\\r\\n", 200) +
			"\nS: 535 5.7.8 …\nS: 535 5.7.8 …\nS: 421 4.7.0 …\nS: CLOSED")
		if sent > 9 { // the verifier has boxed the network by now
			r.auth.boxed.Store(true)
			break
		}
	}
	r.dial().play("S: 421 4.7.0 …\nS: CLOSED")
	r.wantQueued()
	if n := r.auth.asked.Load(); n > 15 {
		t.Errorf("%d passwords tried", n)
	}
}

// TestHostile_10000Noops: the limit holds, pipelined or not.
func TestHostile_10000Noops(t *testing.T) {
	r := newRig(t, quick())
	p := r.dial()
	p.play("S: 220 …\nLOGIN")
	p.send(strings.Repeat("NOOP\r\n", 10000))
	p.play(strings.Repeat("S: 250 2.0.0 ok\n", 100) + "S: 421 4.7.0 …\nS: CLOSED")
	r.wantQueued()
}

// TestHostile_BareCRAndNUL: in commands and in content.
func TestHostile_BareCRAndNUL(t *testing.T) {
	for name, octet := range map[string]string{"CR": `\r`, "NUL": `\x00`} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, quick())
			r.dial().play("S: 220 …\nLOGIN\nMAIL\n" + data + "R: From: a@example.org\\r\\n\\r\\na" + octet + "b\\r\\n" + commandsAsBody + "\nS: 550 5.5.2 …\nS: CLOSED")
			r.dial().play("S: 220 …\nLOGIN\nMAIL\nR: BDAT 3 LAST\\r\\na" + octet + "bNOOP\\r\\n\nS: 550 5.5.2 …\nS: CLOSED")
			r.dial().play("S: 220 …\nLOGIN\nR: NOOP" + octet + "RSET\\r\\n\nS: 500 5.5.2 …\nR: MAIL FROM:<a" + octet + "@example.org>\\r\\n\nS: 501 5.1.7 …\n" + alive)
			r.wantQueued()
		})
	}
}

// TestHostile_LoneDots: no odd end of data ends it, and none gets through.
func TestHostile_LoneDots(t *testing.T) {
	for _, odd := range []string{`\n.\n`, `\n.\r\n`, `\r.\r`, `\r\n.\n`, `\r\n.\r`, `\r.\r\n`} {
		t.Run(odd, func(t *testing.T) {
			r := newRig(t, quick())
			r.dial().play("S: 220 …\nLOGIN\nMAIL\n" + data + "R: From: a@example.org\\r\\n\\r\\nx" + odd + commandsAsBody + "\nS: 550 5.5.2 …\nS: CLOSED")
			r.wantQueued()
		})
	}
}

// TestHostile_HalfChunk: half a BDAT chunk and silence.
func TestHostile_HalfChunk(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		p.play("S: 220 …\nLOGIN\nMAIL\nR: BDAT 1000 LAST\\r\\nFrom: a@example.org\\r\\n\\r\\n")
		wantOnly(t, r, []string{p.reply(), p.reply()}, "421 4.4.2 ")
	})
}

// TestHostile_BodyLikeCommands: a whole message of commands is one message.
func TestHostile_BodyLikeCommands(t *testing.T) {
	r := newRig(t, quick())
	r.dial().play("S: 220 …\nLOGIN\nMAIL\n" + data + "R: " + strings.TrimSuffix(commandsAsBody, `.\r\n`) + "..\\r\\nQUIT\\r\\n.\\r\\n\nS: 250 2.0.0 queued …\n" + alive)
	r.wantQueued("RSET\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nFrom: evil@example.org\r\n\r\nevil\r\n.\r\nQUIT\r\n")
}

// TestHostile_NeverReads: a client that does not take its replies.
func TestHostile_NeverReads(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig, p *peer) {
		p.play("S: 220 …")
		p.send("NOOP\r\n") // the server now waits for us to read
		start := time.Now()
		r.server.conns.Wait()
		wantTook(t, time.Since(start), time.Minute)
	})
}

// TestRunStopsWithListener: a listener that fails ends Run with its error.
func TestRunStopsWithListener(t *testing.T) {
	s, err := New(&fakeAuth{}, &fakeIntake{}, quick())
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t)
	l.Close()
	if err := s.Run(context.Background(), Listener{Listener: listen(t)}, Listener{Listener: l}); err == nil {
		t.Error("no error")
	}
}
