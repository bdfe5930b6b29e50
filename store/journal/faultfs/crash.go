package faultfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// inode is a file's content, seen and durable.
type inode struct {
	seen    []byte
	synced  []byte
	pending []change // since the last sync, in order
}

// change is an unsynced write or, when data is nil, a truncation to off.
type change struct {
	off  int64
	data []byte
	// lost is set when a failed sync gave the pages up: they are seen until the
	// machine stops, and a later sync does not write them.
	lost bool
}

func (n *inode) write(p []byte, off int64) {
	c := change{off: off, data: slices.Clone(p)}
	n.seen = c.apply(n.seen)
	n.pending = append(n.pending, c)
}

func (n *inode) truncate(size int64) {
	c := change{off: size}
	n.seen = c.apply(n.seen)
	n.pending = append(n.pending, c)
}

// sync makes all pending changes durable, except lost ones. Those stay
// pending: a crash may find them written or not. One that was overwritten since is gone.
func (n *inode) sync() {
	var lost []change
	for _, c := range n.pending {
		if c.lost {
			lost = append(lost, c)
			continue
		}
		n.synced = c.apply(n.synced)
		lost = slices.DeleteFunc(lost, c.overlaps)
	}
	n.pending = lost
}

// overlaps reports whether a later change c touches bytes of an earlier one.
func (c change) overlaps(earlier change) bool {
	return c.data == nil || earlier.data == nil ||
		(c.off < earlier.off+int64(len(earlier.data)) && earlier.off < c.off+int64(len(c.data)))
}

func (n *inode) lose() {
	for i := range n.pending {
		n.pending[i].lost = true
	}
}

// apply returns b after the change, growing it with zeros as needed.
func (c change) apply(b []byte) []byte {
	if c.data == nil {
		return resize(b, c.off)
	}
	if end := c.off + int64(len(c.data)); end > int64(len(b)) {
		b = resize(b, end)
	}
	copy(b[c.off:], c.data)
	return b
}

func resize(b []byte, size int64) []byte {
	if size <= int64(len(b)) {
		return b[:size:size]
	}
	grown := make([]byte, size)
	copy(grown, b)
	return grown
}

// Loss says what a power cut does to changes that were not synced.
type Loss int

const (
	// DropAll loses every unsynced change.
	DropAll Loss = iota
	// KeepAll loses nothing: the process was killed, the machine stayed up.
	KeepAll
	// Reorder keeps a random subset of the unsynced changes, whole.
	Reorder
	// Torn512 keeps a random subset of the 512-byte sectors of every unsynced write.
	Torn512
	// Torn4K keeps a random subset of the 4096-byte pages of every unsynced write.
	Torn4K
	// Prefix keeps the unsynced changes of each file up to a random one, which is torn at a random byte.
	Prefix
)

// Losses are all kinds of loss, for tests that try each.
func Losses() []Loss { return []Loss{DropAll, KeepAll, Reorder, Torn512, Torn4K, Prefix} }

// String names the loss.
func (l Loss) String() string {
	return [...]string{"drop", "keep", "reorder", "torn512", "torn4k", "prefix"}[l]
}

// Crash returns the file system that is found after a power cut now. Unsynced
// names are kept up to a random one, in order, as a journalled file system does. The
// receiver is not changed; the same seed makes the same image.
func (f *FS) Crash(loss Loss, seed uint64) *FS {
	f.mu.Lock()
	defer f.mu.Unlock()
	rng := rand.New(rand.NewPCG(seed, uint64(loss)))
	names := maps.Clone(f.durable)
	applyDir(names, f.dirOps[:keptNames(len(f.dirOps), loss, rng)])
	image := New()
	image.dirs = maps.Clone(f.dirs)
	copies := map[*inode]*inode{}
	for _, name := range slices.Sorted(maps.Keys(names)) { // sorted: the seed decides, not the map
		node := names[name]
		if copies[node] == nil {
			b := node.crash(loss, rng)
			copies[node] = &inode{seen: b, synced: slices.Clone(b)}
		}
		image.names[name], image.durable[name] = copies[node], copies[node]
	}
	return image
}

func keptNames(n int, loss Loss, rng *rand.Rand) int {
	switch loss {
	case DropAll:
		return 0
	case KeepAll:
		return n
	}
	return rng.IntN(n + 1)
}

// crash returns the content after a power cut.
func (n *inode) crash(loss Loss, rng *rand.Rand) []byte {
	b := slices.Clone(n.synced)
	stop := rng.IntN(len(n.pending) + 1)
	for i, c := range n.pending {
		switch {
		case loss == KeepAll:
			b = c.apply(b)
		case loss == Reorder && rng.IntN(2) == 0:
			b = c.apply(b)
		case loss == Torn512:
			b = c.torn(b, 512, rng)
		case loss == Torn4K:
			b = c.torn(b, 4096, rng)
		case loss == Prefix && i < stop:
			b = c.apply(b)
		case loss == Prefix && i == stop && len(c.data) > 0:
			b = change{off: c.off, data: c.data[:rng.IntN(len(c.data)+1)]}.apply(b)
		}
	}
	return b
}

// torn applies a random subset of the change's aligned units.
func (c change) torn(b []byte, unit int64, rng *rand.Rand) []byte {
	if c.data == nil {
		if rng.IntN(2) == 0 {
			return b
		}
		return c.apply(b)
	}
	end := c.off + int64(len(c.data))
	for at := c.off; at < end; {
		next := min(end, (at/unit+1)*unit)
		if rng.IntN(2) == 0 {
			b = change{off: at, data: c.data[at-c.off : next-c.off]}.apply(b)
		}
		at = next
	}
	return b
}
