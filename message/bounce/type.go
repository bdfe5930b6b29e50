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

// TypeInfo is what is fixed about a type.
type TypeInfo struct {
	Type Type
	Code int // Postmark's TypeCode
	Name string
}

// Types returns all types in the order of their codes.
func Types() []TypeInfo {
	return []TypeInfo{
		{HardBounce, 1, "Hard bounce"},
		{Transient, 2, "Message delayed/Undeliverable"},
		{Unsubscribe, 16, "Unsubscribe request"},
		{Subscribe, 32, "Subscribe request"},
		{AutoResponder, 64, "Auto responder"},
		{AddressChange, 128, "Address change"},
		{DNSError, 256, "DNS error"},
		{SpamNotification, 512, "Spam notification"},
		{OpenRelayTest, 1024, "Open relay test"},
		{UnknownType, 2048, "Unknown"},
		{SoftBounce, 4096, "Soft bounce"},
		{VirusNotification, 8192, "Virus notification"},
		{ChallengeVerification, 16384, "Spam challenge verification"},
		{BadEmailAddress, 100000, "Invalid email address"},
		{SpamComplaint, 100001, "Spam complaint"},
		{ManuallyDeactivated, 100002, "Manually deactivated"},
		{Unconfirmed, 100003, "Registration not confirmed"},
		{Blocked, 100006, "ISP block"},
		{SMTPAPIError, 100007, "SMTP API error"},
		{InboundError, 100008, "Processing failed"},
		{DMARCPolicy, 100009, "DMARC Policy"},
		{TemplateRenderingFailed, 100010, "Template rendering failed"},
	}
}

// Info returns what is fixed about a type. One that is not known is Unknown.
func (t Type) Info() TypeInfo {
	unknown := TypeInfo{UnknownType, 2048, "Unknown"}
	for _, i := range Types() {
		if strings.EqualFold(string(i.Type), string(t)) {
			return i
		}
	}
	return unknown
}
