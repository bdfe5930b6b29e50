package local

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"
	"sort"
	"strings"

	"github.com/mailchute/mailchute/store"
)

// A block is the search index of up to maxBlock messages of one stream. It is
// written once, when the stream has that many messages without one, and never
// changed: what changes of its messages is in bucket live. Its integers are
// big-endian.
//
//	bytes    content
//	1, 3     format version, zero
//	4        CRC-32C of everything behind it
//	4        n, number of messages; a message is known by its number in the block
//	4        t, number of terms
//	4        x, number of texts
//	4        p, bytes of postings
//	4        l, bytes of text
//	24 n     stamps, ascending
//	8 t      terms, ascending
//	4 (t+1)  where the postings of each begin, and their end; the highest bit says that they are a bitmap
//	4 (x+1)  where each text begins, and the end
//	2 n      the number of each message's text
//	p        postings: numbers of messages in 2 bytes each, or a bitmap of n bits in words of 8 bytes
//	l        texts: subjects in lower case, each once, 0x00 behind each
//
// One value for all terms, and not a key for each, because keys cost bbolt
// fifty bytes and a microsecond apiece and would have to be removed one by one.
// Subjects are searched by reading them: that is some ten milliseconds for a
// million, whatever is looked for, and an index of their parts would be larger than they are.
const (
	blockFormat = 1
	blockHeader = 28
	maxBlock    = 512
	bitmapFlag  = 1 << 31
)

// bitset is a set of messages of one block.
type bitset [maxBlock / 64]uint64

func (s *bitset) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s *bitset) remove(i int)   { s[i/64] &^= 1 << (i % 64) }
func (s *bitset) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }
func (s *bitset) empty() bool    { return *s == bitset{} }

// highest returns the highest number in the set, -1 where it is empty.
func (s *bitset) highest() int {
	for w := len(s) - 1; w >= 0; w-- {
		if s[w] != 0 {
			return 64*w + 63 - bits.LeadingZeros64(s[w])
		}
	}
	return -1
}

func (s *bitset) count() (n int) {
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// span returns the set of the numbers from a on and before b.
func span(a, b int) (s bitset) {
	for w := range s {
		from, to := max(a-64*w, 0), min(b-64*w, 64)
		if from < to {
			s[w] = ^uint64(0) >> (64 - to + from) << from
		}
	}
	return s
}

func (s *bitset) intersect(o *bitset) {
	for i := range s {
		s[i] &= o[i]
	}
}

func (s *bitset) subtract(o *bitset) {
	for i := range s {
		s[i] &^= o[i]
	}
}

// words is how many words hold a bit for each of n messages.
func words(n int) int { return (n + 63) / 64 }

// block is the value of bucket block, cut into its parts. It lives as long as
// the transaction that it was read in.
type block struct {
	n                                         int
	stamps, terms, offsets, starts, textOf, p []byte
	text                                      []byte
}

// parseBlock checks lengths only: the checksum is for Check, since a search
// reads every block, and compares what it finds with the messages.
func parseBlock(v []byte) (b block, err error) {
	if len(v) < blockHeader || v[0] != blockFormat {
		return b, fmt.Errorf("block of unknown format: %w", store.ErrDamaged)
	}
	count := func(at int) int { return int(binary.BigEndian.Uint32(v[at:])) }
	b.n = count(8)
	terms, texts, postings, text := count(12), count(16), count(20), count(24)
	if b.n == 0 || b.n > maxBlock || texts > b.n || len(v) != blockHeader+26*b.n+8*terms+4*(terms+1)+4*(texts+1)+postings+text {
		return b, fmt.Errorf("block of %d messages is cut: %w", b.n, store.ErrDamaged)
	}
	rest := v[blockHeader:]
	take := func(n int) (part []byte) {
		part, rest = rest[:n], rest[n:]
		return part
	}
	b.stamps, b.terms, b.offsets = take(stampSize*b.n), take(8*terms), take(4*(terms+1))
	b.starts, b.textOf, b.p, b.text = take(4*(texts+1)), take(2*b.n), take(postings), rest
	return b, nil
}

func checkBlock(v []byte) error {
	if len(v) < blockHeader || crc32.Checksum(v[8:], castagnoli) != binary.BigEndian.Uint32(v[4:]) {
		return fmt.Errorf("block: checksum: %w", store.ErrDamaged)
	}
	_, err := parseBlock(v)
	return err
}

func (b *block) stamp(i int) stamp { return stamp(b.stamps[i*stampSize:]) }

// search returns the number of the first message whose stamp is not before st,
// and whether it is st.
func (b *block) search(st stamp) (int, bool) {
	i := sort.Search(b.n, func(i int) bool { return bytes.Compare(b.stamps[i*stampSize:(i+1)*stampSize], st[:]) >= 0 })
	return i, i < b.n && b.stamp(i) == st
}

// posting returns the messages that have a term. Offsets that lie outside are
// taken for an empty list.
func (b *block) posting(t term) (s bitset) {
	n := len(b.terms) / 8
	i := sort.Search(n, func(i int) bool { return term(binary.BigEndian.Uint64(b.terms[8*i:])) >= t })
	if i == n || term(binary.BigEndian.Uint64(b.terms[8*i:])) != t {
		return s
	}
	at, end := binary.BigEndian.Uint32(b.offsets[4*i:]), binary.BigEndian.Uint32(b.offsets[4*i+4:])&^bitmapFlag
	from := at &^ bitmapFlag
	if from > end || int(end) > len(b.p) {
		return s
	}
	list := b.p[from:end]
	if at&bitmapFlag != 0 {
		for w := range min(len(list)/8, len(s)) {
			s[w] = binary.BigEndian.Uint64(list[8*w:])
		}
		return s
	}
	for ; len(list) >= 2; list = list[2:] {
		if m := int(binary.BigEndian.Uint16(list)); m < b.n {
			s.add(m)
		}
	}
	return s
}

// narrow keeps the messages of a set that the query selects.
func (b *block) narrow(set *bitset, q *query) {
	for _, t := range q.all {
		with := b.posting(t)
		if set.intersect(&with); set.empty() {
			return
		}
	}
	for _, t := range q.none {
		with := b.posting(t)
		set.subtract(&with)
	}
	if q.subject != "" && !set.empty() {
		b.narrowText(set, q.subject)
	}
}

// narrowText keeps the messages whose subject contains a text.
func (b *block) narrowText(set *bitset, part string) {
	if strings.IndexByte(part, 0) >= 0 {
		*set = bitset{}
		return
	}
	hits := b.textsWith([]byte(part))
	for i := range b.n {
		if set.has(i) && !hits.has(int(binary.BigEndian.Uint16(b.textOf[2*i:]))%maxBlock) {
			set.remove(i)
		}
	}
}

// textsWith returns the numbers of the texts that contain part.
func (b *block) textsWith(part []byte) (hits bitset) {
	texts, rare := len(b.starts)/4-1, rarest(part, b.text)
	for text, at := 0, 0; at < len(b.text); text++ {
		i := index(b.text[at:], part, rare)
		if i < 0 {
			return hits
		}
		end := func() int { return int(binary.BigEndian.Uint32(b.starts[4*text+4:])) }
		for text < texts && end() <= at+i {
			text++
		}
		if text >= texts {
			return hits
		}
		hits.add(text)
		at = end()
	}
	return hits
}

// rarest returns the place in part of the byte that is the rarest in the
// beginning of a text, -1 where all are frequent.
func rarest(part, text []byte) int {
	var seen [256]uint16
	sample := text[:min(len(text), 512)]
	for _, c := range sample {
		seen[c]++
	}
	best := -1
	for i, c := range part {
		if int(seen[c]) < len(sample)/16 && (best < 0 || seen[c] < seen[part[best]]) {
			best = i
		}
	}
	return best
}

// index is bytes.Index by the byte of part that rarest has found: several times as
// fast in texts that are all alike, as subjects are.
func index(text, part []byte, rare int) int {
	if rare < 0 {
		return bytes.Index(text, part)
	}
	for at := rare; at < len(text); at++ {
		i := bytes.IndexByte(text[at:], part[rare])
		if i < 0 {
			return -1
		}
		if at += i; bytes.HasPrefix(text[at-rare:], part) {
			return at - rare
		}
	}
	return -1
}

// posted is that a message has a term.
type posted struct {
	term term
	n    uint16
}

// blockOf makes the value of a block. The states are in the order of their
// stamps.
func blockOf(states []*state) []byte {
	all := postingsOf(states)
	var terms, offsets, p []byte
	for len(all) > 0 {
		k := 1
		for k < len(all) && all[k].term == all[0].term {
			k++
		}
		terms = binary.BigEndian.AppendUint64(terms, uint64(all[0].term))
		var flag uint32
		begin := len(p)
		if p = putPosting(p, all[:k], len(states)); len(p)-begin != 2*k {
			flag = bitmapFlag
		}
		offsets = binary.BigEndian.AppendUint32(offsets, uint32(begin)|flag)
		all = all[k:]
	}
	offsets = binary.BigEndian.AppendUint32(offsets, uint32(len(p)))
	starts, textOf, text := textsOf(states)
	v := make([]byte, blockHeader, blockHeader+stampSize*len(states)+len(terms)+len(offsets)+len(starts)+len(textOf)+len(p)+len(text))
	v[0] = blockFormat
	for i, n := range []int{len(states), len(terms) / 8, len(starts)/4 - 1, len(p), len(text)} {
		binary.BigEndian.PutUint32(v[8+4*i:], uint32(n))
	}
	for _, s := range states {
		st := s.stamp()
		v = append(v, st[:]...)
	}
	v = slices.Concat(v, terms, offsets, starts, textOf, p, text)
	binary.BigEndian.PutUint32(v[4:], crc32.Checksum(v[8:], castagnoli))
	return v
}

// postingsOf returns what the states have, sorted, each once.
func postingsOf(states []*state) []posted {
	all := make([]posted, 0, 8*len(states))
	for i, s := range states {
		s.terms(func(t term) { all = append(all, posted{t, uint16(i)}) })
	}
	slices.SortFunc(all, func(a, b posted) int {
		if a.term == b.term {
			return int(a.n) - int(b.n)
		}
		return cmp.Compare(a.term, b.term)
	})
	return slices.Compact(all)
}

// putPosting appends whichever is shorter of a list and a bitmap. They never
// have the same length unless they are lists.
func putPosting(p []byte, all []posted, n int) []byte {
	if 2*len(all) <= 8*words(n) {
		for _, e := range all {
			p = binary.BigEndian.AppendUint16(p, e.n)
		}
		return p
	}
	var s bitset
	for _, e := range all {
		s.add(int(e.n))
	}
	return s.append(p, n)
}

func (s *bitset) append(b []byte, n int) []byte {
	for _, w := range s[:words(n)] {
		b = binary.BigEndian.AppendUint64(b, w)
	}
	return b
}

// textsOf numbers the different subjects.
func textsOf(states []*state) (starts, textOf, text []byte) {
	numbers := map[string]uint16{}
	for _, s := range states {
		subject := strings.ReplaceAll(strings.ToLower(s.msg.Header.Subject), "\x00", " ")
		n, known := numbers[subject]
		if !known {
			n = uint16(len(numbers))
			numbers[subject] = n
			starts = binary.BigEndian.AppendUint32(starts, uint32(len(text)))
			text = append(append(text, subject...), 0)
		}
		textOf = binary.BigEndian.AppendUint16(textOf, n)
	}
	return binary.BigEndian.AppendUint32(starts, uint32(len(text))), textOf, text
}
