package tlsrpt

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// desk is a Reporter with its surroundings, all in one goroutine.
type desk struct {
	*testing.T
	recorder *Recorder
	reporter *Reporter
	now      time.Time
	txt      map[string][]string
	dns      error
	refused  map[string]error // by address
	mailed   map[string][]string
	status   int
	posted   [][]byte
	url      string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{T: t, recorder: open(t, temp(t), Options{}), now: noon, txt: map[string][]string{}, refused: map[string]error{}, mailed: map[string][]string{}, status: http.StatusCreated}
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/tlsrpt+gzip" {
			t.Errorf("%s %v: %v", r.Method, r.Header, err)
		}
		if d.posted = append(d.posted, body); d.status/100 == 3 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(d.status)
	}))
	t.Cleanup(srv.Close)
	d.url = srv.URL + "/in"
	client := srv.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	var err error
	d.reporter, err = NewReporter(d.recorder, ReporterOptions{
		From: "tls@relay.example", Client: client, Now: func() time.Time { return d.now },
		LookupTXT: func(_ context.Context, name string) ([]string, error) { return d.txt[name], d.dns },
		Mail: func(_ context.Context, to string, body []byte) error {
			if err := d.refused[to]; err != nil {
				return err
			}
			d.mailed[to] = append(d.mailed[to], string(body))
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// later lets time pass and the Reporter look.
func (d *desk) later(by time.Duration) {
	d.now = d.now.Add(by)
	d.reporter.look(d.Context())
}

func (d *desk) want(mails, posts, pending int) {
	d.Helper()
	n := 0
	for _, list := range d.mailed {
		n += len(list)
	}
	if p := len(d.recorder.Pending(d.now)); n != mails || len(d.posted) != posts || p != pending {
		d.Errorf("at %s: %d by mail, %d by HTTPS, %d pending, want %d, %d and %d", d.now.Format(time.RFC3339), n, len(d.posted), p, mails, posts, pending)
	}
}

func TestReporter_SendsOnceWithinHoursAfterMidnight(t *testing.T) {
	d := newDesk(t)
	d.txt["_smtp._tls.dest.example"] = []string{"v=TLSRPTv1; rua=mailto:tls@dest.example," + d.url}
	d.recorder.Record(failure("dest.example", STARTTLSNotSupported, "mx.dest.example"), d.now)
	d.recorder.Record(failure("nobody.example", STARTTLSNotSupported, "mx"), d.now)
	d.later(11*time.Hour + 59*time.Minute)
	d.want(0, 0, 0)
	for range 5 * 12 {
		d.later(5 * time.Minute)
	}
	d.want(1, 1, 0)
	mail := d.mailed["tls@dest.example"][0]
	for _, line := range []string{"From: <tls@relay.example>\r\n", "To: <tls@dest.example>\r\n", "TLS-Required: No\r\n", "TLS-Report-Domain: dest.example\r\n", "TLS-Report-Submitter: relay.example\r\n", "multipart/report; report-type=\"tlsrpt\""} {
		if !strings.Contains(mail, line) {
			t.Errorf("mail lacks %q:\n%s", line, mail)
		}
	}
	unzip, err := gzip.NewReader(bytes.NewReader(d.posted[0]))
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.NewDecoder(unzip).Decode(&r); err != nil || len(r.Policies) != 1 || r.Policies[0].Summary.Failed != 1 || r.ID == "" {
		t.Errorf("posted %+v, %v", r, err)
	}
	d.later(48 * time.Hour)
	d.want(1, 1, 0)
}

func TestReporter_SpreadsDomains(t *testing.T) {
	d := newDesk(t)
	times := map[time.Time]bool{}
	for _, name := range []string{"a.example", "b.example", "c.example", "d.example"} {
		at := d.reporter.due(Key{name, DayOf(noon)})
		if midnight := noon.Add(12 * time.Hour); at.Before(midnight) || at.After(midnight.Add(4*time.Hour)) {
			t.Errorf("%s at %s", name, at)
		}
		times[at] = true
	}
	if len(times) < 3 {
		t.Errorf("all at %v", times)
	}
}

// What was sent is not sent again because another place fails.
func TestReporter_TriesAgainWhatFailed(t *testing.T) {
	d := newDesk(t)
	d.txt["_smtp._tls.dest.example"] = []string{"v=TLSRPTv1; rua=mailto:a@dest.example,mailto:b@dest.example," + d.url}
	d.recorder.Record(failure("dest.example", STARTTLSNotSupported, "mx"), d.now)
	d.dns, d.status, d.refused["b@dest.example"] = errors.New("SERVFAIL"), http.StatusServiceUnavailable, errors.New("full")
	d.later(17 * time.Hour)
	d.want(0, 0, 1)
	d.dns = nil
	d.later(30 * time.Minute) // not yet again
	d.want(0, 0, 1)
	d.later(30 * time.Minute)
	d.want(1, 1, 1)
	d.status = http.StatusFound
	d.later(time.Hour)
	d.want(1, 2, 1)
	d.status = http.StatusOK
	d.later(time.Hour)
	d.want(1, 3, 1)
	delete(d.refused, "b@dest.example")
	d.later(time.Hour)
	d.want(2, 3, 0)
	if len(d.reporter.progress) != 0 {
		d.later(time.Hour)
	}
	if len(d.reporter.progress) != 0 {
		t.Errorf("remembers %v", d.reporter.progress)
	}
}

func TestReporter_GivesUpWhatNobodyTakes(t *testing.T) {
	d := newDesk(t)
	d.txt["_smtp._tls.dest.example"] = []string{"v=TLSRPTv1; rua=" + d.url}
	d.status = http.StatusGone
	d.recorder.Record(failure("dest.example", STARTTLSNotSupported, "mx"), d.now)
	for range 6 * 24 {
		d.later(time.Hour)
	}
	if n := len(d.posted); n < 24 || n > 3*24 {
		t.Errorf("tried %d times", n)
	}
	if len(d.recorder.Reports()) != 0 || len(d.reporter.progress) != 0 {
		t.Errorf("left: %v, %v", d.recorder.Reports(), d.reporter.progress)
	}
}

// A report that was sent is not sent by the next process.
func TestReporter_ForgetsDurably(t *testing.T) {
	d := newDesk(t)
	d.txt["_smtp._tls.dest.example"] = []string{"v=TLSRPTv1; rua=mailto:a@dest.example"}
	d.recorder.Record(failure("dest.example", STARTTLSNotSupported, "mx"), d.now)
	d.recorder.Record(failure("other.example", STARTTLSNotSupported, "mx"), d.now.Add(24*time.Hour))
	if err := d.recorder.Save(); err != nil {
		t.Fatal(err)
	}
	d.later(17 * time.Hour)
	d.want(1, 0, 0)
	again := open(t, d.recorder.path, Options{})
	if left := again.Reports(); len(left) != 1 || left[0].Domain() != "other.example" {
		t.Errorf("left in the file: %+v", left)
	}
}

func TestReporter_NeedsItsParts(t *testing.T) {
	if _, err := NewReporter(open(t, temp(t), Options{}), ReporterOptions{From: "tls@relay.example"}); err == nil {
		t.Error("a Reporter without a way out")
	}
}
