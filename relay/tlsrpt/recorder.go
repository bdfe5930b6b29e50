package tlsrpt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// maxPolicies bounds the policies of one domain and day, which the domain can change at will.
	maxPolicies = 32
	// rowSize is how many octets of a policy or a failure count as one more row.
	rowSize = 256
)

// Recorder counts sessions by domain, day, policy and kind of failure. It is safe for concurrent use.
type Recorder struct {
	opts Options
	path string

	mu      sync.Mutex
	tallies map[Key][]*PolicyReport
	rows    int
	lost    int
	changes uint64 // counts what the file may not have yet

	// disk is held across a write of the file, so that an older state never replaces a newer one. mu may be taken inside it.
	disk    sync.Mutex
	written uint64 // the value of changes that the file has; guarded by disk
}

// Open makes a Recorder with the counts in a file, which need not exist yet; its directory must.
func Open(path string, o Options) (*Recorder, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Recorder{opts: o, path: path, tallies: map[Key][]*PolicyReport{}}
	if err := errors.Join(r.removeTemps(), r.load()); err != nil {
		return nil, fmt.Errorf("opening TLS report counts: %w", err)
	}
	return r, nil
}

// Record counts one session at a time. Domains to which no report could go, such as address literals, are not counted.
func (r *Recorder) Record(s Session, now time.Time) {
	s.Domain = strings.ToLower(strings.TrimSuffix(s.Domain, "."))
	if !mailbox("x@" + s.Domain) {
		return
	}
	if !s.Result.Known() {
		s.Result = ValidationFailure
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.policy(Key{s.Domain, DayOf(now)}, s.Policy)
	if p == nil {
		r.lost++
		return
	}
	r.changes++
	if s.Result == Success {
		p.Summary.Successful++
		return
	}
	p.Summary.Failed++
	s.Detail.Result, s.Detail.Count = s.Result, 0
	r.detail(p, s.Detail.clipped())
}

// policy returns the tally of a policy, or nil where there is no room for a new one; r.mu is held.
func (r *Recorder) policy(k Key, policy Policy) *PolicyReport {
	list := r.tallies[k]
	for _, p := range list {
		if p.Policy.equal(policy) {
			return p
		}
	}
	if len(list) == maxPolicies || r.rows+policy.rows() > r.opts.MaxRows {
		return nil
	}
	policy.Strings, policy.MXHosts = slices.Clone(policy.Strings), slices.Clone(policy.MXHosts)
	p := &PolicyReport{Policy: policy}
	r.tallies[k] = append(list, p)
	r.rows += policy.rows()
	return p
}

// detail counts a failure with its details, or without them where there is no room, or in the summary alone; r.mu is held.
func (r *Recorder) detail(p *PolicyReport, d Detail) {
	bare := Detail{Result: d.Result}
	// One of each result type finds room beyond MaxDetails.
	if !r.count(p, d, r.opts.MaxDetails) && d != bare {
		r.count(p, bare, r.opts.MaxDetails+resultTypes)
	}
}

// count adds one to a kind of failure; r.mu is held.
func (r *Recorder) count(p *PolicyReport, d Detail, limit int) bool {
	for i := range p.Failures {
		have := p.Failures[i]
		if have.Count = 0; have == d {
			p.Failures[i].Count++
			return true
		}
	}
	if len(p.Failures) >= limit || r.rows+d.rows() > r.opts.MaxRows {
		return false
	}
	d.Count = 1
	p.Failures = append(p.Failures, d)
	r.rows += d.rows()
	return true
}

// Lost returns how many sessions were not counted for want of room, and how many domains of the file could not be read back, since Open.
func (r *Recorder) Lost() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lost
}

// Pending returns the reports of days that are over, by day and domain. What is older than Options.Keep is dropped.
func (r *Recorder) Pending(now time.Time) []Key {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest, today := DayOf(now.Add(-r.opts.Keep)), DayOf(now)
	var keys []Key
	for k := range r.tallies {
		switch {
		case k.Day < oldest:
			r.drop(k)
		case k.Day < today:
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, Key.compare)
	return keys
}

// Report returns the report on a domain and day as far as it is known, and false where nothing is.
func (r *Recorder) Report(domain string, day Day) (Report, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list, ok := r.tallies[Key{domain, day}]
	if !ok {
		return Report{}, false
	}
	out := Report{
		Organization: r.opts.Organization, Contact: r.opts.Contact, Range: DateRange{day.Start(), day.End()},
		// The same for every attempt to send it, so that a receiver can tell a repetition.
		ID:     fmt.Sprintf("%s.%s@%s", day, domain, r.opts.Submitter),
		domain: domain, submitter: r.opts.Submitter,
	}
	for _, p := range list {
		c := *p
		c.Failures = slices.Clone(c.Failures)
		out.Policies = append(out.Policies, c)
	}
	return out, true
}

// Forget drops the counts of a domain and day, once their report was sent or nobody wants it.
func (r *Recorder) Forget(domain string, day Day) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(Key{domain, day})
}

// drop removes a tally; r.mu is held.
func (r *Recorder) drop(k Key) {
	for _, p := range r.tallies[k] {
		r.rows -= p.rows()
	}
	delete(r.tallies, k)
	r.changes++
}

// Run writes the counts at intervals and once more when ctx ends. It returns the error of that last write.
func (r *Recorder) Run(ctx context.Context) error {
	tick := time.NewTicker(r.opts.Interval)
	defer tick.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return r.Save()
		case <-tick.C:
		}
		r.Pending(r.opts.Now()) // drops what nobody fetched
		switch err := r.Save(); {
		case err != nil && !failing:
			r.opts.Logger.Error("TLS report counts cannot be written", slog.Any("error", err))
			failing = true
		case err == nil && failing:
			r.opts.Logger.Info("TLS report counts are written again")
			failing = false
		}
	}
}

func (p Policy) equal(q Policy) bool {
	return p.Type == q.Type && p.Domain == q.Domain && slices.Equal(p.Strings, q.Strings) && slices.Equal(p.MXHosts, q.MXHosts)
}

// rows is what a policy counts for in Options.MaxRows.
func (p Policy) rows() int {
	n := len(p.Domain)
	for _, s := range slices.Concat(p.Strings, p.MXHosts) {
		n += len(s) + 16
	}
	return 1 + n/rowSize
}

func (p *PolicyReport) rows() int {
	n := p.Policy.rows()
	for _, d := range p.Failures {
		n += d.rows()
	}
	return n
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:8])
}

// Reports returns what is counted, of days that are over and of today, by day and domain.
func (r *Recorder) Reports() []Report {
	r.mu.Lock()
	keys := make([]Key, 0, len(r.tallies))
	for k := range r.tallies {
		keys = append(keys, k)
	}
	r.mu.Unlock()
	slices.SortFunc(keys, Key.compare)
	var out []Report
	for _, k := range keys {
		if report, ok := r.Report(k.Domain, k.Day); ok {
			out = append(out, report)
		}
	}
	return out
}
