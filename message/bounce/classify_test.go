package bounce

import (
	"slices"
	"strings"
	"testing"
)

// f is a failure with code, status and words.
func f(code int, status [3]int, text string) Evidence {
	return Evidence{Kind: Failure, Code: code, Status: status, Text: text}
}

func at(host string, e Evidence) Evidence { e.Host = host; return e }

// rowTests has at least one case for every row of the table, by the row's name.
var rowTests = []struct {
	rule string
	in   Evidence
	want Type
	ours bool
}{
	{"opt-out by feedback", Evidence{Kind: Complaint, Feedback: "opt-out"}, Unsubscribe, false},
	{"virus by feedback", Evidence{Kind: Complaint, Feedback: "virus"}, VirusNotification, false},
	{"complaint", Evidence{Kind: Complaint, Feedback: "abuse"}, SpamComplaint, false},
	{"complaint", Evidence{Kind: Complaint, Feedback: "miscategorized"}, SpamComplaint, false},
	{"success notice", Evidence{Kind: Success, Status: [3]int{2, 0, 0}}, UnknownType, false},
	{"challenge", Evidence{Kind: AutoReply, Text: "Please confirm your message"}, ChallengeVerification, false},
	{"address change", Evidence{Kind: AutoReply, Text: "My email address has changed"}, AddressChange, false},
	{"unsubscribe request", Evidence{Kind: Unknown, Text: "UNSUBSCRIBE"}, Unsubscribe, false},
	{"subscribe request", Evidence{Kind: Unknown, Text: "please subscribe me"}, Subscribe, false},
	{"automatic answer", Evidence{Kind: AutoReply, Text: "550 5.1.1 user unknown, I am away"}, AutoResponder, false},
	{"unknown report", Evidence{Kind: Unknown, Text: "550 5.1.1 user unknown"}, UnknownType, false},

	{"dmarc code", f(550, [3]int{5, 7, 26}, "Unauthenticated email from x is not accepted due to domain's DMARC policy."), DMARCPolicy, true},
	{"unauthenticated", f(550, [3]int{5, 7, 26}, "Your email has been blocked because the sender is unauthenticated."), Blocked, true},
	{"unauthenticated", f(421, [3]int{4, 7, 28}, "unusual rate of unsolicited mail"), Blocked, true},
	{"unauthenticated, Microsoft", f(550, [3]int{5, 7, 515}, "Access denied, sending domain does not meet the required authentication level."), DMARCPolicy, true},
	{"unauthenticated, Microsoft", f(550, [3]int{5, 7, 509}, "Access denied, sending domain x does not pass DMARC verification"), DMARCPolicy, true},
	{"bulk sender rule, Microsoft", f(550, [3]int{5, 7, 515}, "Access denied"), Blocked, true},
	{"dmarc text", f(554, [3]int{5, 7, 9}, "Message not accepted for policy reasons. See DMARC"), DMARCPolicy, true},
	{"spf or dkim text", f(550, [3]int{}, "SPF check failed for user unknown"), Blocked, true},
	{"reverse name", f(550, [3]int{5, 7, 1}, "Client host rejected: cannot find your reverse hostname"), Blocked, true},
	{"virus", f(554, [3]int{5, 7, 1}, "message contains a virus"), VirusNotification, true},
	{"bad attachment", f(552, [3]int{5, 7, 0}, "This message was blocked because its content presents a potential security issue"), VirusNotification, true},
	{"block list of Microsoft", at("mail.protection.outlook.com", f(550, [3]int{5, 7, 606}, "Access denied, banned sending IP [203.0.113.9]")), Blocked, true},
	{"block list", f(550, [3]int{5, 1, 1}, "blocked using zen.spamhaus.org"), Blocked, true},
	{"block list", f(421, [3]int{4, 7, 0}, "[TSS04] Messages from 203.0.113.9 temporarily deferred due to user complaints"), Blocked, true},
	{"spam, Google", at("gmail-smtp-in.l.google.com", f(550, [3]int{5, 7, 1}, "this message is likely unsolicited mail")), SpamNotification, true},
	{"spam text", f(554, [3]int{}, "Message rejected as spam"), SpamNotification, true},
	{"open relay", f(550, [3]int{}, "your host is an open relay"), OpenRelayTest, true},
	{"sender address", f(553, [3]int{5, 1, 8}, "domain does not exist"), Blocked, true},
	{"sender text", f(550, [3]int{}, "Sender address rejected: user unknown"), Blocked, true},
	{"sender text", f(450, [3]int{}, "Sender address rejected: Domain not found"), Blocked, true},
	{"relaying denied", f(550, [3]int{5, 7, 1}, "Unable to relay for a@example.org"), SoftBounce, true},
	{"too large", f(552, [3]int{5, 3, 4}, "no"), SoftBounce, true},
	{"too large text", f(552, [3]int{}, "Message size exceeds fixed limit"), SoftBounce, true},
	{"conversion", f(554, [3]int{5, 6, 3}, "conversion required"), SoftBounce, true},
	{"loop", f(554, [3]int{5, 4, 6}, "no"), SoftBounce, true},
	{"loop text", f(554, [3]int{}, "too many hops"), SoftBounce, true},
	{"refused at MAIL", Evidence{Kind: Failure, Code: 550, Status: [3]int{5, 1, 1}, Text: "user unknown", Sender: true}, Blocked, true},
	{"TLS demanded", f(530, [3]int{5, 7, 0}, "Must issue a STARTTLS command first"), Blocked, true},

	{"full", f(552, [3]int{5, 2, 2}, "no"), SoftBounce, false},
	{"full", f(452, [3]int{4, 2, 2}, "no"), SoftBounce, false},
	{"full text", f(554, [3]int{}, "user unknown or mailbox full"), SoftBounce, false},
	{"receiving too fast", f(550, [3]int{5, 2, 1}, "The user you are trying to contact is receiving mail at a rate that ..."), Transient, false},
	{"null MX", f(556, [3]int{5, 1, 10}, "recipient address has null MX"), DNSError, false},
	{"domain unknown", f(550, [3]int{5, 1, 2}, "no"), DNSError, false},
	{"domain text", f(0, [3]int{}, "Host or domain name not found. Name service error"), DNSError, false},
	{"mailbox unknown", f(550, [3]int{5, 1, 1}, "no"), HardBounce, false},
	{"mailbox unknown", f(550, [3]int{5, 1, 10}, "RESOLVER.ADR.RecipientNotFound"), HardBounce, false},
	{"address syntax", f(501, [3]int{5, 1, 3}, "no"), BadEmailAddress, false},
	{"mailbox moved", f(551, [3]int{5, 1, 6}, "no"), HardBounce, false},
	{"unknown recipient, Microsoft", at("x.mail.protection.outlook.com", f(550, [3]int{5, 4, 1}, "Recipient address rejected: Access denied.")), HardBounce, false},
	{"recipient not found, Exchange", f(550, [3]int{5, 0, 0}, "RESOLVER.ADR.ExRecipNotFound; not found"), HardBounce, false},
	{"mailbox disabled", f(550, [3]int{5, 2, 1}, "The email account that you tried to reach is inactive"), HardBounce, false},
	{"no such user, Outlook", at("outlook-com.olc.protection.outlook.com", f(550, [3]int{5, 5, 0}, "Requested action not taken: mailbox unavailable (S2017062302)")), HardBounce, false},
	{"no such user, Yahoo", at("mta7.am0.yahoodns.net", f(554, [3]int{}, "delivery error: dd This user doesn't have a yahoo.com account")), HardBounce, false},
	{"no such user, mail.ru", at("mxs.mail.ru", f(550, [3]int{}, "Local mailbox a@mail.ru is unavailable: user not found")), HardBounce, false},
	{"no such user, GMX", at("mx00.gmx.net", f(550, [3]int{}, "Requested action not taken: mailbox unavailable")), HardBounce, false},
	{"no such user, iCloud", at("mx01.mail.icloud.com", f(550, [3]int{}, "unknown recipient")), HardBounce, false},
	{"no such user", f(550, [3]int{}, "User unknown"), HardBounce, false},
	{"no such user", f(554, [3]int{}, "User a (a@b) not listed in Domino Directory"), HardBounce, false},
	{"mailbox closed", f(550, [3]int{}, "This account has been suspended"), HardBounce, false},
	{"bad address", f(553, [3]int{}, "mailbox name not allowed"), BadEmailAddress, false},

	{"greylisted", f(451, [3]int{4, 7, 1}, "Greylisted, see http://postgrey.example"), Transient, false},
	{"policy text", f(550, [3]int{5, 4, 1}, "Administrative prohibition"), Blocked, true},
	{"expired", f(0, [3]int{4, 4, 7}, "no"), Transient, false},
	{"expired text", f(0, [3]int{}, "retry timeout exceeded"), Transient, false},
	{"no answer", f(0, [3]int{4, 4, 1}, "no"), Transient, false},
	{"no answer text", f(0, [3]int{}, "connection timed out"), Transient, false},
	{"rate limit", f(421, [3]int{4, 7, 0}, "too many connections from your host"), Transient, false},
	{"delayed", Evidence{Kind: Delay}, Transient, false},
	{"policy", f(550, [3]int{5, 7, 1}, "no"), Blocked, true},
	{"system", f(550, [3]int{5, 3, 0}, "no"), SoftBounce, false},
	{"mailbox, for now", f(450, [3]int{4, 1, 1}, "user unknown"), Transient, false},

	{"mailbox unavailable", f(550, [3]int{5, 2, 0}, "no"), SoftBounce, false},
	{"address, unspecified", f(550, [3]int{5, 1, 0}, "no"), SoftBounce, false},
	{"temporary code", f(451, [3]int{}, "no"), Transient, false},
	{"temporary status", f(0, [3]int{4, 0, 0}, "no"), Transient, false},
	{"mailbox code", f(550, [3]int{}, "no"), SoftBounce, false},
	{"permanent status", f(0, [3]int{5, 5, 2}, "no"), SoftBounce, false},
	{"permanent code", f(521, [3]int{}, "no"), SoftBounce, false},
	{"nothing known", f(0, [3]int{}, "no"), UnknownType, false},
}

func TestEveryRow(t *testing.T) {
	tested := map[string]bool{}
	for _, tt := range rowTests {
		tested[tt.rule] = true
		got := Classify(tt.in)
		if got.Rule != tt.rule || got.Type != tt.want || got.Ours != tt.ours {
			t.Errorf("%+v: %+v, want %s by %q, ours %v", tt.in, got, tt.want, tt.rule, tt.ours)
		}
	}
	seen := map[string]bool{"nothing known": true}
	for _, r := range rules() {
		if seen[r.name] {
			t.Errorf("two rows are called %q", r.name)
		}
		seen[r.name] = true
		if !tested[r.name] {
			t.Errorf("no test for row %q", r.name)
		}
	}
	for name := range tested {
		if !seen[name] {
			t.Errorf("no row %q", name)
		}
	}
}

// TestOnlyTheRecipientIsSuppressed holds what matters most: a fault of ours, a temporary refusal and an answering program
// never put an address on a list.
func TestOnlyTheRecipientIsSuppressed(t *testing.T) {
	for _, tt := range rowTests {
		got := Classify(tt.in)
		if got.Suppress && (got.Ours || got.Type != HardBounce && got.Type != SpamComplaint) {
			t.Errorf("%+v: %+v", tt.in, got)
		}
		if tt.in.Kind != Complaint && got.Suppress != (got.Type == HardBounce) {
			t.Errorf("%+v: %+v", tt.in, got)
		}
		if tt.in.Kind != Failure {
			continue
		}
		soft := tt.in
		soft.Code, soft.Status[0] = 450, 4
		if c := Classify(soft); c.Hard || c.Suppress {
			t.Errorf("temporary, but %+v: %+v", soft, c)
		}
	}
	for _, r := range rules() {
		if (r.result == HardBounce || r.result == BadEmailAddress) && (r.class != 5 || r.ours) {
			t.Errorf("row %q could suppress without a permanent refusal of the address", r.name)
		}
		for _, w := range append(slices.Clone(r.words), r.hosts...) {
			if w != strings.ToLower(w) {
				t.Errorf("row %q: %q never matches lower-case text", r.name, w)
			}
		}
	}
}

// TestSeveralRecipientsAtOnce: the words may be about one of them, so none is suppressed.
func TestSeveralRecipientsAtOnce(t *testing.T) {
	e := f(550, [3]int{5, 1, 1}, "user unknown")
	e.Several = true
	if c := Classify(e); c.Type != SoftBounce || c.Hard || c.Suppress {
		t.Errorf("%+v", c)
	}
}

// TestTypes holds the codes that clients know, and that each name finds its type.
func TestTypes(t *testing.T) {
	codes := map[Type]int{
		"HardBounce": 1, "Transient": 2, "Unsubscribe": 16, "Subscribe": 32, "AutoResponder": 64, "AddressChange": 128, "DnsError": 256, "SpamNotification": 512,
		"OpenRelayTest": 1024, "Unknown": 2048, "SoftBounce": 4096, "VirusNotification": 8192, "ChallengeVerification": 16384, "BadEmailAddress": 100000, "SpamComplaint": 100001,
		"ManuallyDeactivated": 100002, "Unconfirmed": 100003, "Blocked": 100006, "SMTPApiError": 100007, "InboundError": 100008, "DMARCPolicy": 100009, "TemplateRenderingFailed": 100010,
	}
	if len(Types()) != len(codes) {
		t.Errorf("%d types", len(Types()))
	}
	for name, code := range codes {
		if i := name.Info(); i.Code != code || i.Type != name || i.Name == "" {
			t.Errorf("%s: %+v", name, i)
		}
	}
	if i := Type("hardbounce").Info(); i.Code != 1 {
		t.Errorf("names compare without case: %+v", i)
	}
	if i := Type("nonsense").Info(); i.Type != UnknownType {
		t.Errorf("nonsense: %+v", i)
	}
}
