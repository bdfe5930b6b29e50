package doctor

import (
	"slices"
	"strings"
)

// tlsReports looks whether somebody signs for the domain that reports: receivers take no others by mail (RFC 8460 3).
func (e *exam) tlsReports() {
	if e.TLSReports == "" {
		return
	}
	a := e.chart.about("TLS reports", e.TLSReports)
	signs := slices.ContainsFunc(e.Domains, func(d Domain) bool {
		return (d.Name == e.TLSReports || strings.HasSuffix(e.TLSReports, "."+d.Name)) && slices.ContainsFunc(d.Keys, func(k Key) bool { return k.Signs })
	})
	if !signs {
		a.fail("mailchute domain add "+e.TLSReports+", and publish its records", "has no active DKIM key: no report leaves by mail")
		return
	}
	a.ok("are signed")
}
