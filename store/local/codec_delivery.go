package local

import "github.com/mailchute/mailchute/store"

// putDelivery leaves out what the message says already: its ID, server and
// stream, unless it was moved to another one. The epoch is that of the process
// whose lease it is.
func putDelivery(b []byte, d *store.Delivery, epoch uint64, moved string) []byte {
	b = putInt(b, 1, int64(d.ID.Part))
	b = putString(b, 2, d.Destination)
	for i := range d.Recipients {
		var at int
		b, at = open(b, 3)
		b = shut(putRecipient(b, &d.Recipients[i]), at)
	}
	b = putInt(b, 4, int64(d.Attempt))
	b = putTime(b, 5, d.Due)
	b = putTime(b, 6, d.Lease)
	b = putTime(b, 7, d.Expires)
	b = putTime(b, 8, d.Held)
	b = putTime(b, 9, d.Delayed)
	b = putUint(b, 10, uncertainty(d))
	b = putString(b, 25, d.Ending)
	b = putString(b, 35, moved)
	b = putString(b, 50, d.Route)
	if !d.Lease.IsZero() {
		b = putUint(b, 11, epoch)
	}
	b = putString(b, 60, d.DueWhy)
	if !d.Conversation.IsZero() {
		var at int
		b, at = open(b, 61)
		b = shut(putConversation(b, &d.Conversation), at)
	}
	return b
}

// heldUncertain is the value of the field of what is uncertain and held for that.
const heldUncertain = 2

func uncertainty(d *store.Delivery) uint64 {
	switch {
	case d.HeldUncertain:
		return heldUncertain
	case d.Uncertain:
		return 1
	}
	return 0
}

// leased is a delivery with the epoch of its lease.
type leased struct {
	store.Delivery
	epoch uint64
	moved string // the stream that it was rerouted to, "" where it is the message's
}

// Done is store.Delivery's without a copy of it.
func (d *leased) Done() bool {
	for i := range d.Recipients {
		if !d.Recipients[i].State.Final() {
			return false
		}
	}
	return true
}

func readDelivery(f *fields, d *leased) {
	for f.next() {
		switch f.tag {
		case 1:
			d.ID.Part = f.number()
		case 2:
			d.Destination = f.text
		case 3:
			d.Recipients = element(f, d.Recipients, readRecipient)
		case 4:
			d.Attempt = f.number()
		case 5:
			d.Due = f.time()
		case 6:
			d.Lease = f.time()
		case 7:
			d.Expires = f.time()
		case 8:
			d.Held = f.time()
		case 9:
			d.Delayed = f.time()
		case 10:
			d.Uncertain, d.HeldUncertain = f.num != 0, f.num == heldUncertain
		case 25:
			d.Ending = f.text
		case 11:
			d.epoch = f.num
		case 35:
			d.moved = f.text
		case 50:
			d.Route = f.text
		case 60:
			d.DueWhy = f.text
		case 61:
			inner(f, &d.Conversation, readConversation)
		default:
			f.unknown("delivery")
		}
	}
}

func putRecipient(b []byte, r *store.Recipient) []byte {
	b = putString(b, 1, r.Address)
	b = putString(b, 2, r.Notify)
	b = putString(b, 3, r.ORcpt)
	b = putString(b, 4, r.State)
	return putReplyField(b, 5, &r.Last)
}

func readRecipient(f *fields, r *store.Recipient) {
	for f.next() {
		switch f.tag {
		case 1:
			r.Address = f.text
		case 2:
			r.Notify = f.text
		case 3:
			r.ORcpt = f.text
		case 4:
			r.State = store.State(f.text)
		case 5:
			inner(f, &r.Last, readReply)
		default:
			f.unknown("recipient")
		}
	}
}

func putReplyField(b []byte, tag byte, r *store.Reply) []byte {
	if *r == (store.Reply{}) {
		return b
	}
	b, at := open(b, tag)
	return shut(putReply(b, r), at)
}

func putReply(b []byte, r *store.Reply) []byte {
	b = putInt(b, 1, int64(r.Code))
	for i, n := range r.Enhanced {
		b = putInt(b, 2+byte(i), int64(n))
	}
	b = putString(b, 5, r.Text)
	b = putString(b, 6, r.Command)
	b = putString(b, 7, r.Host)
	b = putTime(b, 8, r.At)
	return putString(b, 9, r.Address)
}

func readReply(f *fields, r *store.Reply) {
	for f.next() {
		switch f.tag {
		case 1:
			r.Code = f.number()
		case 2, 3, 4:
			r.Enhanced[f.tag-2] = f.number()
		case 5:
			r.Text = f.text
		case 6:
			r.Command = f.text
		case 7:
			r.Host = f.text
		case 8:
			r.At = f.time()
		case 9:
			r.Address = f.text
		default:
			f.unknown("reply")
		}
	}
}

func putEvent(b []byte, e *store.Event) []byte {
	b = putTime(b, 1, e.At)
	b = putString(b, 2, e.Kind)
	b = putInt(b, 3, int64(e.Part))
	b = putInt(b, 4, int64(e.Attempt))
	b = putString(b, 5, e.Recipient)
	b = putReplyField(b, 6, &e.Reply)
	b = putString(b, 7, e.Detail)
	b = putID(b, 8, e.Notice)
	b = putString(b, 9, e.Bounce)
	for _, name := range e.SignedBy {
		b = putText(b, 40, name)
	}
	if e.TLS == (store.TLS{}) {
		return b
	}
	b, at := open(b, 10)
	return shut(putTLS(b, &e.TLS), at)
}

func putTLS(b []byte, t *store.TLS) []byte {
	b = putString(b, 1, t.Security)
	b = putString(b, 2, t.Version)
	b = putString(b, 3, t.Cipher)
	return putString(b, 4, t.Subject)
}

func readTLS(f *fields, t *store.TLS) {
	for f.next() {
		switch f.tag {
		case 1:
			t.Security = store.Security(f.text)
		case 2:
			t.Version = f.text
		case 3:
			t.Cipher = f.text
		case 4:
			t.Subject = f.text
		default:
			f.unknown("TLS")
		}
	}
}

func readEvent(f *fields, e *store.Event) {
	for f.next() {
		switch f.tag {
		case 1:
			e.At = f.time()
		case 2:
			e.Kind = store.EventKind(f.text)
		case 3:
			e.Part = f.number()
		case 4:
			e.Attempt = f.number()
		case 5:
			e.Recipient = f.text
		case 6:
			inner(f, &e.Reply, readReply)
		case 7:
			e.Detail = f.text
		case 8:
			e.Notice = f.id()
		case 9:
			e.Bounce = f.text
		case 40:
			e.SignedBy = append(e.SignedBy, f.text)
		case 10:
			inner(f, &e.TLS, readTLS)
		default:
			f.unknown("event")
		}
	}
}
