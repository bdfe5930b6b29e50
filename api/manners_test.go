package api_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/api"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/store"
)

type panicking struct{}

func (panicking) Earlier(context.Context, int64, intake.Request) (store.ID, error) {
	return store.ID{}, nil
}

func (panicking) Submit(context.Context, intake.Envelope, io.Reader) (store.ID, error) {
	panic("a secret of the program")
}

func TestManners_PanicIs500(t *testing.T) {
	var log bytes.Buffer
	r := newRig(t, rigOptions{intake: panicking{}, api: api.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}})
	a := r.as("POST", "/email", simple)
	wantError(t, a, http.StatusInternalServerError, 101, a.header.Get("X-Request-Id"))
	if strings.Contains(a.raw, "secret") || !strings.Contains(log.String(), a.header.Get("X-Request-Id")) {
		t.Errorf("answer %s, log %s", a.raw, &log)
	}
	wantOK(t, r.as("GET", "/server", ""))
}

// A panic in a worker of a batch would end the program.
func TestManners_PanicInABatch(t *testing.T) {
	r := newRig(t, rigOptions{intake: panicking{}})
	a := r.as("POST", "/email/batch", "["+simple+","+simple+"]")
	if a.status != http.StatusOK || strings.Count(a.raw, `"ErrorCode":101`) != 2 {
		t.Errorf("%d %s", a.status, a.raw)
	}
}

func TestManners_EachRequestHasAnID(t *testing.T) {
	r := newRig(t, rigOptions{})
	seen := map[string]bool{}
	for _, path := range []string{"/server", "/server", "/nothing", "/openapi.json"} {
		id := r.as("GET", path, "").header.Get("X-Request-Id")
		if id == "" || seen[id] {
			t.Errorf("%s: id %q", path, id)
		}
		seen[id] = true
	}
}

// raw sends text over a connection of its own and returns what comes until the
// server closes it.
func (r *rig) raw(request string) string {
	r.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, request); err != nil {
		r.t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

func TestManners_OddMethods(t *testing.T) {
	r := newRig(t, rigOptions{})
	const end = " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	for line, want := range map[string]string{
		"OPTIONS *": "404 ", "OPTIONS /email": "405 ", "BREW /email": "405 ", "GET /email": "405 ", "CONNECT x:1": "404 ", "GET http://x/nothing": "404 ",
	} {
		got := r.raw(line + end)
		if !strings.HasPrefix(got, "HTTP/1.1 "+want) || !strings.Contains(got, `{"ErrorCode":615,`) {
			t.Errorf("%s: %s", line, got)
		}
	}
	if got := r.raw("HEAD /openapi.json" + end); !strings.HasPrefix(got, "HTTP/1.1 200 ") || !strings.HasSuffix(got, "\r\n\r\n") {
		t.Errorf("HEAD: %.300s", got)
	}
}

// Who does not read is not waited for.
func TestManners_SlowReaderIsCutOff(t *testing.T) {
	r := newRig(t, rigOptions{api: api.Options{MaxBody: 40 << 20, WriteTimeout: 100 * time.Millisecond}})
	file := strings.Repeat("QUJD", 4<<20)
	id := wantOK(t, r.as("POST", "/email", strings.Replace(simple, `"To"`, fmt.Sprintf(`"Attachments":[{"Name":"a","Content":%q}],"To"`, file), 1))).text("MessageID")
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "GET /messages/outbound/%s/dump HTTP/1.1\r\nHost: x\r\nX-Postmark-Server-Token: %s\r\n\r\n", id, r.server)
	until(t, func() bool { // the server has given up when it takes no more
		_, err := c.Write([]byte("\r\n"))
		return err != nil
	})
	n, err := io.Copy(io.Discard, c)
	if err == nil && n > 16<<20 || err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !isReset(err) {
		t.Errorf("%d octets came, %v", n, err)
	}
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op)
}

// Which of two parameters counts must not be a matter of chance.
func TestManners_ParametersThatDifferInCase(t *testing.T) {
	r := newRig(t, rigOptions{})
	for range 20 {
		wantError(t, r.as("GET", "/messages/outbound?count=x&Count=1&COUNT=2&offset=0", ""), 422, 700, "'count'")
	}
}

// Most clients write all of a body before they read anything.
func TestManners_TooLargeIsAnsweredToWhoWritesFirst(t *testing.T) {
	r := newRig(t, rigOptions{})
	body := strings.Repeat(" ", 24<<20)
	for name, length := range map[string]string{
		"known": fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body), "unknown": fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(body), body),
	} {
		t.Run(name, func(t *testing.T) {
			got := r.raw("POST /email HTTP/1.1\r\nHost: x\r\nX-Postmark-Server-Token: " + r.server + "\r\nContent-Type: application/json\r\n" + length)
			if !strings.HasPrefix(got, "HTTP/1.1 413 ") || !strings.Contains(got, `{"ErrorCode":300,`) {
				t.Errorf("%.300s", got)
			}
		})
	}
}

// Who asks before writing is told not to write.
func TestManners_TooLargeIsNotAskedFor(t *testing.T) {
	r := newRig(t, rigOptions{})
	got := r.raw("POST /email HTTP/1.1\r\nHost: x\r\nX-Postmark-Server-Token: " + r.server + "\r\nExpect: 100-continue\r\nContent-Length: 12000000\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 413 ") {
		t.Errorf("%.300s", got)
	}
}
