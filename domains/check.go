package domains

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/mailchute/mailchute/message/dkim"
	"github.com/mailchute/mailchute/store"
)

// Resolver looks up TXT records. An error that wraps neither ErrNoDomain nor
// ErrNoRecords is temporary.
type Resolver interface {
	// LookupTXT returns the TXT records of a name, each with its strings joined.
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

var (
	// ErrNoDomain: the name does not exist (NXDOMAIN).
	ErrNoDomain = errors.New("name does not exist in DNS")
	// ErrNoRecords: the name has no TXT record.
	ErrNoRecords = errors.New("name has no TXT record")
)

// Statuses of findings.
const (
	StatusOK         = "ok"
	StatusNoDomain   = "nxdomain"   // the name does not exist
	StatusMissing    = "missing"    // the name has no such record
	StatusTimeout    = "timeout"    // DNS did not answer: nothing is known
	StatusFailed     = "failed"     // DNS answered with a failure: nothing is known
	StatusMalformed  = "malformed"  // the record cannot be read
	StatusSeveral    = "several"    // there are several, and verifiers take any of them
	StatusMismatch   = "mismatch"   // the record has another key
	StatusRevoked    = "revoked"    // the record says that the key is void
	StatusRestricted = "restricted" // the record forbids the use
	StatusLocked     = "locked"     // our private key cannot be opened
)

// Temporary tells whether a status says that nothing is known.
func Temporary(status string) bool { return status == StatusTimeout || status == StatusFailed }

// maxSeen is how much of a record a finding keeps, in octets.
const maxSeen = 600

// check looks at all records of a domain, and returns the selectors of the keys
// whose record is right.
func (k *Keeper) check(ctx context.Context, d store.Domain) (store.DomainCheck, map[string]bool) {
	ctx, cancel := context.WithTimeout(ctx, k.opts.Timeout)
	defer cancel()
	keys := slices.DeleteFunc(slices.Clone(d.Keys), func(key store.DomainKey) bool { return !key.Retired.IsZero() })
	findings := make([]store.DomainFinding, len(keys)+2, len(keys)+3)
	if d.ReturnPath != "" {
		findings = findings[:cap(findings)]
	}
	var lookups sync.WaitGroup
	for i, key := range keys {
		lookups.Go(func() { findings[i] = k.checkKey(ctx, d, key) })
	}
	lookups.Go(func() { findings[len(keys)] = k.checkSPF(ctx, k.spfName(d)) })
	lookups.Go(func() { findings[len(keys)+1] = k.checkDMARC(ctx, d.Name) })
	if d.ReturnPath != "" {
		lookups.Go(func() { findings[len(keys)+2] = k.checkReturnPath(ctx, d) })
	}
	lookups.Wait()
	check, seen := store.DomainCheck{At: k.opts.Now(), OK: len(keys) > 0, Findings: findings}, map[string]bool{}
	for i, key := range keys {
		if findings[i].Status == StatusOK {
			seen[key.Selector] = true
		} else {
			check.OK = false
		}
	}
	return check, seen
}

func (k *Keeper) checkKey(ctx context.Context, d store.Domain, key store.DomainKey) store.DomainFinding {
	f := store.DomainFinding{Purpose: PurposeDKIM, Name: key.RecordName(d.Name)}
	txts, err := k.opts.Resolver.LookupTXT(ctx, f.Name)
	if err != nil {
		return notSeen(f, err)
	}
	f.Seen = cut(strings.Join(txts, " | "))
	if len(txts) > 1 {
		f.Status, f.Problem = StatusSeveral, fmt.Sprintf("there are %d TXT records at the name, of which verifiers take any: leave only ours", len(txts))
		return f
	}
	record, err := dkim.ParseRecord(txts[0])
	if errors.Is(err, dkim.ErrRecord) {
		f.Status, f.Problem = StatusMalformed, err.Error()
		return f
	}
	private, err := k.open(d.ID, key)
	if err != nil {
		f.Status, f.Problem = StatusLocked, err.Error()
		return f
	}
	f.Status, f.Problem = judge(private.Matches(record))
	if f.Status == StatusOK && record.Testing {
		f.Problem = "the record says t=y (testing): receivers may ignore the signatures"
	}
	return f
}

func judge(err error) (status, problem string) {
	switch {
	case err == nil:
		return StatusOK, ""
	case errors.Is(err, dkim.ErrOtherKey):
		return StatusMismatch, "the record has another key than ours: was it cut when it was pasted, or is it of another system?"
	case errors.Is(err, dkim.ErrRevoked):
		return StatusRevoked, "the record has an empty p=, which makes every signature fail"
	}
	return StatusRestricted, err.Error()
}

// notSeen is the finding of a lookup without records.
func notSeen(f store.DomainFinding, err error) store.DomainFinding {
	var timeout net.Error
	switch {
	case errors.Is(err, ErrNoDomain):
		f.Status, f.Problem = StatusNoDomain, "the name does not exist in DNS: publish the record"
	case errors.Is(err, ErrNoRecords):
		f.Status, f.Problem = StatusMissing, "the name has no TXT record: publish it"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		f.Status, f.Problem = StatusTimeout, "DNS did not answer in time: nothing is known"
	default:
		f.Status, f.Problem = StatusFailed, "DNS failed: "+cut(err.Error())
	}
	return f
}

// spfName is the host of the reverse-path, whose SPF record receivers look at: that of the records which are printed.
func (k *Keeper) spfName(d store.Domain) string {
	switch {
	case k.opts.ReturnPath == "":
		return d.Name
	case !d.ReturnPathVerified.IsZero():
		return d.ReturnPath
	}
	return k.opts.ReturnPath
}

func (k *Keeper) checkSPF(ctx context.Context, domain string) store.DomainFinding {
	f := store.DomainFinding{Purpose: PurposeSPF, Name: domain}
	txts, err := k.opts.Resolver.LookupTXT(ctx, domain)
	if err == nil {
		txts = only(txts, "v=spf1")
	}
	return one(f, txts, err)
}

// checkDMARC looks at the domain and then at its parents, whose record covers it
// too.
func (k *Keeper) checkDMARC(ctx context.Context, domain string) store.DomainFinding {
	f := store.DomainFinding{Purpose: PurposeDMARC, Name: "_dmarc." + domain}
	first := f
	for name := domain; strings.Contains(name, "."); _, name, _ = strings.Cut(name, ".") {
		txts, err := k.opts.Resolver.LookupTXT(ctx, "_dmarc."+name)
		if err == nil {
			txts = only(txts, "v=DMARC1")
		}
		f = one(store.DomainFinding{Purpose: PurposeDMARC, Name: "_dmarc." + name}, txts, err)
		if name == domain {
			first = f
		}
		if f.Status != StatusNoDomain && f.Status != StatusMissing {
			return f
		}
	}
	return first
}

// only keeps the records that begin with a version tag, alone or before a
// separator.
func only(txts []string, version string) []string {
	return slices.DeleteFunc(txts, func(txt string) bool {
		rest, ok := strings.CutPrefix(txt, version)
		return !ok || rest != "" && !strings.ContainsAny(rest[:1], " ;\t")
	})
}

// one judges a record of which there must be exactly one.
func one(f store.DomainFinding, txts []string, err error) store.DomainFinding {
	f.Seen = cut(strings.Join(txts, " | "))
	switch {
	case err != nil:
		return notSeen(f, err)
	case len(txts) == 0:
		f.Status, f.Problem = StatusMissing, "the name has no such record"
	case len(txts) > 1:
		f.Status, f.Problem = StatusSeveral, "there are several such records, which counts as none"
	default:
		f.Status = StatusOK
	}
	return f
}

// cut makes text from DNS fit for a line of a report.
func cut(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(s) > maxSeen {
		return s[:maxSeen] + "..."
	}
	return s
}
