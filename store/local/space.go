package local

import (
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/mailchute/mailchute/store"
)

const (
	minFreeFloor = 512 << 20
	minFreeShare = 20
	spaceEvery   = time.Second
)

// space refuses new mail while the file system is nearly full. It measures at
// most once a second.
type space struct {
	dir     string
	minFree int64
	measure func(dir string) (free, total int64, err error)

	mu   sync.Mutex
	at   time.Time
	last error
}

// check gives store.ErrFull under the watermark.
func (s *space) check() error {
	if s.minFree < 0 {
		return nil
	}
	s.mu.Lock() // held across one statfs, so that one caller a second pays for it
	defer s.mu.Unlock()
	if now := time.Now(); s.at.IsZero() || now.Sub(s.at) >= spaceEvery {
		s.at, s.last = now, s.look()
	}
	return s.last
}

func (s *space) look() error {
	free, total, err := s.measure(s.dir)
	if err != nil {
		return fmt.Errorf("measuring free space: %w", err)
	}
	limit := s.minFree
	if limit == 0 {
		limit = max(minFreeFloor, total/minFreeShare)
	}
	if free < limit {
		return fmt.Errorf("%d MiB free, %d MiB are kept for deliveries: %w", free>>20, limit>>20, store.ErrFull)
	}
	return nil
}

func diskSpace(dir string) (free, total int64, err error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil
}
