package tlsrpt

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func open(t *testing.T, path string, o Options) *Recorder {
	t.Helper()
	if o.Submitter == "" {
		o.Submitter = "relay.example"
	}
	r, err := Open(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func temp(t *testing.T) string { return filepath.Join(t.TempDir(), "tlsrpt") }

func failure(domain string, result Result, mx string) Session {
	return Session{Domain: domain, Policy: Policy{Type: NoPolicy, Domain: domain}, Result: result, Detail: Detail{ReceivingMX: mx}}
}

func report(t *testing.T, r *Recorder, domain string, at time.Time) Report {
	t.Helper()
	out, ok := r.Report(domain, DayOf(at))
	if !ok {
		t.Fatalf("no report on %s for %s", domain, DayOf(at))
	}
	return out
}

func TestResultTypes(t *testing.T) {
	all := []Result{
		STARTTLSNotSupported, CertificateHostMismatch, CertificateExpired, CertificateNotTrusted, ValidationFailure, TLSAInvalid, DNSSECInvalid,
		DANERequired, STSPolicyFetchError, STSPolicyInvalid, STSWebPKIInvalid,
	}
	if len(all) != resultTypes {
		t.Errorf("%d result types", len(all))
	}
	r := open(t, temp(t), Options{})
	for _, result := range append(all, "made-up") {
		r.Record(failure("example.com", result, ""), noon)
	}
	got := report(t, r, "example.com", noon).Policies[0]
	if got.Summary != (Summary{Failed: 12}) || len(got.Failures) != 11 {
		t.Errorf("got %+v", got)
	}
	for _, d := range got.Failures {
		if want := map[bool]int{true: 2, false: 1}[d.Result == ValidationFailure]; d.Count != want {
			t.Errorf("8460 4.3: %s counted %d times, want %d", d.Result, d.Count, want)
		}
	}
}

func TestDaysAndDomains(t *testing.T) {
	r := open(t, temp(t), Options{})
	midnight := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	elsewhere := time.FixedZone("", 9*3600)
	for _, at := range []time.Time{midnight.Add(-time.Nanosecond), midnight.Add(-time.Hour).In(elsewhere)} {
		r.Record(failure("Example.COM.", Success, ""), at)
	}
	r.Record(failure("example.com", Success, ""), midnight)
	r.Record(failure("a.example", Success, ""), midnight.Add(-day))
	for _, domain := range []string{"", "[192.0.2.1]", "a b", "x\r\ny", "a..b", "<x>"} {
		r.Record(failure(domain, Success, ""), midnight)
	}
	want := []Key{{"a.example", "2026-11-23"}, {"example.com", "2026-11-23"}}
	if d := cmp.Diff(want, r.Pending(midnight.Add(time.Hour))); d != "" {
		t.Errorf("8460 4.1 days of UTC: %s", d)
	}
	got := report(t, r, "example.com", noon)
	if got.Policies[0].Summary.Successful != 2 || got.Domain() != "example.com" {
		t.Errorf("%+v", got)
	}
	if got.Range.Start.Format(time.RFC3339) != "2026-11-23T00:00:00Z" || got.Range.End.Format(time.RFC3339) != "2026-11-23T23:59:59Z" {
		t.Errorf("8460 4.4: range %v", got.Range)
	}
	if n := len(r.tallies); n != 3 {
		t.Errorf("%d tallies", n)
	}
}

func TestForgetAndKeep(t *testing.T) {
	r := open(t, temp(t), Options{})
	for i := range 6 {
		r.Record(failure("example.com", STARTTLSNotSupported, "mx"), noon.Add(time.Duration(i)*day))
	}
	now := noon.Add(5 * day)
	if keys := r.Pending(now); len(keys) != 3 || keys[0].Day != "2026-11-25" {
		t.Errorf("kept %v", keys)
	}
	r.Forget("example.com", "2026-11-25")
	r.Forget("nowhere.example", "2026-11-25")
	if keys := r.Pending(now); len(keys) != 2 {
		t.Errorf("after Forget: %v", keys)
	}
	for _, k := range append(r.Pending(now), Key{"example.com", DayOf(now)}) {
		r.Forget(k.Domain, k.Day)
	}
	if r.rows != 0 || len(r.tallies) != 0 {
		t.Errorf("%d rows, %d tallies are left", r.rows, len(r.tallies))
	}
	if _, ok := r.Report("example.com", DayOf(now)); ok {
		t.Error("a report on nothing")
	}
}

// A report is a copy: what happens later does not change it.
func TestReportIsACopy(t *testing.T) {
	r := open(t, temp(t), Options{})
	r.Record(failure("example.com", STARTTLSNotSupported, "mx"), noon)
	got := report(t, r, "example.com", noon)
	r.Record(failure("example.com", STARTTLSNotSupported, "mx"), noon)
	if got.Policies[0].Failures[0].Count != 1 || got.Policies[0].Summary.Failed != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestDetailsAreBounded(t *testing.T) {
	r := open(t, temp(t), Options{MaxDetails: 5})
	for i := range 50 {
		r.Record(failure("example.com", STARTTLSNotSupported, fmt.Sprint("mx", i)), noon)
	}
	r.Record(failure("example.com", CertificateExpired, "mx"), noon)
	got := report(t, r, "example.com", noon).Policies[0]
	counts := map[Result]int{}
	for _, d := range got.Failures {
		counts[d.Result] += d.Count
	}
	if d := cmp.Diff(map[Result]int{STARTTLSNotSupported: 50, CertificateExpired: 1}, counts); d != "" || len(got.Failures) != 7 || got.Summary.Failed != 51 {
		t.Errorf("%d details, %+v: %s", len(got.Failures), got.Summary, d)
	}
	s := failure("long.example", ValidationFailure, strings.Repeat("é", 1000))
	s.Detail.ReceivingHELO, s.Detail.Info = "a\xffb", "x"+strings.Repeat("é", 1000)
	before := r.rows
	r.Record(s, noon)
	if d := report(t, r, "long.example", noon).Policies[0].Failures[0]; d.ReceivingHELO != "a\ufffdb" || len(d.Info) != maxText-1 || r.rows != before+4 {
		t.Errorf("kept %+v in %d rows", d, r.rows-before)
	}
	if got := report(t, r, "long.example", noon).Policies[0].Failures[0].ReceivingMX; got != strings.Repeat("é", maxText/2) {
		t.Errorf("a remote text of %d octets was kept", len(got))
	}
}

func TestRowsAreBounded(t *testing.T) {
	r := open(t, temp(t), Options{MaxRows: 100})
	for i := range 1000 {
		r.Record(failure(fmt.Sprintf("d%d.example", i), STARTTLSNotSupported, "mx"), noon)
	}
	if r.rows != 100 || len(r.tallies) != 50 || r.Lost() != 950 {
		t.Errorf("%d rows, %d tallies, %d lost", r.rows, len(r.tallies), r.Lost())
	}
	r.Record(failure("d0.example", CertificateExpired, "mx"), noon)
	if got := report(t, r, "d0.example", noon).Policies[0]; got.Summary.Failed != 2 || len(got.Failures) != 1 {
		t.Errorf("a full recorder still counts: %+v", got)
	}
	r = open(t, temp(t), Options{})
	large := strings.Repeat("x", 1000*rowSize)
	for i := range 100 {
		r.Record(Session{Domain: "example.com", Policy: Policy{Type: STS, Domain: "example.com", Strings: []string{large, fmt.Sprint(i)}}}, noon)
	}
	if n := len(r.tallies[Key{"example.com", DayOf(noon)}]); n != maxPolicies || r.rows < n*1000 || r.Lost() != 100-n {
		t.Errorf("one domain has %d policies in %d rows, %d lost", n, r.rows, r.Lost())
	}
}

func TestRestart(t *testing.T) {
	path := temp(t)
	r := open(t, path, Options{})
	for i := range 3 {
		r.Record(failure("example.com", STARTTLSNotSupported, fmt.Sprint("mx", i)), noon)
		r.Record(Session{Domain: "example.com", Policy: Policy{Type: STS, Domain: "example.com", Strings: []string{"mode: testing"}}}, noon)
	}
	r.Record(failure("b.example", Success, ""), noon)
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path, Options{})
	for _, domain := range []string{"example.com", "b.example"} {
		want, got := report(t, r, domain, noon), report(t, again, domain, noon)
		if d := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Report{})); d != "" {
			t.Error(d)
		}
	}
	if again.rows != r.rows || again.Lost() != 0 {
		t.Errorf("%d rows became %d, %d lost", r.rows, again.rows, again.Lost())
	}
	again.Record(failure("example.com", STARTTLSNotSupported, "mx0"), noon)
	if got := report(t, again, "example.com", noon).Policies[0].Failures[0].Count; got != 2 {
		t.Errorf("counted on to %d", got)
	}
}

func TestDamagedFile(t *testing.T) {
	path := temp(t)
	good := `{"domain":"good.example","day":"2026-11-23","policies":[{"policy":{"policy-type":"sts","policy-domain":"x"},"summary":{"total-successful-session-count":7}}]}`
	bad := []string{
		"", "nonsense", strings.Replace(good, "2026-11-23", "yesterday", 1), strings.Replace(good, "good.example", `a\nb`, 1),
		strings.Replace(good, ":7", ":-7", 1), strings.Replace(good, "good.example", "other.example", 1)[:100], good,
		`{"domain":"x.example","day":"2026-11-23","policies":[null]}`, `{"domain":"x.example","day":"2026-11-23","policies":[]}`,
	}
	if err := os.WriteFile(path, []byte(good+"\n"+strings.Join(bad, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".tmp-1", []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := open(t, path, Options{})
	if r.Lost() != len(bad) || len(r.tallies) != 1 || report(t, r, "good.example", noon).Policies[0].Summary.Successful != 7 {
		t.Errorf("%d lost of %d, %v", r.Lost(), len(bad), r.tallies)
	}
	if _, err := os.Stat(path + ".tmp-1"); !os.IsNotExist(err) {
		t.Errorf("what a crash left: %v", err)
	}
	if err := os.WriteFile(path, []byte(good+"\n"+strings.Repeat("x", maxLine+1)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := open(t, path, Options{}); r.Lost() != 1 || len(r.tallies) != 1 {
		t.Errorf("endless line: %d lost, %d tallies", r.Lost(), len(r.tallies))
	}
	if err := os.WriteFile(path, []byte(good+"\n"+strings.Replace(good, "good", "more", 1)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := open(t, path, Options{MaxRows: 1}); r.Lost() != 1 || r.rows != 1 {
		t.Errorf("less room than before: %d lost, %d rows", r.Lost(), r.rows)
	}
}

func TestSaveWritesOnlyChanges(t *testing.T) {
	path := temp(t)
	r := open(t, path, Options{})
	save := func() {
		t.Helper()
		if err := r.Save(); err != nil {
			t.Fatal(err)
		}
	}
	save()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("nothing to write, but: %v", err)
	}
	r.Record(failure("example.com", Success, ""), noon)
	save()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	save()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("written again without a change: %v", err)
	}
	r.Forget("example.com", DayOf(noon))
	save()
	if b, err := os.ReadFile(path); err != nil || len(b) != 0 {
		t.Errorf("after Forget: %q, %v", b, err)
	}
}

func TestRun(t *testing.T) {
	path := temp(t)
	synctest.Test(t, func(t *testing.T) {
		r := open(t, path, Options{Keep: day})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		r.Record(failure("example.com", Success, ""), time.Now())
		time.Sleep(time.Minute)
		synctest.Wait()
		if b, err := os.ReadFile(path); err != nil || !bytes.Contains(b, []byte("example.com")) {
			t.Errorf("after a minute: %q, %v", b, err)
		}
		time.Sleep(3 * day)
		synctest.Wait()
		if _, ok := r.Report("example.com", DayOf(time.Now().Add(-3*day))); ok {
			t.Error("kept for ever")
		}
		r.Record(failure("last.example", Success, ""), time.Now())
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(path); err != nil || !bytes.Contains(b, []byte("last.example")) {
			t.Errorf("at the end: %q, %v", b, err)
		}
	})
}

func TestRunWithoutDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		r := open(t, filepath.Join(dir, "tlsrpt"), Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		r.Record(failure("example.com", Success, ""), time.Now())
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d log records, want one for the failure and one for its end:\n%s", n, &log)
	}
}

func TestConcurrentUse(t *testing.T) {
	path := temp(t)
	r := open(t, path, Options{})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 200 {
				r.Record(failure(fmt.Sprintf("d%d.example", j%10), STARTTLSNotSupported, "mx"), noon)
				if j%50 == i {
					if err := r.Save(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
	sum := 0
	again := open(t, path, Options{})
	for _, k := range again.Pending(noon.Add(day)) {
		sum += report(t, again, k.Domain, noon).Policies[0].Summary.Failed
	}
	if sum != 1600 {
		t.Errorf("%d sessions of 1600 are in the file", sum)
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Submitter: "a b"}, {Submitter: "x.example", MaxRows: -1}, {Submitter: "x.example", MaxDetails: -1}} {
		if _, err := Open(temp(t), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
	if _, err := Open(filepath.Join(t.TempDir(), "missing", "file"), Options{Submitter: "x.example"}); err == nil {
		t.Error("a missing directory was accepted")
	}
}
