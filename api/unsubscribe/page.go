package unsubscribe

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strconv"
	"strings"
)

//go:embed page.html
var pageText string

const style = "body{font:1.1rem/1.5 system-ui,sans-serif;margin:0;padding:10vh 1.5rem;color:#222;background:#fff}" +
	"main{max-width:32rem;margin:auto}h1{font-size:1.5rem}" +
	"button{font:inherit;padding:.6rem 1.4rem;border:0;border-radius:.4rem;background:#1a56c4;color:#fff;cursor:pointer}" +
	"button:focus-visible{outline:3px solid #000}" +
	"@media(prefers-color-scheme:dark){body{color:#eee;background:#181818}button:focus-visible{outline-color:#fff}}"

// page is one answer for people. Programs that unsubscribe look at the status only.
type page struct {
	status      int
	Title, Text string
	Ask         bool // with the button
	Style       template.CSS
}

func asking(address string) page {
	return page{status: http.StatusOK, Title: "Unsubscribe", Ask: true,
		Text: "Press the button, and " + masked(address) + " gets no more messages of this kind."}
}

func done() page {
	return page{status: http.StatusOK, Title: "You are unsubscribed", Text: "You will get no more messages of this kind. You can close this page."}
}

func failed(status int, text string) page {
	return page{status: status, Title: "Unsubscribe", Text: text}
}

// masked shows enough of an address to whom it belongs, and not all of it to others who see the page.
func masked(address string) string {
	at := strings.LastIndexByte(address, '@')
	for i := range address {
		if i > 0 {
			return address[:min(i, at)] + "…" + address[at:]
		}
	}
	return address
}

// pages renders pages.
type pages struct {
	text   *template.Template
	policy string
}

func newPages() pages {
	sum := sha256.Sum256([]byte(style))
	return pages{
		text: template.Must(template.New("page").Parse(pageText)),
		policy: "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
			"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	}
}

// write answers with a page. The address of the page is a secret of its reader, so it goes to no other site.
func (p pages) write(w http.ResponseWriter, v page) error {
	v.Style = style
	var b bytes.Buffer
	if err := p.text.Execute(&b, v); err != nil {
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
	w.WriteHeader(v.status)
	_, _ = w.Write(b.Bytes()) // who has gone needs no answer
	return nil
}
