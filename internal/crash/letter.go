package main

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"
)

// fate is what the sink does with a letter.
type fate int

const (
	taken   fate = iota // arrives
	refused             // its sender gets a bounce, and its recipient a place on the suppression list
	delayed             // arrives at the end of the run
)

// letter is one message of the load. The seed and its number make all of it.
type letter struct {
	n    int
	fate fate
	body string // with LF; every line ends with one
}

// Sizes of bodies: most are small, some are staged in the journal in pieces.
const (
	smallBody  = 6 << 10
	stagedBody = 600 << 10
)

// envelopeOf is letterOf without the body, which takes a thousand times as long.
func envelopeOf(seed uint64, n int) letter {
	return letter{n: n, fate: fateBy(rand.New(rand.NewPCG(seed, uint64(n))))}
}

func fateBy(rnd *rand.Rand) fate {
	switch rnd.IntN(60) {
	case 0:
		return refused
	case 1:
		return delayed
	}
	return taken
}

func letterOf(seed uint64, n int) letter {
	rnd := rand.New(rand.NewPCG(seed, uint64(n)))
	l := letter{n: n, fate: fateBy(rnd)}
	size := rnd.IntN(smallBody)
	if rnd.IntN(40) == 0 {
		size = rnd.IntN(stagedBody)
	}
	var b strings.Builder
	for b.Len() <= size {
		fmt.Fprintf(&b, "%016x%016x%016x%016x\n", rnd.Uint64(), rnd.Uint64(), rnd.Uint64(), rnd.Uint64())
	}
	l.body = b.String()
	return l
}

func (l letter) from() string { return fmt.Sprintf("s%d@crash.example", l.n) }

func (l letter) to() string {
	return fmt.Sprintf("%s%d@sink.example", [...]string{"m", "nobody", "later"}[l.fate], l.n)
}

// arrivesAt is the recipient at whom the sink sees that the letter was dealt with.
func (l letter) arrivesAt() string {
	if l.fate == refused {
		return l.from()
	}
	return l.to()
}

// event is what the endpoint is told of the letter.
func (l letter) event() string {
	if l.fate == refused {
		return "Bounce " + l.to()
	}
	return "Delivery " + l.to()
}

func (l letter) sum() [sha256.Size]byte { return sha256.Sum256([]byte(l.body)) }

// data is the letter as it goes to DATA, with its final dot. No line of a body
// begins with a dot.
func (l letter) data() string {
	return fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\nSubject: %d\r\nX-Idempotency-Key: %d\r\n\r\n%s.\r\n", l.from(), l.to(), l.n, l.n, strings.ReplaceAll(l.body, "\n", "\r\n"))
}
