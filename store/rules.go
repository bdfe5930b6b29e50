package store

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The rules of the directory, one function a record. They run inside
// Snapshot.With, on the state that the earlier changes of the same transaction
// have made.

func (s *Snapshot) checkUser(u User) error {
	if u.Email == "" {
		return invalid("user email", "is empty")
	}
	if !slices.Contains([]Role{Owner, Admin, ServerAdmin, ServerViewer}, u.Role) {
		return invalid("user role", "%q is unknown", u.Role)
	}
	for _, id := range u.Servers {
		if _, ok := s.Servers[id]; !ok {
			return fmt.Errorf("server %d of user %d: %w", id, u.ID, ErrNotFound)
		}
	}
	return nil
}

func (s *Snapshot) checkServer(v Server) error {
	if v.Name == "" || len(v.Name) > 100 {
		return invalid("server name", "must have 1 to 100 characters")
	}
	if v.DeliveryType != Live && v.DeliveryType != Sandbox {
		return invalid("server delivery type", "%q is neither live nor sandbox", v.DeliveryType)
	}
	if v.Weight < 0 || v.Weight > 100 {
		return invalid("server weight", "%d is not within 1 to 100", v.Weight)
	}
	if old, ok := s.ServerByName(v.Name); ok && old.ID != v.ID {
		return fmt.Errorf("server name %q: %w", v.Name, ErrExists)
	}
	return nil
}

func (s *Snapshot) checkStream(v Stream) error {
	if _, ok := s.Servers[v.Server]; !ok {
		return fmt.Errorf("server %d: %w", v.Server, ErrNotFound)
	}
	if !ValidStreamID(v.ID) {
		return invalid("stream id", "%q: 1 to 30 lower-case letters, digits and inner dashes, beginning with a letter", v.ID)
	}
	if v.Weight < 0 || v.Weight > 100 {
		return invalid("stream weight", "%d is not within 1 to 100", v.Weight)
	}
	old, exists := s.Streams[StreamKey{v.Server, v.ID}]
	if exists && old.Kind != v.Kind {
		return invalid("stream kind", "cannot be changed")
	}
	if !exists && len(s.StreamsOf(v.Server)) >= MaxStreams {
		return fmt.Errorf("a server has at most %d streams: %w", MaxStreams, ErrLimit)
	}
	if v.Kind == Inbound {
		return nil
	}
	return checkOutbound(v)
}

func checkOutbound(v Stream) error {
	if !v.Outbound() {
		return invalid("stream kind", "%q is unknown", v.Kind)
	}
	switch v.Mode {
	case ModeLive, ModeCapture:
	case ModeRedirect:
		if v.RedirectTo == "" {
			return invalid("stream redirect", "mode redirect needs an address")
		}
	default:
		return invalid("stream mode", "%q is none of live, capture, redirect", v.Mode)
	}
	if !slices.Contains([]Unsubscribe{"", UnsubscribeNone, UnsubscribeHosted, UnsubscribeCustom}, v.Unsubscribe) {
		return invalid("stream unsubscribe", "%q is none of none, hosted, custom", v.Unsubscribe)
	}
	if !slices.Contains([]UncertainPolicy{"", UncertainResend, UncertainHold}, v.Uncertain) {
		return invalid("stream uncertain", "%q is none of resend, hold", v.Uncertain)
	}
	if v.Dedupe != 0 && (v.Dedupe < time.Minute || v.Dedupe > 7*24*time.Hour) {
		return invalid("stream dedupe", "%v is not within 1m and 168h", v.Dedupe)
	}
	if err := checkSources(v.Sources); err != nil {
		return err
	}
	return checkRoutes(v)
}

func checkSources(sources []Source) error {
	if len(sources) > MaxSources {
		return fmt.Errorf("a stream has at most %d source addresses: %w", MaxSources, ErrLimit)
	}
	for i, s := range sources {
		if !s.Address.IsValid() || s.Address.IsUnspecified() || s.Address.IsMulticast() || s.Address.Is4In6() {
			return invalid("stream source", "%q is not an address to send from", s.Address)
		}
		if strings.Trim(strings.ToLower(s.Hostname), "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || len(s.Hostname) > 253 {
			return invalid("stream source", "%q is not a host name", s.Hostname)
		}
		if slices.ContainsFunc(sources[:i], func(o Source) bool { return o.Address == s.Address }) {
			return fmt.Errorf("source address %s: %w", s.Address, ErrExists)
		}
	}
	return nil
}

func checkRoutes(v Stream) error {
	routes := v.Routes()
	if len(routes) > MaxRoutes {
		return fmt.Errorf("a stream has at most %d routes: %w", MaxRoutes, ErrLimit)
	}
	for i, r := range routes {
		if err := checkRoute(r); err != nil {
			return err
		}
		same := func(o Route) bool { return o.Host == r.Host && o.Port == r.Port && o.Username == r.Username }
		if slices.ContainsFunc(routes[:i], same) {
			return fmt.Errorf("route %d is another one's: %w", i+1, ErrExists)
		}
	}
	return nil
}

func checkRoute(r Route) error {
	if !slices.Contains([]TLSMode{"", TLSOpportunistic, TLSRequired, TLSVerified, TLSStartTLS, TLSImplicit, TLSNone}, r.TLS) {
		return invalid("route tls", "%q is none of opportunistic, required, verified, starttls, implicit, none", r.TLS)
	}
	if r.Weight < 0 || r.Weight > 100 {
		return invalid("route weight", "%d is not within 1 to 100", r.Weight)
	}
	if r.DailyQuota < 0 || r.DailyQuota > MaxQuota {
		return invalid("route daily quota", "%d is not within 0 to %d", r.DailyQuota, MaxQuota)
	}
	if err := r.Rate.check(); err != nil {
		return err
	}
	if !r.Smarthost() {
		if r.Port != 0 || r.Username != "" || r.PasswordFile != "" || r.TLS == TLSImplicit {
			return invalid("route", "port, username, password file and implicit TLS need a smarthost")
		}
		return nil
	}
	if r.Port < 1 || r.Port > 65535 {
		return invalid("route port", "%d is not within 1 to 65535", r.Port)
	}
	if (r.Username == "") != (r.PasswordFile == "") {
		return invalid("route", "username and password file go together")
	}
	if r.Username != "" && (r.TLS == TLSOpportunistic || r.TLS == TLSRequired) {
		return invalid("route tls", "a password may not travel over unverified TLS; use starttls or implicit")
	}
	return nil
}

func (s *Snapshot) checkAccountToken(t AccountToken) error {
	for _, o := range s.AccountTokens {
		if o.ID != t.ID && o.Hash == t.Hash {
			return fmt.Errorf("account token: %w", ErrExists)
		}
	}
	return nil
}

func (s *Snapshot) checkServerToken(t ServerToken) error {
	if _, ok := s.Servers[t.Server]; !ok {
		return fmt.Errorf("server %d: %w", t.Server, ErrNotFound)
	}
	n := 0
	for _, o := range s.ServerTokens {
		if o.ID == t.ID {
			continue
		}
		if o.Hash == t.Hash {
			return fmt.Errorf("server token: %w", ErrExists)
		}
		if o.Server == t.Server {
			n++
		}
	}
	if n >= MaxServerTokens {
		return fmt.Errorf("a server has at most %d API tokens; revoke one first: %w", MaxServerTokens, ErrLimit)
	}
	return nil
}

func (s *Snapshot) checkSMTPToken(t SMTPToken) error {
	stream, ok := s.Streams[StreamKey{t.Server, t.Stream}]
	if !ok {
		return fmt.Errorf("stream %q: %w", t.Stream, ErrNotFound)
	}
	if !stream.Outbound() {
		return invalid("smtp token", "stream %q is inbound; only outbound streams have SMTP tokens", t.Stream)
	}
	if !stream.Archived.IsZero() {
		return invalid("smtp token", "stream %q is archived", t.Stream)
	}
	n := 0
	for _, o := range s.SMTPTokens {
		if o.ID == t.ID {
			continue
		}
		if o.AccessKey == t.AccessKey {
			return fmt.Errorf("access key: %w", ErrExists)
		}
		if o.Server == t.Server && o.Stream == t.Stream {
			n++
		}
	}
	if n >= MaxSMTPTokens {
		return fmt.Errorf("a stream has at most %d SMTP tokens: %w", MaxSMTPTokens, ErrLimit)
	}
	return nil
}

func (s *Snapshot) checkDomain(d Domain) error {
	if d.Name == "" {
		return invalid("domain name", "is empty")
	}
	for _, o := range s.Domains {
		if o.ID != d.ID && o.Name == d.Name {
			return fmt.Errorf("domain %q: %w", d.Name, ErrExists)
		}
	}
	if err := s.checkReturnPath(d); err != nil {
		return err
	}
	return d.checkKeys()
}

func (s *Snapshot) checkSignature(g Signature) error {
	if g.Email == "" {
		return invalid("signature email", "is empty")
	}
	for _, o := range s.Signatures {
		if o.ID != g.ID && o.Email == g.Email {
			return fmt.Errorf("signature %q: %w", g.Email, ErrExists)
		}
	}
	return nil
}
