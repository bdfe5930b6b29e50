package domains

import (
	"fmt"
	"slices"
	"time"

	"github.com/mailchute/mailchute/store"
)

// selector returns a selector that the domain does not have: mc, the day, and
// the algorithm's first letter, with a number where there is one already.
func selector(d store.Domain, algorithm store.KeyAlgorithm, now time.Time) string {
	base := "mc" + now.UTC().Format("20060102") + string(algorithm[0])
	for n, s := 2, base; ; n++ {
		if _, taken := d.Key(s); !taken {
			return s
		}
		s = fmt.Sprintf("%s%d", base, n)
	}
}

func pending(k store.DomainKey) bool {
	return k.Active.IsZero() && k.Replaced.IsZero() && k.Retired.IsZero()
}

func active(k store.DomainKey) bool {
	return !k.Active.IsZero() && k.Replaced.IsZero() && k.Retired.IsZero()
}

// activate makes the key of the selector sign from now on. The one of its
// algorithm that signed before is replaced; older ones that never signed go.
func activate(keys []store.DomainKey, selector string, now time.Time) []store.DomainKey {
	at := slices.IndexFunc(keys, func(k store.DomainKey) bool { return k.Selector == selector })
	algorithm := keys[at].Algorithm
	var out []store.DomainKey
	for i, k := range keys {
		switch {
		case i == at:
			k.Active = now
		case k.Algorithm != algorithm:
		case i < at && pending(k):
			continue
		case active(k):
			k.Replaced = now
		}
		out = append(out, k)
	}
	return out
}

// activateSeen activates of each algorithm the newest pending key whose record
// was seen. Ed25519 never signs alone: few verifiers know it (RFC 8463 3).
func activateSeen(keys []store.DomainKey, seen map[string]bool, now time.Time) []store.DomainKey {
	for _, algorithm := range []store.KeyAlgorithm{store.KeyRSA, store.KeyEd25519} {
		if algorithm == store.KeyEd25519 && !slices.ContainsFunc(keys, func(k store.DomainKey) bool { return active(k) && k.Algorithm == store.KeyRSA }) {
			break
		}
		for _, k := range slices.Backward(keys) {
			if k.Algorithm == algorithm && pending(k) && seen[k.Selector] {
				keys = activate(keys, k.Selector, now)
				break
			}
		}
	}
	return keys
}

// activateAll activates the newest pending key of each algorithm, on the
// operator's word.
func activateAll(keys []store.DomainKey, now time.Time) []store.DomainKey {
	for _, k := range slices.Backward(slices.Clone(keys)) {
		if slices.ContainsFunc(keys, func(o store.DomainKey) bool { return o.Selector == k.Selector && pending(o) }) {
			keys = activate(keys, k.Selector, now)
		}
	}
	return keys
}

// age retires what was replaced the overlap ago, and forgets what was retired
// the time keep ago. It tells whether anything changed.
func age(keys []store.DomainKey, now time.Time, overlap, keep time.Duration) ([]store.DomainKey, bool) {
	changed := false
	var out []store.DomainKey
	for _, k := range keys {
		switch {
		case !k.Retired.IsZero():
			if !now.Before(k.Retired.Add(keep)) {
				changed = true
				continue
			}
		case !k.Replaced.IsZero() && !now.Before(k.Replaced.Add(overlap)):
			k.Retired, changed = now, true
		}
		out = append(out, k)
	}
	return out, changed
}
