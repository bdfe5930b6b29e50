package smtpd

import (
	"bytes"
	"errors"
	"io"
	"os"
	"time"

	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// errTransfer ends content whose octets did not all come. With it nothing may be
// queued, whatever has come so far.
var errTransfer = errors.New("message transfer did not complete")

// content reads one message from the wire: after DATA up to CRLF.CRLF, or the
// octets of BDAT chunks up to the end of the last one.
type content struct {
	w    *wire
	pace pace
	data bool              // behind DATA, not in chunks
	dots message.DotReader // of data
	left int64             // octets of the chunk that have not been read
	last bool              // no chunk follows this one
	n    int64             // octets yielded or skipped
	err  error             // sticky
	done bool              // the end of the message, or of a refused chunk, has been read
	lost reply             // why the client and we are out of step; "" while we are not

	gaveUp bool  // a command between two chunks has ended the transfer
	answer reply // to that command; "" when it is yet to be carried out
}

// newDots returns the content behind DATA.
func (w *wire) newDots() *content {
	c := &content{w: w, pace: w.opts.newPace(time.Now()), data: true}
	c.dots.Reset(w.br)
	return c
}

// newChunks returns the content that begins with a chunk.
func (w *wire) newChunks(size int64, last bool) *content {
	return &content{w: w, pace: w.opts.newPace(time.Now()), left: size, last: last}
}

// Read implements io.Reader. It returns io.EOF only at the true end of a message
// that is within the size limit and has no fault on the wire.
func (c *content) Read(p []byte) (int, error) {
	if c.err != nil || len(p) == 0 {
		return 0, c.err
	}
	limit := c.w.opts.MaxMessageBytes
	if !c.data && c.n+c.left > limit { // known before the octets come
		c.err = message.ErrTooLarge
		return 0, c.err
	}
	n, err := c.read(p)
	c.n += int64(n)
	switch {
	case c.n > limit:
		n, c.err = 0, message.ErrTooLarge
	case err == io.EOF && c.data && c.dots.Fault() != nil:
		c.err = c.dots.Fault()
	default:
		c.err = err
	}
	return n, c.err
}

// read yields octets within the pace. Its io.EOF is the end of the message, any
// other error is errTransfer.
func (c *content) read(p []byte) (int, error) {
	if !c.data {
		return c.readChunk(p)
	}
	c.w.pace = &c.pace
	n, err := c.dots.Read(p)
	c.w.pace = nil
	c.done = err == io.EOF
	if err != nil && !c.done {
		return n, c.lose(err)
	}
	return n, err
}

func (c *content) readChunk(p []byte) (int, error) {
	for c.left == 0 {
		if c.last {
			c.done = true
			return 0, io.EOF
		}
		c.w.say(replyChunkOK)
		if !c.nextChunk() {
			return 0, errTransfer
		}
	}
	return c.readOctets(p)
}

func (c *content) readOctets(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	c.w.pace = &c.pace
	n, err := c.w.br.Read(p)
	c.w.pace = nil
	c.left -= int64(n)
	if err != nil {
		return n, c.lose(err)
	}
	return n, nil
}

// lose notes that the rest of the message will not come.
func (c *content) lose(err error) error {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		c.lost = replyTransferEnded
	case c.w.stopped(stopAll):
		c.lost = replyStopping
	default:
		c.lost = replyTransferSlow
	}
	return errTransfer
}

// nextChunk reads commands until the next BDAT. False means that there is none:
// the message is abandoned, and the wire knows what to answer.
func (c *content) nextChunk() bool {
	w := c.w
	for !w.closing {
		cmd, ok := w.readCommand(waitChunk)
		if !ok {
			continue
		}
		switch cmd.verb {
		case "BDAT":
			return c.startChunk(cmd.arg)
		case "RSET", "QUIT", "EHLO", "HELO":
			w.pushed, c.gaveUp = bytes.Clone(cmd.line), true
			return false
		case "MAIL", "RCPT", "DATA", "AUTH", "STARTTLS":
			c.gaveUp, c.answer = true, replyInTransfer
			return false
		}
		w.dispatchHarmless(cmd)
	}
	c.lost = replyTransferEnded // it will not be said: the last word has been
	return false
}

func (c *content) startChunk(arg string) bool {
	size, last, ok := parseChunk(arg)
	if !ok {
		c.lost = replyBadChunk
		return false
	}
	c.left, c.last = size, last
	if size > 0 {
		c.w.commands-- // a large message has many chunks
	}
	return true
}

// drain reads what is left of a message, or of a refused chunk, so that the
// client gets its answer and the next command is one. It gives up at twice the
// size limit or after Options.DrainTimeout, and returns false when the
// connection is of no more use.
func (c *content) drain() bool {
	if c.done {
		return true
	}
	if ends := time.Now().Add(c.w.opts.DrainTimeout); c.pace.ends.IsZero() || ends.Before(c.pace.ends) {
		c.pace.ends = ends
	}
	scratch := make([]byte, 4096)
	for !c.done && c.lost == "" && c.n <= 2*c.w.opts.MaxMessageBytes {
		var n int
		if c.data {
			n, _ = c.read(scratch) // the error shows in done or lost
		} else if c.left > 0 {
			n, _ = c.readOctets(scratch) // the error shows in lost
		} else {
			c.done = true
		}
		c.n += int64(n)
	}
	return c.done && c.lost == ""
}

// receive takes one message and answers it, unless a command has given it up
// whose own answer stands for that.
func (w *wire) receive(c *content) {
	r := w.submit(c)
	w.tx = transaction{}
	if c.gaveUp {
		r = c.answer
	}
	if r != "" {
		w.say(r)
	}
}

// submit hands the message on and returns its final reply.
func (w *wire) submit(c *content) reply {
	e := w.envelope()
	id, err := w.srv.in.Submit(w.srv.running, *e, c)
	if err == nil {
		failpoint.Hit(failpoint.SMTPDurable)
		return w.taken(c, e, id)
	}
	r := replyFor(err)
	if c.lost != "" { // else the verdict stands, however the rest of the message comes
		r = c.lost
	}
	w.hangup = !c.drain() || w.hangup
	w.log.messageRefused(e, r, err)
	return r
}

// taken is the end of a message that is durable. Even if its connection is gone
// by now the reply stands.
func (w *wire) taken(c *content, e *intake.Envelope, id store.ID) reply {
	w.hangup = !c.drain() || w.hangup
	w.log.accepted(id, e, c.n)
	w.noops, w.commands = 0, 0
	w.messages++
	return replyQueued(id)
}
