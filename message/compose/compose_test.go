package compose_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/compose"
)

// leaf is a part of a message as the standard library reads it.
type leaf struct {
	Path, Type, Disposition, Name, ContentID, Body string
}

func leaves(t rapid.TB, h map[string][]string, body io.Reader, at string) []leaf {
	t.Helper()
	get := func(name string) string {
		if v := h[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	mediaType, params, err := mime.ParseMediaType(get("Content-Type"))
	if err != nil {
		t.Fatalf("Content-Type %q: %v", get("Content-Type"), err)
	}
	at = strings.TrimPrefix(at+"/"+strings.TrimPrefix(mediaType, "multipart/"), "/")
	if strings.HasPrefix(mediaType, "multipart/") {
		var out []leaf
		r := multipart.NewReader(body, params["boundary"])
		for {
			p, err := r.NextRawPart()
			if err == io.EOF {
				return out
			}
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, leaves(t, p.Header, p, at)...)
		}
	}
	switch get("Content-Transfer-Encoding") {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	}
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	disposition, names, _ := mime.ParseMediaType(get("Content-Disposition"))
	return []leaf{{at, get("Content-Type"), disposition, names["filename"], strings.Trim(get("Content-Id"), "<>"), string(b)}}
}

func read(t rapid.TB, l compose.Letter) (*mail.Message, []byte, []leaf) {
	t.Helper()
	var b bytes.Buffer
	n, err := l.WriteTo(&b)
	if err != nil || n != int64(b.Len()) {
		t.Fatalf("WriteTo = %d, %v; wrote %d", n, err, b.Len())
	}
	m, err := mail.ReadMessage(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatalf("%v in\n%s", err, b.Bytes())
	}
	return m, b.Bytes(), leaves(t, m.Header, m.Body, "")
}

func box(name, local, domain string) message.Mailbox {
	return message.Mailbox{Name: name, Address: message.Address{Local: local, Domain: domain}}
}

func TestLetter_Structure(t *testing.T) {
	pdf := compose.Attachment{Name: "a.pdf", ContentType: "application/pdf", Content: []byte("pdf")}
	logo := compose.Attachment{Name: "logo.png", ContentType: "image/png", ContentID: "logo", Content: []byte("png")}
	for _, tt := range []struct {
		name       string
		text, html string
		files      []compose.Attachment
		want       []string
	}{
		{"text", "t", "", nil, []string{"text/plain"}},
		{"html", "", "h", nil, []string{"text/html"}},
		{"both", "t", "h", nil, []string{"alternative/text/plain", "alternative/text/html"}},
		{"text and file", "t", "", []compose.Attachment{pdf}, []string{"mixed/text/plain", "mixed/application/pdf"}},
		{"inline image", "", "h", []compose.Attachment{logo}, []string{"related/text/html", "related/image/png"}},
		{"image without HTML", "t", "", []compose.Attachment{logo}, []string{"mixed/text/plain", "mixed/image/png"}},
		{"all", "t", "h", []compose.Attachment{pdf, logo}, []string{"mixed/alternative/text/plain", "mixed/alternative/related/text/html", "mixed/alternative/related/image/png", "mixed/application/pdf"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, raw, parts := read(t, compose.Letter{From: box("", "a", "x.example"), Text: tt.text, HTML: tt.html, Attachments: tt.files})
			var got []string
			for _, p := range parts {
				got = append(got, p.Path)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("parts (-want +got):\n%s\n%s", diff, raw)
			}
		})
	}
}

func TestLetter_AttachmentTypes(t *testing.T) {
	for in, want := range map[string]string{
		"":                             "application/octet-stream; name=f",
		"nonsense":                     "application/octet-stream; name=f",
		"message/rfc822":               "application/octet-stream; name=f",
		"multipart/mixed; boundary=x":  "application/octet-stream; name=f",
		"text/csv; charset=iso-8859-1": "text/csv; charset=iso-8859-1; name=f",
	} {
		_, _, parts := read(t, compose.Letter{From: box("", "a", "x.example"), Text: "t", Attachments: []compose.Attachment{{Name: "f", ContentType: in, Content: []byte{0xe9, 0}}}})
		if got := parts[1]; got.Type != want || got.Body != "\xe9\x00" {
			t.Errorf("%q: type %q, body %q; want %q and the octets", in, got.Type, got.Body, want)
		}
	}
}

func TestLetter_UTF8OnlyForLocalParts(t *testing.T) {
	ascii := compose.Letter{From: box("Jürgen", "j", "x.example"), Subject: "Grüße", Text: "ü"}
	if ascii.UTF8() {
		t.Error("a display name makes a message need SMTPUTF8")
	}
	ascii.Cc = []message.Mailbox{box("", "jürgen", "x.example")}
	if !ascii.UTF8() {
		t.Error("a local part does not make a message need SMTPUTF8")
	}
}

// line is text without control characters.
func line(most int) *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringOfN(rapid.RuneFrom([]rune("ab ,\"=?_<>@\\()ü語😀")), 0, most, -1),
		rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"=?utf-8?q?x?=", "   ", strings.Repeat("x", 200), "!", "a b", "=?"}), 0, most/20), func(s []string) string { return strings.Join(s, "") }))
}

func mailbox() *rapid.Generator[message.Mailbox] {
	return rapid.Custom(func(t *rapid.T) message.Mailbox {
		local := rapid.SampledFrom([]string{"a", "a.b+c", "odd local", `q"\`, "a@b", "ü"}).Draw(t, "local")
		return box(line(100).Draw(t, "name"), local, rapid.SampledFrom([]string{"x.example", "xn--bcher-kva.example", "[192.0.2.1]"}).Draw(t, "domain"))
	})
}

func letters() *rapid.Generator[compose.Letter] {
	return rapid.Custom(func(t *rapid.T) compose.Letter {
		l := compose.Letter{
			From: mailbox().Draw(t, "from"), To: rapid.SliceOfN(mailbox(), 0, 5).Draw(t, "to"), Cc: rapid.SliceOfN(mailbox(), 0, 3).Draw(t, "cc"),
			ReplyTo: rapid.SliceOfN(mailbox(), 0, 2).Draw(t, "reply-to"), Subject: line(400).Draw(t, "subject"),
			Text: rapid.OneOf(line(3000), rapid.String()).Draw(t, "text"), HTML: rapid.OneOf(line(3000), rapid.String()).Draw(t, "html"),
		}
		if l.Text == "" && l.HTML == "" {
			l.Text = "."
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "files") {
			id := rapid.SampledFrom([]string{"", "logo@x"}).Draw(t, "id")
			l.Attachments = append(l.Attachments, compose.Attachment{
				Name: fmt.Sprint(i) + squeeze(rapid.StringOfN(rapid.RuneFrom([]rune("ab .;\"=%'ü語")), 0, 60, 200).Draw(t, "file name")), ContentType: "image/png", ContentID: id,
				Content: rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "content"),
			})
		}
		return l
	})
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }

// ends makes all line ends alike and forgets the last ones: the encoding of a
// body may add one.
func ends(s string) string {
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	return strings.TrimRight(s, "\n")
}

func people(t rapid.TB, m *mail.Message, name string) (out []message.Mailbox) {
	t.Helper()
	if m.Header.Get(name) == "" {
		return nil
	}
	list, err := m.Header.AddressList(name)
	if err != nil {
		t.Fatalf("%s %q: %v", name, m.Header.Get(name), err)
	}
	for _, a := range list {
		at := strings.LastIndexByte(a.Address, '@')
		out = append(out, box(a.Name, a.Address[:at], a.Address[at+1:]))
	}
	return out
}

func squeezed(list []message.Mailbox) (out []message.Mailbox) {
	for _, m := range list {
		out = append(out, message.Mailbox{Name: squeeze(m.Name), Address: m.Address})
	}
	return out
}

// What is put in can be read out again, by a reader that shares no code with
// the writer, and the octets pass every rule that intake has.
func TestLetter_SaysWhatItWasTold(t *testing.T) { rapid.Check(t, saysWhatItWasTold) }

func FuzzLetter(f *testing.F) { f.Fuzz(rapid.MakeFuzz(saysWhatItWasTold)) }

func saysWhatItWasTold(t *rapid.T) {
	l := letters().Draw(t, "letter")
	m, raw, parts := read(t, l)
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != l.Subject {
		t.Fatalf("subject %q (%v), want %q in\n%s", subject, err, l.Subject, raw)
	}
	for name, want := range map[string][]message.Mailbox{"From": {l.From}, "To": l.To, "Cc": l.Cc, "Reply-To": l.ReplyTo} {
		if diff := cmp.Diff(squeezed(want), people(t, m, name)); diff != "" {
			t.Fatalf("%s (-want +got):\n%s\n%s", name, diff, raw)
		}
	}
	checkParts(t, l, parts)
	checkOctets(t, l, raw)
	content, err := compose.ReadContent(bytes.NewReader(raw))
	if err != nil || ends(content.Text) != ends(l.Text) || ends(content.HTML) != ends(l.HTML) || len(content.Attachments) != len(l.Attachments) {
		t.Fatalf("ReadContent = %+v, %v", content, err)
	}
	if names := fileNames(t, raw); !slices.Equal(names, content.Attachments) {
		t.Fatalf("FileNames = %q, ReadContent %q in\n%s", names, content.Attachments, raw)
	}
}

func fileNames(t rapid.TB, raw []byte) []string {
	t.Helper()
	h, body, err := message.ReadHeader(bytes.NewReader(raw), message.HeaderLimits{UTF8: true})
	if err != nil {
		t.Fatal(err)
	}
	n := message.NewFileNames(h)
	if n == nil {
		return nil
	}
	if _, err := io.Copy(n, body); err != nil {
		t.Fatal(err)
	}
	return n.Names()
}

func checkParts(t *rapid.T, l compose.Letter, parts []leaf) {
	var files []compose.Attachment
	for _, p := range parts {
		switch {
		case p.Disposition != "":
			files = append(files, compose.Attachment{Name: p.Name, ContentType: "image/png", ContentID: p.ContentID, Content: []byte(p.Body)})
		case strings.HasPrefix(p.Type, "text/plain") && ends(p.Body) != ends(l.Text),
			strings.HasPrefix(p.Type, "text/html") && ends(p.Body) != ends(l.HTML):
			t.Fatalf("body %q of %+v", p.Body, l)
		}
	}
	want := map[string]compose.Attachment{}
	for _, a := range l.Attachments {
		want[a.Name] = a
	}
	for _, f := range files {
		if a, ok := want[f.Name]; !ok || !bytes.Equal(a.Content, f.Content) || a.ContentID != f.ContentID {
			t.Fatalf("attachment %+v, want %+v", f, a)
		}
	}
	if len(files) != len(l.Attachments) {
		t.Fatalf("%d attachments, want %d", len(files), len(l.Attachments))
	}
}

func checkOctets(t *rapid.T, l compose.Letter, raw []byte) {
	c := message.NewCanonical(bytes.NewReader(raw), message.CanonicalOptions{RejectBareLF: true})
	h, body, err := message.ReadHeader(c, message.HeaderLimits{UTF8: l.UTF8()})
	if err != nil {
		t.Fatalf("header: %v in\n%s", err, raw)
	}
	if err := h.CheckSingletons(); err != nil {
		t.Fatalf("header: %v in\n%s", err, raw)
	}
	if _, err := io.Copy(io.Discard, body); err != nil {
		t.Fatalf("body: %v in\n%s", err, raw)
	}
}

func TestCheckField(t *testing.T) {
	for _, tt := range []struct {
		field compose.Field
		ok    bool
	}{
		{compose.Field{Name: "X-Own", Value: "välue with\ttab"}, true},
		{compose.Field{Name: "References", Value: strings.Repeat("<a@b.example> ", 200)}, true},
		{compose.Field{Name: "", Value: "x"}, false},
		{compose.Field{Name: "A B", Value: "x"}, false},
		{compose.Field{Name: "A:", Value: "x"}, false},
		{compose.Field{Name: "Ü", Value: "x"}, false},
		{compose.Field{Name: "bCC", Value: "x"}, false},
		{compose.Field{Name: "Content-Type", Value: "x"}, false},
		{compose.Field{Name: "X", Value: "a\r\nBcc: b"}, false},
		{compose.Field{Name: "X", Value: "a\x00"}, false},
		{compose.Field{Name: "X", Value: strings.Repeat("x", 1000)}, false},
	} {
		if err := compose.CheckField(tt.field); (err == nil) != tt.ok {
			t.Errorf("CheckField(%.40q) = %v, want ok %v", tt.field, err, tt.ok)
		}
	}
}

// TestReadContent_LooksNoDeeper: each level takes memory, and the time of all that is below it.
func TestReadContent_LooksNoDeeper(t *testing.T) {
	for depth, want := range map[int]string{1: "hello", 20: "hello", 21: "", 5000: ""} {
		var b strings.Builder
		b.WriteString("Content-Type: multipart/mixed; boundary=00001\r\n")
		for level := 1; level < depth; level++ {
			fmt.Fprintf(&b, "\r\n--%05d\r\nContent-Type: multipart/mixed; boundary=%05d\r\n", level, level+1)
		}
		fmt.Fprintf(&b, "\r\n--%05d\r\n\r\nhello\r\n--%05d--\r\n", depth, depth)
		if c, err := compose.ReadContent(strings.NewReader(b.String())); err != nil || c.Text != want {
			t.Errorf("%d levels: %q, %v, want %q", depth, c.Text, err, want)
		}
	}
}

func TestReadContent_CountsParts(t *testing.T) {
	const many = 5000
	raw := "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\nContent-Type: text/plain; name=a\r\n\r\n", many) + "--b--\r\n"
	if c, err := compose.ReadContent(strings.NewReader(raw)); err != nil || len(c.Attachments) != 1000 {
		t.Errorf("%d of %d parts, %v, want 1000", len(c.Attachments), many, err)
	}
}

func FuzzReadContent(f *testing.F) {
	f.Add([]byte("Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html; charset=iso-8859-1\r\n\r\n\xe9\r\n--x--\r\n"))
	f.Add([]byte("Subject: x\r\n\r\ny"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := compose.ReadContent(bytes.NewReader(b)); err != nil {
			t.Errorf("error %v without one of the reader", err)
		}
	})
}
