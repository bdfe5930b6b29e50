package api

import (
	"crypto/tls"
	"mime"
	"net/mail"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/mailchute/mailchute/message"
	"github.com/mailchute/mailchute/message/compose"
)

// Limits of a message. Subject and From count UTF-16 units, as the clients'
// languages do.
const (
	maxRecipients    = 50
	maxFrom          = 255
	maxSubject       = 2000
	maxTag           = 1000
	maxBodyText      = 5 << 20
	maxMetadata      = 10
	maxMetadataKey   = 20
	maxMetadataValue = 80
	maxHeaders       = 500
	maxHeaderOctets  = 100 << 10 // of one list of addresses, and of all values of Headers: more than that is no header
	maxFileName      = 255       // octets: encoded it must fit one line
	maxContentID     = 200
	defaultStream    = "outbound"
)

// prepared is a message that has passed every check which needs no directory.
type prepared struct {
	letter     compose.Letter
	recipients []message.Address
	utf8       bool
	stream     string // where it goes
	controls   message.Controls
}

func (c *call) prepare(req emailRequest) (prepared, *Error) {
	p := prepared{letter: compose.Letter{Subject: req.Subject, Text: req.TextBody, HTML: req.HTMLBody}}
	for _, step := range []func(*prepared, emailRequest) *Error{c.people, texts, fields, controls, attachments} {
		if e := step(&p, req); e != nil {
			return prepared{}, e
		}
	}
	p.utf8 = p.letter.UTF8() || slices.ContainsFunc(p.recipients, func(a message.Address) bool { return !a.ASCII() })
	return p, nil
}

func (c *call) people(p *prepared, req emailRequest) *Error {
	from, ok := c.mailboxes(req.From)
	if !ok || len(from) != 1 || units(req.From) > maxFrom {
		return refuse(CodeInvalidEmail, "Invalid 'From' address: '%s'.", shortened(req.From))
	}
	p.letter.From = from[0]
	if p.letter.ReplyTo, ok = c.mailboxes(req.ReplyTo); !ok {
		return refuse(CodeInvalidEmail, "Invalid 'ReplyTo' address: '%s'.", shortened(req.ReplyTo))
	}
	var bcc []message.Mailbox
	for _, f := range []struct {
		name, value string
		into        *[]message.Mailbox
	}{{"To", req.To, &p.letter.To}, {"Cc", req.Cc, &p.letter.Cc}, {"Bcc", req.Bcc, &bcc}} {
		if *f.into, ok = c.mailboxes(f.value); !ok {
			return refuse(CodeInvalidEmail, "Invalid '%s' address: '%s'.", f.name, shortened(f.value))
		}
		for _, m := range *f.into {
			if m.Address.PrivateLiteral() && !c.opts.AllowPrivateLiterals {
				return refuse(CodeInvalidEmail, "Invalid '%s' address: '%s'.", f.name, m.Address)
			}
			p.recipients = append(p.recipients, m.Address)
		}
	}
	switch {
	case len(p.recipients) == 0:
		return refuse(CodeInvalidEmail, "Zero recipients specified")
	case len(p.recipients) > maxRecipients:
		return refuse(CodeInvalidEmail, "A message has at most %d recipients in To, Cc and Bcc; this one has %d.", maxRecipients, len(p.recipients))
	}
	return nil
}

// mailboxes parses a comma list of addresses. Domains that are not ASCII become
// A-labels, so that only a local part can make a message need SMTPUTF8.
func (c *call) mailboxes(list string) ([]message.Mailbox, bool) {
	if strings.TrimSpace(list) == "" {
		return nil, true
	}
	if len(list) > maxHeaderOctets || hasControl(list) {
		return nil, false
	}
	parsed, err := mail.ParseAddressList(list)
	if err != nil {
		return nil, false
	}
	var out []message.Mailbox
	for _, a := range parsed {
		address, err := message.FromUnquoted(a.Address, true)
		if err != nil || hasControl(a.Name) || len(a.Name) > maxSubject {
			return nil, false
		}
		if domain, err := message.Destination(address); err != nil {
			return nil, false
		} else if !isASCII(address.Domain) {
			address.Domain = domain
		}
		out = append(out, message.Mailbox{Name: a.Name, Address: address})
	}
	return out, true
}

func texts(_ *prepared, req emailRequest) *Error {
	switch {
	case req.TextBody == "" && req.HTMLBody == "":
		return refuse(CodeInvalidEmail, "Provide either email TextBody or HtmlBody or both.")
	case len(req.TextBody) > maxBodyText:
		return refuse(CodeInvalidEmail, "The TextBody is larger than %d octets.", maxBodyText)
	case len(req.HTMLBody) > maxBodyText:
		return refuse(CodeInvalidEmail, "The HtmlBody is larger than %d octets.", maxBodyText)
	case units(req.Subject) > maxSubject:
		return refuse(CodeInvalidEmail, "The Subject is longer than %d characters.", maxSubject)
	case hasControl(req.Subject):
		return refuse(CodeInvalidEmail, "The Subject has a line break or another control character.")
	}
	return nil
}

func fields(p *prepared, req emailRequest) *Error {
	if len(req.Headers) > maxHeaders {
		return refuse(CodeInvalidEmail, "A message has at most %d headers of its own; this one has %d.", maxHeaders, len(req.Headers))
	}
	octets := 0
	for _, h := range req.Headers {
		f := compose.Field(h)
		if octets += len(f.Value); octets > maxHeaderOctets {
			return refuse(CodeInvalidEmail, "The values of all headers have more than %d octets.", maxHeaderOctets)
		}
		if err := compose.CheckField(f); err != nil {
			return refuse(CodeInvalidEmail, "Invalid header: %v.", err)
		}
		switch {
		case strings.EqualFold(f.Name, "Reply-To") && len(p.letter.ReplyTo) > 0:
			return refuse(CodeInvalidEmail, "Invalid header: 'Reply-To' is given in ReplyTo as well.")
		case strings.EqualFold(f.Name, "X-PM-Message-Stream"):
			p.stream = strings.TrimSpace(f.Value)
		}
		p.letter.Fields = append(p.letter.Fields, f)
	}
	return nil
}

func controls(p *prepared, req emailRequest) *Error {
	if len(req.Tag) > 0 && (units(req.Tag) > maxTag || hasControl(req.Tag)) {
		return refuse(CodeInvalidEmail, "The Tag is longer than %d characters or has a control character.", maxTag)
	}
	links, ok := trackLinks(req.TrackLinks)
	if !ok {
		return refuse(CodeInvalidEmail, "Invalid TrackLinks: use None, HtmlAndText, HtmlOnly or TextOnly.")
	}
	if req.MessageStream != "" {
		if p.stream != "" && p.stream != req.MessageStream {
			return refuse(CodeInvalidEmail, "MessageStream and the header 'X-PM-Message-Stream' name different streams.")
		}
		p.stream = req.MessageStream
	}
	if p.stream == "" {
		p.stream = defaultStream
	}
	p.controls = message.Controls{Stream: p.stream, Tag: req.Tag, TrackOpens: req.TrackOpens, TrackLinks: links}
	return metadataOf(p, req.Metadata)
}

func metadataOf(p *prepared, m metadata) *Error {
	seen := map[string]bool{}
	for key, value := range m {
		folded := strings.ToLower(key)
		switch {
		case key == "" || utf8.RuneCountInString(key) > maxMetadataKey || hasControl(key):
			return refuse(CodeInvalidEmail, "Invalid Metadata: a key has 1 to %d printable characters.", maxMetadataKey)
		case utf8.RuneCountInString(value) > maxMetadataValue || hasControl(value):
			return refuse(CodeInvalidEmail, "Invalid Metadata: a value has at most %d printable characters.", maxMetadataValue)
		case seen[folded]:
			return refuse(CodeInvalidEmail, "Invalid Metadata: a key appears twice.")
		}
		seen[folded] = true
		p.controls.Metadata = append(p.controls.Metadata, message.Metadatum{Key: key, Value: value})
	}
	if len(m) > maxMetadata {
		return refuse(CodeInvalidEmail, "Invalid Metadata: at most %d entries.", maxMetadata)
	}
	return nil
}

func trackLinks(v string) (string, bool) {
	for _, known := range []string{"", "None", "HtmlAndText", "HtmlOnly", "TextOnly"} {
		if strings.EqualFold(v, known) {
			return known, true
		}
	}
	return "", false
}

// forbidden are the extensions that mail programs run.
var forbidden = []string{
	"vbs", "exe", "bin", "bat", "chm", "com", "cpl", "crt", "hlp", "hta", "inf", "ins", "isp", "jse", "lnk", "mdb", "pcd", "pif",
	"reg", "scr", "sct", "shs", "vbe", "vba", "wsf", "wsh", "wsl", "msc", "msi", "msp", "mst",
}

func attachments(p *prepared, req emailRequest) *Error {
	for i, a := range req.Attachments {
		if a.Name == "" || len(a.Name) > maxFileName || strings.ContainsAny(a.Name, `/\`) || hasControl(a.Name) {
			return refuse(CodeInvalidEmail, "Attachment %d: the Name is empty, longer than %d octets, or has a slash or a control character.", i+1, maxFileName)
		}
		if ext := strings.TrimPrefix(strings.ToLower(path.Ext(strings.TrimRight(a.Name, ". "))), "."); slices.Contains(forbidden, ext) {
			return refuse(CodeAttachmentType, "Attachment %d: files of the type '%s' are not allowed.", i+1, ext)
		}
		if a.Content.bad {
			return refuse(CodeInvalidEmail, "Attachment %d: the Content is not base64.", i+1)
		}
		if !mediaType(a.ContentType) {
			return refuse(CodeInvalidEmail, "Attachment %d: the ContentType is not a media type.", i+1)
		}
		id := strings.Trim(strings.TrimPrefix(a.ContentID, "cid:"), "<>")
		if len(id) > maxContentID || strings.ContainsFunc(id, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '<' || r == '>' }) {
			return refuse(CodeInvalidEmail, "Attachment %d: the ContentID has more than %d characters, or others than printable ASCII.", i+1, maxContentID)
		}
		p.letter.Attachments = append(p.letter.Attachments, compose.Attachment{Name: a.Name, ContentType: a.ContentType, ContentID: id, Content: a.Content.octets})
	}
	return nil
}

// mediaType tells whether an attachment can have the type, "" for none.
func mediaType(s string) bool {
	if s == "" || len(s) > maxFileName {
		return s == ""
	}
	_, _, err := mime.ParseMediaType(s)
	return err == nil
}

func hasControl(s string) bool { return strings.ContainsFunc(s, unicode.IsControl) }

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf })
}

// units counts what UTF-16 takes, without making it.
func units(s string) (n int) {
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// maxRepeated is how many characters an answer repeats of what is wrong.
const maxRepeated = 500

func shortened(s string) string {
	n := 0
	for i := range s {
		if n++; n > maxRepeated {
			return s[:i] + "…"
		}
	}
	return s
}

func tlsName(s *tls.ConnectionState) string {
	return tls.VersionName(s.Version) + " " + tls.CipherSuiteName(s.CipherSuite)
}
