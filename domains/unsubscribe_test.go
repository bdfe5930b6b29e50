package domains_test

import (
	"bytes"
	"context"
	"io"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/api/unsubscribe"
	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/store"
)

const news = "X-PM-Message-Stream: broadcast\r\nFrom: news@example.com\r\nSubject: news\r\n" +
	"List-Unsubscribe: <mailto:off@example.com>\r\nlist-unsubscribe-post: List-Unsubscribe=One-Click\r\n\r\nHello\r\n"

// TestDelivery_EveryCopyHasItsLink goes from the submission of a broadcast to the click of a reader.
func TestDelivery_EveryCopyHasItsLink(t *testing.T) {
	c := newChain(t, testmx.Script{Extra: []string{"SIZE 100000"}, Steps: map[testmx.Phase][]testmx.Step{testmx.Rcpt: {{Reply: "451 4.7.1 later"}}}})
	c.live("example.com")
	id := c.submit(news, "one@dest.test", "two@dest.test", "three@other.test")
	got := c.mx.Wait(3)
	events := c.sentEvents(id, 3)
	links := map[string]string{}
	for _, m := range got {
		c.wantSigned(m.Body, "example.com", 2)
		if len(m.To) != 1 || bytes.Count(bytes.ToLower(m.Body), []byte("\r\nlist-unsubscribe:")) != 1 || bytes.Contains(m.Body, []byte("mailto:")) {
			t.Fatalf("to %v:\n%s", m.To, m.Body)
		}
		signature, _, _ := bytes.Cut(m.Body, []byte("\r\nList-Unsubscribe"))
		if n := strings.Count(string(signature), "List-Unsubscribe-Post"); n < 2 { // in h= of each signature
			t.Errorf("%d signatures cover the fields:\n%s", n, signature)
		}
		_, rest, _ := bytes.Cut(m.Body, []byte("List-Unsubscribe: <"))
		link, _, _ := bytes.Cut(rest, []byte(">"))
		links[m.To[0].Address] = string(link)
		if want := c.again(id, m.To[0].Address, events); !bytes.Equal(m.Body, want) {
			t.Errorf("sent\n%q\nmade again\n%q", m.Body, want)
		}
	}
	c.click(links["two@dest.test"])
	list, _, err := c.store.ListSuppressions(t.Context(), store.SuppressionFilter{}, "", 10)
	if err != nil || len(list) != 1 || list[0].Address != "two@dest.test" || list[0].Stream != "broadcast" || !list[0].Binding() {
		t.Errorf("list: %+v, %v", list, err)
	}
}

// Transactional mail is sent as it came.
func TestDelivery_OtherStreamsKeepTheirFields(t *testing.T) {
	c := newChain(t, testmx.Script{})
	c.live("example.com")
	c.submit(strings.TrimPrefix(news, "X-PM-Message-Stream: broadcast\r\n"), "one@dest.test")
	body := c.mx.Wait(1)[0].Body
	c.wantSigned(body, "example.com", 2)
	if !bytes.Contains(body, []byte("\r\nList-Unsubscribe: <mailto:off@example.com>\r\nlist-unsubscribe-post: List-Unsubscribe=One-Click\r\n")) {
		t.Errorf("sent:\n%s", body)
	}
}

// again makes the copy of a recipient anew from what is stored.
func (c *chain) again(id store.ID, recipient string, events []store.Event) []byte {
	c.t.Helper()
	r, err := c.store.Record(c.t.Context(), id)
	if err != nil {
		c.t.Fatal(err)
	}
	number, names := 0, []string(nil)
	for n := 0; ; n++ {
		d, i, ok := r.Numbered(n)
		if !ok {
			break
		}
		if d.Recipients[i].Address == recipient {
			number = n
		}
	}
	for _, e := range events {
		if e.Recipient == recipient {
			names = e.SignedBy
		}
	}
	top := unsubscribe.Links{Keys: c.keyring}.Fields(r.Message, number, recipient)
	var copies []byte
	open := func(ctx context.Context) (io.ReadCloser, error) {
		body, err := c.store.Body(ctx, id)
		if err != nil {
			return nil, err
		}
		defer body.Close()
		stored, err := io.ReadAll(body)
		copies = append(bytes.Clone(top), stored...)
		return io.NopCloser(bytes.NewReader(copies)), err
	}
	fields, err := domains.NewSigner(c.store, c.keyring, domains.SignerOptions{}).Again(c.t.Context(), r.Message, open, names)
	if err != nil {
		c.t.Fatal(err)
	}
	return append(fields, copies...)
}

// click does what a mail program does with the link.
func (c *chain) click(link string) {
	c.t.Helper()
	u, err := url.Parse(link)
	if err != nil || u.Scheme != "https" {
		c.t.Fatal(link, err)
	}
	r := httptest.NewRequest("POST", u.Path, strings.NewReader("List-Unsubscribe=One-Click"))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	unsubscribe.New(c.store, unsubscribe.Links{Keys: c.keyring}, unsubscribe.Options{Prefix: "/u/"}).ServeHTTP(w, r)
	if w.Code != 200 {
		c.t.Fatal(w.Code, w.Body)
	}
}
