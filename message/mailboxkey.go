package message

import "strings"

// MailboxKey returns the form of an address by which lists of people know it: lower case, the domain in A-labels, quotes
// only where they are needed. RFC 5321 2.4 lets a host tell local parts by their case, but none that matters does, and
// somebody who left as Ada@example.org must not get mail as ada@example.org. Tags ("ada+news") and dots stay: which
// hosts ignore them cannot be known.
func MailboxKey(address string) (string, error) {
	a, err := ParsePath(address, true)
	if err != nil {
		return "", err
	}
	domain, err := Destination(a)
	if err != nil {
		return "", err
	}
	key := Address{Local: strings.ToLower(a.Local), Domain: strings.ToLower(domain)}
	if key == a && len(address) == len(a.Local)+len("@")+len(a.Domain) {
		return address, nil // nothing was quoted or in brackets: it is its own key
	}
	return key.String(), nil
}
