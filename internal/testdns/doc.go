// Package testdns is a DNS server for tests: a resolver on loopback that answers from a zone given as text, over UDP and TCP
// on one port, and that fails on demand.
//
//	dns := testdns.New(t, `
//	example.com.           MX 10 mx.example.com.
//	mx.example.com.        A  127.0.0.1
//	_25._tcp.mx.example.com. TLSA 3 1 1 0000…
//	`)
//	dns.Secure("example.com")
//	resolver := dane.New(dane.Options{Servers: []string{dns.Addr()}, Trusted: true})
//
// It plays a validating resolver: CNAMEs are followed inside the zone, a name without the records asked for gets NODATA, a name
// that does not exist NXDOMAIN, and the AD bit is set in answers all of whose names lie under a name given to Secure, when
// the query asks for it with DO or AD (RFC 6840 5.7). Nothing is signed: the AD bit is all that a client behind a trusted resolver sees.
//
// Fail makes the answers to one name, or to one name and type, go wrong; see Fault. Queries tells what was asked.
package testdns
