package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"encoding/base64"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s: %s", name, d)
	}
}

// example records the sessions of RFC 8460 Appendix B.
func example(t *testing.T) Report {
	t.Helper()
	r := open(t, filepath.Join(t.TempDir(), "tlsrpt"), Options{Submitter: "company-x.example", Organization: "Company-X", Contact: "sts-reporting@company-x.example"})
	at := time.Date(2016, 4, 1, 13, 0, 0, 0, time.UTC)
	sts := Policy{
		Type:    STS,
		Strings: []string{"version: STSv1", "mode: testing", "mx: *.mail.company-y.example", "max_age: 86400"},
		Domain:  "company-y.example", MXHosts: []string{"*.mail.company-y.example"},
	}
	record := func(n int, result Result, d Detail) {
		for range n {
			r.Record(Session{Domain: "company-y.example", Policy: sts, Result: result, Detail: d}, at)
		}
	}
	record(5326, Success, Detail{})
	record(100, CertificateExpired, Detail{SendingIP: "2001:db8:abcd:0012::1", ReceivingMX: "mx1.mail.company-y.example"})
	record(200, STARTTLSNotSupported, Detail{
		SendingIP: "2001:db8:abcd:0013::1", ReceivingMX: "mx2.mail.company-y.example", ReceivingIP: "203.0.113.56",
		Info: "https://reports.company-x.example/report_info?id=5065427c-23d3#StarttlsNotSupported",
	})
	record(3, ValidationFailure, Detail{
		SendingIP: "198.51.100.62", ReceivingIP: "203.0.113.58", ReceivingMX: "mx-backup.mail.company-y.example", Reason: "X509_V_ERR_PROXY_PATH_LENGTH_EXCEEDED",
	})
	r.Record(Session{Domain: "company-y.example", Policy: Policy{Type: TLSA, Domain: "mx.company-y.example", Strings: []string{"3 1 1 ABCD"}}, Result: DNSSECInvalid}, at)
	r.Record(Session{Domain: "company-y.example", Policy: Policy{Type: NoPolicy, Domain: "company-y.example"}}, at)
	report, ok := r.Report("company-y.example", DayOf(at))
	if !ok {
		t.Fatal("no report")
	}
	return report
}

func TestReport(t *testing.T) {
	report := example(t)
	b, err := report.JSON()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "report.json", b)
	var again Report
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(report.Policies, again.Policies); d != "" {
		t.Error(d)
	}
	if name, want := report.Filename(), "company-x.example!company-y.example!1459468800!1459555199.json.gz"; name != want {
		t.Errorf("8460 5.1: file name %q, want %q", name, want)
	}
}

func TestGzip(t *testing.T) {
	report := example(t)
	b, err := report.Gzip()
	if err != nil {
		t.Fatal(err)
	}
	again, err := report.Gzip()
	if err != nil || !bytes.Equal(b, again) {
		t.Errorf("a repetition differs (%v)", err)
	}
	if d := cmp.Diff(string(mustJSON(t, report)), string(gunzip(t, b))); d != "" {
		t.Error(d)
	}
}

func mustJSON(t *testing.T, r Report) []byte {
	t.Helper()
	b, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func gunzip(t *testing.T, b []byte) []byte {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestMail(t *testing.T) {
	report := example(t)
	b, err := report.Mail("tlsrpt@company-x.example", "reports@company-y.example", time.Date(2016, 4, 2, 3, 4, 5, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(string(b), "\r\n"), "\r\n") {
		if len(line) > 78 || strings.ContainsAny(line, "\r\n") {
			t.Errorf("line %q", line)
		}
	}
	m, err := mail.ReadMessage(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ clause, field, want string }{
		{"8460 5.3", "Subject", "Report Domain: company-y.example Submitter: company-x.example Report-ID: <2016-04-01.company-y.example@company-x.example>"},
		{"8460 5.3", "TLS-Report-Domain", "company-y.example"},
		{"8460 5.3", "TLS-Report-Submitter", "company-x.example"},
		{"8689 5", "TLS-Required", "No"},
		{"5322 3.6", "Date", "Sat, 02 Apr 2016 03:04:05 +0000"},
		{"5322 3.6", "From", "<tlsrpt@company-x.example>"},
		{"5322 3.6", "To", "<reports@company-y.example>"},
		{"5322 3.6", "Message-Id", "<2016-04-01.company-y.example@company-x.example>"},
		{"3834 5", "Auto-Submitted", "auto-generated"},
		{"2045 4", "Mime-Version", "1.0"},
	} {
		if got := m.Header.Get(tt.field); got != tt.want {
			t.Errorf("%s: %s is %q, want %q", tt.clause, tt.field, got, tt.want)
		}
	}
	checkParts(t, m, report)
}

// checkParts reads the message with the standard library (RFC 8460 5.3).
func checkParts(t *testing.T, m *mail.Message, report Report) {
	t.Helper()
	media, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || media != "multipart/report" || params["report-type"] != "tlsrpt" {
		t.Fatalf("media type %s %v, %v", media, params, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	text, err := parts.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	if got := text.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
		t.Errorf("first part: %s", got)
	}
	attached, err := parts.NextRawPart()
	if err != nil {
		t.Fatal(err)
	}
	if got := attached.Header.Get("Content-Type"); got != "application/tlsrpt+gzip" || attached.FileName() != report.Filename() {
		t.Errorf("second part: %s, file %q", got, attached.FileName())
	}
	b, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, attached))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(mustJSON(t, report)), string(gunzip(t, b))); d != "" {
		t.Error(d)
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("a third part: %v", err)
	}
}

func TestMailRefusesAddresses(t *testing.T) {
	report := example(t)
	for _, bad := range []string{"", "x", "a@b\r\nBcc: c@d", "a b@c", "<a@b>", "a@b,c@d"} {
		if _, err := report.Mail(bad, "a@b.example", time.Time{}); err == nil {
			t.Errorf("From %q was accepted", bad)
		}
		if _, err := report.Mail("a@b.example", bad, time.Time{}); err == nil {
			t.Errorf("To %q was accepted", bad)
		}
	}
}
