package relay

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// Notes keeps small texts over a restart: what was counted and learned. Losing them loses no mail.
type Notes interface {
	// Note returns what was set last, nil where nothing was.
	Note(ctx context.Context, name string) ([]byte, error)
	// SetNote is durable when it returns.
	SetNote(ctx context.Context, name string, value []byte) error
}

const (
	quotaNote = "route quotas"
	siteNote  = "sites"
)

// quotasKept is the note of what routes may have used of their day.
type quotasKept struct {
	Day  string         `json:"day"`
	Used map[string]int `json:"used"` // recipients, by the meter's key
}

// siteKept is what is remembered of one site.
type siteKept struct {
	Key     string       `json:"key"`
	Window  int          `json:"window"`
	Cut     time.Time    `json:"cut,omitzero"`
	Changes []SiteChange `json:"changes,omitempty"`
}

// What is learned of sites is kept for so many of them, for so long after the newest change, and written that often.
const (
	maxSitesKept = 1000
	sitesKeptFor = 7 * 24 * time.Hour
	sitesWritten = 5 * time.Minute
)

// restore takes over the notes of the process before. What cannot be read is as if it had not been written.
func (d *Dispatcher) restore(ctx context.Context) {
	now := unixNano(d.opts.Now())
	d.sched.day.turn(now)
	if d.opts.Notes == nil {
		return
	}
	var quotas quotasKept
	var sites []siteKept
	for name, into := range map[string]any{quotaNote: &quotas, siteNote: &sites} {
		text, err := d.opts.Notes.Note(ctx, name)
		if err == nil && text != nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			d.log.noteFailed(name, err)
		}
	}
	d.sched.recallQuotas(quotas)
	d.sched.recallSites(sites, now)
}

// recallQuotas goes on counting the day. A day that lies ahead was counted under a clock that was ahead.
func (s *schedule) recallQuotas(k quotasKept) {
	if k.Day < s.day.name {
		return
	}
	for key, used := range k.Used {
		m := s.meters[key]
		if m == nil {
			m = &meter{key: key}
			s.meters[key] = m
		}
		m.used, m.reserved, m.asked, m.metered = used, used, used, true
	}
}

func (s *schedule) recallSites(list []siteKept, now int64) {
	s.remembered = map[string]siteKept{}
	for _, k := range list {
		if n := len(k.Changes); n > 0 && now-unixNano(k.Changes[n-1].At) < int64(sitesKeptFor) && len(s.remembered) < maxSitesKept {
			s.remembered[k.Key] = k
		}
	}
}

// recall gives a site that has just begun what was learned of it before.
func (s *schedule) recall(at *site) {
	k, ok := s.remembered[at.key]
	if !ok {
		return
	}
	delete(s.remembered, at.key)
	at.window, at.changes, at.proven = max(1, min(k.Window, at.limit)), k.Changes, true
	if !k.Cut.IsZero() {
		at.cut = unixNano(k.Cut)
	}
}

// newDay lets the quotas begin again.
func (s *schedule) newDay(now int64) {
	if !s.day.turn(now) {
		return
	}
	for _, m := range s.meters {
		m.used, m.reserved, m.asked = 0, 0, 0
	}
	s.openAll()
}

// wanted returns what is to be written down so that routes can go on, nil where nothing is.
func (s *schedule) wanted() *quotasKept {
	for _, m := range s.meters {
		if m.asked > m.reserved {
			return s.quotas()
		}
	}
	return nil
}

// quotas is the count as it may be until the next writing.
func (s *schedule) quotas() *quotasKept {
	k := &quotasKept{Day: s.day.name, Used: map[string]int{}}
	for key, m := range s.meters {
		if m.metered || m.asked > 0 {
			k.Used[key] = max(m.asked, m.reserved, m.used)
		}
	}
	return k
}

// written lets routes use what was written down.
func (s *schedule) written(k *quotasKept) {
	if k.Day != s.day.name {
		return
	}
	for key, n := range k.Used {
		if m := s.meters[key]; m != nil {
			m.reserved = max(m.reserved, n)
		}
	}
	s.openAll()
}

// note writes down what the schedule wants to be, in a goroutine of its own. d.saving is the loop's.
func (d *Dispatcher) note(ctx context.Context, begin func(func())) {
	if d.saving {
		return
	}
	k := d.sched.wanted()
	if k == nil {
		return
	}
	if d.opts.Notes == nil {
		d.sched.written(k)
		return
	}
	d.saving = true
	begin(func() {
		d.write(ctx, quotaNote, k)
		d.ask(func(s *schedule) {
			d.saving = false
			s.written(k) // also when it failed: mail does not wait for a count
		})
	})
}

// noteSites writes down what was learned, now and then.
func (d *Dispatcher) noteSites(ctx context.Context, now int64, begin func(func())) {
	if d.opts.Notes == nil || now-d.notedSites < int64(sitesWritten) && now >= d.notedSites {
		return
	}
	d.notedSites = now
	if list := d.sched.kept(now); !slices.EqualFunc(list, d.keptSites, sameKept) {
		d.keptSites = list
		begin(func() { d.write(ctx, siteNote, list) })
	}
}

func sameKept(a, b siteKept) bool {
	return a.Key == b.Key && a.Window == b.Window && len(a.Changes) == len(b.Changes) && a.newest().Equal(b.newest())
}

func (k siteKept) newest() time.Time {
	if len(k.Changes) == 0 {
		return time.Time{}
	}
	return k.Changes[len(k.Changes)-1].At
}

// noteAll writes down everything at the end, the quotas as they are.
func (d *Dispatcher) noteAll(ctx context.Context) {
	if d.opts.Notes == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.opts.StopGrace)
	defer cancel()
	for _, m := range d.sched.meters {
		m.asked, m.reserved = 0, 0
	}
	if k := d.sched.quotas(); len(k.Used) > 0 {
		d.write(ctx, quotaNote, k)
	}
	if list := d.sched.kept(unixNano(d.opts.Now())); len(list) > 0 {
		d.write(ctx, siteNote, list)
	}
}

func (d *Dispatcher) write(ctx context.Context, name string, v any) {
	text, err := json.Marshal(v)
	if err == nil {
		err = d.opts.Notes.SetNote(ctx, name, text)
	}
	if err != nil && ctx.Err() == nil {
		d.log.noteFailed(name, err)
	}
}

// kept is what to remember, the newest changes first.
func (s *schedule) kept(now int64) (out []siteKept) {
	for _, at := range s.sites {
		if n := len(at.changes); n > 0 && at.key != "" {
			k := siteKept{Key: at.key, Window: at.window, Changes: slices.Clone(at.changes)}
			if at.cut > 0 {
				k.Cut = time.Unix(0, at.cut).UTC()
			}
			out = append(out, k)
		}
	}
	for _, k := range s.remembered {
		if now-unixNano(k.newest()) < int64(sitesKeptFor) {
			out = append(out, k)
		}
	}
	slices.SortFunc(out, func(a, b siteKept) int {
		return cmp.Or(b.newest().Compare(a.newest()), cmp.Compare(a.Key, b.Key))
	})
	return out[:min(len(out), maxSitesKept)]
}

// status is what people see of a site that nothing was sent to since the start.
func (k siteKept) status() SiteStatus {
	return SiteStatus{Key: k.Key, LimitStatus: LimitStatus{0, k.Window}, Most: k.Window, Changes: k.Changes}
}

func (j eventLog) noteFailed(name string, err error) {
	j.log.Error("note not kept over restarts", "note", name, "err", fmt.Sprint(err))
}
