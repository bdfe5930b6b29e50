package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/mailchute/mailchute/internal/failpoint"
	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/store"
)

// transaction is one MAIL … final dot on a connection.
type transaction struct {
	c        *conn
	env      envelope
	open     func(context.Context) (io.ReadCloser, error)
	ending   func(context.Context) error // nil: the end of the content is not announced
	commands []string                    // RCPT, for env.rcpts
	chunk    bool                        // the content goes by BDAT in place of DATA

	results  []*Result // by forward.index: what is decided
	accepted []forward // RCPT was answered 2xx
	refused  *fault    // MAIL or DATA was refused
	lonely   bool      // DATA was answered 354 although nobody was accepted
	unknown  *fault    // BDAT is no command there
}

// run sends the message. What is decided is in results afterwards. A fault means that the connection was lost, or that we
// were stopped, before the body: recipients without a result may be tried at another host at once.
func (t *transaction) run(ctx context.Context) *fault {
	c := t.c
	c.uses++
	mail, f := t.env.mailCommand(c.ext, c.target.host, c.now())
	if f != nil {
		t.decideAll(f)
		return nil
	}
	if t.prepare(); len(t.env.rcpts) == 0 {
		return nil
	}
	body, err := t.open(ctx)
	if err != nil {
		t.decideAll(t.ours(fmt.Errorf("opening the message: %w", err)))
		return nil
	}
	defer body.Close() // read only: what could fail has failed in Read
	release := c.guard(ctx)
	defer release()
	if f := t.greet(ctx, mail); f != nil {
		return f
	}
	if len(t.accepted) == 0 || t.refused != nil {
		return t.abandon(ctx)
	}
	if c.br.Buffered() > 0 {
		// An answer before its question would be taken for that of the final dot.
		return c.broken(ctx, phaseData, fmt.Errorf("%w: text follows the reply to DATA", errReplyMalformed))
	}
	t.transfer(ctx, body, release)
	return t.unknown
}

// prepare builds the RCPT commands and settles the recipients that this host cannot take.
func (t *transaction) prepare() {
	var kept []forward
	for _, r := range t.env.rcpts {
		command, f := r.rcptCommand(t.c.ext, t.c.target.host, t.c.now())
		if f != nil {
			t.decide(r, f)
			continue
		}
		kept, t.commands = append(kept, r), append(t.commands, command)
	}
	t.env.rcpts = kept
}

func (t *transaction) decide(r forward, f *fault) { t.results[r.index] = new(t.c.result(f)) }

// decideAll gives every recipient without a result this one.
func (t *transaction) decideAll(f *fault) {
	for _, r := range t.env.rcpts {
		if t.results[r.index] == nil {
			t.decide(r, f)
		}
	}
}

// greet sends everything up to DATA, in one go where the host allows it (RFC 2920), and matches the replies in order.
//
// BDAT is not among it, although it could be (RFC 3030 4.2): its last octet hands the message over, and as long as the
// replies to MAIL and RCPT are out, a connection that breaks would leave all recipients uncertain. It takes as many round
// trips as DATA does, and content that nobody is accepted for is not sent.
func (t *transaction) greet(ctx context.Context, mail string) *fault {
	if t.c.ext.pipelining {
		return t.pipelined(ctx, mail)
	}
	return t.stepwise(ctx, mail)
}

func (t *transaction) pipelined(ctx context.Context, mail string) *fault {
	reset := t.c.dirty
	if err := t.say(mail, reset); err != nil {
		return t.c.broken(ctx, phaseMail, err)
	}
	if f := t.c.flush(ctx, phaseMail); f != nil {
		return f
	}
	t.c.dirty = true
	if reset {
		if f := t.onReset(ctx); f != nil {
			return f
		}
	}
	if f := t.onMail(ctx); f != nil {
		return f
	}
	for _, r := range t.env.rcpts {
		if f := t.onRcpt(ctx, r); f != nil {
			return f
		}
	}
	if t.chunk {
		return nil
	}
	return t.onData(ctx)
}

// say queues all commands up to DATA.
func (t *transaction) say(mail string, reset bool) error {
	if reset {
		if err := t.c.line("RSET"); err != nil {
			return err
		}
	}
	if err := t.c.line(mail); err != nil {
		return err
	}
	for _, rcpt := range t.commands {
		if err := t.c.line(rcpt); err != nil {
			return err
		}
	}
	if t.chunk {
		return nil
	}
	return t.c.line("DATA")
}

func (t *transaction) stepwise(ctx context.Context, mail string) *fault {
	send := func(line, phase string) *fault {
		if err := t.c.line(line); err != nil {
			return t.c.broken(ctx, phase, err)
		}
		return t.c.flush(ctx, phase)
	}
	if t.c.dirty {
		if f := andThen(send("RSET", phaseReset), func() *fault { return t.onReset(ctx) }); f != nil {
			return f
		}
	}
	t.c.dirty = true
	f := andThen(send(mail, phaseMail), func() *fault { return t.onMail(ctx) })
	if f != nil || t.refused != nil {
		return f
	}
	for i, r := range t.env.rcpts {
		if f := andThen(send(t.commands[i], phaseRcpt), func() *fault { return t.onRcpt(ctx, r) }); f != nil {
			return f
		}
	}
	if len(t.accepted) == 0 || t.chunk {
		return nil
	}
	return andThen(send("DATA", phaseData), func() *fault { return t.onData(ctx) })
}

func andThen(f *fault, next func() *fault) *fault {
	if f != nil {
		return f
	}
	return next()
}

func (t *transaction) onReset(ctx context.Context) *fault {
	r, f := t.c.reply(ctx, phaseReset, t.c.timeouts.Hello)
	if f == nil && r.code/100 != 2 {
		t.c.dead = true
		f = t.c.refused(r, phaseReset)
		f.fresh = true
	}
	return f
}

func (t *transaction) onMail(ctx context.Context) *fault {
	r, f := t.c.reply(ctx, phaseMail, t.c.timeouts.Mail)
	if f != nil {
		return f
	}
	if r.code/100 != 2 {
		t.refused = t.c.refused(r, phaseMail)
		t.decideAll(t.refused)
	}
	return nil
}

// onRcpt takes the reply for one recipient. Where MAIL was refused it is only read: that refusal is the reason.
func (t *transaction) onRcpt(ctx context.Context, to forward) *fault {
	r, f := t.c.reply(ctx, phaseRcpt, t.c.timeouts.Rcpt)
	switch {
	case f != nil:
		return f
	case t.refused != nil:
	case r.code/100 == 2:
		t.accepted = append(t.accepted, to)
	default:
		t.decide(to, t.c.refused(r, phaseRcpt))
	}
	return nil
}

func (t *transaction) onData(ctx context.Context) *fault {
	r, f := t.c.reply(ctx, phaseData, t.c.timeouts.Data)
	switch {
	case f != nil:
		return f
	case r.code == 354:
		t.lonely = len(t.accepted) == 0 || t.refused != nil
	case t.refused == nil:
		t.refused = t.c.refused(r, phaseData)
		t.decideAll(t.refused)
		t.c.dead = t.c.dead || r.code/100 == 2 // a host that thinks it has a message: nobody knows what it will read as one
	}
	return nil
}

// abandon ends a transaction that has nobody to go to. A host that said 354 to it is waiting for content, and gets none
// (RFC 2920 3.1).
func (t *transaction) abandon(ctx context.Context) *fault {
	if !t.lonely {
		return nil
	}
	if _, f := t.c.command(ctx, phaseDot, t.c.timeouts.Dot, "."); f != nil {
		t.c.kill() // all recipients are decided; only the connection is lost
	}
	return nil
}

// transfer sends the content. What ends it, the final dot or the last octet of the last chunk, is the point of no return:
// release cuts the tie to ctx just before it, and if that comes too late the connection has been closed and the message
// has not been handed over.
func (t *transaction) transfer(ctx context.Context, body io.Reader, release func() bool) {
	out, f := t.writer(ctx)
	if f == nil {
		f = t.content(ctx, body, out)
	}
	if f != nil {
		t.c.kill()
		t.c.unfit = t.chunk && t.c.ended // it may be the command that it cannot bear
		t.decideAll(f)
		return
	}
	if f := t.announce(ctx); f != nil {
		t.c.kill()
		t.decideAll(f)
		return
	}
	if !release() {
		t.decideAll(t.c.broken(ctx, phaseBody, context.Cause(ctx)))
		return
	}
	t.c.talk.remark(strconv.FormatInt(t.env.message.Size, 10) + " octets of content and " + t.end())
	known := false
	defer func() {
		if !known { // a panic: the host may have it
			t.settle(Result{Err: errNoResult, Uncertain: true})
		}
	}()
	t.finish(context.WithoutCancel(ctx), out)
	known = true
}

// finish ends the content and takes the answer, whatever becomes of the attempt meanwhile.
func (t *transaction) finish(detached context.Context, out io.Closer) {
	failpoint.Hit(failpoint.RelayContent)
	if err := out.Close(); err != nil {
		t.lastDot(t.c.broken(detached, phaseDot, err), unsent(err))
		return
	}
	if f := t.c.flush(detached, phaseDot); f != nil {
		t.lastDot(f, false)
		return
	}
	failpoint.Hit(failpoint.RelayDot)
	r, f := t.c.reply(detached, phaseDot, t.c.timeouts.Dot)
	failpoint.Hit(failpoint.RelayAnswered)
	if f != nil {
		t.c.unfit = t.chunk && f.err != nil
		t.lastDot(f, f.err == nil)
		return
	}
	t.answered(r)
}

// announce says that the content is about to be ended. The connection is of no use when nobody took note.
func (t *transaction) announce(ctx context.Context) *fault {
	if t.ending == nil {
		return nil
	}
	if err := t.ending(ctx); err != nil {
		return t.ours(err)
	}
	failpoint.Hit(failpoint.RelayEnding)
	return nil
}

// ours is a fault of this process: no other host or route is better off, and none is to blame.
func (t *transaction) ours(err error) *fault { return broken(phaseBody, detailLocal, err, t.c.now()) }

// writer begins the content. BDAT needs no answer before it.
func (t *transaction) writer(ctx context.Context) (io.WriteCloser, *fault) {
	if !t.chunk {
		return message.NewDotWriter(t.c.bw), nil
	}
	if err := t.c.line(fmt.Sprintf("BDAT %d LAST", t.env.message.Size)); err != nil {
		return nil, t.c.broken(ctx, phaseBody, err)
	}
	return message.NewChunkWriter(t.c.bw, t.env.message.Size), nil
}

func (t *transaction) end() string {
	if t.chunk {
		return "the end of the chunk"
	}
	return "the final dot"
}

// answered takes the reply to the end of the content.
func (t *transaction) answered(r wireReply) {
	f := t.c.refused(r, phaseDot)
	if t.chunk && (r.code == 500 || r.code == 502 || r.code == 504) {
		// Offered, and not known: what came behind the command may have been read as commands, so this session is of no
		// use, and nobody has the message.
		t.c.kill()
		t.c.unfit, t.unknown = true, f
		f.over = true
		return
	}
	taken := r.code/100 == 2
	// Whatever the answer, the final dot has cleared the transaction (RFC 5321 4.1.1.4). What a refused chunk leaves is not
	// sure (RFC 3030 2).
	t.c.dirty = t.chunk && !taken
	answer := t.c.result(f)
	if taken {
		t.c.taken++
	}
	answer.Relayed = taken && !t.c.ext.dsn
	t.settle(answer)
}

// lastDot settles a message whose end got no usable answer. Certain are only a 421, which says that it was not taken, and
// content whose end was not sent for a fault of its own.
func (t *transaction) lastDot(f *fault, certain bool) {
	result := t.c.result(f)
	result.Uncertain = !certain
	if unsent(f.err) {
		result.Err = damaged(f.err)
	}
	t.settle(result)
}

// settle gives those who were accepted one result each.
func (t *transaction) settle(r Result) {
	for _, to := range t.accepted {
		t.results[to.index] = new(r)
	}
}

// unsent tells whether content is refused by its writer.
func unsent(err error) bool {
	return errors.Is(err, message.ErrNotCanonical) || errors.Is(err, message.ErrChunkSize)
}

// content copies the body up to its last octet and tells our own faults from those of the connection.
func (t *transaction) content(ctx context.Context, body io.Reader, dot io.Writer) *fault {
	source := &errorReader{r: body}
	buf := copyBuffers.Get().(*[wireBuffer]byte)
	defer copyBuffers.Put(buf)
	n, err := io.CopyBuffer(struct{ io.Writer }{dot}, source, buf[:])
	switch {
	case source.err != nil:
		return t.ours(fmt.Errorf("reading the message: %w", source.err))
	case unsent(err):
		return &fault{reply: store.Reply{Command: phaseBody, At: t.c.now()}, err: damaged(err)}
	case err != nil:
		return t.c.broken(ctx, phaseBody, err)
	case t.env.message.Size > 0 && n != t.env.message.Size:
		err := fmt.Errorf("message has %d octets instead of %d", n, t.env.message.Size)
		return &fault{reply: store.Reply{Command: phaseBody, At: t.c.now()}, err: damaged(err)}
	}
	return nil
}

func damaged(err error) error { return fmt.Errorf("%w: %w", store.ErrDamaged, err) }

var copyBuffers = sync.Pool{New: func() any { return new([wireBuffer]byte) }}

// errorReader remembers the error of its source, so that it is not taken for one of the connection.
type errorReader struct {
	r   io.Reader
	err error
}

func (e *errorReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		e.err = err
	}
	return n, err
}
