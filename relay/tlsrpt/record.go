package tlsrpt

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

const txtVersion = "v=TLSRPTv1"

// maxURIs bounds the places that one domain can have reports sent to.
const maxURIs = 8

// ErrNoRecord: none of the TXT records is for TLS reports.
var ErrNoRecord = errors.New("no TLSRPT record")

// Record says where a domain wants its reports.
type Record struct {
	// Mail are the addresses of mailto: URIs.
	Mail []string
	// HTTPS are the https: URIs.
	HTTPS []string
}

// ParseRecord reads the TXT records of _smtp._tls.<domain>, each with its strings joined. Records that do not begin with "v=TLSRPTv1;" are left out; the others
// must be one (RFC 8460 3). Unknown fields and URIs of other schemes are ignored, but at least one place must remain.
func ParseRecord(records []string) (Record, error) {
	var ours []string
	for _, r := range records {
		if strings.HasPrefix(r, txtVersion+";") {
			ours = append(ours, r)
		}
	}
	switch len(ours) {
	case 0:
		return Record{}, ErrNoRecord
	case 1:
		return parseRecord(ours[0])
	}
	return Record{}, fmt.Errorf("%d TLSRPT records, want one", len(ours))
}

func parseRecord(s string) (Record, error) {
	fields := strings.Split(s, ";")[1:]
	var rua string
	for i, field := range fields {
		field = strings.Trim(field, " \t")
		if field == "" && i == len(fields)-1 {
			break // the delimiter at the end is optional
		}
		name, value, ok := strings.Cut(field, "=")
		if !ok || !fieldName(name) || value == "" {
			return Record{}, fmt.Errorf("field %d of the TLSRPT record is malformed", i+1)
		}
		if name == "rua" && rua == "" {
			rua = value
		}
	}
	var r Record
	for uri := range strings.SplitSeq(rua, ",") {
		if len(r.Mail)+len(r.HTTPS) < maxURIs {
			r.add(strings.Trim(uri, " \t"))
		}
	}
	if len(r.Mail)+len(r.HTTPS) == 0 {
		return Record{}, errors.New("TLSRPT record names no usable rua")
	}
	return r, nil
}

// add takes a URI if it is one that we can send to.
func (r *Record) add(uri string) {
	u, err := url.Parse(uri)
	if err != nil || !printable(uri) {
		return
	}
	switch u.Scheme {
	case "mailto":
		if address, err := url.PathUnescape(u.Opaque); err == nil && mailbox(address) {
			r.Mail = append(r.Mail, address)
		}
	case "https":
		if u.Hostname() != "" && u.User == nil {
			u.Fragment = ""
			r.HTTPS = append(r.HTTPS, u.String())
		}
	}
}

// mailbox accepts a plain address: what is in DNS goes into a header and an envelope, so no white space, quotes, angles or lists.
func mailbox(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at > 64 || len(s) > 254 || !printable(s) || strings.ContainsAny(s, `"(),:;<>[\]`) || strings.Count(s, "@") != 1 {
		return false
	}
	domain := s[at+1:]
	return domain != "" && !strings.HasPrefix(domain, ".") && !strings.HasSuffix(domain, ".") && !strings.Contains(domain, "..")
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

// fieldName is that of tlsrpt-extension.
func fieldName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || (c != '_' && c != '-' && c != '.')) {
			return false
		}
	}
	return s != "" && len(s) <= 32
}
