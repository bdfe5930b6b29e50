package tlsrpt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// ReporterOptions configures a Reporter. From, LookupTXT, Mail and Client have no default.
type ReporterOptions struct {
	// From is the address that reports by mail come from, at the domain that reports.
	From string
	// LookupTXT returns the TXT records of a name, each with its strings joined, and none without an error where there are none.
	LookupTXT func(ctx context.Context, name string) ([]string, error)
	// Mail hands a whole message over for one recipient, durably, to be signed with DKIM (RFC 8460 5.3).
	Mail func(ctx context.Context, to string, body []byte) error
	// Client posts to places that strangers name: it must not reach the operator's own network, nor follow redirects.
	Client *http.Client
	// Spread is over how long after midnight the reports of a day are sent; 0 means 4 hours.
	Spread time.Duration
	// Retry is how long after a failure a report is tried again; 0 means 1 hour.
	Retry time.Duration
	// Every is how often Run looks for what is due; 0 means 5 minutes.
	Every  time.Duration
	Logger *slog.Logger     // nil discards
	Now    func() time.Time // nil means time.Now
}

func (o ReporterOptions) withDefaults() (ReporterOptions, error) {
	if !mailbox(o.From) || o.LookupTXT == nil || o.Mail == nil || o.Client == nil {
		return o, errors.New("sending TLS reports needs an address, a resolver, a way out for mail and a client")
	}
	for field, value := range map[*time.Duration]time.Duration{&o.Spread: 4 * time.Hour, &o.Retry: time.Hour, &o.Every: 5 * time.Minute} {
		if *field == 0 {
			*field = value
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o, nil
}

// Reporter sends the reports of a Recorder to who asks for them. A report that cannot be sent is tried again until the Recorder drops it. After a crash
// between sending and forgetting it goes out again, under the same Report-ID.
type Reporter struct {
	recorder *Recorder
	opts     ReporterOptions
	progress map[Key]*progress // owned by Run
}

// progress is what was done about one report.
type progress struct {
	again time.Time
	sent  map[string]bool // by place
}

// NewReporter returns a Reporter.
func NewReporter(r *Recorder, o ReporterOptions) (*Reporter, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Reporter{recorder: r, opts: o, progress: map[Key]*progress{}}, nil
}

// Run sends what is due until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	tick := time.NewTicker(r.opts.Every)
	defer tick.Stop()
	for {
		r.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look sends the reports whose time has come, and forgets what was done about those that are gone.
func (r *Reporter) look(ctx context.Context) {
	pending := map[Key]bool{}
	for _, k := range r.recorder.Pending(r.opts.Now()) {
		pending[k] = true
		if ctx.Err() == nil {
			r.tend(ctx, k)
		}
	}
	for k := range r.progress {
		if !pending[k] {
			delete(r.progress, k)
		}
	}
}

func (r *Reporter) tend(ctx context.Context, k Key) {
	now := r.opts.Now()
	p := r.progress[k]
	if p == nil {
		p = &progress{again: r.due(k), sent: map[string]bool{}}
		r.progress[k] = p
	}
	if now.Before(p.again) {
		return
	}
	err := r.send(ctx, k, p)
	switch {
	case ctx.Err() != nil:
		return // tried again by the next Run
	case err != nil:
		p.again = now.Add(r.opts.Retry)
		r.opts.Logger.Warn("TLS report not sent", "domain", k.Domain, "day", k.Day, "again", p.again.UTC(), "err", err)
		return
	}
	r.recorder.Forget(k.Domain, k.Day)
	if err := r.recorder.Save(); err != nil {
		r.opts.Logger.Error("TLS report counts cannot be written: a restart sends reports again", "err", err)
	}
}

// due spreads the reports over the hours after the day (RFC 8460 4.1), each domain at its time.
func (r *Reporter) due(k Key) time.Time {
	h := fnv.New32a()
	io.WriteString(h, k.Domain) // never fails
	return k.Day.End().Add(time.Second + time.Duration(float64(r.opts.Spread)*float64(h.Sum32())/(1<<32)))
}

// send sends a report to every place that its domain names, and returns nil where nothing is left to do: also where nobody wants it.
func (r *Reporter) send(ctx context.Context, k Key, p *progress) error {
	report, ok := r.recorder.Report(k.Domain, k.Day)
	if !ok {
		return nil
	}
	records, err := r.opts.LookupTXT(ctx, "_smtp._tls."+k.Domain)
	if err != nil {
		return fmt.Errorf("looking up who wants it: %w", err)
	}
	places, err := ParseRecord(records)
	if err != nil {
		r.opts.Logger.Debug("TLS report dropped", "domain", k.Domain, "day", k.Day, "why", err)
		return nil
	}
	var failed error
	for _, to := range places.Mail {
		failed = errors.Join(failed, p.once("mailto:"+to, func() error { return r.mail(ctx, report, to) }, r.told(k, to)))
	}
	for _, link := range places.HTTPS {
		failed = errors.Join(failed, p.once(link, func() error { return r.post(ctx, report, link) }, r.told(k, link)))
	}
	return failed
}

func (r *Reporter) told(k Key, to string) func() {
	return func() { r.opts.Logger.Info("TLS report sent", "domain", k.Domain, "day", k.Day, "to", to) }
}

// once does what has not been done yet.
func (p *progress) once(place string, do func() error, done func()) error {
	if p.sent[place] {
		return nil
	}
	if err := do(); err != nil {
		return fmt.Errorf("to %s: %w", place, err)
	}
	p.sent[place] = true
	done()
	return nil
}

func (r *Reporter) mail(ctx context.Context, report Report, to string) error {
	body, err := report.Mail(r.opts.From, to, r.opts.Now())
	if err != nil {
		return err
	}
	return r.opts.Mail(ctx, to, body)
}

// maxAnswer is how much of an answer is read, so that the connection ends in order.
const maxAnswer = 16 << 10

// post is the HTTPS form (RFC 8460 5.2). Any success counts.
func (r *Reporter) post(ctx context.Context, report Report, link string) error {
	body, err := report.Gzip()
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, link, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/tlsrpt+gzip")
	req.Header.Set("User-Agent", "mailchute")
	answer, err := r.opts.Client.Do(req)
	if err != nil {
		return err
	}
	_, err = io.CopyN(io.Discard, answer.Body, maxAnswer)
	if cerr := answer.Body.Close(); err == nil || errors.Is(err, io.EOF) {
		err = cerr
	}
	if answer.StatusCode/100 != 2 {
		return fmt.Errorf("answered %d", answer.StatusCode)
	}
	return err
}
