package message

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// dsnOf returns a complete notification about one failed recipient, to be varied.
func dsnOf(original string) DSN {
	return DSN{
		ReportingMTA: "relay.example",
		From:         Address{"MAILER-DAEMON", "relay.example"},
		To:           Address{"sender", "client.example"},
		MessageID:    "<0190-dsn@relay.example>",
		Date:         traceTime,
		QueueID:      "0190-abc",
		Arrival:      traceTime.Add(-time.Hour),
		Original:     strings.NewReader(strings.ReplaceAll(original, "\n", "\r\n")),
		Recipients: []DSNRecipient{{
			Final: Address{"nobody", "example.org"}, Action: ActionFailed, Status: "5.1.1", RemoteMTA: "mx.example.org",
			Diagnostic: "550-5.1.1 The mailbox does not exist.\n550 5.1.1 See https://example.org/help", LastAttempt: traceTime,
		}},
	}
}

const plainOriginal = "From: sender@client.example\nMessage-ID: <m1@client.example>\nSubject: hello\n\nThe body.\n"

func goldenDSNs() map[string]DSN {
	delayed := dsnOf(plainOriginal)
	delayed.Recipients[0] = DSNRecipient{
		Final: Address{"slow", "example.org"}, Original: "rfc822;list@example.org", Action: ActionDelayed, Status: "4.4.1",
		Diagnostic: "connection to mx.example.org timed out", LastAttempt: traceTime, WillRetryUntil: traceTime.Add(96 * time.Hour),
	}
	full := dsnOf(plainOriginal)
	full.Full, full.EnvID = true, "QQ314159"
	relayed := dsnOf(plainOriginal)
	relayed.Recipients[0].Action, relayed.Recipients[0].Status = ActionRelayed, ""
	relayed.Recipients[0].Diagnostic = "250 ok"
	mixed := dsnOf(plainOriginal)
	mixed.Recipients = append(mixed.Recipients,
		DSNRecipient{Final: Address{"a b", "example.org"}, Action: ActionDelivered, Status: "2.1.5", RemoteMTA: "mx.example.org", Diagnostic: "250 2.1.5 ok"},
		DSNRecipient{Final: Address{"full", "example.net"}, Action: ActionFailed, Status: "5.2.2", RemoteMTA: "mx.example.net", Diagnostic: "552 5.2.2 Postfach voll: für immer"})
	utf8Recipient := dsnOf("From: sender@client.example\nSubject: hällo\n\nThe body.\n")
	utf8Recipient.Recipients[0].Final = Address{"jürgen+x", "bücher.example"}
	utf8Sender := dsnOf("From: sändra@client.example\nSubject: hällo\n\nThe body.\n")
	utf8Sender.To = Address{"sändra", "client.example"}
	utf8Sender.Recipients[0].Final = Address{"jürgen", "bücher.example"}
	utf8Sender.Recipients[0].Original = "utf-8;jürgen+x@bücher.example"
	eightBit := dsnOf("From: sender@client.example\n\nDer Körper.\n")
	eightBit.Full = true
	return map[string]DSN{"failed": dsnOf(plainOriginal), "delayed": delayed, "full": full, "relayed": relayed, "mixed": mixed,
		"utf8-recipient": utf8Recipient, "utf8-sender": utf8Sender, "8bit-full": eightBit}
}

func TestDSNGolden(t *testing.T) {
	for name, d := range goldenDSNs() {
		t.Run(name, func(t *testing.T) {
			got, err := d.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			checkReport(t, d, got)
			file := filepath.Join("testdata", "dsn", name+".eml")
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// report is a notification as a stranger reads it.
type report struct {
	header mail.Header
	types  []string
	parts  []string // decoded
	fields []textproto.MIMEHeader
}

// parseReport reads a notification with the standard library alone.
func parseReport(t *testing.T, raw []byte) report {
	t.Helper()
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
	mediaType, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || mediaType != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("type %s %v, %v", mediaType, params, err)
	}
	r := report{header: m.Header}
	mr := multipart.NewReader(m.Body, params["boundary"])
	for {
		p, err := mr.NextRawPart()
		if err == io.EOF {
			return r
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		partType, _, err := mime.ParseMediaType(p.Header.Get("Content-Type"))
		if err != nil {
			t.Fatal(err)
		}
		r.types, r.parts = append(r.types, partType), append(r.parts, string(body))
		if strings.HasSuffix(partType, "delivery-status") {
			r.fields = statusFields(t, string(body))
		}
	}
}

func statusFields(t *testing.T, body string) []textproto.MIMEHeader {
	t.Helper()
	var groups []textproto.MIMEHeader
	for group := range strings.SplitSeq(body, "\r\n\r\n") {
		h, err := textproto.NewReader(bufio.NewReader(strings.NewReader(group + "\r\n\r\n"))).ReadMIMEHeader()
		if err != nil {
			t.Fatalf("%v in %q", err, group)
		}
		groups = append(groups, h)
	}
	return groups
}

// checkReport checks what must be true of every notification.
func checkReport(t *testing.T, d DSN, raw []byte) {
	t.Helper()
	canonical, err := readIn(NewCanonical(bytes.NewReader(raw), CanonicalOptions{}), 512)
	if err != nil || !bytes.Equal(canonical, raw) {
		t.Fatalf("not canonical: %v", err)
	}
	h, body, err := ReadHeader(bytes.NewReader(raw), HeaderLimits{UTF8: d.UTF8()})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.CheckSingletons(); err != nil {
		t.Error(err)
	}
	if h.Get("Auto-Submitted") != "auto-replied" || h.Get("Message-ID") != d.MessageID {
		t.Errorf("header %q", h.Bytes())
	}
	if rest, err := io.ReadAll(body); err != nil || hasHigh(rest) != (h.Get("Content-Transfer-Encoding") == "8bit") {
		t.Errorf("declared as %s, %v", h.Get("Content-Transfer-Encoding"), err)
	}
	r := parseReport(t, raw)
	if len(r.fields) != 1+len(d.Recipients) {
		t.Errorf("%d groups of fields for %d recipients", len(r.fields), len(d.Recipients))
	}
	for _, f := range r.fields[1:] {
		for _, name := range []string{"Final-Recipient", "Action", "Status"} {
			if len(f[name]) != 1 {
				t.Errorf("%s: %q", name, f[name])
			}
		}
	}
}

func TestDSNReturnsWhatIsAsked(t *testing.T) {
	head := "From: a@example.org\r\nX-Long: " + strings.Repeat("v", 900) + "\r\n"
	bigBody := strings.Repeat(strings.Repeat("b", 76)+"\r\n", 1000)
	bigHead := strings.Repeat("X: "+strings.Repeat("v", 95)+"\r\n", 900)
	tests := []struct {
		name, in, partType, want string
		full, cut                bool
	}{
		{name: "header", in: head + "\r\nbody\r\n", partType: "text/rfc822-headers", want: head},
		{name: "header without body", in: head, partType: "text/rfc822-headers", want: head},
		{name: "header of a large message", in: head + "\r\n" + bigBody, partType: "text/rfc822-headers", want: head},
		{name: "header over the limit", in: bigHead + "\r\nbody\r\n", partType: "text/rfc822-headers", want: bigHead[:49_900+100], cut: true},
		{name: "no header", in: "\r\nbody\r\n", partType: "text/rfc822-headers", want: ""},
		{name: "full", in: head + "\r\nbody\r\n", full: true, partType: "message/rfc822", want: head + "\r\nbody\r\n"},
		{name: "full over the limit", in: head + "\r\n" + bigBody, full: true, cut: true, partType: "message/rfc822", want: (head + "\r\n" + bigBody)[:len(head)+2+78*((50_000-len(head)-2)/78)]},
		{name: "global header", in: "Subject: ä\r\n\r\nbody\r\n", partType: "message/global-headers", want: "U3ViamVjdDogw6QNCg==\r\n"},
		{name: "global", in: "Subject: ä\r\n\r\nb\r\n", full: true, partType: "message/global", want: "U3ViamVjdDogw6QNCg0KYg0K\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := dsnOf("")
			d.Original, d.Full = strings.NewReader(tt.in), tt.full
			raw, err := d.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			checkReport(t, d, raw)
			r := parseReport(t, raw)
			if len(r.parts) != 3 || r.types[2] != tt.partType || r.parts[2] != tt.want {
				t.Fatalf("types %q, %d octets returned, want %d of %s", r.types, len(r.parts[len(r.parts)-1]), len(tt.want), tt.partType)
			}
			if cut := strings.Contains(r.parts[0], "is attached of your message ends after"); cut != tt.cut {
				t.Errorf("told that it was cut: %v", cut)
			}
		})
	}
}

func TestDSNWithoutOriginal(t *testing.T) {
	d := dsnOf("")
	d.Original = nil
	raw, err := d.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, d, raw)
	if r := parseReport(t, raw); len(r.parts) != 2 {
		t.Errorf("%d parts", len(r.parts))
	}
}

func TestDSNReadsNoMoreThanItReturns(t *testing.T) {
	d := dsnOf("")
	src := &countingReader{r: io.MultiReader(strings.NewReader("From: a@example.org\r\n\r\n"), endless{})}
	d.Original = src
	if _, err := d.Bytes(); err != nil || src.n > 2*maxOriginal {
		t.Fatalf("read %d octets, %v", src.n, err)
	}
}

type countingReader struct {
	r io.Reader
	n int
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += n
	return n, err
}

// endless is a body without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, "endless\r\n"), nil }

func TestDSNHostileWords(t *testing.T) {
	d := dsnOf("From: a@example.org\nMessage-ID: <x> <y>\n\n")
	d.ReportingMTA = "relay\r\nBcc: x"
	d.EnvID = "e\r\nAction: delivered\x00"
	d.QueueID = "q\r\n\r\n.\r\n"
	boundary := d.boundary(nil)
	d.Recipients[0] = DSNRecipient{
		Final: Address{"a>\"b", "example.org"}, Original: "rf c;x\r\nAction: delivered", Action: "exploded", Status: "5.1.1\r\nX: y",
		RemoteMTA:  "mx\r\n\r\nFinal-Recipient: rfc822; other@example.org",
		Diagnostic: "550 a\x00\x1b[31m\u202eb\rAction: delivered\r\n\r\n--" + boundary + "--\r\n.\r\n\xff " + strings.Repeat("w", 5000) + strings.Repeat("\nline", 100),
	}
	raw, err := d.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	checkReport(t, d, raw)
	r := parseReport(t, raw)
	if len(r.parts) != 3 || len(r.header["Bcc"]) > 0 || r.fields[1].Get("Action") != "failed" || r.fields[1].Get("Status") != "5.0.0" {
		t.Fatalf("%d parts, header %v, fields %v", len(r.parts), r.header, r.fields)
	}
	if len(r.header["In-Reply-To"]) > 0 {
		t.Error("an invalid Message-ID was repeated")
	}
	if hasHigh(raw) || bytes.ContainsAny(raw, "\x00\x1b") {
		t.Error("control or 8-bit characters came through")
	}
	if len(raw) > 10_000 {
		t.Errorf("%d octets", len(raw))
	}
}

func TestDSNIncomplete(t *testing.T) {
	broken := errors.New("disk gone")
	tests := []struct {
		name   string
		change func(*DSN)
	}{
		{"no recipient", func(d *DSN) { d.Recipients = nil }},
		{"null sender", func(d *DSN) { d.To = Address{} }},
		{"no From", func(d *DSN) { d.From = Address{} }},
		{"no Message-ID", func(d *DSN) { d.MessageID = "" }},
		{"bad Message-ID", func(d *DSN) { d.MessageID = "<a@b>\r\nBcc: <x@y>" }},
		{"line end in an address", func(d *DSN) { d.To.Local = "a\r\nBcc: b" }},
		{"original unreadable", func(d *DSN) { d.Original = failing{broken} }},
		{"original not canonical", func(d *DSN) { d.Original = strings.NewReader("a\rb") }},
	}
	for _, tt := range tests {
		d := dsnOf(plainOriginal)
		tt.change(&d)
		var out bytes.Buffer
		if n, err := d.WriteTo(&out); err == nil || n != 0 || out.Len() != 0 {
			t.Errorf("%s: wrote %d octets, %v", tt.name, out.Len(), err)
		}
	}
}

func TestStatusCode(t *testing.T) {
	for status, want := range map[string]string{
		"5.1.1": "5.1.1", "4.7.100": "4.7.100", "2.0.0": "2.0.0", "": "5.0.0", "3.1.1": "5.0.0", "5.1": "5.0.0", "5.1.": "5.0.0",
		"5..1": "5.0.0", "5.1.1.1": "5.0.0", "5.1.1000": "5.0.0", "5.1.1 ": "5.0.0", "550": "5.0.0",
	} {
		if got := (DSNRecipient{Action: ActionFailed, Status: status}).status(); got != want {
			t.Errorf("%q: %s, want %s", status, got, want)
		}
	}
	if got := (DSNRecipient{Action: ActionDelayed}).status(); got != "4.0.0" {
		t.Errorf("delayed: %s", got)
	}
}

func TestDSNWriteTo(t *testing.T) {
	want, err := dsnOf(plainOriginal).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if n, err := dsnOf(plainOriginal).WriteTo(&out); err != nil || n != int64(len(want)) || !bytes.Equal(out.Bytes(), want) {
		t.Errorf("wrote %d octets, %v", n, err)
	}
	broken := errors.New("disk full")
	if _, err := dsnOf(plainOriginal).WriteTo(failingWriter{broken}); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func TestDSNSubject(t *testing.T) {
	for _, tt := range []struct {
		actions []Action
		want    string
	}{
		{[]Action{ActionDelivered, ActionFailed, ActionDelayed}, "Undelivered mail returned to sender"},
		{[]Action{ActionRelayed, ActionDelayed}, "Delivery of your mail is delayed"},
		{[]Action{ActionDelivered}, "Your mail was delivered"},
		{[]Action{ActionExpanded, ActionRelayed}, "Your mail was passed on"},
		{[]Action{ActionExpanded}, "Your mail was delivered to a list"},
		{[]Action{"nonsense"}, "Undelivered mail returned to sender"},
	} {
		var d DSN
		for _, a := range tt.actions {
			d.Recipients = append(d.Recipients, DSNRecipient{Action: a})
		}
		if got := d.subject(); got != tt.want {
			t.Errorf("%v: %q", tt.actions, got)
		}
	}
}

func TestMeaning(t *testing.T) {
	for status, want := range map[string]string{
		"5.1.1": "mailbox", "5.1.10": "domain", "4.2.1": "disabled", "5.2.2": "full", "5.3.4": "large", "4.4.1": "reached", "4.4.5": "overloaded",
		"4.4.7": "time", "5.6.7": "ASCII", "4.7.5": "cryptographic", "5.7.10": "encryption", "5.7.30": "encryption", "5.7.1": "refused", "4.7.0": "refused", "2.7.0": "", "5.0.0": "", "5.1.11": "",
	} {
		if got := meaning(status); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%s: %q", status, got)
		}
	}
}

func TestCleanLines(t *testing.T) {
	long := strings.Repeat("x", 499) + "é"
	tests := []struct {
		in   string
		want []string
	}{
		{"", nil},
		{" \r\n\t\n", nil},
		{"a\tb\x00c\u0085d\r\n\r\ne", []string{"a b c d", "e"}},
		{"a\u202eb\u2066c\ufeff", []string{"abc"}},
		{"\xff\xfe ok", []string{"? ok"}},
		{long, []string{long[:499]}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, cleanLines(tt.in)); diff != "" {
			t.Errorf("%q: %s", tt.in, diff)
		}
	}
	if got := cleanLines(strings.Repeat("x\n", 30)); len(got) != 21 || got[20] != "[...]" {
		t.Errorf("30 lines became %q", got)
	}
}

func FuzzDSN(f *testing.F) {
	f.Add("550 5.1.1 no", "mx.example.org", "rfc822;a@example.org", "5.1.1", "a", "From: a@example.org\r\n\r\nbody\r\n", false)
	f.Add("a\r\n\r\n--x\x00ä", "é", "utf-8;ä@b", "x", "ä", "Subject: ä\r\n\r\nä\r\n", true)
	f.Fuzz(func(t *testing.T, diagnostic, remote, orig, status, local, content string, full bool) {
		final, err := PathOptions{UTF8: true, Unquoted: true}.Parse(local + "@example.org")
		if err != nil {
			final = Address{"a", "example.org"}
		}
		d := dsnOf("")
		d.Original, d.Full = strings.NewReader(content), full
		d.Recipients[0] = DSNRecipient{Final: final, Original: orig, Status: status, RemoteMTA: remote, Diagnostic: diagnostic}
		if full {
			d.To = final
		}
		raw, err := d.Bytes()
		if err != nil {
			if _, cerr := readIn(NewCanonical(strings.NewReader(content), CanonicalOptions{MaxLine: -1}), 512); cerr == nil {
				t.Fatalf("%q: %v", content, err)
			}
			return
		}
		if r := parseReport(t, raw); len(r.parts) != 3 || len(r.fields) != 2 || len(r.fields[1]["Action"]) != 1 {
			t.Fatalf("%q", raw)
		}
	})
}
