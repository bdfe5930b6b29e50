package relay

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
)

// Receiver is where the limits of a large receiver begin.
type Receiver struct {
	Name     string
	Suffixes []string // of the names of its mail hosts
	First    int      // attempts at once at the beginning
	Most     int      // and at most, where the configuration allows as many
}

// ReceiversDated is when the table was looked through last.
const ReceiversDated = "2026-11-23"

// Receivers returns the table of large receivers. Its numbers are cautious beginnings for a sender without a reputation;
// what a receiver answers moves them. Receivers publish few numbers and change them: the table holds the host names that
// they use, the order of magnitude that their postmaster pages and common practice suggest, and nothing else.
func Receivers() []Receiver {
	return []Receiver{
		{"google", []string{"google.com", "googlemail.com"}, 4, 20},
		{"microsoft", []string{"protection.outlook.com", "olc.protection.outlook.com", "mx.microsoft"}, 4, 20},
		{"yahoo", []string{"yahoodns.net"}, 2, 10},
		{"apple", []string{"mail.icloud.com"}, 2, 10},
		{"comcast", []string{"comcast.net"}, 2, 5},
		{"cloudmark-gmx", []string{"gmx.net", "mx00.kundenserver.de", "mx01.kundenserver.de", "web.de", "ionos.de", "ionos.com", "1and1.com"}, 2, 8},
		{"telekom", []string{"t-online.de"}, 2, 5},
		{"orange", []string{"orange.fr", "wanadoo.fr"}, 1, 2},
		{"laposte", []string{"laposte.net"}, 1, 3},
		{"free.fr", []string{"free.fr", "proxad.net"}, 1, 3},
		{"mail.ru", []string{"mail.ru"}, 2, 10},
		{"yandex", []string{"yandex.ru", "yandex.net"}, 2, 10},
		{"proofpoint", []string{"pphosted.com", "ppe-hosted.com"}, 2, 10},
		{"mimecast", []string{"mimecast.com", "mimecast.co.za"}, 2, 10},
		{"zoho", []string{"zoho.com", "zoho.eu", "zohomail.com"}, 2, 10},
		{"fastmail", []string{"messagingengine.com"}, 2, 10},
		{"qq", []string{"qq.com"}, 2, 5},
		{"netease", []string{"netease.com", "163.com"}, 2, 5},
	}
}

// receivers is never changed.
var receivers = Receivers()

// receiverMark begins the key of a large receiver's site. No domain contains it.
const receiverMark = "receiver:"

func receiverNamed(key string) (Receiver, bool) {
	name, ok := strings.CutPrefix(key, receiverMark)
	if !ok {
		return Receiver{}, false
	}
	i := slices.IndexFunc(receivers, func(r Receiver) bool { return r.Name == name })
	if i < 0 {
		return Receiver{}, false
	}
	return receivers[i], true
}

// maxSiteKey bounds the key of a site. One with many hosts is named by the first and a hash.
const maxSiteKey = 120

// siteOf names the site of a set of mail hosts: that of the large receiver they all belong to, else the hosts themselves,
// whatever the order. Two domains with the same hosts share a site, and its limits.
func siteOf(hosts []string) string {
	if name := receiverOf(hosts); name != "" {
		return receiverMark + name
	}
	sorted := slices.Clone(hosts)
	slices.Sort(sorted)
	key := strings.Join(slices.Compact(sorted), ",")
	if len(key) <= maxSiteKey {
		return key
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(key)) // has no error
	return fmt.Sprintf("%.80s and %d more (%x)", sorted[0], len(sorted)-1, h.Sum64())
}

func receiverOf(hosts []string) string {
	name := ""
	for i, host := range hosts {
		of := ""
		for _, r := range receivers {
			if slices.ContainsFunc(r.Suffixes, func(s string) bool { return host == s || strings.HasSuffix(host, "."+s) }) {
				of = r.Name
				break
			}
		}
		if of == "" || i > 0 && of != name {
			return ""
		}
		name = of
	}
	return name
}

// maxKnown is of how many domains the site is remembered.
const maxKnown = 20_000

// knownSites remembers which site a domain belongs to, the newest ones. It never holds more than maxKnown names.
type knownSites struct {
	of    map[string]string
	order ring[string]
}

func (k *knownSites) get(domain string) (string, bool) {
	key, ok := k.of[domain]
	return key, ok
}

func (k *knownSites) put(domain, key string) {
	if k.of == nil {
		k.of = map[string]string{}
	}
	if _, known := k.of[domain]; !known {
		if k.order.len() == maxKnown {
			delete(k.of, k.order.pop())
		}
		k.order.push(domain)
	}
	k.of[domain] = key
}

// drop makes a domain its own site again. Its name keeps its place in the order.
func (k *knownSites) drop(domain string) {
	if _, known := k.of[domain]; known {
		k.of[domain] = domain
	}
}
