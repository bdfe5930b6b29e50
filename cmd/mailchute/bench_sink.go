package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// benchSink is a mail host that takes everything and keeps nothing, as cheaply
// as can be: replies to pipelined commands leave together, and a body is only
// searched for its end. It is also the name server for its own domains.
type benchSink struct {
	smtp  net.Listener
	dns   net.PacketConn
	taken atomic.Int64
}

// openSinkPart takes one processor. Forgetting keeps none busy, and a second would
// be woken by every message to find nothing to do, at the cost of those that it
// shares the machine with.
func openSinkPart() (benchWork, error) {
	runtime.GOMAXPROCS(1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return benchWork{}, err
	}
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		return benchWork{}, errors.Join(err, l.Close())
	}
	s := &benchSink{smtp: l, dns: p}
	return benchWork{
		ready: benchReady{Address: l.Addr().String(), Resolver: p.LocalAddr().String()},
		run:   s.run, taken: s.taken.Load,
	}, nil
}

// run serves until ctx ends.
func (s *benchSink) run(ctx context.Context) error {
	var work sync.WaitGroup
	defer work.Wait()
	defer context.AfterFunc(ctx, func() { _, _ = s.smtp.Close(), s.dns.Close() })()
	work.Go(s.names)
	for {
		c, err := s.smtp.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return errors.Join(err, s.dns.Close())
		}
		work.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			defer c.Close()
			_ = s.talk(c) // the relay notices, and its numbers show it
		})
	}
}

func (s *benchSink) talk(c net.Conn) error {
	r := bufio.NewReaderSize(c, 64<<10)
	out := []byte("220 sink.example ESMTP\r\n")
	for {
		if r.Buffered() == 0 && len(out) > 0 {
			if _, err := c.Write(out); err != nil {
				return err
			}
			out = out[:0]
		}
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		verb := bytes.ToUpper(line[:min(4, len(line))])
		if string(verb) == "DATA" {
			if err := s.body(c, r, out); err != nil {
				return err
			}
			out = append(out[:0], "250 2.0.0 taken\r\n"...)
			continue
		}
		out = append(out, sinkReply(string(verb))...)
		if string(verb) == "QUIT" {
			_, err := c.Write(out)
			return err
		}
	}
}

func sinkReply(verb string) string {
	switch verb {
	case "EHLO", "HELO":
		return "250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8\r\n"
	case "MAIL", "RCPT", "RSET", "NOOP":
		return "250 2.0.0 ok\r\n"
	case "QUIT":
		return "221 2.0.0 bye\r\n"
	}
	return "500 5.5.1 not here\r\n"
}

// body answers DATA, with the replies that are pending, and reads up to the
// final dot.
func (s *benchSink) body(c net.Conn, r *bufio.Reader, pending []byte) error {
	if _, err := c.Write(append(pending, "354 go on\r\n"...)); err != nil {
		return err
	}
	for begin := true; ; {
		line, err := r.ReadSlice('\n')
		if begin && string(line) == ".\r\n" {
			s.taken.Add(1)
			return nil
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		begin = err == nil
	}
}

// names answers that every domain is its own mail host at 127.0.0.1, until the
// socket is closed.
func (s *benchSink) names() {
	buf := make([]byte, 512)
	for {
		n, from, err := s.dns.ReadFrom(buf)
		if err != nil {
			return
		}
		if answer, err := sinkAnswer(buf[:n]); err == nil {
			_, _ = s.dns.WriteTo(answer, from) // one who gets none asks again
		}
	}
}

func sinkAnswer(question []byte) ([]byte, error) {
	var m dnsmessage.Message
	if err := m.Unpack(question); err != nil {
		return nil, err
	}
	if len(m.Questions) != 1 {
		return nil, io.ErrUnexpectedEOF
	}
	q := m.Questions[0]
	answer := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
	head := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: uint32(time.Hour / time.Second)}
	switch q.Type {
	case dnsmessage.TypeMX:
		answer.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.MXResource{Pref: 10, MX: q.Name}}}
	case dnsmessage.TypeA:
		answer.Answers = []dnsmessage.Resource{{Header: head, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
	}
	return answer.Pack()
}
