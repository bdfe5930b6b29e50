package domains

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/mailchute/mailchute/store"
)

func defaultRand() float64 { return rand.Float64() }

const (
	// eager is how soon Run looks for the record of a new key, and then again;
	// the wait grows with the key's age. Looking before it can be published only
	// makes resolvers remember that it is not there (RFC 2308).
	eager = 5 * time.Minute
	// waiting is how often Run looks for the record of a return path.
	waiting = time.Hour
	// jitter spreads the looks at many domains, as a part of the wait.
	jitter = 0.1
)

// Run looks at the records of every domain once in Options.Every, and oftener
// while a new key waits for its record; it retires keys when their time has
// come. It logs what broke, what came right, and which keys began to sign. It
// returns nil when ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	w := &watch{k, map[string]string{}}
	for {
		snap := k.directory.Snapshot()
		for id := range snap.Domains {
			if ctx.Err() == nil {
				w.tend(ctx, id)
			}
		}
		snap = k.directory.Snapshot()
		timer := time.NewTimer(k.wait(snap))
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-k.directory.Changed(snap.Revision):
			timer.Stop()
		case <-timer.C:
		}
	}
}

// watch is one call of Run.
type watch struct {
	*Keeper
	known map[string]string // the last status of a record that was not Temporary
}

// tend does what is due for one domain. A fault is logged, and the domain's turn
// comes again.
func (k *watch) tend(ctx context.Context, id int64) {
	before, ok := k.directory.Snapshot().Domains[id]
	if !ok {
		return
	}
	now := k.opts.Now()
	if _, changed := age(before.Keys, now, k.opts.Overlap, k.opts.Keep); changed {
		if _, err := k.update(ctx, id, "retiring keys of", func(d *store.Domain) error {
			d.Keys, _ = age(d.Keys, now, k.opts.Overlap, k.opts.Keep)
			return nil
		}); err != nil && ctx.Err() == nil {
			k.opts.Log.Error("keys not retired", "domain", before.Name, "err", err)
		}
	}
	if len(before.Keys) == 0 || now.Before(k.due(before)) {
		return
	}
	after, err := k.Verify(ctx, id)
	switch {
	case err == nil:
		k.report(before, after)
	case ctx.Err() == nil:
		k.opts.Log.Error("domain not verified", "domain", before.Name, "err", err)
	}
}

// due returns when the domain is to be looked at next.
func (k *Keeper) due(d store.Domain) time.Time {
	last, every := d.Check.At, k.opts.Every
	if d.ReturnPath != "" && d.ReturnPathVerified.IsZero() {
		every = min(every, waiting)
	}
	for _, key := range d.Keys {
		if !pending(key) {
			continue
		}
		every = min(every, max(eager, d.Check.At.Sub(key.Created)/4))
		if key.Created.After(last) {
			last = key.Created
		}
	}
	return last.Add(every)
}

// wait returns how long nothing is due, with jitter, which only makes it longer.
func (k *Keeper) wait(s *store.Snapshot) time.Duration {
	now := k.opts.Now()
	wait := k.opts.Every
	for _, d := range s.Domains {
		if len(d.Keys) > 0 {
			wait = min(wait, max(k.due(d).Sub(now), eager))
		}
		for _, key := range d.Keys {
			if !key.Replaced.IsZero() && key.Retired.IsZero() {
				wait = min(wait, max(key.Replaced.Add(k.opts.Overlap).Sub(now), eager))
			}
		}
	}
	return wait + time.Duration(jitter*k.opts.Rand()*float64(wait))
}

// report logs what a look at the records changed.
func (k *watch) report(before, after store.Domain) {
	log := k.opts.Log.With("domain", after.Name)
	for _, f := range before.Check.Findings {
		if _, ok := k.known[f.Name]; !ok && !Temporary(f.Status) {
			k.known[f.Name] = f.Status
		}
	}
	for _, f := range after.Check.Findings {
		old, known := k.known[f.Name]
		switch {
		case f.Purpose != PurposeDKIM || f.Status == old:
		case Temporary(f.Status):
			log.Info("domain record not looked up", "record", f.Name, "status", f.Status)
			continue
		case f.Status == StatusOK && known:
			log.Info("domain record is right", "record", f.Name)
		case f.Status != StatusOK && old == StatusOK:
			log.Warn("domain record broke: receivers cannot verify signatures", "record", f.Name, "status", f.Status, "problem", f.Problem)
		}
		k.known[f.Name] = f.Status
	}
	switch {
	case before.ReturnPathVerified.IsZero() && !after.ReturnPathVerified.IsZero():
		log.Info("return path is used from now on", "host", after.ReturnPath)
	case !before.ReturnPathVerified.IsZero() && after.ReturnPathVerified.IsZero() && before.ReturnPath == after.ReturnPath:
		log.Warn("return path does not lead to us any more: the server's is used", "host", after.ReturnPath)
	}
	for _, key := range after.Keys {
		if old, _ := before.Key(key.Selector); old.Active.IsZero() && !key.Active.IsZero() {
			log.Info("domain key signs from now on", "record", key.RecordName(after.Name))
		}
	}
}
