package relay_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

// babbler is a host without pipelining that takes its first message, then says that again unasked, and refuses the rest. In
// the session where it did so it is slow about recipients: the next command comes first, where somebody sends one.
type babbler struct {
	net.Listener
	say, said chan struct{}
	taken     int
}

func (b *babbler) serve() {
	for {
		c, err := b.Accept()
		if err != nil {
			return
		}
		b.talk(c)
		_ = c.Close()
	}
}

func (b *babbler) talk(c net.Conn) {
	r, babbled := bufio.NewReader(c), false
	fmt.Fprint(c, "220 babbler\r\n")
	for {
		line, err := r.ReadString('\n')
		var size int
		switch n, _ := fmt.Sscanf(line, "BDAT %d LAST", &size); {
		case err != nil:
			return
		case n == 1:
			_, _ = io.CopyN(io.Discard, r, int64(size))
			if b.taken++; b.taken > 1 {
				fmt.Fprint(c, "550 5.7.1 not this one\r\n")
				continue
			}
			fmt.Fprint(c, "250 2.0.0 taken\r\n")
			<-b.say
			fmt.Fprint(c, "250 2.0.0 taken\r\n")
			close(b.said)
			babbled = true
		case strings.HasPrefix(line, "EHLO"):
			fmt.Fprint(c, "250-babbler\r\n250 CHUNKING\r\n")
		default:
			if babbled && strings.HasPrefix(line, "RCPT") {
				_, _ = r.Peek(1)
			}
			fmt.Fprint(c, "250 2.0.0 ok\r\n")
		}
	}
}

// TestReuse_UnaskedReply: a reply too many would have been taken for the answer to MAIL, and that to RCPT for the one to
// the content, which the host refuses.
func TestReuse_UnaskedReply(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &babbler{Listener: l, say: make(chan struct{}), said: make(chan struct{})}
	go b.serve()
	t.Cleanup(func() { _ = l.Close() })
	tr := transport(t, routesOptions())
	j := job()
	j.Route = store.Route{Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, TLS: store.TLSNone}
	if got := tr.Send(t.Context(), j)[0]; got.Verdict() != relay.Delivered {
		t.Fatalf("first Send = %s", fate(got))
	}
	close(b.say)
	<-b.said
	if got := tr.Send(t.Context(), j)[0]; got.Verdict() != relay.Permanent {
		t.Errorf("second Send = %s, want it refused", fate(got))
	}
}
