package api

import (
	"maps"
	"slices"
	"time"

	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/store"
)

func statsRoutes() []route {
	const all = "/stats/outbound"
	routes := []route{
		{method: "GET", path: all, handle: statsOverview},
		{method: "GET", path: "/messages/outbound/opens", handle: noOpens},
		{method: "GET", path: "/messages/outbound/clicks", handle: noClicks},
	}
	for _, r := range []struct {
		path   string
		counts []string
		of     func(store.Counts) map[string]int64
	}{
		{"/sends", []string{"Sent"}, func(c store.Counts) map[string]int64 { return map[string]int64{"Sent": c.Sent} }},
		{"/bounces", []string{"HardBounce", "SoftBounce", "SMTPApiError", "Transient"}, bouncesByKind},
		{"/spam", []string{"SpamComplaint"}, func(c store.Counts) map[string]int64 {
			return map[string]int64{"SpamComplaint": c.Bounces[string(bounce.SpamComplaint)]}
		}},
		// Nothing is tracked yet, so these are always empty, in the shapes that clients read.
		{"/tracked", []string{"Tracked"}, nil},
		{"/opens", []string{"Opens", "Unique"}, nil},
		{"/opens/platforms", []string{"Desktop", "Mobile", "WebMail", "Unknown"}, nil},
		{"/opens/emailclients", nil, nil},
		{"/opens/readtimes", nil, nil},
		{"/clicks", []string{"Clicks", "Unique"}, nil},
		{"/clicks/browserfamilies", nil, nil},
		{"/clicks/platforms", []string{"Desktop", "Mobile", "Unknown"}, nil},
		{"/clicks/location", []string{"HTML", "Text"}, nil},
	} {
		routes = append(routes, route{method: "GET", path: all + r.path, handle: func(c *call) (any, *Error) { return statsByDay(c, r.counts, r.of) }})
	}
	return routes
}

// statsDays reads what is asked for and returns the days that have anything.
func (c *call) statsDays() ([]store.Day, *Error) {
	since, until, e := c.span(CodeStatsQuery)
	if e != nil {
		return nil, e
	}
	if !until.IsZero() {
		until = until.Add(-time.Nanosecond)
	}
	if !since.IsZero() && !until.IsZero() && until.Before(since) {
		return nil, refuse(CodeStatsSpan, "Parameter 'fromdate' must not be after 'todate'.")
	}
	days, err := c.store.Stats(c.context(), store.StatsFilter{
		Server: c.principal.Server, Stream: c.query["messagestream"], Tag: c.query["tag"], Since: since, Until: until,
	})
	if err != nil {
		return nil, c.unexpected("reading statistics", err)
	}
	return days, nil
}

// statsByDay answers with counts for each day and their sums. Without of they
// are all 0 and there are no days.
func statsByDay(c *call, names []string, of func(store.Counts) map[string]int64) (any, *Error) {
	found, e := c.statsDays()
	if e != nil {
		return nil, e
	}
	sums, days := map[string]int64{}, []map[string]any{}
	for _, name := range names {
		sums[name] = 0
	}
	for _, d := range found {
		if of == nil {
			break
		}
		day, any := map[string]any{"Date": d.Date.Format(time.DateOnly)}, false
		for name, n := range of(d.Counts) {
			day[name] = n
			sums[name] += n
			any = any || n > 0
		}
		if any {
			days = append(days, day)
		}
	}
	answer := map[string]any{"Days": days}
	for name, n := range sums {
		answer[name] = n
	}
	return answer, nil
}

// kindOf puts a bounce type into one of the four that statistics tell apart,
// "" where it is none of them, such as an automatic answer.
func kindOf(t bounce.Type) string {
	switch t {
	case bounce.HardBounce, bounce.BadEmailAddress:
		return "HardBounce"
	case bounce.SMTPAPIError:
		return "SMTPApiError"
	case bounce.Transient:
		return "Transient"
	}
	if t.Failure() {
		return "SoftBounce"
	}
	return ""
}

func bouncesByKind(c store.Counts) map[string]int64 {
	kinds := map[string]int64{"HardBounce": 0, "SoftBounce": 0, "SMTPApiError": 0, "Transient": 0}
	for _, t := range slices.Sorted(maps.Keys(c.Bounces)) {
		if kind := kindOf(bounce.Type(t)); kind != "" {
			kinds[kind] += c.Bounces[t]
		}
	}
	return kinds
}

// overview is the sum of everything. What is tracked nowhere yet is 0.
type overview struct {
	Sent                  int64
	Bounced               int64
	SMTPAPIErrors         int64 `json:"SMTPApiErrors"`
	BounceRate            float64
	SpamComplaints        int64
	SpamComplaintsRate    float64
	Opens                 int64
	UniqueOpens           int64
	Tracked               int64
	WithLinkTracking      int64
	WithOpenTracking      int64
	TotalTrackedLinksSent int64
	UniqueLinksClicked    int64
	TotalClicks           int64
	WithClientRecorded    int64
	WithPlatformRecorded  int64
	WithReadTimeRecorded  int64
}

func statsOverview(c *call) (any, *Error) {
	days, e := c.statsDays()
	if e != nil {
		return nil, e
	}
	var sum store.Counts
	for _, d := range days {
		sum.Add(d.Counts)
	}
	kinds := bouncesByKind(sum)
	o := overview{
		Sent: sum.Sent, Bounced: kinds["HardBounce"] + kinds["SoftBounce"] + kinds["Transient"], SMTPAPIErrors: kinds["SMTPApiError"],
		SpamComplaints: sum.Bounces[string(bounce.SpamComplaint)],
	}
	o.BounceRate, o.SpamComplaintsRate = percent(o.Bounced, o.Sent), percent(o.SpamComplaints, o.Sent)
	return o, nil
}

// noOpens and noClicks answer for what is not tracked.
func noOpens(c *call) (any, *Error) {
	_, e := c.page(CodeMessageQuery)
	return struct {
		TotalCount int
		Opens      []struct{}
	}{Opens: []struct{}{}}, e
}

func noClicks(c *call) (any, *Error) {
	_, e := c.page(CodeMessageQuery)
	return struct {
		TotalCount int
		Clicks     []struct{}
	}{Clicks: []struct{}{}}, e
}

// percent is the share of n in of.
func percent(n, of int64) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) * 100 / float64(of)
}
