package api

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// Domains changes the sender domains: domains.Keeper.
type Domains interface {
	Add(ctx context.Context, name string) (store.Domain, error)
	Rotate(ctx context.Context, id int64, now bool) (store.Domain, error)
	Verify(ctx context.Context, id int64) (store.Domain, error)
	SetReturnPath(ctx context.Context, id int64, host string) (store.Domain, error)
}

func domainRoutes() []route {
	const one = "/domains/{domain}"
	return []route{
		{method: "GET", path: "/domains", role: forAccount, handle: listDomains},
		{method: "POST", path: "/domains", role: forAccount, handle: createDomain},
		{method: "GET", path: one, role: forAccount, handle: getDomain},
		{method: "PUT", path: one, role: forAccount, handle: editDomain},
		{method: "DELETE", path: one, role: forAccount, handle: deleteDomain},
		{method: "PUT", path: one + "/verifydkim", role: forAccount, handle: verifyDomain},
		{method: "PUT", path: one + "/verifyreturnpath", role: forAccount, handle: verifyDomain},
		{method: "PUT", path: one + "/verifycustomtracking", role: forAccount, handle: getDomain},
		{method: "POST", path: one + "/verifyspf", role: forAccount, handle: getDomain},
		{method: "POST", path: one + "/rotatedkim", role: forAccount, handle: rotateDomain},
	}
}

type domainItem struct {
	ID   int64
	Name string
	domainState
}

// domainState is what lists say of a domain. SPF is that of our own reverse-path,
// so nothing of the domain's has to be verified for it.
type domainState struct {
	SPFVerified              bool
	DKIMVerified             bool
	WeakDKIM                 bool
	ReturnPathDomainVerified bool
}

// domainRecords is what a domain has, and is to have, in DNS. DKIM names its RSA
// keys; DNSRecords has all.
type domainRecords struct {
	SPFHost                       string
	SPFTextValue                  string
	DKIMHost                      string
	DKIMTextValue                 string
	DKIMPendingHost               string
	DKIMPendingTextValue          string
	DKIMRevokedHost               string
	DKIMRevokedTextValue          string
	SafeToRemoveRevokedKeyFromDNS bool
	DKIMUpdateStatus              string
	ReturnPathDomain              string
	ReturnPathDomainCNAMEValue    string
	DNSRecords                    []recordView // an addition
}

// recordView is a DNS record of a domain, and what the newest look at it saw.
type recordView struct {
	Purpose, Name, Type, Value string
	Needed                     bool
	State                      string // of the key
	Status, Problem            string
}

type domainView struct {
	domainItem
	domainRecords
	CustomTrackingVerified         bool
	CustomTrackingDomain           string
	CustomTrackingDomainCNAMEValue string
}

func stateOf(d store.Domain) domainState {
	return domainState{SPFVerified: true, DKIMVerified: !d.Verified.IsZero(), ReturnPathDomainVerified: !d.ReturnPathVerified.IsZero()}
}

func (s *Server) viewDomain(d store.Domain) domainView {
	return domainView{domainItem: domainItem{d.ID, d.Name, stateOf(d)}, domainRecords: s.recordsOf(d)}
}

func (s *Server) recordsOf(d store.Domain) domainRecords {
	v := domainRecords{
		DKIMUpdateStatus: "Verified", ReturnPathDomain: d.ReturnPath, ReturnPathDomainCNAMEValue: s.opts.Records.ReturnPath, DNSRecords: []recordView{},
	}
	if k, ok := newestKey(d, "active"); ok {
		v.DKIMHost, v.DKIMTextValue = k.RecordName(d.Name), k.Record
	}
	if k, ok := newestKey(d, "pending"); ok {
		v.DKIMPendingHost, v.DKIMPendingTextValue, v.DKIMUpdateStatus = k.RecordName(d.Name), k.Record, "Pending"
	}
	if k, ok := newestKey(d, "replaced", "retired"); ok {
		v.DKIMRevokedHost, v.DKIMRevokedTextValue, v.SafeToRemoveRevokedKeyFromDNS = k.RecordName(d.Name), k.Record, !k.Retired.IsZero()
	}
	for _, r := range domains.Records(d, s.opts.Records) {
		if r.Purpose == domains.PurposeSPF {
			v.SPFHost, v.SPFTextValue = r.Name, r.Value
		}
		one := recordView{Purpose: r.Purpose, Name: r.Name, Type: r.Type, Value: r.Value, Needed: r.Needed, State: r.State}
		for _, f := range d.Check.Findings {
			if f.Purpose == r.Purpose && f.Name == r.Name {
				one.Status, one.Problem = f.Status, f.Problem
			}
		}
		v.DNSRecords = append(v.DNSRecords, one)
	}
	return v
}

// newestKey returns the newest key in one of the states: RSA, or else another.
func newestKey(d store.Domain, states ...string) (best store.DomainKey, ok bool) {
	for _, k := range d.Keys {
		if slices.Contains(states, k.State()) && (!ok || k.Algorithm == store.KeyRSA || best.Algorithm != store.KeyRSA) {
			best, ok = k, true
		}
	}
	return best, ok
}

// domainName returns the form in which domains are stored, "" for what is none.
func domainName(text string) string {
	address, err := message.ParsePath("x@"+text, true)
	if err != nil {
		return ""
	}
	name, err := message.Destination(address)
	if err != nil || strings.HasPrefix(name, "[") || !strings.Contains(name, ".") {
		return ""
	}
	return name
}

// publicDomains are of mailbox providers, which refuse mail that others send in
// their name (DMARC).
var publicDomains = []string{
	"gmail.com", "googlemail.com", "yahoo.com", "ymail.com", "rocketmail.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "aol.com",
	"icloud.com", "me.com", "mac.com", "gmx.de", "gmx.net", "gmx.com", "web.de", "t-online.de", "mail.ru", "yandex.ru", "yandex.com", "proton.me",
	"protonmail.com", "qq.com", "163.com", "126.com", "zoho.com", "fastmail.com", "mail.com", "comcast.net",
}

const maxName = 255

// newDomain reads the name of a domain to be added.
func newDomain(text string) (string, *Error) {
	text = strings.TrimSuffix(strings.TrimSpace(text), ".")
	name := domainName(text)
	switch {
	case text == "":
		return "", refuse(CodeDomainName, "The domain needs a 'Name'.")
	case len(text) > maxName:
		return "", refuse(CodeDomainNameLong, "The 'Name' is longer than %d characters.", maxName)
	case name == "":
		return "", refuse(CodeDomainNameFormat, "The 'Name' is not a domain name.")
	case slices.Contains(publicDomains, name):
		return "", refuse(CodePublicDomain, "Mail of the public domain '%s' cannot be sent from here.", name)
	}
	return name, nil
}

// returnPath reads a host below a domain.
func returnPath(text, domain string, code Code) (string, *Error) {
	if strings.TrimSpace(text) == "" {
		return "", nil
	}
	name := domainName(strings.TrimSuffix(strings.TrimSpace(text), "."))
	if !strings.HasSuffix(name, "."+domain) {
		return "", refuse(code, "The 'ReturnPathDomain' must be a subdomain of '%s'.", domain)
	}
	return name, nil
}

func listDomains(c *call) (any, *Error) {
	p, e := c.page(CodeSenderQuery)
	if e != nil {
		return nil, e
	}
	all := slices.SortedFunc(maps.Values(c.snapshot().Domains), func(a, b store.Domain) int { return cmp.Compare(a.ID, b.ID) })
	list := struct {
		TotalCount int
		Domains    []domainItem
	}{TotalCount: len(all), Domains: []domainItem{}}
	for _, d := range cut(all, p) {
		list.Domains = append(list.Domains, domainItem{d.ID, d.Name, stateOf(d)})
	}
	return list, nil
}

type domainRequest struct {
	Name                 string
	ReturnPathDomain     *string
	CustomTrackingDomain *string
}

func (c *call) domainRequest() (req domainRequest, e *Error) {
	if e := c.decode(&req); e != nil {
		return req, e
	}
	if textOf(req.CustomTrackingDomain) != "" {
		return req, refuse(CodeUnsupported, "'CustomTrackingDomain' is not supported.")
	}
	return req, nil
}

func createDomain(c *call) (any, *Error) {
	req, e := c.domainRequest()
	if e != nil {
		return nil, e
	}
	name, e := newDomain(req.Name)
	if e != nil {
		return nil, e
	}
	host, e := returnPath(textOf(req.ReturnPathDomain), name, CodeDomainField)
	if e != nil {
		return nil, e
	}
	d, err := c.opts.Domains.Add(c.context(), name)
	if err == nil && host != "" {
		d, err = c.opts.Domains.SetReturnPath(c.context(), d.ID, host)
	}
	if errors.Is(err, store.ErrExists) {
		return nil, refuse(CodeDomainExists, "The domain '%s' exists already.", name)
	}
	return c.changedDomain(d, err)
}

// domain finds the domain that the path names.
func (c *call) domain() (store.Domain, *Error) {
	id, _ := strconv.ParseInt(c.r.PathValue("domain"), 10, 64)
	d, ok := c.snapshot().Domains[id]
	if !ok {
		return d, &errDomainUnknown
	}
	return d, nil
}

var errDomainUnknown = *refuse(CodeDomainUnknown, "The domain was not found.")

// changedDomain answers with what a change has made of a domain.
func (c *call) changedDomain(d store.Domain, err error) (any, *Error) {
	switch {
	case err == nil:
		return c.viewDomain(d), nil
	case errors.Is(err, store.ErrNotFound):
		return nil, &errDomainUnknown
	case errors.Is(err, domains.ErrPending):
		return nil, &errRenewed
	case errors.Is(err, store.ErrInvalid), errors.Is(err, store.ErrExists), errors.Is(err, store.ErrLimit):
		return nil, refuse(CodeDomainField, "The domain cannot be changed: %v.", err)
	}
	return nil, c.unexpected("changing a domain", err)
}

var errRenewed = *refuse(CodeRenewed, "This DKIM is already being renewed.")

func getDomain(c *call) (any, *Error) {
	d, e := c.domain()
	if e != nil {
		return nil, e
	}
	return c.viewDomain(d), nil
}

func editDomain(c *call) (any, *Error) {
	d, e := c.domain()
	if e != nil {
		return nil, e
	}
	req, e := c.domainRequest()
	if e != nil {
		return nil, e
	}
	if req.ReturnPathDomain == nil && req.CustomTrackingDomain == nil {
		return nil, refuse(CodeNothing, "The request has nothing to change; use 'ReturnPathDomain'.")
	}
	if req.ReturnPathDomain == nil {
		return c.viewDomain(d), nil
	}
	host, e := returnPath(*req.ReturnPathDomain, d.Name, CodeDomainField)
	if e != nil {
		return nil, e
	}
	return c.changedDomain(c.opts.Domains.SetReturnPath(c.context(), d.ID, host))
}

func deleteDomain(c *call) (any, *Error) {
	var d store.Domain
	e := c.update(func(*store.Snapshot) (_ []store.Change, e *Error) {
		d, e = c.domain()
		return []store.Change{{Delete: true, Domain: &d}}, e
	})
	return removed{Message: "Domain " + d.Name + " removed."}, e
}

// verifyDomain looks at all records of the domain. What is not there is no
// error: the answer tells.
func verifyDomain(c *call) (any, *Error) {
	d, e := c.domain()
	if e != nil {
		return nil, e
	}
	return c.changedDomain(c.opts.Domains.Verify(c.context(), d.ID))
}

func rotateDomain(c *call) (any, *Error) {
	d, e := c.domain()
	if e != nil {
		return nil, e
	}
	return c.changedDomain(c.opts.Domains.Rotate(c.context(), d.ID, false))
}
