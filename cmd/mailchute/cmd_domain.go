package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/relay/dane"
	"github.com/mailchute/mailchute/store"
)

func (a *app) domainCommand() *cobra.Command {
	return a.group("domain", "Sender domains of the account and their DKIM keys",
		a.senderList("List domains", "domain", listDomains), a.domainAdd(),
		a.senderAct("show DOMAIN", "Show a domain, its keys, its records and the last look at them", "  mailchute domain show example.com", showDomain),
		a.senderAct("records DOMAIN", "Write the DNS records to publish, as lines of a zone file", "  mailchute domain records example.com", domainRecords),
		a.domainSet(), a.domainVerify(), a.domainRotate(), a.domainImport(),
		a.senderAct("delete DOMAIN", "Delete a domain with its keys", "  mailchute domain delete example.com", deleteDomain))
}

func (a *app) domainAdd() *cobra.Command {
	cmd := a.senderAct("add DOMAIN", "Add a domain and print the DNS records to publish", "  mailchute domain add example.com", addDomain)
	cmd.Long = `Add a domain with two DKIM keys, RSA and Ed25519, and print the DNS records to publish. Mail whose
From is of the domain, or of a subdomain, is signed as soon as the records of the keys were seen:
the server looks for them, and "mailchute domain verify" does so at once.`
	return cmd
}

func (a *app) domainVerify() *cobra.Command {
	cmd := &cobra.Command{
		Use: "verify DOMAIN", Short: "Look whether the domain's DNS records are there and right", Args: cobra.ExactArgs(1),
		Long: `Look up the domain's records, say what was seen and what is wrong, and let the keys sign whose
record is right. The domain is verified from the first time that a record of its keys was seen.

The exit code is 0 when every record of a key is right, 75 when DNS did not answer, and else 65.`,
		Example: "  mailchute domain verify example.com\n  mailchute domain verify example.com --force",
	}
	force := cmd.Flags().Bool("force", false, "mark it as verified, on your word; its keys stay as they are")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		if *force {
			return forceDomain(ctx, a, args)
		}
		return verifyDomain(ctx, a, args)
	})
	return cmd
}

func (a *app) domainRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate DOMAIN", Short: "Make a new pair of DKIM keys", Args: cobra.ExactArgs(1),
		Long: `Make a new pair of DKIM keys and print their records. Each signs from when its record was seen; the
old one stays published for another seven days, for mail on its way. "mailchute domain show" tells
when its record may be taken out.

With --now the new keys, or those that wait already, sign at once.`,
		Example: "  mailchute domain rotate example.com",
	}
	now := cmd.Flags().Bool("now", false, "sign with them at once, whatever DNS says")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		d, err := a.domain(args[0])
		if err != nil {
			return err
		}
		d, err = a.keeper().Rotate(ctx, d.ID, *now)
		if errors.Is(err, domains.ErrPending) {
			return exitWith(exitData, "domain %s: %w: see \"mailchute domain records %s\", or take it with --now", args[0], domains.ErrPending, args[0])
		}
		return a.changedKeys(d, err)
	})
	return cmd
}

func (a *app) domainImport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "import DOMAIN", Short: "Add a DKIM key that another system uses", Args: cobra.ExactArgs(1),
		Long: `Add a private key in PEM form (PKCS #1 or PKCS #8; RSA of 2048 to 4096 bits, or Ed25519) under its
selector. It signs from when its record was seen.`,
		Example: "  mailchute domain import example.com --selector s1 --key-file s1.private",
	}
	selector := cmd.Flags().String("selector", "", "its `selector`")
	file := cmd.Flags().String("key-file", "", "`file` with the private key")
	now := cmd.Flags().Bool("now", false, "sign with it at once, whatever DNS says")
	mustMark(cmd.MarkFlagRequired("selector"))
	mustMark(cmd.MarkFlagRequired("key-file"))
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		d, err := a.domain(args[0])
		if err != nil {
			return err
		}
		text, err := os.ReadFile(a.abs(*file))
		if err != nil {
			return exitWith(exitData, "--key-file: %w", err)
		}
		return a.changedKeys(a.keeper().Import(ctx, d.ID, strings.ToLower(*selector), text, *now))
	})
	return cmd
}

func mustMark(err error) {
	if err != nil {
		panic(err) // the flag does not exist: a bug of the command tree
	}
}

func (a *admin) keeper() *domains.Keeper {
	dns := txtResolver{a.cfg.Delivery.Resolver}
	return domains.NewKeeper(a.store, a.keyring, domains.Options{
		Resolver: dns, MX: dns, ReturnPath: a.cfg.Bounces.Host, Keep: a.cfg.Storage.Retention, Now: a.now,
	})
}

// txtResolver asks one name server, or the system's where it is "".
type txtResolver struct{ server string }

// LookupTXT implements domains.Resolver. The system's name servers are looked up
// anew each time, since it is asked rarely.
func (r txtResolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	dns, err := r.open()
	if err != nil {
		return nil, err
	}
	txts, err := dns.LookupTXT(ctx, name)
	return txts, absent(name, err)
}

// LookupMX implements domains.MXResolver.
func (r txtResolver) LookupMX(ctx context.Context, name string) ([]string, error) {
	dns, err := r.open()
	if err != nil {
		return nil, err
	}
	answer, err := dns.LookupMX(ctx, name)
	var hosts []string
	for _, mx := range answer.Records {
		hosts = append(hosts, mx.Host)
	}
	return hosts, absent(name, err)
}

func (r txtResolver) open() (*dane.Resolver, error) {
	var o dane.Options
	if r.server != "" {
		o.Servers = []string{r.server}
	}
	return dane.New(o)
}

// absent puts what is not there in the words of domains.
func absent(name string, err error) error {
	switch {
	case errors.Is(err, dane.ErrNoDomain):
		return fmt.Errorf("%s: %w", name, domains.ErrNoDomain)
	case errors.Is(err, dane.ErrNoRecords):
		return fmt.Errorf("%s: %w", name, domains.ErrNoRecords)
	}
	return err
}

// keyView is a DKIM key without its private part.
type keyView struct {
	Selector  string             `json:"selector"`
	Algorithm store.KeyAlgorithm `json:"algorithm"`
	State     string             `json:"state"`
	Created   time.Time          `json:"created"`
	Active    time.Time          `json:"active,omitzero"`
	Replaced  time.Time          `json:"replaced,omitzero"`
	Retired   time.Time          `json:"retired,omitzero"`
}

// domainView is a domain as it is shown.
type domainView struct {
	ID       int64     `json:"id"`
	Name     string    `json:"name"`
	Created  time.Time `json:"created"`
	Verified time.Time `json:"verified,omitzero"`
	// ReturnPath is the domain's own host, and since when DNS leads it to us.
	ReturnPath         string             `json:"return_path,omitempty"`
	ReturnPathVerified time.Time          `json:"return_path_verified,omitzero"`
	Keys               []keyView          `json:"keys"`
	Records            []domains.Record   `json:"records"`
	Check              *store.DomainCheck `json:"check,omitempty"`
}

func (a *admin) viewDomain(d store.Domain) domainView {
	v := domainView{
		ID: d.ID, Name: d.Name, Created: d.Created, Verified: d.Verified, Keys: []keyView{}, ReturnPath: d.ReturnPath, ReturnPathVerified: d.ReturnPathVerified,
		Records: domains.Records(d, recordOptions(a.cfg)),
	}
	for _, k := range d.Keys {
		v.Keys = append(v.Keys, keyView{k.Selector, k.Algorithm, k.State(), k.Created, k.Active, k.Replaced, k.Retired})
	}
	if !d.Check.At.IsZero() {
		v.Check = &d.Check
	}
	return v
}

// keyStates sums up the keys, as "2 active, 2 pending".
func keyStates(d store.Domain) string {
	var parts []string
	for _, state := range []string{"active", "pending", "replaced"} {
		n := 0
		for _, k := range d.Keys {
			if k.State() == state {
				n++
			}
		}
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	return dash(strings.Join(parts, ", "))
}

func checked(c store.DomainCheck) string {
	switch {
	case c.At.IsZero():
		return "-"
	case c.OK:
		return "right, " + when(c.At)
	}
	return "wrong, " + when(c.At)
}

func listDomains(_ context.Context, a *admin, _ []string) error {
	all := sortedByID(a.store.Snapshot().Domains)
	views := make([]domainView, len(all))
	for i, d := range all {
		views[i] = a.viewDomain(d)
	}
	return a.print(views, func() error {
		t := newTable(a.out, "ID", "DOMAIN", "VERIFIED", "DKIM KEYS", "RECORDS", "CREATED")
		for _, d := range all {
			t.row(d.ID, d.Name, verified(d.Verified), keyStates(d), checked(d.Check), d.Created)
		}
		return t.flush()
	})
}

// domainName returns the form in which domains are stored and compared.
func domainName(text string) (string, error) {
	address, err := message.ParsePath("x@"+text, true)
	if err != nil {
		return "", fmt.Errorf("domain %q: %w: %w", text, err, store.ErrInvalid)
	}
	name, err := message.Destination(address)
	if err != nil || strings.HasPrefix(name, "[") {
		return "", fmt.Errorf("domain %q is not a domain name: %w", text, store.ErrInvalid)
	}
	return name, nil
}

func (a *admin) domain(text string) (store.Domain, error) {
	if name, err := domainName(text); err == nil {
		text = name
	}
	return byRef(a.store.Snapshot().Domains, "domain", text, func(d store.Domain) string { return d.Name })
}

func addDomain(ctx context.Context, a *admin, args []string) error {
	name, err := domainName(args[0])
	if err != nil {
		return err
	}
	d, err := a.keeper().Add(ctx, name)
	if err != nil {
		return err
	}
	v := a.viewDomain(d)
	return a.print(v, func() error {
		a.say("; Added domain %d %s, not verified yet. Publish these records:\n;", d.ID, d.Name)
		a.zone(v.Records)
		a.say(";\n; The server looks for them by itself. To look at once: mailchute domain verify %s", d.Name)
		return nil
	})
}

// zone writes records as a zone file: what is needed as lines of it, advice in
// comments.
func (a *admin) zone(records []domains.Record) {
	for _, r := range records {
		switch {
		case r.State == "replaced":
			a.say("; still needed for mail on its way:\n%s", r.Zone())
		case r.Needed:
			a.say("%s", r.Zone())
		case r.Type == "CNAME": // the operator has asked for it, and it is merged with nothing
			a.say(";\n; %s: %s\n%s", r.Purpose, r.Advice, r.Zone())
		default:
			a.say(";\n; %s: %s\n; %s", r.Purpose, r.Advice, r.Zone())
		}
	}
}

func domainRecords(_ context.Context, a *admin, args []string) error {
	d, err := a.domain(args[0])
	if err != nil {
		return err
	}
	v := a.viewDomain(d)
	return a.print(v.Records, func() error { a.zone(v.Records); return nil })
}

func showDomain(_ context.Context, a *admin, args []string) error {
	d, err := a.domain(args[0])
	if err != nil {
		return err
	}
	v := a.viewDomain(d)
	return a.print(v, func() error {
		t := newTable(a.out)
		t.row("Domain", fmt.Sprintf("%d %s", d.ID, d.Name))
		t.row("Created", d.Created)
		t.row("Verified", verified(d.Verified))
		t.row("Records", checked(d.Check))
		t.row("Return path", a.returnPathText(d))
		if err := t.flush(); err != nil {
			return err
		}
		a.say("")
		t = newTable(a.out, "SELECTOR", "ALGORITHM", "STATE", "CREATED", "ACTIVE", "REPLACED", "RECORD MAY GO")
		for _, k := range d.Keys {
			t.row(k.Selector, k.Algorithm, k.State(), k.Created, k.Active, k.Replaced, k.Retired)
		}
		if err := t.flush(); err != nil {
			return err
		}
		if v.Check != nil {
			a.say("")
			if err := printChecked(a, d.Check); err != nil {
				return err
			}
		}
		a.say("")
		a.zone(v.Records)
		return nil
	})
}

// findingSeen is how much of a wrong record a line shows.
const findingSeen = 120

func printChecked(a *admin, c store.DomainCheck) error {
	t := newTable(a.out, "RECORD", "NAME", "STATUS", "WHAT")
	for _, f := range c.Findings {
		what := f.Problem
		if f.Status != domains.StatusOK && f.Seen != "" {
			seen := f.Seen
			if len(seen) > findingSeen {
				seen = seen[:findingSeen] + "..."
			}
			what += "; seen: " + seen
		}
		t.row(f.Purpose, f.Name, f.Status, dash(what))
	}
	return t.flush()
}

func verifyDomain(ctx context.Context, a *admin, args []string) error {
	d, err := a.domain(args[0])
	if err != nil {
		return err
	}
	if d, err = a.keeper().Verify(ctx, d.ID); err != nil {
		return err
	}
	err = a.print(a.viewDomain(d), func() error {
		if err := printChecked(a, d.Check); err != nil {
			return err
		}
		switch {
		case len(d.Keys) == 0:
			a.say("\nDomain %s has no keys: \"mailchute domain rotate %s\" makes them.", d.Name, d.Name)
		case d.Check.OK:
			a.say("\nDomain %s is verified, and its mail is signed: %s.", d.Name, keyStates(d))
		case d.Verified.IsZero():
			a.say("\nDomain %s is not verified. \"mailchute domain records %s\" writes what to publish.", d.Name, d.Name)
		default:
			a.say("\nDomain %s is verified, but not all records are right. Keys: %s.", d.Name, keyStates(d))
		}
		return nil
	})
	if err != nil || d.Check.OK {
		return err
	}
	return &exitError{code: verifyCode(d.Check)}
}

func verifyCode(c store.DomainCheck) int {
	for _, f := range c.Findings {
		if f.Purpose == domains.PurposeDKIM && domains.Temporary(f.Status) {
			return exitBusy
		}
	}
	return exitData
}

func forceDomain(ctx context.Context, a *admin, args []string) error {
	d, err := a.domain(args[0])
	if err != nil {
		return err
	}
	_, err = store.Update(ctx, a.store, func(s *store.Snapshot) ([]store.Change, error) {
		var ok bool
		if d, ok = s.Domains[d.ID]; !ok {
			return nil, store.ErrNotFound
		}
		d.Verified = a.now()
		return []store.Change{{Domain: &d}}, nil
	})
	if err != nil {
		return fmt.Errorf("verifying domain: %w", err)
	}
	return a.print(a.viewDomain(d), func() error {
		a.say("Domain %s is verified: servers with --verified-only take every sender of it.", d.Name)
		return nil
	})
}

// changedKeys shows what a change of keys made to publish.
func (a *admin) changedKeys(d store.Domain, err error) error {
	if err != nil {
		return err
	}
	v := a.viewDomain(d)
	return a.print(v, func() error {
		a.say("; Domain %s has these keys now: %s.\n;", d.Name, keyStates(d))
		a.zone(v.Records)
		return nil
	})
}

func deleteDomain(ctx context.Context, a *admin, args []string) error {
	d, err := a.domain(args[0])
	if err != nil {
		return err
	}
	if err := a.change(ctx, store.Change{Delete: true, Domain: &d}); err != nil {
		return fmt.Errorf("deleting domain: %w", err)
	}
	return a.print(a.viewDomain(d), func() error { a.say("Deleted domain %d %s with its keys.", d.ID, d.Name); return nil })
}
