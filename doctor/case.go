package doctor

import (
	"context"
	"crypto/x509"
	"io/fs"
	"net"
	"net/netip"
	"time"
)

// Resolver asks DNS, and nothing but DNS. Names are absolute, with or without a
// final dot; errors are *net.DNSError, as those of net.Resolver.
type Resolver interface {
	LookupTXT(ctx context.Context, domain string) ([]string, error)
	LookupMX(ctx context.Context, domain string) ([]*net.MX, error)
	LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error)
	LookupAddr(ctx context.Context, addr string) ([]string, error)
	// Validates tells whether an answer about the root zone, which is signed,
	// comes with the AD bit. An error means that there was no answer.
	Validates(ctx context.Context) (bool, error)
}

// Case is what is examined. Its parts are read from the configuration and from
// the machine by the caller; Examine itself asks DNS, and connects to Probe and to
// the host of UnsubscribeURL where they are set.
type Case struct {
	Direct   bool   // some stream delivers by MX: what concerns addresses and port 25 counts
	Hostname string // the name in EHLO
	// Sources are the addresses that mail hosts see us come from.
	Sources []netip.Addr
	// Names are the EHLO names of those that do not use Hostname.
	Names map[netip.Addr]string
	// Guessed says that Sources are those of the interfaces and not the
	// operator's word, so that private ones mean there is NAT.
	Guessed bool
	Domains []Domain
	// BounceHost is the host of reverse-paths; "" means that the client's
	// envelope sender leaves, which is taken to be of the author's domain.
	BounceHost string
	BounceTLS  bool // the listeners for what comes back offer STARTTLS
	// UnsubscribeURL is what stands before the tokens of links to unsubscribe; ""
	// means that there are none.
	UnsubscribeURL string
	// TLSReports is the domain that signs reports about TLS; "" means that there
	// are none.
	TLSReports string
	Roots      *x509.CertPool // that vouch for its host; nil: the system's
	Probe      string         // host:port to connect to; "" connects nowhere

	Certificate Certificate
	Directory   Directory
	Clock       Clock
	OpenFiles   OpenFiles

	Resolver Resolver
	// Trusted says that delivery relies on what Resolver says of DNSSEC.
	Trusted bool
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
}

// Domain is a sender domain with its DKIM keys.
type Domain struct {
	Name string
	Keys []Key
	// ReturnPath is the domain's own host for reverse-paths; "" means BounceHost.
	ReturnPath string
}

// Key is the public part of a DKIM key as it should be published.
type Key struct {
	Name  string // of the record: selector._domainkey.domain
	Value string
	// Signs says that mail is signed with it now. One that does not waits for
	// its record, or was replaced and is still needed for mail on its way.
	Signs bool
}

// Certificate is that of the listeners.
type Certificate struct {
	File  string
	Chain []*x509.Certificate // leaf first
	Err   error               // why there is no chain; fs.ErrNotExist before the first start
	Host  string              // the name that clients connect to
}

// Directory is the data directory and its file system. Sizes are octets.
type Directory struct {
	Path string
	Mode fs.FileMode
	// Foreign says that it belongs to another user than the one who asks.
	Foreign bool
	Free    uint64
	MinFree uint64 // below it new mail is refused
	Err     error
}

// Clock is the machine's.
type Clock struct {
	Now    time.Time
	Newest time.Time // modification of the newest file of the data directory
	// Unsynchronised says that the kernel knows of no time service; Unknown that
	// it could not be asked.
	Unsynchronised, Unknown bool
}

// OpenFiles is the limit of the process and what the configuration may use.
type OpenFiles struct {
	Limit    uint64
	Outgoing uint64 // connections out, and the server's own files
	All      uint64 // these and all the clients that are let in
	Err      error
}
