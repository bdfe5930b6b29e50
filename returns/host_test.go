package returns_test

import (
	"testing"

	"github.com/mailchute/mailchute/store"
)

// TestHostOfADomain: what comes back to a domain's own host is taken there, and a tag counts at the host only that it was
// made for.
func TestHostOfADomain(t *testing.T) {
	w := newWorld(t, nil)
	const own = "back.example.com"
	d := store.Domain{ID: 9, Name: "example.com", ReturnPath: own}
	_, err := w.db.Change(t.Context(), w.db.Snapshot().Revision, store.Change{Domain: &d})
	w.must(err)
	id := w.sent(nil)
	tag := w.tags.Mint(own, id, 0)
	local := tag[:len(tag)-len(own)]
	s := w.dial()
	for to, want := range map[string]string{
		tag:                               "250 ",
		local + host:                      "550 5.1.1",
		local + "elsewhere.example.net":   "550 5.7.1",
		w.tags.Mint(host, id, 0):          "250 ",
		"postmaster@" + own:               "250 ",
		"abuse@BACK.example.com":          "250 ",
		"somebody@" + own:                 "550 5.1.1",
		"somebody@other.example.com":      "550 5.7.1",
		"postmaster@elsewhere.example.ch": "550 5.7.1",
	} {
		s.want("MAIL FROM:<>", "250 ")
		s.want("RCPT TO:<"+to+">", want)
		s.want("RSET", "250 ")
	}
	d.ReturnPath = ""
	_, err = w.db.Change(t.Context(), w.db.Snapshot().Revision, store.Change{Domain: &d})
	w.must(err)
	w.deliver("", tag, dsn("nobody@example.org", "failed", "5.1.1", "550 no such user"), "250 ") // sent when it was ours
	w.wantState(id, 0, store.Bounced)
}

// TestComplaintNamesTheHostOfADomain: the copy of the header has the return path of the domain.
func TestComplaintNamesTheHostOfADomain(t *testing.T) {
	w := newWorld(t, nil)
	id := w.sent(nil)
	w.deliver("fbl@isp.example", "abuse@"+host, arf(w.tags.Mint("back.example.com", id, 1)), "250 ")
	if got := w.suppressed(); got != "other@example.net SpamComplaint" {
		t.Errorf("suppressed %q", got)
	}
}
