package local

import (
	"net/netip"
	"slices"

	"github.com/mailchute/mailchute/store"
)

// Tags are part of the format: never reuse one, only add.

func putMessage(b []byte, m *store.Message) []byte {
	b = putID(b, 1, m.ID)
	b = putInt(b, 2, m.Server)
	b = putString(b, 3, m.Stream)
	b = putTime(b, 4, m.Accepted)
	b = putString(b, 5, m.From)
	b = putBool(b, 6, m.UTF8)
	b = putBool(b, 7, m.EightBit)
	b = putString(b, 8, m.Ret)
	b = putString(b, 9, m.EnvID)
	b = putInt(b, 10, m.Size)
	b = putString(b, 11, m.BodyHash[:])
	b, at := open(b, 12)
	b = shut(putDisplay(b, &m.Header), at)
	b = putString(b, 13, m.Tag)
	b = putMetadata(b, m.Metadata)
	if m.TrackOpens != nil {
		b = putUint(b, 15, 1+uint64(bit(*m.TrackOpens)))
	}
	b = putString(b, 16, m.TrackLinks)
	b = putString(b, 17, m.Credential)
	if m.Client.IsValid() {
		addr, _ := m.Client.MarshalBinary() // has no error
		b = putString(b, 18, addr)
	}
	b = putString(b, 19, m.Protocol)
	b = putBool(b, 20, m.Bounce)
	b = putID(b, 21, m.About)
	b = putBool(b, 22, m.Returned)
	if m.Request != [32]byte{} {
		b = putString(b, 25, m.Request[:])
	}
	b = putString(b, 30, m.Unsubscribe)
	b = putString(b, 31, m.ReturnHost)
	if m.DKIMBody != [32]byte{} {
		b = putString(b, 40, m.DKIMBody[:])
	}
	b = putBool(b, 46, m.RequireTLS)
	return putBool(b, 47, m.TLSOptional)
}

func putMetadata(b []byte, m map[string]string) []byte {
	var few [8]string // on the stack
	keys := few[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		var at int
		b, at = open(b, 14)
		b = shut(putString(putString(b, 1, k), 2, m[k]), at)
	}
	return b
}

func bit(v bool) int {
	if v {
		return 1
	}
	return 0
}

func readMessage(f *fields, m *store.Message) {
	for f.next() {
		switch f.tag {
		case 1:
			m.ID = f.id()
		case 2:
			m.Server = f.signed()
		case 3:
			m.Stream = f.text
		case 4:
			m.Accepted = f.time()
		case 5:
			m.From = f.text
		case 6:
			m.UTF8 = f.num != 0
		case 7:
			m.EightBit = f.num != 0
		case 8:
			m.Ret = f.text
		case 9:
			m.EnvID = f.text
		case 10:
			m.Size = f.signed()
		case 11:
			m.BodyHash = f.hash()
		case 12:
			inner(f, &m.Header, readDisplay)
		default:
			readMessageRest(f, m)
		}
	}
}

func readMessageRest(f *fields, m *store.Message) {
	switch f.tag {
	case 13:
		m.Tag = f.text
	case 14:
		if m.Metadata == nil {
			m.Metadata = map[string]string{}
		}
		var pair [2]string
		inner(f, &pair, readPair)
		m.Metadata[pair[0]] = pair[1]
	case 15:
		v := f.num == 2
		m.TrackOpens = &v
	case 16:
		m.TrackLinks = f.text
	case 17:
		m.Credential = f.text
	case 18:
		m.Client = f.addr()
	case 19:
		m.Protocol = f.text
	case 20:
		m.Bounce = f.num != 0
	case 21:
		m.About = f.id()
	case 22:
		m.Returned = f.num != 0
	case 25:
		m.Request = f.hash()
	case 30:
		m.Unsubscribe = f.text
	case 31:
		m.ReturnHost = f.text
	case 40:
		m.DKIMBody = f.hash()
	case 46:
		m.RequireTLS = f.num != 0
	case 47:
		m.TLSOptional = f.num != 0
	default:
		f.unknown("message")
	}
}

func (f *fields) hash() (h [32]byte) {
	if len(f.text) != len(h) {
		f.fail("a hash of %d bytes", len(f.text))
	}
	copy(h[:], f.text)
	return h
}

func (f *fields) addr() (a netip.Addr) {
	if err := a.UnmarshalBinary([]byte(f.text)); err != nil {
		f.fail("client address: %v", err)
	}
	return a
}

func readPair(f *fields, pair *[2]string) {
	for f.next() {
		switch f.tag {
		case 1, 2:
			pair[f.tag-1] = f.text
		default:
			f.unknown("metadata")
		}
	}
}

func putDisplay(b []byte, d *store.Display) []byte {
	b = putString(b, 1, d.Subject)
	b = putString(b, 2, d.From)
	for _, to := range d.To {
		b = putText(b, 3, to)
	}
	for _, cc := range d.Cc {
		b = putText(b, 4, cc)
	}
	b = putString(b, 5, d.MessageID)
	for _, name := range d.Names {
		b = putText(b, 41, name)
	}
	for _, name := range d.Attachments {
		b = putText(b, 62, name)
	}
	return b
}

// putText is putString for elements of a list, where "" counts.
func putText(b []byte, tag byte, s string) []byte {
	if s == "" {
		return append(b, tag<<1|1, 0)
	}
	return putString(b, tag, s)
}

func readDisplay(f *fields, d *store.Display) {
	for f.next() {
		switch f.tag {
		case 1:
			d.Subject = f.text
		case 2:
			d.From = f.text
		case 3:
			if !f.light {
				d.To = append(d.To, f.text)
			}
		case 4:
			if !f.light {
				d.Cc = append(d.Cc, f.text)
			}
		case 5:
			d.MessageID = f.text
		case 41:
			if !f.light {
				d.Names = append(d.Names, f.text)
			}
		case 62:
			if !f.light {
				d.Attachments = append(d.Attachments, f.text)
			}
		default:
			f.unknown("header")
		}
	}
}
