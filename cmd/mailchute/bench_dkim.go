package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/message/dkim"
)

// signBench gives the sender's domain keys that sign at once.
func signBench(ctx context.Context, f *files, o benchOptions) error {
	if !o.DKIM {
		return nil
	}
	_, domain, _ := strings.Cut(benchSender, "@")
	keeper := domains.NewKeeper(f.store, f.keyring, domains.Options{})
	d, err := keeper.Add(ctx, domain)
	if err != nil {
		return err
	}
	_, err = keeper.Rotate(ctx, d.ID, true)
	return err
}

// signProbe makes the signatures of a message again and again on all processors:
// what a relay does that signs, and nothing else.
type signProbe struct {
	signers []dkim.Signer
	header  []byte
	body    [32]byte
	rates   []float64 // messages a second, by round
	made    int64
	cpu     time.Duration
}

func newSignProbe(size Size) (*signProbe, error) {
	rsa, err := dkim.GenerateRSA(dkim.MinRSABits)
	if err != nil {
		return nil, err
	}
	ed25519, err := dkim.GenerateEd25519()
	if err != nil {
		return nil, err
	}
	header, _, found := strings.Cut(string(benchContent(int(size))), "\r\n\r\n")
	if !found {
		return nil, errors.New("message of the benchmark has no blank line")
	}
	signer := func(selector string, key dkim.Key) dkim.Signer {
		return dkim.Signer{Domain: "sender.example", Selector: selector, Key: key}
	}
	return &signProbe{signers: []dkim.Signer{signer("r", rsa), signer("e", ed25519)}, header: []byte(header + "\r\n")}, nil
}

func (p *signProbe) measure(d time.Duration) error {
	begun := time.Now()
	before, _ := processTime()
	var made atomic.Int64
	var work sync.WaitGroup
	faults := make(chan error, cpus())
	for range cpus() {
		work.Go(func() {
			for time.Since(begun) < d {
				if _, err := dkim.SignAll(p.signers, p.header, p.body, begun); err != nil {
					faults <- err
					return
				}
				made.Add(1)
			}
		})
	}
	work.Wait()
	after, _ := processTime()
	p.made, p.cpu = p.made+made.Load(), p.cpu+after-before
	p.rates = append(p.rates, float64(made.Load())/time.Since(begun).Seconds())
	select {
	case err := <-faults:
		return fmt.Errorf("measuring signatures: %w", err)
	default:
		return nil
	}
}

// signNumbers tell of the signatures that all processors make when they do
// nothing else.
type signNumbers struct {
	PerSecond float64 `json:"messages_per_second"` // both signatures of each
	CPU       float64 `json:"cpu_us_per_message"`
	// Ratio is the relay's rate to that, by round. It says nothing where others
	// use the processors.
	Ratio float64 `json:"ratio"`
	// Share is the part of signing in the processor time of the relay.
	Share float64 `json:"cpu_share"`
}

func (p *signProbe) numbers(relay benchNumbers) *signNumbers {
	if p == nil {
		return nil
	}
	var pairs []float64
	for i, rate := range relay.Rounds {
		pairs = append(pairs, rate/p.rates[i])
	}
	each := micros(p.cpu) / float64(max(p.made, 1))
	return &signNumbers{PerSecond: median(p.rates), CPU: each, Ratio: median(pairs), Share: each / relay.CPU}
}

func (n *signNumbers) String() string {
	return fmt.Sprintf("signing         %s of processor time a message, %.0f %% of the relay's; %.0f a second if that were all (relay : signing %.2f)",
		microtext(n.CPU), 100*n.Share, n.PerSecond, n.Ratio)
}
