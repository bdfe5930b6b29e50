package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/mail"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/net/idna"
)

// asked is a request as the test understands it, with no code of the handler's.
type asked struct {
	From, To, Cc, Bcc, ReplyTo, Subject, TextBody, HtmlBody, Tag string
	Headers                                                      []struct{ Name, Value string }
	Metadata                                                     any
	Attachments                                                  []struct{ Name, Content, ContentType, ContentID string }
}

// part is a leaf of a message as the standard library reads it.
type part struct {
	mediaType, disposition, name, id string
	content                          []byte
}

// SameMessage tells what a message says otherwise than the request that was
// accepted. It reads the message with the standard library, which shares no code
// with what wrote it.
func SameMessage(request, raw []byte) error {
	var want asked
	if err := json.Unmarshal(request, &want); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return fmt.Errorf("message: %w", err)
	}
	parts, err := partsOf(textproto.MIMEHeader(m.Header), m.Body)
	if err != nil {
		return err
	}
	return errors.Join(sameHeader(want, m.Header), sameBodies(want, parts), sameFiles(want, parts))
}

func sameHeader(want asked, h mail.Header) error {
	var errs []error
	subject, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
	if err != nil || subject != want.Subject {
		errs = append(errs, fmt.Errorf("subject %q (%v), want %q", subject, err, want.Subject))
	}
	for name, list := range map[string]string{"From": want.From, "To": want.To, "Cc": want.Cc, "Reply-To": want.ReplyTo} {
		if name == "Reply-To" && strings.TrimSpace(list) == "" && slices.ContainsFunc(want.Headers, func(f struct{ Name, Value string }) bool {
			return strings.EqualFold(f.Name, name)
		}) {
			continue // given as a header
		}
		asked, got := mailboxesOf(list), mailboxesOf(strings.Join(h[name], ","))
		if !slices.Equal(asked, got) {
			errs = append(errs, fmt.Errorf("%s %q, want %q", name, got, asked))
		}
	}
	if len(h["Bcc"]) > 0 {
		errs = append(errs, errors.New("there is a Bcc field"))
	}
	for _, f := range want.Headers {
		name := textproto.CanonicalMIMEHeaderKey(f.Name)
		if strings.HasPrefix(strings.ToLower(name), "x-pm-") {
			continue
		}
		if !slices.ContainsFunc(h[name], func(v string) bool { return squeezed(v) == squeezed(f.Value) }) {
			errs = append(errs, fmt.Errorf("header %s is %q, want %q", name, h[name], f.Value))
		}
	}
	return errors.Join(errs...)
}

// squeezed decodes a value of a header and makes one space of white space.
func squeezed(v string) string {
	if text, err := new(mime.WordDecoder).DecodeHeader(v); err == nil {
		v = text
	}
	return strings.Join(strings.Fields(v), " ")
}

// mailboxesOf writes each mailbox of a list with its domain in A-labels.
func mailboxesOf(list string) (out []string) {
	if strings.TrimSpace(list) == "" {
		return nil
	}
	parsed, err := mail.ParseAddressList(list)
	if err != nil {
		return []string{err.Error()}
	}
	for _, a := range parsed {
		at := strings.LastIndexByte(a.Address, '@')
		domain := a.Address[at+1:]
		if ascii, err := idna.Lookup.ToASCII(domain); err == nil && ascii != strings.ToLower(domain) {
			domain = ascii
		}
		out = append(out, fmt.Sprintf("%q at %q of %q", a.Address[:at], domain, strings.Join(strings.Fields(a.Name), " ")))
	}
	return out
}

func partsOf(h textproto.MIMEHeader, body io.Reader) ([]part, error) {
	mediaType, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return nil, fmt.Errorf("type %q: %w", h.Get("Content-Type"), err)
	}
	if strings.HasPrefix(mediaType, "multipart/") {
		var out []part
		r := multipart.NewReader(body, params["boundary"])
		for {
			p, err := r.NextRawPart()
			if err == io.EOF {
				return out, nil
			}
			if err != nil {
				return nil, fmt.Errorf("multipart: %w", err)
			}
			inner, err := partsOf(p.Header, p)
			if err != nil {
				return nil, err
			}
			out = append(out, inner...)
		}
	}
	switch h.Get("Content-Transfer-Encoding") {
	case "base64":
		body = base64.NewDecoder(base64.StdEncoding, body)
	case "quoted-printable":
		body = quotedprintable.NewReader(body)
	default:
		return nil, fmt.Errorf("encoding %q", h.Get("Content-Transfer-Encoding"))
	}
	p := part{mediaType: mediaType, id: strings.Trim(h.Get("Content-Id"), "<>")}
	if p.content, err = io.ReadAll(body); err != nil {
		return nil, fmt.Errorf("content: %w", err)
	}
	var disposition map[string]string
	p.disposition, disposition, _ = mime.ParseMediaType(h.Get("Content-Disposition"))
	p.name = disposition["filename"]
	return []part{p}, nil
}

func sameBodies(want asked, parts []part) error {
	got := map[string]string{}
	for _, p := range parts {
		if p.disposition == "" {
			got[p.mediaType] += string(p.content)
		}
	}
	for mediaType, text := range map[string]string{"text/plain": want.TextBody, "text/html": want.HtmlBody} {
		if lineEnds(got[mediaType]) != lineEnds(text) {
			return fmt.Errorf("%s is %q, want %q", mediaType, got[mediaType], text)
		}
	}
	return nil
}

// lineEnds makes them alike and forgets the last ones: an encoding may add one.
func lineEnds(s string) string {
	return strings.TrimRight(strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n"), "\n")
}

func sameFiles(want asked, parts []part) error {
	var asked, got []string
	for _, a := range want.Attachments {
		content, err := base64.StdEncoding.DecodeString(strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(a.Content))
		if err != nil {
			return fmt.Errorf("accepted %q as base64", a.Content)
		}
		asked = append(asked, fmt.Sprintf("%q %q %x", strings.Join(strings.Fields(a.Name), " "), strings.Trim(strings.TrimPrefix(a.ContentID, "cid:"), "<>"), content))
	}
	for _, p := range parts {
		if p.disposition != "" {
			got = append(got, fmt.Sprintf("%q %q %x", p.name, p.id, p.content))
		}
	}
	slices.Sort(asked)
	slices.Sort(got)
	if !slices.Equal(asked, got) {
		return fmt.Errorf("attachments %s, want %s", got, asked)
	}
	return nil
}
