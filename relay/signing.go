package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mailchute/mailchute/store"
)

// Signer signs messages.
type Signer interface {
	// Sign returns the DKIM-Signature fields to put on top of a message, each with its last CRLF, and the names of the DNS records
	// that verify them; nothing where no key signs for its author. open gives the octets as they are stored and is called by the
	// caller's goroutine only. Sign is asked at every attempt, so it should keep what it made. Its errors wrap those of open and of
	// reading; any other is about the keys.
	Sign(ctx context.Context, m store.Message, open func(context.Context) (io.ReadCloser, error)) (fields []byte, names []string, err error)
}

// signing is what became of the signatures of one attempt.
type signing struct {
	names []string
	why   string // not signed although it should have been
}

// note tells it in the results.
func (s signing) note(results []Result) []Result {
	detail := s.why
	if len(s.names) > 0 {
		detail = "signed for " + strings.Join(s.names, " and ")
	}
	for i := range results {
		results[i].Detail = joinDetail(results[i].Detail, detail)
		results[i].SignedBy = s.names
	}
	return results
}

// signed puts the signatures on top of the job. It returns the results of all recipients where the message must not be sent
// now: it cannot be read, we are stopping, or its stream demands a signature that cannot be made. Nobody was connected to then.
func (d *Dispatcher) signed(ctx context.Context, job *Job, stream store.Stream) ([]Result, signing) {
	required := stream.RequireDKIM && !job.Message.Bounce
	fields, names, readable, err := d.sign(ctx, job)
	switch {
	case err == nil && len(fields) > 0:
		job.prepend(fields)
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

// sign also tells whether the message could be read: an error is then about the keys.
func (d *Dispatcher) sign(ctx context.Context, job *Job) (fields []byte, names []string, readable bool, err error) {
	if d.opts.Signer == nil {
		return nil, nil, true, nil
	}
	var fault error
	fields, names, err = d.opts.Signer.Sign(ctx, job.Message, func(ctx context.Context) (io.ReadCloser, error) {
		body, err := job.Open(ctx)
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
	open := j.Open
	j.Open = func(ctx context.Context) (io.ReadCloser, error) {
		body, err := open(ctx)
		if err != nil {
			return nil, err
		}
		return prefixed{io.MultiReader(bytes.NewReader(fields), body), body}, nil
	}
	if j.Message.Size > 0 {
		j.Message.Size += int64(len(fields))
	}
}

type prefixed struct {
	io.Reader
	io.Closer
}
