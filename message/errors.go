package message

// fault is a sentinel error that may belong to a wider class, so that errors.Is answers for both.
type fault struct {
	text  string
	class error
}

// Error returns the constant text of the fault. It never contains bytes of the message.
func (f *fault) Error() string { return f.text }

// Unwrap returns the class of the fault, nil if it has none.
func (f *fault) Unwrap() error { return f.class }

// Faults of an envelope address. Every error of ParsePath, FromUnquoted and PathOptions.Parse is exactly one of these
// under errors.Is, except that ErrAddressNull is also an ErrAddressSyntax.
var (
	// ErrAddressSyntax reports a string that is no Path of RFC 5321 4.1.2.
	ErrAddressSyntax error = &fault{text: "address has invalid syntax"}
	// ErrAddressNull reports the null path, which is legal in MAIL and nowhere else.
	ErrAddressNull error = &fault{text: "address is empty", class: ErrAddressSyntax}
	// ErrAddressTooLong reports a local part over 64, a domain over 255 or a path over 256 octets (RFC 5321 4.5.3.1).
	ErrAddressTooLong error = &fault{text: "address is too long"}
	// ErrAddressControl reports a control character or NUL anywhere in the address, quoted or not.
	ErrAddressControl error = &fault{text: "address contains a control character"}
	// ErrAddressUTF8 reports octets above 127 where the client did not give SMTPUTF8 (RFC 6531 3.5).
	ErrAddressUTF8 error = &fault{text: "address needs SMTPUTF8"}
	// ErrAddressNotFQDN reports a domain of a single label.
	ErrAddressNotFQDN error = &fault{text: "address domain is not fully qualified"}
	// ErrAddressLiteral reports a malformed or unknown address literal, or an IP address without its brackets.
	ErrAddressLiteral error = &fault{text: "address literal is invalid"}
)

// Faults of content. The errors of the smuggling class mean that some relay behind us could read a different end of
// data than we did; the session that sent them must be closed.
var (
	// ErrSmuggling is the class of ErrBareCR, ErrNUL and ErrLoneDot.
	ErrSmuggling error = &fault{text: "content contains bytes that relays disagree about"}
	// ErrBareCR reports a CR that no LF follows (RFC 5321 2.3.8).
	ErrBareCR error = &fault{text: "content contains a bare CR", class: ErrSmuggling}
	// ErrNUL reports a NUL octet.
	ErrNUL error = &fault{text: "content contains a NUL", class: ErrSmuggling}
	// ErrLoneDot reports a line of one dot that does not stand between two CRLF: LF.LF, LF.CRLF, CRLF.LF and the like.
	ErrLoneDot error = &fault{text: "content contains a lone dot between odd line ends", class: ErrSmuggling}
	// ErrBareLF reports an LF without its CR where the options refuse it.
	ErrBareLF error = &fault{text: "content contains a bare LF"}
	// ErrLineTooLong reports a text line longer than the limit, its CRLF not counted (RFC 5321 4.5.3.1.6).
	ErrLineTooLong error = &fault{text: "content contains a line that is too long"}
	// ErrTooLarge reports content over the size limit.
	ErrTooLarge error = &fault{text: "content is too large"}
	// ErrNotCanonical reports content given to a DotWriter that is not made of CRLF lines.
	ErrNotCanonical error = &fault{text: "content is not canonical"}
)

// Faults of a header section. ErrHeader is the class of everything that makes it unreadable, ErrHeaderRules the class of
// everything that is readable and against RFC 5322.
var (
	// ErrHeader is the class of ErrHeaderTooLarge, ErrHeaderFields, ErrHeaderSyntax and ErrHeader8Bit.
	ErrHeader error = &fault{text: "header section is not acceptable"}
	// ErrHeaderTooLarge reports a header section over HeaderLimits.MaxBytes.
	ErrHeaderTooLarge error = &fault{text: "header section is too large", class: ErrHeader}
	// ErrHeaderFields reports more fields than HeaderLimits.MaxFields.
	ErrHeaderFields error = &fault{text: "header section has too many fields", class: ErrHeader}
	// ErrHeaderSyntax reports a line that neither starts nor continues a field, or a field with a bad name.
	ErrHeaderSyntax error = &fault{text: "header section has invalid syntax", class: ErrHeader}
	// ErrHeader8Bit reports octets above 127 without SMTPUTF8, or, with it, octets that are not UTF-8.
	ErrHeader8Bit error = &fault{text: "header section contains 8-bit text", class: ErrHeader}

	// ErrHeaderRules is the class of ErrNoFrom, ErrBadFrom, ErrFromGroup and ErrDuplicateField.
	ErrHeaderRules error = &fault{text: "header fields break RFC 5322"}
	// ErrNoFrom reports a message without a From field.
	ErrNoFrom error = &fault{text: "From field is missing", class: ErrHeaderRules}
	// ErrBadFrom reports a From field that is no list of mailboxes.
	ErrBadFrom error = &fault{text: "From field is not a list of addresses", class: ErrHeaderRules}
	// ErrFromGroup reports group syntax in From, which hides who the author is (RFC 6854 2.1).
	ErrFromGroup error = &fault{text: "From field uses group syntax", class: ErrHeaderRules}
	// ErrDuplicateField reports a field that RFC 5322 3.6 allows once and that is there more often.
	ErrDuplicateField error = &fault{text: "header field appears more than once", class: ErrHeaderRules}

	// ErrLoop reports a message that has passed too many hops, or passed here too often.
	ErrLoop error = &fault{text: "mail loop"}
)
