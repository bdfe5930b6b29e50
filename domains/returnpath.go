package domains

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mailchute/mailchute/store"
)

// MXResolver looks up mail hosts. Its errors are those of a Resolver.
type MXResolver interface {
	// LookupMX returns the hosts of a name's MX records, with aliases of the name followed.
	LookupMX(ctx context.Context, name string) ([]string, error)
}

// SetReturnPath gives the domain a host of its own for return paths, in
// lower-case A-labels and below its name; "" takes it away. A new host is used
// once Verify has seen that DNS leads it to us.
func (k *Keeper) SetReturnPath(ctx context.Context, id int64, host string) (store.Domain, error) {
	return k.update(ctx, id, "changing the return path of", func(d *store.Domain) error {
		if host != d.ReturnPath {
			d.ReturnPath, d.ReturnPathVerified = host, time.Time{}
		}
		return nil
	})
}

// StatusUnused: there is no host of ours that it could lead to.
const StatusUnused = "unused"

// checkReturnPath demands that bounces to the domain's host reach ours, and that it has an SPF record: a CNAME to our host
// gives both, and follows its changes.
func (k *Keeper) checkReturnPath(ctx context.Context, d store.Domain) store.DomainFinding {
	f := store.DomainFinding{Purpose: PurposeReturnPath, Name: d.ReturnPath}
	if k.opts.ReturnPath == "" || k.opts.MX == nil {
		f.Status, f.Problem = StatusUnused, "bounces.host is not configured: nothing takes what comes back"
		return f
	}
	ours, err := k.opts.MX.LookupMX(ctx, k.opts.ReturnPath)
	if err != nil {
		f = notSeen(f, err)
		f.Problem = k.opts.ReturnPath + ", where it is to lead: " + f.Problem
		return f
	}
	seen, err := k.opts.MX.LookupMX(ctx, d.ReturnPath)
	if err != nil {
		f = notSeen(f, err)
		if !Temporary(f.Status) {
			f.Problem = "it does not lead to us: publish a CNAME record to " + k.opts.ReturnPath
		}
		return f
	}
	f.Seen = cut("MX " + strings.Join(seen, " "))
	if !slices.Equal(hosts(seen), hosts(ours)) {
		f.Status, f.Problem = StatusMismatch, "its mail hosts are not those of "+k.opts.ReturnPath+": publish a CNAME record to it instead"
		return f
	}
	txts, err := k.opts.Resolver.LookupTXT(ctx, d.ReturnPath)
	if err == nil {
		txts = only(txts, "v=spf1")
	}
	spf := one(f, txts, err)
	if f.Status, f.Problem = spf.Status, spf.Problem; f.Status != StatusOK {
		f.Problem = "SPF: " + f.Problem
	}
	return f
}

// hosts makes two lists of hosts comparable.
func hosts(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = strings.ToLower(strings.TrimSuffix(n, "."))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// applyReturnPath notes in the domain what a look at its host has found. A look without a result changes nothing.
func (k *Keeper) applyReturnPath(d *store.Domain, check store.DomainCheck) {
	for _, f := range check.Findings {
		if f.Purpose != PurposeReturnPath || f.Name != d.ReturnPath || Temporary(f.Status) {
			continue
		}
		switch {
		case f.Status != StatusOK:
			d.ReturnPathVerified = time.Time{}
		case d.ReturnPathVerified.IsZero():
			d.ReturnPathVerified = check.At
		}
	}
}
