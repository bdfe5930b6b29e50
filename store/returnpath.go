package store

import (
	"fmt"
	"strings"
)

// ReturnHost returns the host for the return paths of mail whose author's domain,
// in lower-case A-labels, is given: that of the nearest domain of the account
// which has one that DNS leads to us, or "".
func (s *Snapshot) ReturnHost(author string) string {
	var best Domain
	for _, d := range s.Domains {
		if d.ReturnPath != "" && !d.ReturnPathVerified.IsZero() && len(d.Name) > len(best.Name) && covers(d.Name, author) {
			best = d
		}
	}
	return best.ReturnPath
}

// ReturnDomain returns the domain that has the host for its return paths,
// verified or not.
func (s *Snapshot) ReturnDomain(host string) (Domain, bool) {
	for _, d := range s.Domains {
		if d.ReturnPath != "" && strings.EqualFold(d.ReturnPath, host) {
			return d, true
		}
	}
	return Domain{}, false
}

// checkReturnPath wants a name below the domain: only that is aligned with it
// for DMARC (RFC 7489 3.1.2), and only who has the domain can publish it.
func (s *Snapshot) checkReturnPath(d Domain) error {
	if d.ReturnPath == "" {
		return nil
	}
	sub, below := strings.CutSuffix(d.ReturnPath, "."+d.Name)
	if !below || !validSelector(sub) || len(d.ReturnPath) > 253 {
		return invalid("domain return path", "%q is not a host below %s, such as bounces.%s", d.ReturnPath, d.Name, d.Name)
	}
	if o, ok := s.ReturnDomain(d.ReturnPath); ok && o.ID != d.ID {
		return fmt.Errorf("return path %s: %w", d.ReturnPath, ErrExists)
	}
	return nil
}
