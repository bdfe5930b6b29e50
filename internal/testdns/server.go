package testdns

import (
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Query is one question that the server was asked.
type Query struct {
	Name string // with its final dot, as asked
	Type string // "MX"
	TCP  bool
	DO   bool // the DNSSEC OK bit of EDNS
}

// Server is a DNS server on loopback. Its methods may be called while it serves.
type Server struct {
	t    testing.TB
	addr string

	mu      sync.Mutex
	zone    zone
	secure  []string
	faults  map[faultKey]Fault
	queries []Query
}

// New starts a server with a zone in master file format, which is stopped at the end of the test. The origin of the zone is the root, and
// a TTL need not be given.
func New(t testing.TB, records string) *Server {
	t.Helper()
	s := &Server{t: t, zone: zone{}, faults: map[faultKey]Fault{}}
	s.Add(records)
	pc, l := listen(t)
	s.addr = l.Addr().String()
	var serving sync.WaitGroup
	for _, srv := range []*dns.Server{
		{PacketConn: pc, Handler: s.handler(true), UDPSize: 4096},
		{Listener: l, Handler: s.handler(false)},
	} {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		serving.Go(func() {
			if err := srv.ActivateAndServe(); err != nil {
				t.Errorf("testdns: %v", err)
			}
		})
		<-started
		t.Cleanup(func() { stop(t, srv, &serving) })
	}
	return s
}

func stop(t testing.TB, srv *dns.Server, serving *sync.WaitGroup) {
	if err := srv.Shutdown(); err != nil {
		t.Errorf("testdns: %v", err)
	}
	if srv.Listener == nil { // the one stopped last, because it was started first
		serving.Wait()
	}
}

// listen opens UDP and TCP on the same port of loopback.
func listen(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	var err error
	for range 20 {
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			break
		}
		var pc net.PacketConn
		if pc, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			return pc, l
		}
		_ = l.Close() // another process has the UDP port: take another number
	}
	t.Fatalf("testdns: %v", err)
	return nil, nil
}

// Addr returns the host:port of the server, for UDP and TCP alike.
func (s *Server) Addr() string { return s.addr }

// Add adds records in master file format.
func (s *Server) Add(records string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.zone.add(records); err != nil {
		s.t.Fatalf("testdns: %v", err)
	}
}

// Remove removes all records of a name.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.zone, dns.CanonicalName(name))
}

// Secure declares names and all below them signed and validated. Secure(".") declares everything so.
func (s *Server) Secure(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		s.secure = append(s.secure, dns.CanonicalName(name))
	}
}

// Fail makes answers to a name go wrong: to the types listed, such as "MX", or to every type without a fault of its own.
func (s *Server) Fail(name string, f Fault, types ...string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	name = dns.CanonicalName(name)
	if len(types) == 0 {
		s.faults[faultKey{name, dns.TypeANY}] = f
	}
	for _, typ := range types {
		number, ok := dns.StringToType[typ]
		if !ok {
			s.t.Fatalf("testdns: unknown type %q", typ)
		}
		s.faults[faultKey{name, number}] = f
	}
}

// Queries returns what was asked so far, oldest first.
func (s *Server) Queries() []Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

// Count returns how often a name was asked for a type.
func (s *Server) Count(name, typ string) int {
	n := 0
	for _, q := range s.Queries() {
		if dns.CanonicalName(q.Name) == dns.CanonicalName(name) && q.Type == typ {
			n++
		}
	}
	return n
}

func (s *Server) handler(udp bool) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m, f := s.reply(r, udp)
		b, err := f.spoil(m, udp)
		if err != nil {
			s.t.Errorf("testdns: %v", err)
		}
		if b == nil {
			return
		}
		if limit := size(r); udp && len(b) > limit && f != Garbage {
			m.Truncate(limit)
			if b, err = m.Pack(); err != nil {
				s.t.Errorf("testdns: %v", err)
			}
		}
		_, _ = w.Write(b) // the client may be gone
	})
}

func size(r *dns.Msg) int {
	if opt := r.IsEdns0(); opt != nil {
		return max(dns.MinMsgSize, int(opt.UDPSize()))
	}
	return dns.MinMsgSize
}

func (s *Server) reply(r *dns.Msg, udp bool) (*dns.Msg, Fault) {
	m := new(dns.Msg).SetReply(r)
	m.RecursionAvailable = true
	if len(r.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		return m, None
	}
	q, opt := r.Question[0], r.IsEdns0()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queries = append(s.queries, Query{Name: q.Name, Type: dns.TypeToString[q.Qtype], TCP: !udp, DO: opt != nil && opt.Do()})
	var names []string
	m.Answer, names, m.Rcode = s.zone.answer(q)
	if len(m.Answer) == 0 {
		m.Ns = []dns.RR{soa()}
	}
	if opt != nil {
		m.SetEdns0(dns.DefaultMsgSize, opt.Do())
	}
	if r.AuthenticatedData || (opt != nil && opt.Do()) {
		m.AuthenticatedData = !slices.ContainsFunc(names, func(n string) bool { return !under(n, s.secure) })
	}
	return m, s.fault(q)
}

func (s *Server) fault(q dns.Question) Fault {
	name := dns.CanonicalName(q.Name)
	if f, ok := s.faults[faultKey{name, q.Qtype}]; ok {
		return f
	}
	return s.faults[faultKey{name, dns.TypeANY}]
}

func soa() dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: uint32(time.Minute / time.Second)},
		Ns:  "ns.invalid.", Mbox: "root.invalid.", Serial: 1, Refresh: 60, Retry: 60, Expire: 60, Minttl: 60,
	}
}
