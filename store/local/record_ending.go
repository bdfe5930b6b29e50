package local

import "github.com/mailchute/mailchute/store"

// ending is an attempt just before the end of its content.
type ending struct {
	part, attempt int
	route         string
}

func encodeEnding(id store.ID, e ending) []byte {
	b := putInt(beginRecord(id), 1, int64(e.part))
	b = putInt(b, 2, int64(e.attempt))
	return endRecord(putString(b, 3, e.route))
}

func readEnding(f *fields) change {
	var e ending
	for f.next() {
		switch f.tag {
		case 1:
			e.part = f.number()
		case 2:
			e.attempt = f.number()
		case 3:
			e.route = f.text
		default:
			f.unknown("ending record")
		}
	}
	return e
}

func (e ending) apply(old *state) *state {
	if old == nil {
		return nil
	}
	next := old.with()
	if e.part >= 0 && e.part < len(next.parts) && next.parts[e.part].Attempt == e.attempt {
		next.parts[e.part].Ending = e.route
	}
	return next
}
