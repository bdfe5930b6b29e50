package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// TestServer_UnsubscribeByLink takes the link out of a message as it was sent, on the listeners of the API and on others.
func TestServer_UnsubscribeByLink(t *testing.T) {
	for _, own := range []bool{false, true} {
		t.Run(map[bool]string{false: "with the API", true: "on its own"}[own], func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) })
			mx := testmx.New(t, testmx.Script{TLS: testmx.NoTLS})
			cfg := demoConfig(filepath.Join(t.TempDir(), "data"))
			cfg.API.Listeners = []APIListenerConfig{{Address: "127.0.0.1:0", TLS: tlsNone}}
			cfg.Unsubscribe.URL = "https://mail.example.com/off"
			if own {
				cfg.Unsubscribe.Listeners = []APIListenerConfig{{Address: "127.0.0.1:0", TLS: tlsNone}}
			}
			s, err := openServer(cfg, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			begin, err := createStarter(t.Context(), s.files, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			toSmarthost(t, s.files.store, mx.Addr())
			signing(t, s, "example.com")
			runUntil(t, s, func(*local.Store) bool { return true }, func() {
				id := submitNews(t, s, begin.serverToken)
				sent := mx.Wait(1)[0].Body
				if raw := rawOf(t, s, id); !bytes.Equal(raw, sent) {
					t.Errorf("message raw --sent\n%q\nsent\n%q", raw, sent)
				}
				if dump := dumpOf(t, s, begin.serverToken, id); dump != string(sent) {
					t.Errorf("dump\n%q\nsent\n%q", dump, sent)
				}
				_, rest, _ := bytes.Cut(sent, []byte("List-Unsubscribe: <https://mail.example.com"))
				path, _, _ := bytes.Cut(rest, []byte(">"))
				at := s.cfg.API.Listeners[0].Address
				if own {
					wantStatus(t, "http://"+at+string(path), http.StatusNotFound)
					at = s.cfg.Unsubscribe.Listeners[0].Address
					wantStatus(t, "http://"+at+"/email", http.StatusNotFound)
				}
				wantStatus(t, "http://"+at+string(path), http.StatusOK)
			})
			list := listAfter(t, cfg)
			if len(list) != 1 || list[0].Address != "reader@dest.example" || !list[0].Binding() {
				t.Errorf("list: %+v", list)
			}
		})
	}
}

// toSmarthost makes the broadcast stream live, towards a host without TLS.
func toSmarthost(t *testing.T, db *local.Store, address string) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	_, err = store.Update(t.Context(), db, func(snap *store.Snapshot) ([]store.Change, error) {
		_, stream, err := streamOf(snap, "", "broadcast")
		stream.Mode, stream.Route = store.ModeLive, store.Route{Host: host, TLS: store.TLSNone}
		stream.Route.Port, _ = strconv.Atoi(port)
		return []store.Change{{Stream: &stream}}, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func submitNews(t *testing.T, s *server, token string) string {
	t.Helper()
	body := `{"From":"news@example.com","To":"reader@dest.example","Subject":"news","TextBody":"Hello","MessageStream":"broadcast"}`
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+s.cfg.API.Listeners[0].Address+"/email", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Postmark-Server-Token", token)
	r.Header.Set("Content-Type", "application/json")
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var sent struct{ MessageID, Message string }
	if err := json.NewDecoder(answer.Body).Decode(&sent); err != nil || sent.MessageID == "" {
		t.Fatalf("%+v, %v", sent, err)
	}
	return sent.MessageID
}

// rawOf waits for the record of what was sent.
func rawOf(t *testing.T, s *server, id string) []byte {
	t.Helper()
	var out, errout bytes.Buffer
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		out.Reset()
		errout.Reset()
		code, err := forward(t.Context(), s.cfg, request{Args: []string{"message", "raw", "--sent", "--recipient", "reader@dest.example", id}, Cwd: "/"}, &out, &errout)
		if err != nil {
			t.Fatal(err)
		}
		if code == exitOK {
			return out.Bytes()
		}
	}
	t.Fatalf("message raw: %s", errout.String())
	return nil
}

func dumpOf(t *testing.T, s *server, token, id string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+s.cfg.API.Listeners[0].Address+"/messages/outbound/"+id+"/dump", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Postmark-Server-Token", token)
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var dump struct{ Body string }
	if err := json.NewDecoder(answer.Body).Decode(&dump); err != nil {
		t.Fatal(err)
	}
	return dump.Body
}

// wantStatus unsubscribes.
func wantStatus(t *testing.T, link string, want int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), "POST", link, strings.NewReader("List-Unsubscribe=One-Click"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if answer.Body.Close(); answer.StatusCode != want {
		t.Errorf("%s: %d, want %d", link, answer.StatusCode, want)
	}
}

func listAfter(t *testing.T, cfg Config) []store.Suppression {
	t.Helper()
	files, err := openExisting(cfg, false)
	if err != nil {
		t.Fatal(err)
	}
	list, _, err := files.store.ListSuppressions(t.Context(), store.SuppressionFilter{}, "", 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := files.close(); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestUnsubscribeConfig_Validate(t *testing.T) {
	api := defaultAPI()
	own := []APIListenerConfig{{Address: "127.0.0.1:0", TLS: tlsNone}}
	for _, c := range []struct {
		url  string
		own  []APIListenerConfig
		api  APIConfig
		want string // part of the problem, "" for none
	}{
		{"", nil, api, ""},
		{"https://mail.example.com/u", nil, api, ""},
		{"https://mail.example.com/u/", nil, api, ""},
		{"https://mail.example.com", own, api, ""},
		{"https://mail.example.com", own, APIConfig{}, ""},
		{"http://127.0.0.1:8080/u", nil, api, ""},
		{"", own, api, "unsubscribe.listeners: need"},
		{"https://mail.example.com", nil, api, "has no path"},
		{"https://mail.example.com/u", nil, APIConfig{}, "nothing would answer"},
		{"http://mail.example.com/u", nil, api, "https://"},
		{"mailto:x@example.com", nil, api, "is not a plain URL"},
		{"https://mail.example.com/u?x=1", nil, api, "is not a plain URL"},
		{"https://a:b@mail.example.com/u", nil, api, "is not a plain URL"},
		{"https://mail.example.com/" + strings.Repeat("u", 80), nil, api, "is longer"},
		{"https://mail.example.com/u", []APIListenerConfig{{Address: "0.0.0.0:80", TLS: tlsNone}}, api, "unsubscribe.listeners[0].tls"},
	} {
		var p problems
		UnsubscribeConfig{URL: c.url, Listeners: c.own}.validate(&p, c.api)
		var texts []string
		for _, err := range p {
			texts = append(texts, err.Error())
		}
		if got := strings.Join(texts, "; "); (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%q: %q, want %q", c.url, got, c.want)
		}
	}
}
