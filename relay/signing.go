package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/mailchute/mailchute/store"
)

// Signer signs messages.
type Signer interface {
	// Sign returns the DKIM-Signature fields to put on top of a message, each with its last CRLF, and the names of the DNS records
	// that verify them; nothing where no key signs for its author. open gives the octets that are to leave, which are the same each time
	// unless Message.Unsubscribe is set, and is called by the caller's goroutine only. Sign is asked at every attempt, so it should keep what it made. Its errors wrap those of open and of
	// reading; any other is about the keys.
	Sign(ctx context.Context, m store.Message, open func(context.Context) (io.ReadCloser, error)) (fields []byte, names []string, err error)
}

// signing is what became of the signatures of one attempt.
type signing struct {
	names [][]string // of each recipient, or of all
	why   string     // not signed although it should have been
}

// note tells it in the results.
func (s signing) note(results []Result) []Result {
	for i := range results {
		detail := s.why
		if len(s.names) > 0 {
			results[i].SignedBy = s.names[min(i, len(s.names)-1)]
		}
		if len(results[i].SignedBy) > 0 {
			detail = "signed for " + strings.Join(results[i].SignedBy, " and ")
		}
		results[i].Detail = joinDetail(results[i].Detail, detail)
	}
	return results
}

// signed puts the signatures on top of the job. It returns the results of all recipients where the message must not be sent
// now: it cannot be read, we are stopping, or its stream demands a signature that cannot be made. Nobody was connected to then.
func (d *Dispatcher) signed(ctx context.Context, job *Job, stream store.Stream) ([]Result, signing) {
	required := stream.RequireDKIM && !job.Message.Bounce
	names, readable, err := d.signCopies(ctx, job)
	switch {
	case err == nil && len(names) > 0 && len(names[0]) > 0:
		return nil, signing{names: names}
	case err == nil && !required:
		return nil, signing{}
	case err == nil:
		err = errors.New("no active DKIM key signs for the author's domain, and the stream requires a signature")
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case !readable:
	case !required:
		d.log.unsigned(job.Message.ID, err)
		return nil, signing{why: escape("not signed: " + err.Error())}
	default:
		err = fmt.Errorf("the stream requires a DKIM signature: %w", err)
	}
	return unsigned(len(job.Recipients), err, d), signing{}
}

// unsigned is the result of a message that stays here. The code is that of RFC 3463 for a cryptographic failure.
func unsigned(n int, err error, d *Dispatcher) []Result {
	results := make([]Result, n)
	for i := range results {
		results[i] = broken(phaseSign, detailTLS, err, d.opts.Now()).result("")
	}
	return results
}

// signCopies puts the signatures on top of the message, or of each copy where the copies differ.
func (d *Dispatcher) signCopies(ctx context.Context, job *Job) (names [][]string, readable bool, err error) {
	differ := slices.ContainsFunc(job.Recipients, func(r Rcpt) bool { return r.Top != nil })
	if !differ {
		fields, who, readable, err := d.sign(ctx, job.Message, job.Open)
		if err == nil && len(fields) > 0 {
			job.prepend(fields)
		}
		return [][]string{who}, readable, err
	}
	tops := make([][]byte, len(job.Recipients))
	for i, r := range job.Recipients {
		fields, who, readable, err := d.sign(ctx, job.Message, topped(job.Open, r.Top))
		if err != nil {
			return nil, readable, err
		}
		names, tops[i] = append(names, who), slices.Concat(fields, r.Top)
	}
	for i := range tops {
		job.Recipients[i].Top = tops[i]
	}
	return names, true, nil
}

// sign also tells whether the message could be read: an error is then about the keys.
func (d *Dispatcher) sign(ctx context.Context, m store.Message, open func(context.Context) (io.ReadCloser, error)) (fields []byte, names []string, readable bool, err error) {
	if d.opts.Signer == nil {
		return nil, nil, true, nil
	}
	var fault error
	fields, names, err = d.opts.Signer.Sign(ctx, m, func(ctx context.Context) (io.ReadCloser, error) {
		body, err := open(ctx)
		if err != nil {
			fault = err
			return nil, err
		}
		return faultReader{body, &fault}, nil
	})
	return fields, names, fault == nil, err
}

// faultReader remembers the error of its source outside of itself.
type faultReader struct {
	io.ReadCloser
	fault *error
}

func (r faultReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		*r.fault = err
	}
	return n, err
}

// prepend makes the job send fields before the stored octets.
func (j *Job) prepend(fields []byte) {
	j.Open = topped(j.Open, fields)
	if j.Message.Size > 0 {
		j.Message.Size += int64(len(fields))
	}
}

// topped opens octets with fields before them.
func topped(open func(context.Context) (io.ReadCloser, error), fields []byte) func(context.Context) (io.ReadCloser, error) {
	if len(fields) == 0 {
		return open
	}
	return func(ctx context.Context) (io.ReadCloser, error) {
		body, err := open(ctx)
		if err != nil {
			return nil, err
		}
		return prefixed{io.MultiReader(bytes.NewReader(fields), body), body}, nil
	}
}

// on makes the transaction send fields before the octets of its message.
func (t *transaction) on(fields []byte) {
	t.open = topped(t.open, fields)
	if t.env.message.Size > 0 {
		t.env.message.Size += int64(len(fields))
	}
}

type prefixed struct {
	io.Reader
	io.Closer
}
