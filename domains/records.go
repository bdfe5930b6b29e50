package domains

import (
	"github.com/mailchute/mailchute/message/dkim"
	"github.com/mailchute/mailchute/store"
)

// Purposes of records.
const (
	PurposeDKIM       = "dkim"
	PurposeSPF        = "spf"
	PurposeReturnPath = "return-path"
	PurposeDMARC      = "dmarc"
)

// Record is one DNS record of a sender domain.
type Record struct {
	Purpose string `json:"purpose"`
	Name    string `json:"name"` // without a final dot
	Type    string `json:"type"`
	Value   string `json:"value"` // a TXT record's strings joined
	// Needed says that the domain's mail is not signed without it. The others
	// are advice, and may have to be merged with what is there.
	Needed bool   `json:"needed"`
	State  string `json:"state,omitempty"` // of the key
	Advice string `json:"advice,omitempty"`
}

// Zone returns the record as a line of a zone file, without a line end.
func (r Record) Zone() string {
	if r.Type == "TXT" {
		return dkim.ZoneTXT(r.Name, r.Value)
	}
	return r.Name + ". IN " + r.Type + " " + r.Value + "."
}

// RecordOptions is what the records of a domain depend on beside its keys.
type RecordOptions struct {
	Hostname   string // the host that sends and takes bounces
	ReturnPath string // the domain of our own reverse-paths; "" means that the client's are used
}

// Records returns what to publish for a domain: the records of its keys, then
// advice.
func Records(d store.Domain, o RecordOptions) []Record {
	var out []Record
	for _, k := range d.Keys {
		if k.Retired.IsZero() {
			out = append(out, Record{Purpose: PurposeDKIM, Name: k.RecordName(d.Name), Type: "TXT", Value: k.Record, Needed: true, State: k.State()})
		}
	}
	if o.ReturnPath != "" && d.ReturnPath != "" {
		out = append(out, Record{
			Purpose: PurposeReturnPath, Name: d.ReturnPath, Type: "CNAME", Value: o.ReturnPath,
			Advice: "the reverse-path of its mail is at this host, below the domain, so that SPF counts for DMARC; until it is there, at " + o.ReturnPath,
		})
	} else {
		out = append(out, returnPath(d.Name, o)...)
	}
	return append(out, Record{
		Purpose: PurposeDMARC, Name: "_dmarc." + d.Name, Type: "TXT", Value: "v=DMARC1; p=none; rua=mailto:postmaster@" + d.Name,
		Advice: "large receivers ask for one; p=none only reports",
	})
}

// returnPath advises on the host of the reverse-path, whose SPF record receivers
// look at: our own, or that of the domain which clients name in MAIL FROM.
func returnPath(domain string, o RecordOptions) []Record {
	spf := Record{Purpose: PurposeSPF, Name: domain, Type: "TXT", Value: "v=spf1 a:" + o.Hostname + " ~all"}
	if o.ReturnPath == "" {
		spf.Advice = "a domain has one SPF record: where there is one, add a:" + o.Hostname +
			" to it; a subdomain used in MAIL FROM needs its own, and an MX record for bounces"
		return []Record{spf}
	}
	spf.Name, spf.Value = o.ReturnPath, "v=spf1 a:"+o.Hostname+" -all"
	spf.Advice = "the reverse-path of all mail is at this host, so its SPF record counts; once for all domains"
	return []Record{{
		Purpose: PurposeReturnPath, Name: o.ReturnPath, Type: "MX", Value: "10 " + o.Hostname,
		Advice: "bounces come back to this host; once for all domains",
	}, spf}
}
