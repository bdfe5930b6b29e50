package main

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"
)

// ledger stands outside of the relay and remembers what it promised and what it
// did. It is the judge.
type ledger struct {
	seed uint64

	mu      sync.Mutex
	next    [2]int          // letters handed out: over SMTP, over HTTP
	unsure  [2][]submission // whose answer was lost
	again   int             // submissions that were made again
	life    int
	acks    map[int]ack               // by number of the letter
	arrival map[string][]visit        // by recipient
	events  map[string]map[string]int // posts to the endpoint by what they tell and by their ID
	forged  []string                  // bodies that arrived other than they were sent
}

// ack is a promise: 250 after DATA, or 200 of the API.
type ack struct {
	life int
	http bool
	id   string
}

// visit is one arrival at the sink.
type visit struct {
	life int
	id   string
}

func newLedger(seed uint64) *ledger {
	return &ledger{seed: seed, acks: map[int]ack{}, arrival: map[string][]visit{}, events: map[string]map[string]int{}}
}

// httpShare: the number of a letter that goes over HTTP is a multiple of it.
const httpShare = 4

// submission is what a client sends in one go: letters, over SMTP just one.
type submission struct {
	letters []letter
	lost    time.Time // when its answer was lost
}

// patience is how long after a lost answer a client sends again. It is short
// against the retention of the relay: what is forgotten cannot be recognised.
const patience = retention / 2

// lost notes that the answer to a submission did not come.
func (l *ledger) lost(http bool, letters ...letter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unsure[index(http)] = append(l.unsure[index(http)], submission{letters, time.Now()})
}

// repeat returns a submission whose answer was lost, if there is one.
func (l *ledger) repeat(http bool) []letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := &l.unsure[index(http)]
	for len(*list) > 0 {
		s := (*list)[0]
		*list = (*list)[1:]
		if time.Since(s.lost) < patience {
			l.again++
			return s.letters
		}
	}
	return nil
}

func index(http bool) int {
	if http {
		return 1
	}
	return 0
}

// take returns the next letter.
func (l *ledger) take(http bool) letter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if http {
		l.next[1]++
		return letterOf(l.seed, l.next[1]*httpShare)
	}
	n := l.next[0]
	l.next[0]++
	return letterOf(l.seed, n/(httpShare-1)*httpShare+n%(httpShare-1)+1)
}

func (l *ledger) begin(life int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.life = life
}

// promised notes an acknowledgement.
func (l *ledger) promised(n int, id string, http bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks[n] = ack{l.life, http, id}
}

// arrived notes a delivery. Bodies of letters that came in by SMTP must be what was
// sent, octet for octet; the API writes MIME around its own.
func (l *ledger) arrived(from, to, id string, sum [sha256.Size]byte) {
	var n int
	ours := false
	if _, err := fmt.Sscanf(to, "m%d@", &n); err == nil {
		ours = true
	} else if _, err := fmt.Sscanf(to, "later%d@", &n); err == nil {
		ours = true
	}
	want := letterOf(l.seed, n).sum()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.arrival[to] = append(l.arrival[to], visit{l.life, id})
	if ours && from != "" && sum != want && n%httpShare != 0 {
		l.forged = append(l.forged, fmt.Sprintf("letter %d, message %s", n, id))
	}
}

// told notes a post to the endpoint.
func (l *ledger) told(what, address, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := what + " " + address
	if l.events[key] == nil {
		l.events[key] = map[string]int{}
	}
	l.events[key][id]++
}

// untold is how many promises the endpoint has heard nothing of.
func (l *ledger) untold() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for number := range l.acks {
		if len(l.events[envelopeOf(l.seed, number).event()]) == 0 {
			n++
		}
	}
	return n
}

// repeated is how many arrivals were not the first of their message.
func (l *ledger) repeated() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, visits := range l.arrival {
		n += len(visits) - 1
	}
	return n
}

// count is how many promises were made.
func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acks)
}

// behind tells whether so much is under way that the load should wait.
func (l *ledger) behind() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acks) > len(l.arrival)+maxBehind
}

// maxBehind is large against what is in flight, and small enough to be
// delivered in a moment at the end.
const maxBehind = 2000

// judge fills in what became of the promises, in the kills and in sum.
func (l *ledger) judge(kills []kill) (v verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := map[string]bool{}
	for _, n := range slices.Sorted(maps.Keys(l.acks)) {
		a, letter := l.acks[n], envelopeOf(l.seed, n)
		to := letter.arrivesAt()
		if len(l.events[letter.event()]) == 0 {
			v.Untold = append(v.Untold, fmt.Sprintf("%s, message %s, acknowledged in life %d", letter.event(), a.id, a.life))
		}
		known[to] = true
		v.Acknowledged++
		if len(l.arrival[to]) > 0 {
			continue
		}
		v.Lost++
		v.Missing = append(v.Missing, fmt.Sprintf("letter %d, message %s, acknowledged in life %d", n, a.id, a.life))
		if k := slices.IndexFunc(kills, func(k kill) bool { return k.Life == a.life && k.open != nil }); k >= 0 {
			kills[k].Lost++
		}
	}
	for to, visits := range l.arrival {
		v.Arrived += len(visits)
		if !known[to] {
			v.Unacknowledged++
		}
		ids := map[string]bool{}
		for _, visit := range visits {
			ids[visit.id] = true
		}
		if len(ids) > 1 {
			v.StoredTwice = append(v.StoredTwice, fmt.Sprintf("%s got messages %v", to, slices.Collect(maps.Keys(ids))))
		}
		l.repeats(&v, kills, to, visits)
	}
	for what, ids := range l.events {
		if len(ids) > 1 {
			v.Renamed = append(v.Renamed, fmt.Sprintf("%s: %v", what, slices.Collect(maps.Keys(ids))))
		}
		for _, posts := range ids {
			v.Events++
			v.EventsAgain += posts - 1
		}
	}
	v.Forged, v.Resubmitted = l.forged, l.again
	return v
}

// repeats attributes each arrival after the first to the kill that it followed:
// the message must have been in flight there, claimed and without a result.
func (l *ledger) repeats(v *verdict, kills []kill, to string, visits []visit) {
	for i := 1; i < len(visits); i++ {
		v.Duplicates++
		k := slices.IndexFunc(kills, func(k kill) bool {
			return k.Life >= visits[i-1].life && k.Life < visits[i].life && k.open[visits[i].id]
		})
		if k < 0 {
			v.Unexplained = append(v.Unexplained, fmt.Sprintf("%s got message %s in lives %d and %d", to, visits[i].id, visits[i-1].life, visits[i].life))
			continue
		}
		kills[k].Duplicates++
	}
}

// passed counts the messages that were in flight at a kill and are at the sink:
// their final dot was sent, and no result was recorded.
func (l *ledger) passed(open map[string]bool) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, visits := range l.arrival {
		if last := visits[len(visits)-1]; last.life == l.life && open[last.id] {
			n++
		}
	}
	return n
}
