//go:build e2e

package e2e

import (
	"crypto/tls"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
)

// policyHost is the web server of mta-sts.DOMAIN.example for several domains,
// at the port of HTTPS of an address of loopback.
type policyHost struct {
	address  string
	policies map[string]string // by domain, without .example

	mu    sync.Mutex
	asked map[string]int // by domain
}

func newPolicyHost(t testing.TB, cert certificate, policies map[string]string) *policyHost {
	t.Helper()
	h := &policyHost{policies: policies, asked: map[string]int{}}
	pair, err := tls.LoadX509KeyPair(cert.cert, cert.key)
	if err != nil {
		t.Fatal(err)
	}
	var l net.Listener
	for range 20 { // another test may have the address
		h.address = fmt.Sprintf("127.%d.%d.%d", 64+rand.IntN(64), rand.IntN(256), 1+rand.IntN(254))
		if l, err = net.Listen("tcp", h.address+":443"); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, ErrorLog: log.New(t.Output(), "policy host: ", 0)}
	served := make(chan error, 1)
	go func() { served <- s.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		s.Close()
		<-served
	})
	return h
}

func (h *policyHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	domain := strings.TrimSuffix(strings.TrimPrefix(r.Host, "mta-sts."), ".example")
	h.mu.Lock()
	h.asked[domain]++
	h.mu.Unlock()
	policy, ok := h.policies[domain]
	if !ok || r.URL.Path != "/.well-known/mta-sts.txt" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprint(w, policy)
}

func (h *policyHost) count(domain string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.asked[domain]
}

// zone announces a policy for each of the domains.
func (h *policyHost) zone(domains ...string) string {
	var b strings.Builder
	for _, d := range domains {
		fmt.Fprintf(&b, "_mta-sts.%s TXT \"v=STSv1; id=20261123;\"\nmta-sts.%s A %s\n", d, d, h.address)
	}
	return b.String()
}

// TestMTASTS_DecidesDeliveries fetches policies over HTTPS, found through a real
// resolver, and delivers as they say to one Postfix, whose certificate is for
// mx.postfix.example.
func TestMTASTS_DecidesDeliveries(t *testing.T) {
	ca := testmx.NewCA(t)
	port := commonPort(t, postfixHost)
	dir := sharedDir(t)
	policy := func(mode, mx string) string {
		return fmt.Sprintf("version: STSv1\r\nmode: %s\r\nmx: %s\r\nmax_age: 86400\r\n", mode, mx)
	}
	domains := []string{"postfix", "second", "implicit", "alias", "sender", "wide"}
	var names []string
	for _, d := range domains[:5] { // not the last
		names = append(names, "mta-sts."+d+".example")
	}
	host := newPolicyHost(t, issue(t, ca, filepath.Join(dir, "policy"), names...), map[string]string{
		"postfix":  policy("enforce", "*.postfix.example"),
		"second":   policy("enforce", "mx.other.example"),
		"implicit": policy("testing", "mx.other.example"),
		"alias":    policy("enforce", "mx.wrong.example"),
		"wide":     policy("enforce", "mx.other.example"),
	})
	zone := "mx.postfix A 127.0.0.2\nmx.wrong A 127.0.0.2\nalias MX 10 mx.wrong\n"
	for _, d := range []string{"postfix", "second", "implicit", "sender", "wide"} {
		zone += d + " MX 10 mx.postfix\n"
	}
	resolver := newNameservers(t, zone+host.zone(domains...)).resolver
	w := &world{
		t:       t,
		postfix: postfixReceiver(t, net.JoinHostPort(postfixHost, port), issue(t, ca, filepath.Join(dir, "postfix"), "mx.postfix.example")),
		relay: startRelay(t, fmt.Sprintf(`delivery:
  resolver: %s
  mx_port: %s
  allow_private: true
  ca_file: %s
  schedule: [500ms]
`, resolver, port, put(t, filepath.Join(dir, "roots.pem"), string(ca.PEM())))),
	}
	w.relay.run("stream", "set", "outbound", "--mode", "live", "--mx")
	shown := func(id string) string { return string(w.relay.run("message", "show", id)) }
	for _, c := range []struct {
		name, domain string
		arrives      bool
		tells        string
		fetched      bool
	}{
		{"enforce, and the host keeps it", "postfix", true, "authenticated under MTA-STS", true},
		{"enforce, and the host is not in it", "second", false, "not in the MTA-STS policy", true},
		{"enforce, and the certificate is for another name", "alias", false, "certificate is valid for mx.postfix.example, not mx.wrong.example", true},
		{"testing, and the host is not in it", "implicit", true, "certificate not verified", true},
		{"announced, and not there", "sender", true, "certificate not verified", true},
		{"the policy host has no certificate for its name", "wide", true, "certificate not verified", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.t = t
			mark := "sts-" + c.domain
			id := w.send(letter(mark), "<shop@sender.example>", "<buyer@"+c.domain+".example>")
			why := func() string { return shown(id) + w.postfix.log.String() }
			if c.arrives {
				awaitMail(t, filepath.Join(w.postfix.mail, "buyer"), "Subject: "+mark+"\n", why)
			} else if !until(20*time.Second, func() bool { return strings.Count(shown(id), "deferred") >= 2 }) {
				t.Errorf("the mail must wait:\n%s", why())
			}
			if !until(10*time.Second, func() bool { return strings.Contains(shown(id), c.tells) }) {
				t.Errorf("the timeline does not say %q:\n%s", c.tells, shown(id))
			}
			if n := len(about(filepath.Join(w.postfix.mail, "buyer"), "Subject: "+mark+"\n")); (n > 0) != c.arrives {
				t.Errorf("%d copies arrived", n)
			}
			if n := host.count(c.domain); (n > 0) != c.fetched || n > 1 {
				t.Errorf("the policy was asked for %d times", n)
			}
		})
	}
	w.t = t
}
