package journal

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

const damageSuffix = ".damage"

// damageName returns the name of the file that keeps a segment quarantined
// across restarts, so that damage found once is reported until somebody deals with it.
func damageName(number uint64) string { return fmt.Sprintf("%020d%s", number, damageSuffix) }

// quarantine records damage found in s, in memory and beside the segment.
func (j *Journal) quarantine(s *segment, damage *CorruptError) {
	j.disposing.Lock() // one marker is written at a time
	defer j.disposing.Unlock()
	j.mu.Lock()
	known := false
	for _, d := range s.damage {
		known = known || d.Offset == damage.Offset
	}
	if !known {
		s.damage = append(s.damage[:len(s.damage):len(s.damage)], damage)
	}
	s.quarantined = true
	all := s.damage
	j.mu.Unlock()
	if known {
		return
	}
	j.log.Error("journal: damage", "segment", damage.Segment, "offset", damage.Offset, "reason", damage.Reason, "path", damage.Path)
	if err := j.writeDamage(s.number, all); err != nil {
		j.log.Error("journal: noting damage; it will be noticed again only when it is read", "segment", s.number, "error", err)
	}
}

// writeDamage replaces the damage file of a segment.
func (j *Journal) writeDamage(number uint64, all []*CorruptError) error {
	var b bytes.Buffer
	for _, d := range all {
		fmt.Fprintf(&b, "%d %s\n", d.Offset, strings.ReplaceAll(d.Reason, "\n", " "))
	}
	temp := j.pathOf(j.spares.name() + tempSuffix)
	f, err := j.fs.Create(temp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(b.Bytes(), 0)
	if err == nil {
		err = f.Datasync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = j.fs.Rename(temp, j.pathOf(damageName(number)))
	}
	if err != nil {
		_ = j.fs.Remove(temp)
		return err
	}
	return j.fs.SyncDir(j.dir)
}

// readDamage returns what an earlier run noted about a segment. A note that
// cannot be read still quarantines.
func (j *Journal) readDamage(s *segment) {
	f, err := j.fs.Open(j.pathOf(damageName(s.number)), true)
	if err != nil {
		return // the directory listing has the name, or this is not called
	}
	defer f.Close()
	size, err := f.Size()
	text := make([]byte, min(size, 1<<20))
	if err == nil {
		_, err = f.ReadAt(text, 0)
	}
	if err != nil {
		text = []byte("0 damage was noted, but the note cannot be read")
	}
	for line := range strings.Lines(string(text)) {
		digits, reason, _ := strings.Cut(strings.TrimSpace(line), " ")
		off, _ := strconv.ParseInt(digits, 10, 64)
		s.damage = append(s.damage, s.corrupt(off, reason))
	}
	s.quarantined = true
}
