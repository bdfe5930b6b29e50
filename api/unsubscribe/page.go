package unsubscribe

import (
	_ "embed"
	"net/http"
	"strings"

	"github.com/mailchute/mailchute/api/page"
)

//go:embed page.html
var pageText string

func asking(address string) page.Answer {
	return page.Answer{Status: http.StatusOK, Title: "Unsubscribe", Ask: true,
		Text: "Press the button, and " + masked(address) + " gets no more messages of this kind."}
}

func done() page.Answer {
	return page.Answer{Status: http.StatusOK, Title: "You are unsubscribed", Text: "You will get no more messages of this kind. You can close this page."}
}

func failed(status int, text string) page.Answer {
	return page.Answer{Status: status, Title: "Unsubscribe", Text: text}
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
