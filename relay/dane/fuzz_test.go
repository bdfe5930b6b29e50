package dane

import (
	"encoding/binary"
	"testing"

	"github.com/miekg/dns"
)

// FuzzTXT checks that the octets of a TXT record come out as they came over the wire.
func FuzzTXT(f *testing.F) {
	for _, s := range []string{"", "v=STSv1; id=1;", `a "quoted" \ backslash`, "\x00\xff\\200", `\`, `\12`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		octets = octets[:min(len(octets), 255)]
		wire := []byte{0, 0, byte(dns.TypeTXT), 0, byte(dns.ClassINET), 0, 0, 0, 0}
		wire = binary.BigEndian.AppendUint16(wire, uint16(len(octets)+1))
		wire = append(append(wire, byte(len(octets))), octets...)
		rr, _, err := dns.UnpackRR(wire, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := unescape(rr.(*dns.TXT).Txt); got != string(octets) {
			t.Errorf("%q became %q", octets, got)
		}
	})
}
