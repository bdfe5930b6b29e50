package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// searchProbe is a client that searches the API while the relay is under load,
// with each filter in turn.
type searchProbe struct {
	client  http.Client
	base    string // without the filter
	token   string
	queries []string

	next int
	took []time.Duration
}

// searchEvery is open: a slow answer does not make the next search later, save
// that there is one at a time.
const (
	searchEvery   = 100 * time.Millisecond
	searchTimeout = 30 * time.Second
)

// newSearchProbe looks at the first stream of the server that the login is of.
func newSearchProbe(api, login string) (*searchProbe, error) {
	plain, err := base64.StdEncoding.DecodeString(login)
	if err != nil {
		return nil, err
	}
	_, token, _ := strings.Cut(strings.TrimPrefix(string(plain), "\x00"), "\x00")
	p := &searchProbe{
		client: http.Client{Timeout: searchTimeout, Transport: &http.Transport{}}, token: token,
		base: "http://" + api + "/messages/outbound?count=50&offset=0&messagestream=" + benchStreamID(0),
	}
	for _, filter := range []url.Values{
		{}, {"recipient": {"user@" + benchDomain(0)}}, {"recipient": {"nobody@" + benchDomain(0)}}, {"fromemail": {benchSender}},
		{"subject": {"bench"}}, {"subject": {"nothing of the kind"}}, {"tag": {"none"}}, {"status": {"queued"}}, {"status": {"sent"}, "recipient": {"user@" + benchDomain(0)}},
	} {
		query := ""
		if len(filter) > 0 {
			query = "&" + filter.Encode()
		}
		p.queries = append(p.queries, query)
	}
	return p, nil
}

// run searches until ctx ends. A search that fails ends it with its error.
func (p *searchProbe) run(ctx context.Context) error {
	defer p.client.CloseIdleConnections()
	tick := time.NewTicker(searchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		began := time.Now()
		if err := p.search(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		p.took = append(p.took, time.Since(began))
	}
}

func (p *searchProbe) search(ctx context.Context) (err error) {
	query := p.queries[p.next%len(p.queries)]
	p.next++
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+query, nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Postmark-Server-Token", p.token)
	resp, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("searching: %w", err)
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("searching: %s: %s", resp.Status, body)
	}
	return err
}

// during runs load while the probe searches; a nil probe does not.
func (p *searchProbe) during(ctx context.Context, load func() error) error {
	if p == nil {
		return load()
	}
	ctx, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx) }()
	err := load()
	stop()
	return errors.Join(err, <-ended)
}

// searchNumbers tell of the searches that ran beside the load.
type searchNumbers struct {
	Searches int       `json:"searches"`
	Latency  quantiles `json:"latency_us"`
}

func (p *searchProbe) numbers() *searchNumbers {
	if p == nil {
		return nil
	}
	return &searchNumbers{len(p.took), quantilesOf(p.took)}
}

// String is a line of the report.
func (n *searchNumbers) String() string {
	return fmt.Sprintf("search          %d searches, half within %s, 99 %% within %s, all within %s",
		n.Searches, microtext(n.Latency.P50), microtext(n.Latency.P99), microtext(n.Latency.Max))
}
