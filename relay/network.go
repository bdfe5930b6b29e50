package relay

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// maxRcpts is how many recipients one transaction carries: what every server must take (RFC 5321 4.5.3.1.8).
const maxRcpts = 100

// network is the Transport over SMTP.
type network struct {
	opts Options
	dns  SecureResolver
	pool *pool

	unreached unreached
	unfit     unreached     // for BDAT: addresses that offer it and did not bear it lately
	turn      atomic.Uint64 // of source addresses
}

func newNetwork(opts Options) *network {
	n := &network{opts: opts, dns: opts.DANE, pool: newPool(opts.Pool), unreached: unreached{since: map[string]time.Time{}}, unfit: unreached{since: map[string]time.Time{}}}
	if n.dns == nil {
		n.dns = plainDNS{opts.Resolver}
	}
	return n
}

// NewTransport returns the Transport that a Dispatcher with these options uses: SMTP over TCP, with connections kept for
// reuse.
func NewTransport(opts Options) Transport { return newNetwork(opts.withDefaults()) }

// Close implements Transport.
func (n *network) Close() error {
	n.pool.close()
	return nil
}

// errand is one job's recipients at one destination.
type errand struct {
	route   store.Route
	sources []store.Source
	domain  string
	env     envelope // rcpts: those without a result yet
	open    func(context.Context) (io.ReadCloser, error)
	ending  func(context.Context, string) error
	results []*Result // of the job's recipients; nil: not decided
	met     []string  // addresses that were reached out of their turn
}

// Send implements Transport.
func (n *network) Send(ctx context.Context, job Job) (out []Result) {
	results := make([]*Result, len(job.Recipients))
	defer func() {
		if out = complete(results, job.Route.Key()); job.Known != nil {
			*job.Known = out
		}
	}()
	n.along(ctx, &job, results, "")
	for _, r := range job.Alternates {
		n.alternate(ctx, &job, r, results)
	}
	return nil // the deferred function has them
}

// complete lists the results, with one for those that have none. Those that a panic has left unmarked are of the last route.
func complete(results []*Result, last string) []Result {
	out := make([]Result, len(results))
	for i, r := range results {
		if r == nil {
			r = &Result{Err: errNoResult}
		}
		out[i] = *r
		out[i].Route = cmp.Or(r.Route, last)
	}
	return out
}

// alternate tries another route for those whom the one before could not serve.
func (n *network) alternate(ctx context.Context, job *Job, r store.Route, results []*Result) {
	left := elsewhere(results)
	if ctx.Err() != nil || len(left) == 0 || job.Board != nil && !job.Board(r, len(left)) {
		return
	}
	before := leftRoute(job.Route.Key(), retract(results, left))
	job.Route = r
	n.along(ctx, job, results, before)
}

// along tries one route for the recipients that have no result.
func (n *network) along(ctx context.Context, job *Job, results []*Result, before string) {
	earlier := slices.Clone(results)
	for _, e := range n.errands(job, results) {
		n.deliver(ctx, e)
	}
	fresh := stamp(results, earlier, job.Route.Key(), before)
	if job.Left != nil {
		job.Left(job.Route, fresh, ctx.Err() != nil)
	}
}

// errands groups the recipients by where they go. A smarthost takes all of them; over MX a delivery normally has one domain,
// and several after its stream was switched from a smarthost to direct delivery.
func (n *network) errands(job *Job, results []*Result) []*errand {
	var from message.Address
	if job.Message.From != "" {
		var err error
		if from, err = parseAddress(job.Message.From); err != nil {
			f := own(phaseMail, 553, detailSender, n.opts.Now(), "sender address cannot be sent: %v", err)
			for i := range results {
				if results[i] == nil {
					results[i] = new(f.result(""))
				}
			}
			return nil
		}
	}
	var list []*errand
	for i, r := range job.Recipients {
		if results[i] != nil {
			continue
		}
		address, domain, f := n.forwardPath(job.Route, r.Address)
		if f != nil {
			results[i] = new(f.result(""))
			continue
		}
		sender := from
		if r.ReturnPath != "" {
			var err error
			if sender, err = parseAddress(r.ReturnPath); err != nil {
				results[i] = new(own(phaseMail, 553, detailSender, n.opts.Now(), "return path cannot be sent: %v", err).result(""))
				continue
			}
		}
		at := slices.IndexFunc(list, func(e *errand) bool { return e.domain == domain })
		if at < 0 {
			at = len(list)
			list = append(list, &errand{route: job.Route, sources: job.Sources, domain: domain, open: job.Open, ending: job.Ending, results: results, env: envelope{message: job.Message, from: from}})
		}
		e := list[at]
		e.env.rcpts = append(e.env.rcpts, forward{index: i, address: address, from: sender, rcpt: r})
	}
	return list
}

// forwardPath parses a recipient and returns its domain as a key, "" behind a smarthost.
func (n *network) forwardPath(r store.Route, s string) (message.Address, string, *fault) {
	address, err := parseAddress(s)
	if err == nil && r.Smarthost() {
		return address, "", nil
	}
	var domain string
	if err == nil {
		domain, err = message.Destination(address)
	}
	if err != nil {
		return address, "", own(phaseRcpt, 553, detailAddress, n.opts.Now(), "recipient address cannot be sent: %v", err)
	}
	return address, domain, nil
}

// deliver tries one target after the other until every recipient has a result. It goes on to the next only while the
// message has not been handed to the one before: after a lost connection, or a refusal that is about the host.
func (n *network) deliver(ctx context.Context, e *errand) {
	var last *fault
	addresses, sessions := 0, 0
	for h, f := range n.routeTargets(ctx, e.route, e.domain, wishOf(e.env.message)) {
		if ctx.Err() != nil {
			last = broken(phaseConnect, detailNoAnswer, context.Cause(ctx), n.opts.Now())
			break
		}
		if f != nil {
			transcriptOf(ctx).remark(f.reply.Text)
			if last = worse(last, f); f.short {
				break
			}
			continue
		}
		if slices.Contains(e.met, h.address) {
			continue
		}
		if h, f = n.from(h, e.sources); f != nil {
			last = worse(last, f)
			continue
		}
		var met bool
		if met, f = n.visit(ctx, h, e); f == nil {
			return
		}
		if !f.nowhere {
			addresses++
		}
		last = worse(last, f)
		if met {
			sessions++
		}
		if sessions >= maxSessions || addresses >= maxAddresses || f.short {
			break
		}
	}
	if last == nil {
		last = broken(phaseDNS, detailRoute, errors.New("no mail host left to try"), n.opts.Now())
	}
	for _, r := range e.env.rcpts {
		if e.results[r.index] == nil {
			e.results[r.index] = new(last.result(""))
		}
	}
}

// together returns those at the start that can share a transaction.
func together(rcpts []forward) []forward {
	n := 1
	for n < len(rcpts) && rcpts[n].from == rcpts[0].from && rcpts[n].rcpt.Top == nil && rcpts[0].rcpt.Top == nil {
		n++
	}
	return rcpts[:n]
}

func undecided(batch []forward, results []*Result) []forward {
	var left []forward
	for _, r := range batch {
		if results[r.index] == nil {
			left = append(left, r)
		}
	}
	return left
}

// tooMany returns the recipients that the host only wants in another transaction (RFC 5321 4.5.3.1.10), and takes their
// results back. Only where the transaction reached somebody: otherwise the next would end the same way.
func tooMany(batch []forward, results []*Result) []forward {
	reached := false
	for _, r := range batch {
		reached = reached || results[r.index] != nil && results[r.index].Verdict() == Delivered
	}
	if !reached {
		return nil
	}
	var again []forward
	for _, r := range batch {
		if results[r.index] == nil {
			continue
		}
		reply := results[r.index].Reply
		limit := reply.Code == 452 || reply.Code == 552
		if limit && reply.Command == phaseRcpt && (reply.Enhanced == [3]int{} || [2]int(reply.Enhanced[1:]) == [2]int{5, 3}) {
			results[r.index] = nil
			again = append(again, r)
		}
	}
	return again
}

// announce is what a transaction calls before the end of its content.
func (e *errand) announce() func(context.Context) error {
	if e.ending == nil {
		return nil
	}
	return func(ctx context.Context) error { return e.ending(ctx, e.route.Key()) }
}
