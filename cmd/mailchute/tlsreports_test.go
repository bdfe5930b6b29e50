package main

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/internal/testdns"
	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/relay/tlsrpt"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// TestServer_TLSReports runs a whole server: what was counted the day before yesterday goes to both kinds of places that
// DNS names, and its own delivery is not counted.
func TestServer_TLSReports(t *testing.T) {
	mx := testmx.New(t, testmx.Script{TLS: testmx.NoTLS})
	posted := make(chan []byte, 10)
	web := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		posted <- b
	}))
	t.Cleanup(web.Close)
	_, webPort, _ := net.SplitHostPort(web.Listener.Addr().String())
	dns := testdns.New(t, fmt.Sprintf(`
_smtp._tls.dest.test. TXT "v=TLSRPTv1; rua=mailto:tls@reports.test,https://example.com:%s/in"
reports.test. MX 10 mx.reports.test.
mx.reports.test. A 127.0.0.1
example.com. A 127.0.0.1
`, webPort))
	cfg := demoConfig(filepath.Join(t.TempDir(), "data"))
	cfg.Delivery.Resolver, cfg.Delivery.AllowPrivate, cfg.Delivery.MTASTS = dns.Addr(), true, false
	cfg.Delivery.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(cfg.Delivery.CAFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(mx.Addr())
	cfg.Delivery.MXPort, _ = strconv.Atoi(port)
	cfg.TLSReports = TLSReportsConfig{From: "tls@sender.test", Stream: firstServer + "/outbound"}
	s, err := openServer(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := createStarter(t.Context(), s.files, time.Now()); err != nil {
		t.Fatal(err)
	}
	reporting(t, s)
	before := time.Now().Add(-48 * time.Hour)
	s.tlsCounts.Record(tlsrpt.Session{Domain: "dest.test", Policy: tlsrpt.Policy{Type: tlsrpt.NoPolicy, Domain: "dest.test"}, Result: tlsrpt.STARTTLSNotSupported}, before)
	var listed []store.Record
	runUntil(t, s, func(db *local.Store) bool {
		queued, _, err := db.List(t.Context(), store.Filter{Queued: true}, "", 1)
		if err == nil {
			listed, _, err = db.List(t.Context(), store.Filter{}, "", 1)
		}
		return err == nil && len(mx.Messages()) == 1 && len(posted) == 1 && len(queued) == 0 && len(s.tlsCounts.Reports()) == 0
	})
	if len(listed) != 1 || !strings.HasPrefix(listed[0].Message.Header.Subject, "Report Domain: dest.test Submitter: ") {
		t.Errorf("in lists it is %+v", listed)
	}
	wantReport(t, <-posted)
	m := mx.Messages()[0]
	head, body, _ := strings.Cut(string(m.Body), "\r\n\r\n")
	for _, want := range []string{"DKIM-Signature: ", "d=sender.test", "TLS-Report-Domain:TLS-Report-Submitter", "\r\nTLS-Required: No\r\n", "\r\nTLS-Report-Domain: dest.test\r\n", "report-type=\"tlsrpt\""} {
		if !strings.Contains(strings.ReplaceAll(head, "\r\n\t", ""), strings.ReplaceAll(want, "\r\n\t", "")) {
			t.Errorf("header lacks %q:\n%s", want, head)
		}
	}
	if m.From != "" {
		t.Errorf("from %q", m.From)
	}
	_, encoded, _ := strings.Cut(body, "tlsrpt+gzip")
	_, encoded, _ = strings.Cut(encoded, "\r\n\r\n")
	encoded, _, _ = strings.Cut(encoded, "\r\n--")
	zipped, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(encoded, "\r\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	wantReport(t, zipped)
}

// reporting makes the default stream live and gives the domain that reports a key.
func reporting(t *testing.T, s *server) {
	t.Helper()
	_, err := store.Update(t.Context(), s.files.store, func(snap *store.Snapshot) ([]store.Change, error) {
		_, stream, err := streamOf(snap, "", "outbound")
		stream.Mode = store.ModeLive
		return []store.Change{{Stream: &stream}}, err
	})
	if err != nil {
		t.Fatal(err)
	}
	signing(t, s, "sender.test")
}

// signing gives a domain a key that is active.
func signing(t *testing.T, s *server, domain string) {
	t.Helper()
	keeper := domains.NewKeeper(s.files.store, s.files.keyring, domains.Options{})
	d, err := keeper.Add(t.Context(), domain)
	if err == nil {
		_, err = keeper.Rotate(t.Context(), d.ID, true)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func wantReport(t *testing.T, zipped []byte) {
	t.Helper()
	unzip, err := gzip.NewReader(bytes.NewReader(zipped))
	if err != nil {
		t.Fatal(err)
	}
	var r tlsrpt.Report
	if err := json.NewDecoder(unzip).Decode(&r); err != nil {
		t.Fatal(err)
	}
	if len(r.Policies) != 1 || r.Policies[0].Policy.Domain != "dest.test" || r.Policies[0].Summary.Failed != 1 || r.Contact != "tls@sender.test" || r.Organization != "sender.test" {
		t.Errorf("report %+v", r)
	}
}

// Without a key the mail is not sent: nobody would take it.
func TestReportMailer_Refuses(t *testing.T) {
	a := listAdmin(t)
	m := reportMailer{store: a.store, config: TLSReportsConfig{From: "tls@sender.test", Stream: "shop/outbound"}, expire: time.Hour, now: a.now}
	if err := m.send(t.Context(), "x@dest.test", []byte("From: x\r\n\r\n")); err == nil || !strings.Contains(err.Error(), "no active DKIM key") {
		t.Errorf("without a key: %v", err)
	}
	m.config.Stream = "shop/inbound"
	if err := m.send(t.Context(), "x@dest.test", []byte("From: x\r\n\r\n")); err == nil || !strings.Contains(err.Error(), "shop/inbound") {
		t.Errorf("without a stream: %v", err)
	}
}

func TestTLSReportsConfig_Validate(t *testing.T) {
	for c, want := range map[TLSReportsConfig]string{
		{}: "",
		{From: "tls@example.com", Stream: "My First Server/outbound"}: "",
		{From: "tls@example.com"}:                                     "goes together",
		{Stream: "s/outbound"}:                                        "goes together",
		{From: "tls@example", Stream: "s/outbound"}:                   "not a plain address",
		{From: "T <tls@example.com>", Stream: "s/outbound"}:           "not a plain address",
		{From: "tls@[192.0.2.1]", Stream: "s/outbound"}:               "not a plain address",
		{From: "tls@example.com", Stream: "outbound"}:                 "not server/stream",
	} {
		var p problems
		c.validate(&p)
		if got := fmt.Sprint([]error(p)); (len(p) == 0) != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%+v: %s, want %q", c, got, want)
		}
	}
}
