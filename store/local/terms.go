package local

import (
	"strings"

	"github.com/mailchute/mailchute/store"
)

// term stands for something that a message can be searched by and that never
// changes: a hash of a kind and a value. Two values that make one term cost a
// search a message that it reads in vain; nothing is found that does not match.
type term uint64

// Kinds of terms. They are part of the format of blocks.
const (
	termNotice      byte = 1 // a notice of our own, or what came back
	termTag         byte = 2
	termRecipient   byte = 3 // in lower case
	termSender      byte = 4 // reverse-path, or address in From; in lower case
	termDestination byte = 5 // in lower case
	termMetadata    byte = 6 // key in lower case, 0x00, value
)

// FNV-1a (draft-eastlake-fnv), 64 bits.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func termOf(kind byte, value string) term {
	h := (uint64(fnvOffset) ^ uint64(kind)) * fnvPrime
	for i := range len(value) {
		h = (h ^ uint64(value[i])) * fnvPrime
	}
	return term(h)
}

func metadataTerm(key, value string) term {
	return termOf(termMetadata, strings.ToLower(key)+"\x00"+value)
}

// terms calls add with everything that a message can be found by, save its
// subject. It may name a term twice.
func (s *state) terms(add func(term)) {
	m := s.msg
	if m.Bounce || m.Returned {
		add(termOf(termNotice, ""))
	}
	if m.Tag != "" {
		add(termOf(termTag, m.Tag))
	}
	add(termOf(termSender, strings.ToLower(m.From)))
	add(termOf(termSender, strings.ToLower(mailbox(m.Header.From))))
	for k, v := range m.Metadata {
		add(metadataTerm(k, v))
	}
	for i := range s.parts {
		d := &s.parts[i]
		add(termOf(termDestination, strings.ToLower(d.Destination)))
		for j := range d.Recipients {
			add(termOf(termRecipient, strings.ToLower(d.Recipients[j].Address)))
		}
	}
}

// mailbox returns the address in a From field as it is shown: what stands in
// the last angle brackets, or all of it.
func mailbox(from string) string {
	end := strings.LastIndexByte(from, '>')
	if end < 0 {
		return strings.TrimSpace(from)
	}
	return from[strings.LastIndexByte(from[:end], '<')+1 : end]
}

// query is a filter in the form that an index answers.
type query struct {
	all     []term // every one of them
	none    []term
	subject string // in lower case
	queued  bool
	done    bool
}

// queryOf leaves out what no index knows: see unindexed.
func queryOf(f *store.Filter) query {
	q := query{subject: strings.ToLower(f.Subject), queued: f.Queued || f.State == store.Queued, done: f.Finished}
	if f.Outbound {
		q.none = append(q.none, termOf(termNotice, ""))
	}
	if f.Tag != "" {
		q.all = append(q.all, termOf(termTag, f.Tag))
	}
	if f.Recipient != "" {
		q.all = append(q.all, termOf(termRecipient, strings.ToLower(f.Recipient)))
	}
	if f.Sender != "" {
		q.all = append(q.all, termOf(termSender, strings.ToLower(f.Sender)))
	}
	if f.Destination != "" {
		q.all = append(q.all, termOf(termDestination, strings.ToLower(f.Destination)))
	}
	if f.MetadataKey != "" {
		q.all = append(q.all, metadataTerm(f.MetadataKey, f.Metadata))
	}
	return q
}

// unindexed tells whether a filter asks for what only the record says.
func unindexed(f *store.Filter) bool {
	return f.Held || f.Uncertain || f.Bounce || f.State != ""
}

// byTerm tells whether a filter names something that few messages have.
func byTerm(f *store.Filter) bool {
	return f.Stream != "" || f.Tag != "" || f.Recipient != "" || f.Sender != "" || f.Destination != "" || f.MetadataKey != "" || f.Subject != ""
}
