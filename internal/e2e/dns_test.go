//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// nameservers is a signing authoritative server (Knot) behind a validating
// resolver (Unbound), both on loopback. They know example. and bogus., the
// second with a trust anchor that does not fit, and nothing else: no query
// leaves the machine.
type nameservers struct {
	resolver string // address:port of the validating resolver
}

const zoneHead = "$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\n"

// newNameservers serves the records as zone example.
func newNameservers(t testing.TB, records string) nameservers {
	t.Helper()
	dir := sharedDir(t)
	put(t, filepath.Join(dir, "example.zone"), "$ORIGIN example.\n"+zoneHead+records)
	put(t, filepath.Join(dir, "bogus.zone"), "$ORIGIN bogus.\n"+zoneHead+"shop MX 10 mx\nmx A 127.0.0.2\n")
	authority := freePort(t)
	startKnot(t, dir, authority)
	key := dnskey(t, authority, "example.")
	other := dnskey(t, authority, "bogus.")
	resolver := freePort(t)
	startUnbound(t, dir, resolver, authority, key, strings.Replace(key, "example.", "bogus.", 1))
	if other == key {
		t.Fatal("both zones have the same key")
	}
	n := nameservers{resolver}
	if !until(10*time.Second, func() bool { return n.authentic("example.", dns.TypeSOA) }) {
		t.Fatal("the resolver does not validate example.")
	}
	return n
}

func startKnot(t testing.TB, dir, address string) {
	t.Helper()
	conf := fmt.Sprintf(`server:
    listen: %[2]s
    rundir: %[1]s
log:
  - target: stderr
    any: info
database:
    storage: %[1]s
control:
    listen: %[1]s/knot.sock
policy:
  - id: quick
    algorithm: ecdsap256sha256
    single-type-signing: on
template:
  - id: default
    storage: %[1]s
    file: "%%s.zone"
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
    dnssec-signing: on
    dnssec-policy: quick
zone:
  - domain: example.
  - domain: bogus.
`, dir, strings.Replace(address, ":", "@", 1))
	log := daemon(t, nil, "/usr/sbin/knotd", "-c", put(t, filepath.Join(dir, "knot.conf"), conf))
	listening(t, address, log)
}

// dnskey waits for the zone to be signed and returns its key as a record.
func dnskey(t testing.TB, address, zone string) string {
	t.Helper()
	var key string
	if !until(10*time.Second, func() bool {
		answer, err := ask(address, zone, dns.TypeDNSKEY)
		for i := 0; err == nil && i < len(answer.Answer); i++ {
			if rr, ok := answer.Answer[i].(*dns.DNSKEY); ok {
				key = rr.String()
			}
		}
		return key != ""
	}) {
		t.Fatalf("%s was not signed", zone)
	}
	return strings.Join(strings.Fields(key), " ")
}

func startUnbound(t testing.TB, dir, address, authority string, anchors ...string) {
	t.Helper()
	host, port, _ := net.SplitHostPort(address)
	conf := fmt.Sprintf(`server:
    interface: %s
    port: %s
    username: ""
    chroot: ""
    directory: %q
    pidfile: ""
    use-syslog: no
    logfile: ""
    do-daemonize: no
    do-ip6: no
    do-not-query-localhost: no
    module-config: "validator iterator"
    num-threads: 1
`, host, port, dir)
	for _, a := range anchors {
		conf += fmt.Sprintf("    trust-anchor: %q\n", a)
	}
	conf += "remote-control:\n    control-enable: no\n"
	for _, zone := range []string{"example.", "bogus.", "."} {
		conf += fmt.Sprintf("stub-zone:\n    name: %q\n    stub-addr: %s\n", zone, strings.Replace(authority, ":", "@", 1))
	}
	log := daemon(t, nil, "/usr/sbin/unbound", "-d", "-c", put(t, filepath.Join(dir, "unbound.conf"), conf))
	listening(t, address, log)
}

func ask(address, name string, kind uint16) (*dns.Msg, error) {
	m := new(dns.Msg).SetQuestion(name, kind)
	m.SetEdns0(1232, true)
	answer, _, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(m, address)
	return answer, err
}

// authentic tells whether the resolver has validated an answer with records.
func (n nameservers) authentic(name string, kind uint16) bool {
	answer, err := ask(n.resolver, name, kind)
	return err == nil && answer.AuthenticatedData && len(answer.Answer) > 0
}

func TestNameservers_ValidateAndRefuseTheBogus(t *testing.T) {
	n := newNameservers(t, "mx A 127.0.0.2\n")
	if !n.authentic("mx.example.", dns.TypeA) {
		t.Error("an answer from the signed zone is not authentic")
	}
	for name, want := range map[string]int{"mx.example.": dns.RcodeSuccess, "nowhere.example.": dns.RcodeNameError, "shop.bogus.": dns.RcodeServerFailure} {
		if answer, err := ask(n.resolver, name, dns.TypeMX); err != nil || answer.Rcode != want {
			t.Errorf("MX of %s: %v, %v; want %s", name, answer, err, dns.RcodeToString[want])
		}
	}
}
