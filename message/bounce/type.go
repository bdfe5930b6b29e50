package bounce

import "strings"

// Type is a bounce type by the name that Postmark gives it. Clients see the name and its code.
type Type string

// The types, with the codes and names of the table below.
const (
	HardBounce              Type = "HardBounce"
	Transient               Type = "Transient"
	Unsubscribe             Type = "Unsubscribe"
	Subscribe               Type = "Subscribe"
	AutoResponder           Type = "AutoResponder"
	AddressChange           Type = "AddressChange"
	DNSError                Type = "DnsError"
	SpamNotification        Type = "SpamNotification"
	OpenRelayTest           Type = "OpenRelayTest"
	UnknownType             Type = "Unknown"
	SoftBounce              Type = "SoftBounce"
	VirusNotification       Type = "VirusNotification"
	ChallengeVerification   Type = "ChallengeVerification"
	BadEmailAddress         Type = "BadEmailAddress"
	SpamComplaint           Type = "SpamComplaint"
	ManuallyDeactivated     Type = "ManuallyDeactivated"
	Unconfirmed             Type = "Unconfirmed"
	Blocked                 Type = "Blocked"
	SMTPAPIError            Type = "SMTPApiError"
	InboundError            Type = "InboundError"
	DMARCPolicy             Type = "DMARCPolicy"
	TemplateRenderingFailed Type = "TemplateRenderingFailed"
)

// Failure tells whether the type says that a recipient did not get the message.
func (t Type) Failure() bool {
	switch t {
	case HardBounce, BadEmailAddress, SoftBounce, Transient, DNSError, SpamNotification, UnknownType, VirusNotification, ChallengeVerification, Blocked, DMARCPolicy:
		return true
	}
	return false
}

// TypeInfo is what is fixed about a type.
type TypeInfo struct {
	Type Type
	Code int // Postmark's TypeCode
	Name string
	// Description is a sentence for people, in the words of Postmark's API.
	Description string
}

// Types returns all types in the order of their codes.
func Types() []TypeInfo {
	return []TypeInfo{
		{HardBounce, 1, "Hard bounce", "The server was unable to deliver your message (ex: unknown user, mailbox not found)."},
		{Transient, 2, "Message delayed/Undeliverable", "The server could not temporarily deliver your message (ex: Message is delayed due to network troubles)."},
		{Unsubscribe, 16, "Unsubscribe request", "Unsubscribe or Remove request."},
		{Subscribe, 32, "Subscribe request", "Subscribe request from someone wanting to get added to the mailing list."},
		{AutoResponder, 64, "Auto responder", "Automatic email responder (ex: \"Out of Office\" or \"On Vacation\")."},
		{AddressChange, 128, "Address change", "The recipient has requested an address change."},
		{DNSError, 256, "DNS error", "The domain of the recipient does not exist or takes no mail."},
		{SpamNotification, 512, "Spam notification", "The message was delivered, but was either blocked by the user, or classified as spam, bulk mail, or had rejected content."},
		{OpenRelayTest, 1024, "Open relay test", "The NDR is actually a test email message to see if the mail server is an open relay."},
		{UnknownType, 2048, "Unknown", "Unable to classify the NDR."},
		{SoftBounce, 4096, "Soft bounce", "Unable to temporarily deliver message (i.e. mailbox full, account disabled, exceeds quota, out of disk space)."},
		{VirusNotification, 8192, "Virus notification", "The bounce is actually a virus notification warning about a virus/code infected message."},
		{ChallengeVerification, 16384, "Spam challenge verification", "The bounce is a challenge asking for verification you actually sent the email."},
		{BadEmailAddress, 100000, "Invalid email address", "The address is not a valid email address."},
		{SpamComplaint, 100001, "Spam complaint", "The subscriber explicitly marked this message as spam."},
		{ManuallyDeactivated, 100002, "Manually deactivated", "The email was manually deactivated."},
		{Unconfirmed, 100003, "Registration not confirmed", "The subscriber has not clicked on the confirmation link upon registration or import."},
		{Blocked, 100006, "ISP block", "Blocked from this ISP due to content or blacklisting."},
		{SMTPAPIError, 100007, "SMTP API error", "An error occurred while accepting an email through the SMTP API."},
		{InboundError, 100008, "Processing failed", "Unable to deliver inbound message to destination inbound hook."},
		{DMARCPolicy, 100009, "DMARC Policy", "Email rejected due DMARC Policy."},
		{TemplateRenderingFailed, 100010, "Template rendering failed", "An error occurred while attempting to render your template."},
	}
}

// Info returns what is fixed about a type. One that is not known is Unknown.
func (t Type) Info() TypeInfo {
	unknown := TypeInfo{UnknownType, 2048, "Unknown", "Unable to classify the NDR."}
	for _, i := range Types() {
		if strings.EqualFold(string(i.Type), string(t)) {
			return i
		}
	}
	return unknown
}
