package local

// Ready returns nil while new mail is taken. An error that wraps store.ErrFull
// means that it is refused for want of space while deliveries go on; the view
// that could not be written for that reason counts, since it is what fills up
// next. ErrFaulted means that the engine has stopped writing for good.
func (s *Store) Ready() error {
	if err := s.db.healthy(); err != nil {
		return err
	}
	if err := s.space.check(); err != nil {
		return err
	}
	s.over.mu.Lock()
	defer s.over.mu.Unlock()
	return s.over.stuck
}
