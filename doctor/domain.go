package doctor

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"blitiri.com.ar/go/spf"
	"golang.org/x/net/publicsuffix"

	"github.com/mailchute/mailchute/message/dkim"
)

// domain checks what receivers look up about the author's domain. DMARC comes
// last, since it needs either of the others.
func (e *exam) domain(ctx context.Context, d Domain) {
	signed := e.keys(ctx, d)
	authorised := e.authorised && sameOrganisation(e.BounceHost, d.Name)
	if e.BounceHost != "" && d.ReturnPath != "" {
		e.bounceHost(ctx, d.ReturnPath)
		authorised = e.Direct && e.senderPolicy(ctx, d.ReturnPath)
	}
	if e.Direct && e.BounceHost == "" {
		authorised = e.senderPolicy(ctx, d.Name)
	}
	e.dmarc(ctx, d.Name, signed, authorised)
}

// keys tells whether mail is signed with a key whose record is right.
func (e *exam) keys(ctx context.Context, d Domain) (signed bool) {
	if len(d.Keys) == 0 {
		e.chart.about("DKIM", d.Name).warn("mailchute domain add "+d.Name, "has no key: its mail is not signed")
	}
	for _, k := range d.Keys {
		a := e.chart.about("DKIM", k.Name)
		advice := "publish what \"mailchute domain records " + d.Name + "\" writes"
		found, problem, err := e.published(ctx, k)
		switch {
		case err != nil:
			a.warn("try again", "lookup failed: %v", err)
		case found && k.Signs:
			a.ok("has the key that signs")
			signed = true
		case found:
			a.ok("has the key")
		case k.Signs:
			a.fail(advice, "%s, and mail is signed with it", problem)
		default:
			a.warn(advice, "%s", problem)
		}
	}
	return signed
}

// published tells whether the record of a key is there, and else what is
// there. Several records are as bad as a wrong one: verifiers take any of them.
func (e *exam) published(ctx context.Context, k Key) (found bool, problem string, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	texts, err := e.Resolver.LookupTXT(ctx, k.Name)
	switch {
	case len(texts) == 0 && (err == nil || missing(err)):
		return false, "is not published", nil
	case len(texts) == 0:
		return false, "", err
	case len(texts) > 1:
		return false, "has several records", nil
	}
	want, err := dkim.ParseRecord(k.Value)
	if err != nil {
		return false, "", err
	}
	got, err := dkim.ParseRecord(texts[0])
	if err != nil {
		return false, "has a record that cannot be read", nil
	}
	if err := got.Covers(want); err != nil {
		return false, "does not serve: " + err.Error(), nil
	}
	return true, "", nil
}

// senderPolicy evaluates SPF (RFC 7208) for each address that we send from, as
// a receiver of mail with an envelope sender of the domain does.
func (e *exam) senderPolicy(ctx context.Context, domain string) (pass bool) {
	pass = len(e.Sources) > 0
	for _, addr := range e.Sources {
		a := e.chart.about("SPF", domain+" from "+addr.String())
		if e.Guessed && addr.IsPrivate() {
			pass = false
			continue // said already
		}
		lookup, cancel := context.WithTimeout(ctx, lookupTime)
		result, err := spf.CheckHostWithSender(net.IP(addr.AsSlice()), e.nameOf(addr), "postmaster@"+domain, spf.WithContext(lookup), spf.WithResolver(e.Resolver))
		cancel()
		policyVerdict(a, result, err, addr)
		pass = pass && result == spf.Pass
	}
	return pass
}

func policyVerdict(a area, result spf.Result, err error, addr netip.Addr) {
	advice := "add " + mechanism(addr) + " to the TXT record that begins with v=spf1"
	switch result {
	case spf.Pass:
		a.ok("passes")
	case spf.None:
		a.warn("publish a TXT record: v=spf1 "+mechanism(addr)+" ~all", "there is no SPF record")
	case spf.Fail:
		a.fail(advice, "fails: receivers refuse mail from this address")
	case spf.PermError:
		a.fail("correct the record", "the record is broken: %v", err)
	case spf.TempError:
		a.warn("try again", "lookup failed: %v", err)
	default: // neutral, softfail
		a.warn(advice, "%s: the record does not name this address", result)
	}
}

func mechanism(addr netip.Addr) string {
	if addr.Is4() {
		return "ip4:" + addr.String()
	}
	return "ip6:" + addr.String()
}

// dmarc looks for the policy of a domain (RFC 7489 6.6.3) and whether our mail
// meets it. A signature by the domain itself is aligned in every mode.
func (e *exam) dmarc(ctx context.Context, domain string, signed, authorised bool) {
	a := e.chart.about("DMARC", domain)
	records, err := e.policies(ctx, domain)
	if err == nil && len(records) == 0 {
		if org := organisation(domain); org != domain {
			records, err = e.policies(ctx, org)
		}
	}
	if err != nil {
		a.warn("try again", "lookup failed: %v", err)
		return
	}
	policy := ""
	if len(records) == 1 {
		policy = strings.ToLower(tag(records[0], "p"))
	}
	strict := policy == "reject" || policy == "quarantine"
	switch {
	case len(records) == 0:
		a.warn("publish a TXT record at _dmarc."+domain+": v=DMARC1; p=none", "there is no policy: large receivers ask for one")
	case len(records) > 1:
		a.fail("leave one", "there are %d policies, which counts as none", len(records))
	case policy != "none" && !strict:
		a.fail("correct the record at _dmarc."+domain, "the policy p=%s is unknown", policy)
	case signed:
		a.ok("policy %s, met by the signature", policy)
	case authorised:
		a.ok("policy %s, met by SPF for the envelope sender", policy)
	case strict:
		a.fail("see DKIM above", "policy %s, and nothing of our mail meets it", policy)
	default:
		a.warn("see DKIM above", "policy %s, and nothing of our mail meets it", policy)
	}
}

func (e *exam) policies(ctx context.Context, domain string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTime)
	defer cancel()
	texts, err := e.Resolver.LookupTXT(ctx, "_dmarc."+domain)
	if err != nil && !missing(err) {
		return nil, err
	}
	var out []string
	for _, t := range texts {
		if strings.EqualFold(tag(t, "v"), "DMARC1") {
			out = append(out, t)
		}
	}
	return out, nil
}

// tag returns the value of a tag=value list.
func tag(record, name string) string {
	for part := range strings.SplitSeq(record, ";") {
		key, value, _ := strings.Cut(part, "=")
		if strings.EqualFold(strings.TrimSpace(key), name) {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// organisation is the organisational domain (RFC 7489 3.2).
func organisation(domain string) string {
	if org, err := publicsuffix.EffectiveTLDPlusOne(domain); err == nil {
		return org
	}
	return domain
}

// sameOrganisation is the relaxed alignment of DMARC.
func sameOrganisation(a, b string) bool {
	return a != "" && organisation(plain(a)) == organisation(plain(b))
}
