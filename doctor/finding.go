package doctor

import "fmt"

// Level says how bad a finding is.
type Level string

// The levels.
const (
	OK   Level = "OK"
	Warn Level = "WARN" // mail leaves, but some of it may be refused or put aside
	Fail Level = "FAIL" // mail does not leave, or much of it is refused
)

// Finding is what one check saw.
type Finding struct {
	Check   string `json:"check"`
	Subject string `json:"subject,omitempty"` // what was looked at: a name, an address, a file
	Level   Level  `json:"level"`
	Detail  string `json:"detail"`
	Advice  string `json:"advice,omitempty"` // what to do; "" when all is well
}

// chart collects the findings of a run, in the order they were made.
type chart struct{ findings []Finding }

// area names the check and the subject of the findings that follow.
type area struct {
	chart          *chart
	check, subject string
}

func (c *chart) about(check, subject string) area { return area{c, check, subject} }

func (a area) add(level Level, detail, advice string) {
	a.chart.findings = append(a.chart.findings, Finding{a.check, a.subject, level, detail, advice})
}

func (a area) ok(format string, args ...any) { a.add(OK, fmt.Sprintf(format, args...), "") }

func (a area) warn(advice, format string, args ...any) {
	a.add(Warn, fmt.Sprintf(format, args...), advice)
}

func (a area) fail(advice, format string, args ...any) {
	a.add(Fail, fmt.Sprintf(format, args...), advice)
}
