package bounce

import "strconv"

func itoa(n int) string { return strconv.Itoa(n) }

// rules is the table, the first match counts. Its order: what is no failure; what is the sender's fault, before anything
// that could put the recipient on a list; what is certain about the address; what passes; the rest by its class.
func rules() []rule {
	return append(append(append(append(ruleAnswers(), ruleSender()...), ruleAddress()...), rulePassing()...), ruleRest()...)
}

// ruleAnswers are the rows for complaints and for what programs answer.
func ruleAnswers() []rule {
	complaint, automatic := []Kind{Complaint}, []Kind{AutoReply, Unknown}
	return []rule{
		{name: "opt-out by feedback", kinds: complaint, feedback: []string{"opt-out", "opt-out-list"}, result: Unsubscribe},
		{name: "virus by feedback", kinds: complaint, feedback: []string{"virus"}, result: VirusNotification},
		{name: "complaint", kinds: complaint, feedback: []string{"abuse", "fraud", "other", "miscategorized"}, result: SpamComplaint},
		{name: "success notice", kinds: []Kind{Success}, result: UnknownType},
		{name: "challenge", kinds: automatic, words: []string{
			"please confirm your message", "verify that you are a real person", "challenge-response", "sender verification required", "please verify your message",
			"awaiting confirmation", "to have your message delivered", "to release your message", "confirm that you are a human"}, result: ChallengeVerification},
		{name: "address change", kinds: automatic, words: []string{
			"my email address has changed", "my e-mail address has changed", "new email address is", "new e-mail address is", "please update your address book", "no longer with the company",
			"no longer works", "no longer work at", "has left the company", "meine neue e-mail", "neue e-mail-adresse"}, result: AddressChange},
		{name: "unsubscribe request", kinds: []Kind{Unknown}, words: []string{"unsubscribe", "remove me from", "abmelden", "désabonner", "take me off"}, result: Unsubscribe},
		{name: "subscribe request", kinds: []Kind{Unknown}, words: []string{"please subscribe", "subscribe me"}, result: Subscribe},
		{name: "automatic answer", kinds: []Kind{AutoReply}, result: AutoResponder},
		{name: "unknown report", kinds: []Kind{Unknown}, result: UnknownType},
	}
}

// ruleSender are the rows for what is wrong with us. Google and Microsoft have codes of their own behind x.7.x.
func ruleSender() []rule {
	return []rule{
		{name: "dmarc code", statuses: []string{"7.26"}, words: []string{"dmarc"}, result: DMARCPolicy, ours: true},
		{name: "unauthenticated", statuses: []string{"7.20", "7.21", "7.22", "7.23", "7.24", "7.25", "7.26", "7.27", "7.28", "7.29", "7.30"}, result: Blocked, ours: true},
		{name: "unauthenticated, Microsoft", statuses: []string{"7.515", "7.509", "7.23"}, words: []string{"dmarc", "authentication level"}, result: DMARCPolicy, ours: true},
		{name: "bulk sender rule, Microsoft", statuses: []string{"7.515"}, result: Blocked, ours: true},
		{name: "dmarc text", words: []string{"dmarc"}, result: DMARCPolicy, ours: true},
		{name: "spf or dkim text", words: []string{"spf check", "spf fail", "fails spf", "failed spf", "spf validation", "spf record", "sender policy framework", "dkim check", "dkim fail", "dkim signature", "unauthenticated email", "sender id (pra)"}, result: Blocked, ours: true},
		{name: "reverse name", words: []string{"reverse dns", "ptr record", "rdns", "cannot find your reverse hostname", "no reverse", "client host rejected: cannot find"}, result: Blocked, ours: true},
		{name: "virus", words: []string{"virus", "malware", "infected"}, result: VirusNotification, ours: true},
		{name: "bad attachment", statuses: []string{"7.0", "7.1", "6.0"}, words: []string{"attachment", "blocked file", "content presents a potential security"}, result: VirusNotification, ours: true},
		{name: "block list of Microsoft", hosts: []string{"outlook.com", "hotmail.com", "protection.outlook"}, words: []string{"block list", "s3140", "s3150", "banned sending ip", "access denied, banned"}, result: Blocked, ours: true},
		{name: "block list", words: []string{
			"spamhaus", "blocklist", "block list", "blacklist", "black list", "blocked using", "dnsbl", " rbl", "barracudacentral", "spamcop", "sorbs", "listed at", "is listed in", "currently listed", "poor reputation",
			"bad reputation", "low reputation", "ip reputation", "reputation of the", "your ip", "ip address is blocked", "senderscore", "proofpoint.com/error", "tss0", "[ts0"}, result: Blocked, ours: true},
		{name: "spam, Google", hosts: []string{"google.com", "gsmtp", "googlemail.com"}, words: []string{"unsolicited", "likely spam", "suspicious"}, result: SpamNotification, ours: true},
		{name: "spam text", words: []string{"spam", "unsolicited", "junk mail", "bulk mail", "looks like phish", "phishing", "message content rejected", "content rejected", "content filter"}, result: SpamNotification, ours: true},
		{name: "open relay", words: []string{"open relay", "relay test"}, result: OpenRelayTest, ours: true},
		{name: "sender address", statuses: []string{"1.7", "1.8"}, result: Blocked, ours: true},
		{name: "sender text", words: []string{"sender address rejected", "sender rejected", "sender denied", "sender is not allowed", "sender not allowed", "invalid sender", "domain of sender address", "sender verify failed", "bad sender"}, result: Blocked, ours: true},
		{name: "relaying denied", words: []string{"relay access denied", "relaying denied", "unable to relay", "not permitted to relay", "relay not permitted", "we do not relay", "relaying not allowed"}, result: SoftBounce, ours: true},
		{name: "too large", statuses: []string{"3.4", "2.3"}, result: SoftBounce, ours: true},
		{name: "too large text", words: []string{"message too large", "message too big", "size limit", "exceeds maximum", "message size exceeds", "exceeds size"}, result: SoftBounce, ours: true},
		{name: "conversion", statuses: []string{"6.1", "6.2", "6.3", "6.6", "6.7", "6.8", "6.9"}, result: SoftBounce, ours: true},
		{name: "loop", statuses: []string{"4.6"}, result: SoftBounce, ours: true},
		{name: "loop text", words: []string{"mail loop", "too many hops", "hop count exceeded", "loops back to myself", "routing loop"}, result: SoftBounce, ours: true},
		{name: "refused at MAIL", class: 5, sender: true, result: Blocked, ours: true},
		{name: "TLS demanded", words: []string{"must issue a starttls", "tls required", "requires tls", "encryption required"}, result: Blocked, ours: true},
	}
}

// ruleAddress are the rows that say something for good about the address. Only these lead to a suppression.
func ruleAddress() []rule {
	return []rule{
		{name: "full", statuses: []string{"2.2"}, result: SoftBounce},
		{name: "full text", words: []string{"mailbox full", "mailbox is full", "over quota", "overquota", "quota exceeded", "exceeded storage", "out of storage", "exceeded the storage", "mailbox size limit", "storage quota", "quota full", "insufficient disk space", "not enough space", "postfach voll", "mailbox has exceeded", "user has exhausted"}, result: SoftBounce},
		{name: "receiving too fast", words: []string{"receiving mail at a rate", "receiving mail too quickly", "receiving email at a rate"}, result: Transient},
		{name: "null MX", class: 5, codes: []int{556}, result: DNSError},
		{name: "domain unknown", statuses: []string{"1.2", "4.4"}, result: DNSError},
		{name: "domain text", words: []string{
			"host not found", "domain not found", "name service error", "no such domain", "unknown host", "host unknown", "domain does not exist", "couldn't find any host", "all relevant mx records point to non-existent",
			"nxdomain", "no mx", "dns lookup", "dns error", "name or service not known", "unrouteable mail domain", "non-existent domain", "null mx", "does not accept mail"}, result: DNSError},
		{name: "mailbox unknown", class: 5, statuses: []string{"1.1", "1.10"}, result: HardBounce},
		{name: "address syntax", class: 5, statuses: []string{"1.3"}, result: BadEmailAddress},
		{name: "mailbox moved", class: 5, statuses: []string{"1.6"}, result: HardBounce},
		{name: "unknown recipient, Microsoft", class: 5, statuses: []string{"4.1"}, hosts: []string{"outlook.com", "office365", "exchangelabs", "recipient address rejected: access denied"}, words: []string{"recipient address rejected", "recipientnotfound", "access denied"}, result: HardBounce},
		{name: "recipient not found, Exchange", class: 5, words: []string{"resolver.adr.recipnotfound", "resolver.adr.recipientnotfound", "resolver.adr.exrecipnotfound", "recipnotfound"}, result: HardBounce},
		{name: "mailbox disabled", class: 5, statuses: []string{"2.1"}, result: HardBounce},
		{name: "no such user, Outlook", class: 5, statuses: []string{"5.0"}, hosts: []string{"outlook.com", "hotmail.com"}, words: []string{"mailbox unavailable"}, result: HardBounce},
		{name: "no such user, Yahoo", class: 5, hosts: []string{"yahoo", "yahoodns.net", "aol"}, words: []string{"doesn't have a yahoo", "not a valid mailbox", "mailbox not found", "this user doesn't have", "mailbox disabled"}, result: HardBounce},
		{name: "no such user, mail.ru", class: 5, hosts: []string{"mail.ru"}, words: []string{"user not found", "invalid mailbox"}, result: HardBounce},
		{name: "no such user, GMX", class: 5, hosts: []string{"gmx", "web.de", "kundenserver"}, words: []string{"mailbox unavailable", "mailbox is unavailable", "requested action not taken: mailbox"}, result: HardBounce},
		{name: "no such user, iCloud", class: 5, hosts: []string{"icloud.com", "me.com"}, words: []string{"user does not exist", "not recognized", "unknown recipient"}, result: HardBounce},
		{name: "no such user", class: 5, words: []string{
			"user unknown", "unknown user", "no such user", "no such mailbox", "no such recipient", "no such person", "no such address", "no mailbox here", "unknown recipient", "recipient unknown",
			"unknown local part", "unknown mailbox", "unknown address", "user not found", "recipient not found", "mailbox not found", "user does not exist", "user doesn't exist", "recipient does not exist",
			"mailbox does not exist", "account does not exist", "account that you tried to reach does not exist", "address does not exist", "doesn't exist", "does not exist", "not a valid mailbox", "invalid mailbox",
			"invalid recipient", "recipient invalid", "recipient address rejected: user", "recipient address rejected: undeliverable", "unrouteable address", "unroutable address", "unable to find recipient",
			"not our customer", "is not a known user", "not known here", "no account by that name", "user invalid", "addressee unknown", "empfänger unbekannt", "bad destination mailbox", "not listed in"}, result: HardBounce},
		{name: "mailbox closed", class: 5, words: []string{
			"account disabled", "account is disabled", "account has been disabled", "mailbox disabled", "mailbox is disabled", "account inactive", "inactive user", "mailbox is inactive", "user is inactive", "account has been suspended", "account suspended",
			"account closed", "account has been closed", "mailbox is closed", "no longer available", "no longer in use", "no longer valid", "address is no longer", "has been deactivated", "is deactivated", "mailbox unavailable for this recipient"}, result: HardBounce},
		{name: "bad address", class: 5, codes: []int{501, 553}, words: []string{"invalid address", "bad address", "malformed", "syntax", "not rfc", "address format", "mailbox name not allowed"}, result: BadEmailAddress},
	}
}

// rulePassing are the rows for what may work another time, or for another message.
func rulePassing() []rule {
	return []rule{
		{name: "greylisted", words: []string{"greylist", "graylist", "greylisted", "try again later", "postgrey"}, result: Transient},
		{name: "policy text", class: 5, words: []string{"policy", "access denied", "blocked", "administratively prohibited", "administrative prohibition", "not authorized", "not permitted", "permission denied", "restricted"}, result: Blocked, ours: true},
		{name: "expired", statuses: []string{"4.7"}, result: Transient},
		{name: "expired text", words: []string{"retry timeout exceeded", "message expired", "delivery time expired", "been in the queue too long", "undelivered after", "too long in the queue", "delivery temporarily suspended", "warning message only"}, result: Transient},
		{name: "no answer", statuses: []string{"4.1", "4.2"}, result: Transient},
		{name: "no answer text", words: []string{"connection timed out", "connection refused", "network is unreachable", "no route to host", "timed out", "lost connection", "couldn't establish an smtp connection", "connection dropped", "connection reset"}, result: Transient},
		{name: "rate limit", words: []string{"rate limit", "too many connections", "too many messages", "throttl", "too much mail", "sending rate", "exceeded the limit", "temporarily deferred", "try later"}, result: Transient},
		{name: "delayed", kinds: []Kind{Delay}, result: Transient},
		{name: "policy", class: 5, statuses: []string{"7.*"}, result: Blocked, ours: true},
		{name: "system", statuses: []string{"3.*"}, result: SoftBounce},
		{name: "mailbox, for now", class: 4, statuses: []string{"1.*", "2.*"}, result: Transient},
	}
}

// ruleRest decide by the class alone.
func ruleRest() []rule {
	return []rule{
		{name: "mailbox unavailable", class: 5, statuses: []string{"2.*"}, result: SoftBounce},
		{name: "address, unspecified", class: 5, statuses: []string{"1.*"}, result: SoftBounce},
		{name: "temporary code", class: 4, codes: []int{420, 421, 450, 451, 452, 454, 455, 471}, result: Transient},
		{name: "temporary status", class: 4, result: Transient},
		{name: "mailbox code", class: 5, codes: []int{550, 551, 552, 553, 554}, result: SoftBounce},
		{name: "permanent status", class: 5, statuses: []string{"0.*", "1.*", "2.*", "3.*", "4.*", "5.*", "6.*"}, result: SoftBounce},
		{name: "permanent code", class: 5, codes: []int{500, 501, 502, 503, 504, 521, 530, 535, 541, 555, 571}, result: SoftBounce},
	}
}
