//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay/dane"
)

// TestDANE_KeysInSignedDNS looks TLSA records up through a resolver that really
// validates and holds them against the certificate that Postfix really shows.
func TestDANE_KeysInSignedDNS(t *testing.T) {
	port := commonPort(t, postfixHost)
	address := net.JoinHostPort(postfixHost, port)
	cert := issue(t, testmx.NewCA(t), filepath.Join(sharedDir(t), "postfix"), "mx.postfix.example")
	key := sha256.Sum256(cert.leaf.RawSubjectPublicKeyInfo)
	names := newNameservers(t, interopZone+fmt.Sprintf("_%[1]s._tcp.mx.postfix TLSA 3 1 1 %[2]x\n_%[1]s._tcp.mx.exim TLSA 3 1 1 %064[3]d\n", port, key, 1))
	postfixReceiver(t, address, cert)
	resolver, err := dane.New(dane.Options{Servers: []string{names.resolver}, Trusted: true})
	if err != nil {
		t.Fatal(err)
	}
	state := handshake(t, address)
	if err := verdict(t, resolver, "postfix.example", port, state); err != nil {
		t.Errorf("the published key: %v", err)
	}
	var mismatch *dane.MismatchError
	if err := verdict(t, resolver, "exim.example", port, state); !errors.As(err, &mismatch) {
		t.Errorf("a key that is not the published one: %v, want a mismatch", err)
	}
	if _, err := resolver.LookupMX(context.Background(), "shop.bogus"); err == nil || dane.IsAbsence(err) {
		t.Errorf("a domain whose signatures do not fit: %v, want an error that is no absence", err)
	}
	if _, err := resolver.LookupMX(context.Background(), "nowhere.example"); !errors.Is(err, dane.ErrNoDomain) {
		t.Errorf("a domain that is proven not to exist: %v", err)
	}
}

// verdict goes the way from a domain to what its records say about a handshake.
func verdict(t *testing.T, r *dane.Resolver, domain, port string, state tls.ConnectionState) error {
	t.Helper()
	ctx := context.Background()
	answer, err := r.LookupMX(ctx, domain)
	if err != nil || !answer.Authentic || len(answer.Records) != 1 {
		t.Fatalf("MX of %s: %+v, %v; want one, authentic", domain, answer, err)
	}
	host, err := r.LookupHost(ctx, answer.Records[0].Host)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	set, err := r.LookupTLSA(ctx, host, n)
	if err != nil || len(set.Records) != 1 {
		t.Fatalf("TLSA of %s: %+v, %v", answer.Records[0].Host, set, err)
	}
	return set.Verify(state, []string{domain}, time.Now())
}

func handshake(t *testing.T, address string) tls.ConnectionState {
	t.Helper()
	c, err := smtp.Dial(address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.StartTLS(&tls.Config{ServerName: "mx.postfix.example", InsecureSkipVerify: true}); err != nil {
		t.Fatal(err)
	}
	state, _ := c.TLSConnectionState()
	return state
}
