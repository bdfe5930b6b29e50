package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mailchute/mailchute/api"
	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/store"
	"github.com/mailchute/mailchute/store/local"
)

// rig is a running API above a real store. Nothing delivers.
type rig struct {
	t                       testing.TB
	url                     string
	api                     *api.Server
	store                   *local.Store
	keyring                 *auth.Keyring
	client                  *http.Client
	zone                    *zone  // the DNS of sender domains
	server, account, access string // tokens
}

// rigOptions are what a test changes.
type rigOptions struct {
	api    api.Options
	auth   auth.ThrottleOptions
	intake api.Submitter // nil: the real one
}

func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	dir := t.TempDir()
	db, err := local.Open(filepath.Join(dir, "data"), local.Options{MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	k, err := auth.OpenKeyring(filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	o.auth.FirstDelay, o.auth.MaxDelay = time.Millisecond, time.Millisecond
	in := o.intake
	if in == nil {
		in = intake.New(db, db, intake.Options{Hostname: "relay.example", Suppressions: db, Known: db, Now: o.api.Now})
	}
	r := &rig{t: t, store: db, keyring: k, client: checked(t), zone: &zone{}}
	o.api.Records = domains.RecordOptions{Hostname: "relay.example", ReturnPath: "bounces.relay.example"}
	o.api.Domains = domains.NewKeeper(db, k, domains.Options{Resolver: r.zone, MX: r.zone, ReturnPath: o.api.Records.ReturnPath})
	r.fill()
	r.api = api.New(db, k, auth.NewVerifier(db, k, auth.VerifierOptions{Throttle: o.auth}), in, o.api)
	r.listen(r.api)
	return r
}

func (r *rig) listen(s *api.Server) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, api.Listener{Listener: l}) }()
	r.t.Cleanup(func() {
		r.client.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	r.url = "http://" + l.Addr().String()
}

// fill makes server 1 with live streams, and one token of each kind.
func (r *rig) fill() {
	r.t.Helper()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	changes := []store.Change{{Server: &store.Server{ID: 1, Name: "Shop", DeliveryType: store.Live, Created: now}}}
	for _, s := range store.DefaultStreams(1, store.ModeLive, now) {
		changes = append(changes, store.Change{Stream: &s})
	}
	r.change(changes...)
	var err error
	if r.server, _, err = auth.CreateServerToken(r.t.Context(), r.store, r.keyring, 1, "t", now); err != nil {
		r.t.Fatal(err)
	}
	if r.account, _, err = auth.CreateAccountToken(r.t.Context(), r.store, r.keyring, "t", now); err != nil {
		r.t.Fatal(err)
	}
	pair, _, err := auth.CreateSMTPToken(r.t.Context(), r.store, r.keyring, store.StreamKey{Server: 1, Stream: "outbound"}, "t", now)
	if err != nil {
		r.t.Fatal(err)
	}
	r.access = pair.AccessKey
}

func (r *rig) change(changes ...store.Change) {
	r.t.Helper()
	if _, err := store.Update(r.t.Context(), r.store, func(*store.Snapshot) ([]store.Change, error) { return changes, nil }); err != nil {
		r.t.Fatal(err)
	}
}

// stream changes a stream of server 1.
func (r *rig) stream(id string, edit func(*store.Stream)) {
	r.t.Helper()
	s := r.store.Snapshot().Streams[store.StreamKey{Server: 1, Stream: id}]
	edit(&s)
	r.change(store.Change{Stream: &s})
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	raw    string
	body   map[string]any // of an object
}

func (a answer) code() int {
	n, _ := a.body["ErrorCode"].(float64)
	return int(n)
}

func (a answer) text(key string) string { return fmt.Sprint(a.body[key]) }

// do sends a request. Headers come as pairs.
func (r *rig) do(method, path, body string, headers ...string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(raw)}
	if bytes.HasPrefix(raw, []byte("{")) {
		if err := json.Unmarshal(raw, &a.body); err != nil {
			r.t.Fatalf("%s: %v", raw, err)
		}
	}
	return a
}

// as calls with the server token, account with the account token.
func (r *rig) as(method, path, body string) answer {
	r.t.Helper()
	return r.do(method, path, body, "X-Postmark-Server-Token", r.server)
}

// octets returns what was stored of a message.
func (r *rig) octets(id string) string {
	r.t.Helper()
	parsed, err := store.ParseID(id)
	if err != nil {
		r.t.Fatal(err)
	}
	body, err := r.store.Body(r.t.Context(), parsed)
	if err != nil {
		r.t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

func (r *rig) record(id string) store.Record {
	r.t.Helper()
	parsed, err := store.ParseID(id)
	if err != nil {
		r.t.Fatal(err)
	}
	rec, err := r.store.Record(r.t.Context(), parsed)
	if err != nil {
		r.t.Fatal(err)
	}
	return rec
}

// refusing is an intake that fails as it is told.
type refusing struct{ err error }

func (f refusing) Submit(context.Context, intake.Envelope, io.Reader) (store.ID, error) {
	return store.ID{}, f.err
}

func (f refusing) Earlier(context.Context, int64, intake.Request) (store.ID, error) {
	return store.ID{}, f.err
}

const simple = `{"From":"a@x.example","To":"b@y.example","Subject":"s","TextBody":"t"}`

// wantError checks everything that every refusal has.
func wantError(t *testing.T, a answer, status, code int, words ...string) answer {
	t.Helper()
	if a.status != status || a.code() != code || a.header.Get("X-PM-ApiErrorCode") != fmt.Sprint(code) {
		t.Errorf("answer %d %s (X-PM-ApiErrorCode %s), want %d with ErrorCode %d", a.status, a.raw, a.header.Get("X-PM-ApiErrorCode"), status, code)
	}
	if a.header.Get("Content-Type") != "application/json; charset=utf-8" || a.header.Get("X-Request-Id") == "" || a.text("Message") == "" {
		t.Errorf("answer %v %s lacks its type, request id or message", a.header, a.raw)
	}
	for _, w := range words {
		if !strings.Contains(a.text("Message"), w) {
			t.Errorf("message %q lacks %q", a.text("Message"), w)
		}
	}
	return a
}

func TestAuthentication(t *testing.T) {
	r := newRig(t, rigOptions{})
	const server, account = "X-Postmark-Server-Token", "X-Postmark-Account-Token"
	for _, tt := range []struct {
		name    string
		headers []string
		words   string
	}{
		{"none", nil, "No Account or Server API tokens were supplied"},
		{"unknown", []string{server, "00000000-0000-4000-8000-000000000000"}, "valid Server token"},
		{"account token as server token", []string{server, r.account}, "valid Server token"},
		{"account token in its own header", []string{account, r.account}, "valid Server token"},
		{"server token as account token", []string{account, r.server}, "valid Server token"},
		{"access key", []string{server, r.access}, "valid Server token"},
		{"both", []string{server, r.server, account, r.account}, "Please do not include Account API Token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := r.do("POST", "/email", simple, tt.headers...)
			wantError(t, a, http.StatusUnauthorized, 10, tt.words)
			if a.header.Get("WWW-Authenticate") == "" {
				t.Error("401 without WWW-Authenticate")
			}
			for i := 1; i < len(tt.headers); i += 2 {
				if strings.Contains(a.raw, tt.headers[i]) {
					t.Error("the answer repeats the token")
				}
			}
		})
	}
	if a := r.do("POST", "/email?X-Postmark-Server-Token="+r.server, simple); a.status != http.StatusUnauthorized {
		t.Errorf("a token in the URL was read: %d", a.status)
	}
	if a := r.do("POST", "/email", simple, "x-postmark-server-token", "  "+strings.ToUpper(r.server)+" "); a.status != http.StatusOK {
		t.Errorf("token in capitals with blanks: %d %s", a.status, a.raw)
	}
}

func TestAuthentication_GuessersAreShutOut(t *testing.T) {
	r := newRig(t, rigOptions{auth: auth.ThrottleOptions{NetworkFailures: 2, Exempt: []netip.Prefix{}}})
	for range 2 {
		r.do("POST", "/email", simple, "X-Postmark-Server-Token", "wrong")
	}
	a := r.as("POST", "/email", simple)
	wantError(t, a, http.StatusTooManyRequests, 429)
	if a.header.Get("Retry-After") == "" {
		t.Error("429 without Retry-After")
	}
}

// The trial token is no guess, and is good for sending alone.
func TestAuthentication_TrialTokenElsewhereIsNoFailedLogin(t *testing.T) {
	r := newRig(t, rigOptions{auth: auth.ThrottleOptions{NetworkFailures: 1, Exempt: []netip.Prefix{}}})
	for _, token := range []string{"POSTMARK_API_TEST", " postmark_api_test "} {
		wantError(t, r.do("GET", "/server", "", "X-Postmark-Server-Token", token), http.StatusUnauthorized, 10, "valid Server token")
		wantError(t, r.do("GET", "/messages/outbound?count=1&offset=0", "", "X-Postmark-Server-Token", token), http.StatusUnauthorized, 10, "valid Server token")
		wantError(t, r.do("GET", "/servers?count=1&offset=0", "", "X-Postmark-Account-Token", token), http.StatusUnauthorized, 10, "valid Account token")
	}
	wantOK(t, r.as("GET", "/server", ""))
}

func TestManners_RoutesKeysAndEmptyBodies(t *testing.T) {
	r := newRig(t, rigOptions{})
	for _, path := range []string{"/email", "/EMAIL/", "/Email?x=1", "/email/?x"} {
		if a := r.as("POST", path, strings.ReplaceAll(strings.ToLower(simple), "x.example", "X.example")); a.status != http.StatusOK {
			t.Errorf("POST %s with keys in lower case: %d %s", path, a.status, a.raw)
		}
	}
	for _, body := range []string{"", "{}", "null", `""`, "''", " \n"} {
		wantError(t, r.as("POST", "/email", body), 422, 300)
	}
	for _, path := range []string{"/", "/nothing", "/email/x/y", "//email", "/email/../email"} {
		wantError(t, r.as("POST", path, ""), http.StatusNotFound, 615)
	}
	a := r.as("DELETE", "/email", "")
	wantError(t, a, http.StatusMethodNotAllowed, 615)
	if a.header.Get("Allow") != "POST" {
		t.Errorf("Allow %q", a.header.Get("Allow"))
	}
	wantError(t, r.as("POST", "/email?"+strings.Repeat("x", 9000), simple), http.StatusRequestURITooLong, 300)
}

func TestManners_Bodies(t *testing.T) {
	r := newRig(t, rigOptions{api: api.Options{MaxBody: 1000, MaxBatch: 2000}})
	long := `{"From":"` + strings.Repeat("x", 1000) + `"}`
	wantError(t, r.as("POST", "/email", long), http.StatusRequestEntityTooLarge, 300)
	for name, headers := range map[string][]string{
		"form": {"Content-Type", "application/x-www-form-urlencoded"}, "other charset": {"Content-Type", "application/json; charset=iso-8859-1"},
		"compressed": {"Content-Encoding", "gzip"}, "none": {"Content-Type", ""},
	} {
		t.Run(name, func(t *testing.T) {
			wantError(t, r.do("POST", "/email", simple, append(headers, "X-Postmark-Server-Token", r.server)...), http.StatusUnsupportedMediaType, 409)
		})
	}
	for name, body := range map[string]string{
		"syntax": `{"From":`, "trailing": simple + "{}", "not UTF-8": "{\"From\":\"\xff\"}", "twice": `{"To":"a@x.example","to":"b@x.example"}`,
		"deep": strings.Repeat("[", 40) + strings.Repeat("]", 40),
	} {
		t.Run(name, func(t *testing.T) { wantError(t, r.as("POST", "/email", body), 422, 402) })
	}
	wantError(t, r.as("POST", "/email", `{"From":1}`), 422, 403, "'From'")
	wantError(t, r.as("POST", "/email", `[]`), 422, 403)
	wantError(t, r.as("POST", "/email", `{"Metadata":["x"]}`), 422, 403)
}

func TestManners_ChunkedBodyOverTheLimit(t *testing.T) {
	r := newRig(t, rigOptions{api: api.Options{MaxBody: 1000, MaxBatch: 2000}})
	req, err := http.NewRequestWithContext(t.Context(), "POST", r.url+"/email", io.MultiReader(strings.NewReader(strings.Repeat(" ", 5000)), strings.NewReader(simple)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Postmark-Server-Token", r.server)
	resp, err := r.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestManners_SlowBodyIs408(t *testing.T) {
	r := newRig(t, rigOptions{api: api.Options{ReadTimeout: 50 * time.Millisecond}})
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /email HTTP/1.1\r\nHost: x\r\nX-Postmark-Server-Token: %s\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{", r.server)
	b, err := io.ReadAll(c)
	if err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 408 ") || !strings.Contains(string(b), `"ErrorCode":300`) {
		t.Errorf("%v %s", err, b)
	}
}

// reading opens a connection on which the server waits for a body of a batch, of
// so many octets, or of a number that is not told.
func (r *rig) reading(octets int) (conn net.Conn, status string) {
	r.t.Helper()
	return r.waiting("POST /email/batch", octets)
}

// waiting is reading of any request, with the server token.
func (r *rig) waiting(request string, octets int) (conn net.Conn, status string) {
	r.t.Helper()
	length := "Transfer-Encoding: chunked"
	if octets > 0 {
		length = fmt.Sprintf("Content-Length: %d", octets)
	}
	c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: x\r\nX-Postmark-Server-Token: %s\r\nExpect: 100-continue\r\n%s\r\n\r\n", request, r.server, length)
	b := make([]byte, len("HTTP/1.1 100"))
	if _, err := io.ReadFull(c, b); err != nil {
		r.t.Fatal(err)
	}
	return c, string(b[len("HTTP/1.1 "):])
}

func TestManners_LargeBodiesShareABudget(t *testing.T) {
	const large = 4 << 20 // takes all of the budget, which is made as large as one needs
	r := newRig(t, rigOptions{api: api.Options{MaxBatch: large, MaxBodies: 1}})
	first, status := r.reading(large)
	if status != "100" {
		t.Fatalf("the first one: %s", status)
	}
	if _, status := r.reading(large); status != "503" {
		t.Errorf("the second one: %s", status)
	}
	first.Close()
	until(t, func() bool { _, status := r.reading(large); return status == "100" })
	a := r.as("POST", "/email/batch", "["+strings.Repeat(" ", 1<<20)+"]")
	wantError(t, a, http.StatusServiceUnavailable, 100)
	if a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
}

// Who needs no token must not keep those from sending who have one.
func TestManners_OpenRoutesReadNoBody(t *testing.T) {
	const large = 4 << 20
	r := newRig(t, rigOptions{api: api.Options{MaxBody: large, MaxBatch: large, MaxBodies: 1}})
	for _, path := range []string{"/health", "/openapi.json"} {
		if _, status := r.waiting("GET "+path, large); status != "200" {
			t.Errorf("%s with a body that does not come: %s", path, status)
		}
	}
	if _, status := r.reading(large); status != "100" {
		t.Errorf("a body meanwhile: %s", status)
	}
}

func TestManners_OneServerLeavesSomeOfTheBudget(t *testing.T) {
	const part = 1 << 20 // takes a quarter of the budget
	r := newRig(t, rigOptions{api: api.Options{MaxBatch: part, MaxBodies: 16 * part}})
	r.change(store.Change{Server: &store.Server{ID: 9, Name: "Other", DeliveryType: store.Live}},
		store.Change{Stream: &store.Stream{Server: 9, ID: "outbound", Kind: store.Transactional, Mode: store.ModeLive}})
	other, _, err := auth.CreateServerToken(t.Context(), r.store, r.keyring, 9, "t", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for ; taken < 20; taken++ {
		if _, status := r.reading(part); status != "100" {
			break
		}
	}
	if a := r.do("POST", "/email", simple, "X-Postmark-Server-Token", other); a.status != http.StatusOK || taken < 3 {
		t.Errorf("after %d bodies of one server, another's: %d %s", taken, a.status, a.raw)
	}
}

// until waits for something that happens by itself.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it has not happened")
		}
	}
}

func TestManners_RefusalsOfIntake(t *testing.T) {
	for _, tt := range []struct {
		kind         intake.Kind
		status, code int
	}{
		{intake.KindRevoked, 401, 10}, {intake.KindSender, 422, 400}, {intake.KindRecipient, 422, 300}, {intake.KindStream, 422, 1236},
		{intake.KindSuppressed, 422, 406}, {intake.KindLineTooLong, 422, 300}, {intake.KindTooLarge, 413, 300},
		{intake.KindFull, 503, 100}, {intake.KindShuttingDown, 503, 100}, {intake.KindUnavailable, 500, 101},
	} {
		t.Run(fmt.Sprint(tt.kind), func(t *testing.T) {
			secret := fmt.Errorf("disk %s on fire", "/dev/sda")
			r := newRig(t, rigOptions{intake: refusing{&intake.Refusal{Kind: tt.kind, Reason: "the reason", Err: secret}}})
			a := r.as("POST", "/email", simple)
			wantError(t, a, tt.status, tt.code)
			if strings.Contains(a.raw, "sda") {
				t.Errorf("the answer tells the operator's part: %s", a.raw)
			}
			if a.status == 500 && !strings.Contains(a.text("Message"), a.header.Get("X-Request-Id")) {
				t.Errorf("500 without its id: %s", a.raw)
			}
		})
	}
}
