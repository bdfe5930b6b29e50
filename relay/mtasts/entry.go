package mtasts

import (
	"errors"
	"time"
)

// entry is what is known of one domain. Entries are replaced, never changed, but for used.
type entry struct {
	policy  Policy
	held    bool      // there is a policy, which may have run out
	checked time.Time // when DNS was last asked; zero after a start
	err     error     // what kept us from being up to date then

	failed   time.Time // the last fetch that failed,
	failedID string    // the id that it was for,
	failure  error     // and why

	used time.Time // when it was last asked for
}

// inForce tells whether there is a policy to apply.
func (e entry) inForce(now time.Time) bool { return e.held && now.Before(e.policy.Expires()) }

// fresh tells whether the entry answers without a look at DNS. A clock that was set back makes it stale, and so does a policy that ran out
// since the last look.
func (e entry) fresh(now time.Time, o Options) bool {
	ranOut := e.held && !e.inForce(now) && e.checked.Before(e.policy.Expires())
	return !ranOut && within(e.checked, now, o.Recheck)
}

// due tells whether a policy is old enough to be fetched again under an unchanged id.
func (e entry) due(now time.Time, o Options) bool {
	return !within(e.policy.Fetched, now, min(o.Refresh, e.policy.MaxAge/2))
}

func (e entry) answer(now time.Time) (Policy, bool, error) {
	if e.inForce(now) {
		return e.policy, true, e.err
	}
	if errors.Is(e.err, ErrNoRecord) {
		return Policy{}, false, nil // the domain wants none
	}
	return Policy{}, false, e.err
}

func within(since, now time.Time, d time.Duration) bool {
	age := now.Sub(since)
	return age >= 0 && age < d
}
