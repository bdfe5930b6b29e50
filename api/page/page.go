// Package page writes the few pages that the public sees: those behind links in mail. What keeps their links secret and the
// pages free of anything else stands here once, for all of them.
package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
)

const style = "body{font:1.1rem/1.5 system-ui,sans-serif;margin:0;padding:10vh 1.5rem;color:#222;background:#fff}" +
	"main{max-width:32rem;margin:auto}h1{font-size:1.5rem}" +
	"button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.4rem;background:#1a56c4;color:#fff;cursor:pointer}" +
	"button:focus-visible{outline:3px solid #000}" +
	"@media(prefers-color-scheme:dark){body{color:#eee;background:#181818}button:focus-visible{outline-color:#fff}}"

// Answer is what one page says. Programs look at the status only.
type Answer struct {
	Status      int
	Title, Text string
	Ask         bool // with the button
}

// Pages renders answers with one template.
type Pages struct {
	text   *template.Template
	policy string
}

// New reads a template (html/template), which gets the fields of Answer and Style, the content of its one style element. It
// panics on text that is no template.
func New(text string) Pages {
	sum := sha256.Sum256([]byte(style))
	return Pages{
		text: template.Must(template.New("page").Parse(text)),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	}
}

// Write answers with a page. The address of the page is a secret of its reader, so it goes to no other site and no cache. When
// it fails nothing has been written.
func (p Pages) Write(w http.ResponseWriter, a Answer) error {
	var b bytes.Buffer
	if err := p.text.Execute(&b, struct {
		Answer
		Style template.CSS
	}{a, style}); err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Robots-Tag", "noindex, nofollow")
	w.WriteHeader(a.Status)
	_, _ = w.Write(b.Bytes()) // who has gone needs no answer
	return nil
}
