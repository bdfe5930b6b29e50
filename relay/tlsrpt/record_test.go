package tlsrpt

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseRecord(t *testing.T) {
	for _, tt := range []struct {
		clause  string
		records []string
		want    Record
	}{
		{"8460 3 mailto", []string{"v=TLSRPTv1;rua=mailto:reports@example.com"}, Record{Mail: []string{"reports@example.com"}}},
		{"8460 3 https", []string{"v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt;"}, Record{HTTPS: []string{"https://reporting.example.com/v1/tlsrpt"}}},
		{"8460 3 several", []string{"v=TLSRPTv1; rua=mailto:a@example.com , https://b.example/x,mailto:c@example.com"},
			Record{Mail: []string{"a@example.com", "c@example.com"}, HTTPS: []string{"https://b.example/x"}}},
		{"8460 3 percent-encoding", []string{"v=TLSRPTv1; rua=mailto:a%21b@example.com"}, Record{Mail: []string{"a!b@example.com"}}},
		{"8460 3 unknown fields", []string{"v=TLSRPTv1; x=y; rua=mailto:a@example.com; z.z=1"}, Record{Mail: []string{"a@example.com"}}},
		{"8460 3 others' records beside ours", []string{"v=spf1 -all", "v=TLSRPTv1; rua=mailto:a@example.com"}, Record{Mail: []string{"a@example.com"}}},
		{"8460 3 other schemes are left out", []string{"v=TLSRPTv1; rua=http://a.example/,ftp://b.example/,mailto:a@example.com"}, Record{Mail: []string{"a@example.com"}}},
		{"8460 3 scheme in other case", []string{"v=TLSRPTv1; rua=MAILTO:a@example.com"}, Record{Mail: []string{"a@example.com"}}},
		{"6068 header fields are left out", []string{"v=TLSRPTv1; rua=mailto:a@example.com?subject=x"}, Record{Mail: []string{"a@example.com"}}},
		{"of a field given twice the first counts", []string{"v=TLSRPTv1; rua=mailto:a@example.com; rua=mailto:b@example.com"}, Record{Mail: []string{"a@example.com"}}},
		{"no more than we want to send to", []string{"v=TLSRPTv1; rua=" + strings.Repeat("https://a.example/,", 100)},
			Record{HTTPS: strings.Split(strings.TrimSuffix(strings.Repeat("https://a.example/,", maxURIs), ","), ",")}},
	} {
		got, err := ParseRecord(tt.records)
		if err != nil {
			t.Errorf("%s: %v", tt.clause, err)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", tt.clause, d)
		}
	}
}

func TestParseRecordRefuses(t *testing.T) {
	for _, tt := range []struct{ clause, record string }{
		{"8460 3 no rua", "v=TLSRPTv1;"},
		{"8460 3 empty rua", "v=TLSRPTv1; rua="},
		{"8460 3 no usable rua", "v=TLSRPTv1; rua=http://a.example/"},
		{"8460 3 field without =", "v=TLSRPTv1; rua"},
		{"8460 3 empty field", "v=TLSRPTv1;; rua=mailto:a@example.com"},
		{"8460 3 field name", "v=TLSRPTv1; r ua=1; rua=mailto:a@example.com"},
		{"no address", "v=TLSRPTv1; rua=mailto:example.com"},
		{"two addresses in one", "v=TLSRPTv1; rua=mailto:a@example.com%2Cb@example.com"},
		{"two at signs", "v=TLSRPTv1; rua=mailto:a%40b@example.com"},
		{"header injection", "v=TLSRPTv1; rua=mailto:a%0D%0ABcc:b@example.com"},
		{"route", "v=TLSRPTv1; rua=mailto:<a@example.com>"},
		{"credentials", "v=TLSRPTv1; rua=https://user:pass@a.example/"},
		{"no host", "v=TLSRPTv1; rua=https:///x"},
		{"not a URI", "v=TLSRPTv1; rua=%zz"},
	} {
		if r, err := ParseRecord([]string{tt.record}); err == nil {
			t.Errorf("%s: accepted as %+v", tt.clause, r)
		}
	}
	two := "v=TLSRPTv1; rua=mailto:a@example.com"
	if _, err := ParseRecord([]string{two, two}); err == nil || errors.Is(err, ErrNoRecord) {
		t.Errorf("8460 3 two records: %v", err)
	}
	for _, r := range []string{"", "v=TLSRPTv1", " v=TLSRPTv1; rua=mailto:a@example.com", "v=tlsrptv1; rua=mailto:a@example.com", "rua=mailto:a@b.c; v=TLSRPTv1;"} {
		if _, err := ParseRecord([]string{r}); !errors.Is(err, ErrNoRecord) {
			t.Errorf("%q: %v, want ErrNoRecord", r, err)
		}
	}
}

// FuzzParseRecord checks that nothing gets through that could break a header, an envelope or a request.
func FuzzParseRecord(f *testing.F) {
	f.Add("v=TLSRPTv1; rua=mailto:a@example.com,https://b.example/x?y#z;")
	f.Add("v=TLSRPTv1; rua=mailto:a%0D%0A@example.com")
	f.Add("v=TLSRPTv1;rua=https://[::1]:443/")
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRecord([]string{s})
		if (err == nil) != (len(r.Mail)+len(r.HTTPS) > 0) || len(r.Mail)+len(r.HTTPS) > maxURIs {
			t.Fatalf("%q: %+v, %v", s, r, err)
		}
		for _, m := range r.Mail {
			if strings.ContainsAny(m, " \t\r\n<>,;:\"\x00") || strings.Count(m, "@") != 1 {
				t.Errorf("%q: address %q", s, m)
			}
		}
		for _, h := range r.HTTPS {
			u, err := url.Parse(h)
			if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.ContainsAny(h, " \r\n") {
				t.Errorf("%q: URI %q, %v", s, h, err)
			}
		}
	})
}
