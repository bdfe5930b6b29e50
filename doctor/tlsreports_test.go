package doctor

import "testing"

func TestExamine_TLSReports(t *testing.T) {
	domains := []Domain{{Name: "example.com", Keys: []Key{{Name: "s1", Signs: true}}}, {Name: "example.org", Keys: []Key{{Name: "s1"}}}}
	for name, want := range map[string]Level{"example.com": OK, "reports.example.com": OK, "notexample.com": Fail, "example.org": Fail, "": ""} {
		e := &exam{Case: Case{TLSReports: name, Domains: domains}, chart: &chart{}}
		e.tlsReports()
		if got := e.chart.findings; (len(got) == 1) != (want != "") || len(got) == 1 && (got[0].Level != want || (got[0].Advice == "") != (want == OK)) {
			t.Errorf("%q: %+v, want %s", name, got, want)
		}
	}
}
