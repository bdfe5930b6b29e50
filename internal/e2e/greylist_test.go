//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// greylister answers Postfix's policy protocol: attributes, one a line, until
// an empty line; one action for each such request.
type greylister struct {
	mu   sync.Mutex
	seen map[string]bool // guarded by mu
}

func (g *greylister) serve(t testing.TB, l net.Listener) {
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				g.session(c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
}

func (g *greylister) session(c net.Conn) {
	recipient := ""
	for lines := bufio.NewScanner(c); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		switch key {
		case "recipient":
			recipient = value
		case "":
			fmt.Fprintf(c, "action=%s\n\n", g.action(recipient))
		}
	}
}

func (g *greylister) action(recipient string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !strings.HasPrefix(recipient, "slow@") || g.seen[recipient] {
		return "dunno"
	}
	g.seen[recipient] = true
	return "450 4.7.1 greylisted, come back later"
}
