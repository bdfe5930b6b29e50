package mtasts

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseRecord(t *testing.T) {
	for _, tt := range []struct {
		clause  string
		records []string
		id      string // "" refuses
	}{
		{"8461 3.1 example", []string{"v=STSv1; id=20160831085700Z;"}, "20160831085700Z"},
		{"8461 3.1 final delimiter is optional", []string{"v=STSv1;id=1"}, "1"},
		{"8461 3.1 white space about delimiters", []string{"v=STSv1; \tid=1 \t; "}, "1"},
		{"8461 3.1 unknown fields", []string{"v=STSv1; a=b; id=1; x-y.z_0=~!"}, "1"},
		{"8461 3.1 others' records beside ours", []string{"v=spf1 -all", "v=STSv1; id=1", "google-site"}, "1"},
		{"8461 3.2 of a field given twice the first counts", []string{"v=STSv1; id=1; id=2"}, "1"},
		{"8461 3.1 id of 32", []string{"v=STSv1; id=" + strings.Repeat("a", 32)}, strings.Repeat("a", 32)},
		{"8461 3.1 id of 33", []string{"v=STSv1; id=" + strings.Repeat("a", 33)}, ""},
		{"8461 3.1 id with a hyphen", []string{"v=STSv1; id=a-b"}, ""},
		{"8461 3.1 empty id", []string{"v=STSv1; id="}, ""},
		{"8461 3.1 no id", []string{"v=STSv1;"}, ""},
		{"8461 3.1 two records", []string{"v=STSv1; id=1", "v=STSv1; id=1"}, ""},
		{"8461 3.1 does not begin with the version", []string{"id=1; v=STSv1;"}, ""},
		{"8461 3.1 space before the version", []string{" v=STSv1; id=1"}, ""},
		{"8461 3.1 version in other case", []string{"V=STSV1; id=1"}, ""},
		{"8461 3.1 other version", []string{"v=STSv2; id=1"}, ""},
		{"8461 3.1 no delimiter", []string{"v=STSv1 id=1"}, ""},
		{"8461 3.1 field without =", []string{"v=STSv1; id=1; x"}, ""},
		{"8461 3.1 empty field", []string{"v=STSv1;; id=1"}, ""},
		{"8461 3.1 field name with a space", []string{"v=STSv1; i d=1; id=1"}, ""},
		{"8461 3.1 field value with control", []string{"v=STSv1; id=1; x=\x01"}, ""},
	} {
		id, err := ParseRecord(tt.records)
		if id != tt.id || (err == nil) != (tt.id != "") {
			t.Errorf("%s: %q, %v; want %q", tt.clause, id, err, tt.id)
		}
	}
	for _, records := range [][]string{nil, {""}, {"v=spf1 -all"}, {"v=STSv1"}} {
		if _, err := ParseRecord(records); !errors.Is(err, ErrNoRecord) {
			t.Errorf("%q: %v, want ErrNoRecord", records, err)
		}
	}
}

const example = "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmx: backupmx.example.com\r\nmax_age: 604800\r\n"

func TestParsePolicy(t *testing.T) {
	mxs := []string{"mail.example.com", "*.example.net", "backupmx.example.com"}
	whole := Policy{Mode: Enforce, MX: mxs, MaxAge: 604800 * time.Second}
	short := Policy{Mode: Testing, MX: []string{"a.example"}, MaxAge: time.Second}
	for _, tt := range []struct {
		clause, file string
		want         Policy
	}{
		{"8461 3.2 example", example, whole},
		{"8461 3.2 LF", strings.ReplaceAll(example, "\r\n", "\n"), whole},
		{"8461 3.2 last line without its end", strings.TrimSuffix(example, "\r\n"), whole},
		{"8461 3.2 any order, white space", "max_age:1  \nmx: \t A.Example \nmode:testing\nversion:STSv1\t\n", short},
		{"8461 3.2 unknown keys", "version: STSv1\nx-new: héllo wörld: yes\nmode: testing\nmx: a.example\nmax_age: 1", short},
		{"8461 3.2 the first of a key counts", "version: STSv1\nmode: testing\nmode: enforce\nmx: a.example\nmax_age: 1\nmax_age: 9\n", short},
		{"8461 3.2 mode none needs no mx", "version: STSv1\nmode: none\nmax_age: 86400\n", Policy{Mode: None, MaxAge: 24 * time.Hour}},
		{"8461 3.2 max_age is capped", "version: STSv1\nmode: none\nmax_age: 9999999999\n", Policy{Mode: None, MaxAge: MaxAge}},
		{"8461 3.2 max_age 0", "version: STSv1\nmode: none\nmax_age: 0\n", Policy{Mode: None}},
	} {
		got, err := ParsePolicy([]byte(tt.file))
		if err != nil {
			t.Errorf("%s: %v", tt.clause, err)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", tt.clause, d)
		}
	}
}

func TestParsePolicyRefuses(t *testing.T) {
	const head, mx = "version: STSv1\nmode: enforce\nmax_age: 1\n", "mx: a.example\n"
	for _, tt := range []struct{ clause, file string }{
		{"8461 3.2 empty", ""},
		{"8461 3.2 no version", "mode: enforce\nmax_age: 1\nmx: a.example\n"},
		{"8461 3.2 other version", "version: STSv2\nmode: enforce\nmax_age: 1\nmx: a.example\n"},
		{"8461 3.2 no mode", "version: STSv1\nmax_age: 1\nmx: a.example\n"},
		{"8461 3.2 unknown mode", "version: STSv1\nmode: report\nmax_age: 1\nmx: a.example\n"},
		{"8461 3.2 no max_age", "version: STSv1\nmode: enforce\nmx: a.example\n"},
		{"8461 3.2 negative max_age", "version: STSv1\nmode: none\nmax_age: -1\n"},
		{"8461 3.2 max_age of 11 digits", "version: STSv1\nmode: none\nmax_age: 00000000001\n"},
		{"8461 3.2 enforce without mx", head},
		{"8461 3.2 line without colon", head + mx + "nonsense\n"},
		{"8461 3.2 empty line", head + "\n" + mx},
		{"8461 3.2 empty value", head + mx + "x:\n"},
		{"8461 3.2 CR alone", strings.ReplaceAll(head+mx, "\n", "\r")},
		{"8461 3.2 mx is an address", head + "mx: [192.0.2.1]\n"},
		{"8461 3.2 mx wildcard inside", head + "mx: a.*.example\n"},
		{"8461 3.2 mx wildcard as part of a label", head + "mx: m*.example\n"},
		{"8461 3.2 mx wildcard alone", head + "mx: *\n"},
		{"8461 3.2 mx of dots", head + "mx: .example\n"},
		{"8461 3.3 larger than 64 KiB", head + mx + "x: " + strings.Repeat("a", 64<<10) + "\n"},
		{"not UTF-8", head + mx + "x: \xff\n"},
		{"too many mx", head + strings.Repeat(mx, maxPatterns+1)},
		{"HTML", "<!DOCTYPE html>\n<html></html>\n"},
	} {
		if p, err := ParsePolicy([]byte(tt.file)); err == nil {
			t.Errorf("%s: accepted as %+v", tt.clause, p)
		}
	}
}

func TestMatch(t *testing.T) {
	p := Policy{MX: []string{"mail.example.com", "*.example.net"}}
	for _, tt := range []struct {
		clause, mx string
		want       bool
	}{
		{"8461 4.1 exact", "mail.example.com", true},
		{"8461 4.1 case and final dot", "MAIL.Example.COM.", true},
		{"8461 4.1 one label for the wildcard", "mx1.example.net", true},
		{"8461 4.1 no label", "example.net", false},
		{"8461 4.1 two labels", "a.b.example.net", false},
		{"8461 4.1 empty label", ".example.net", false},
		{"8461 4.1 suffix of a label", "badexample.net", false},
		{"8461 4.1 below an exact name", "x.mail.example.com", false},
		{"8461 4.1 the pattern itself", "*.example.org", false},
		{"other", "mail.example.org", false},
		{"nothing", "", false},
	} {
		if got := p.Match(tt.mx); got != tt.want {
			t.Errorf("%s: Match(%q) = %v", tt.clause, tt.mx, got)
		}
	}
}

func TestStrings(t *testing.T) {
	p, err := ParsePolicy([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSuffix(example, "\r\n"), "\r\n")
	if d := cmp.Diff(want, p.Strings()); d != "" {
		t.Error(d)
	}
}

// FuzzRecord checks that an accepted id is what RFC 8461 3.1 allows.
func FuzzRecord(f *testing.F) {
	f.Add("v=STSv1; id=20160831085700Z;", "v=spf1 -all")
	f.Add("v=STSv1;;id=1", "")
	f.Fuzz(func(t *testing.T, a, b string) {
		id, err := ParseRecord([]string{a, b})
		if err == nil && (id == "" || len(id) > maxID || !all(id, alphanumeric)) {
			t.Errorf("%q, %q: id %q", a, b, id)
		}
		if strings.HasPrefix(a, "v=STSv1;") && strings.HasPrefix(b, "v=STSv1;") && err == nil {
			t.Errorf("two records: id %q", id)
		}
	})
}

// FuzzPolicy checks that an accepted policy is whole, and that its lines say the same again.
func FuzzPolicy(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte("version: STSv1\nmode: none\nmax_age: 9999999999"))
	f.Add([]byte("version:STSv1\nmode:testing\nmx:*.a\nmax_age:0\nx: y z\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		p, err := ParsePolicy(file)
		if err != nil {
			return
		}
		if !(saved{Domain: "example.com", Policy: p}).valid("example.com.json") {
			t.Fatalf("accepted %+v", p)
		}
		again, err := ParsePolicy([]byte(strings.Join(p.Strings(), "\n")))
		if err != nil || !cmp.Equal(p, again) {
			t.Errorf("%+v became %+v, %v", p, again, err)
		}
		for _, mx := range p.MX {
			if name := strings.Replace(mx, "*", "x", 1); !p.Match(name) || slices.Contains(p.MX, "") {
				t.Errorf("%+v does not match %q", p, name)
			}
		}
	})
}
