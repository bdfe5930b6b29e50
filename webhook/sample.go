package webhook

import (
	"github.com/mailchute/mailchute/message/bounce"
	"github.com/mailchute/mailchute/store"
)

// sampleTracking is an open or a click.
type sampleTracking struct {
	common
	FirstOpen     bool `json:",omitempty"`
	Recipient     string
	ReceivedAt    string
	Platform      string
	UserAgent     string
	OriginalLink  string `json:",omitempty"`
	ClickLocation string `json:",omitempty"`
	Client, OS    family
	Geo           struct{}
}

type family struct{ Name, Company, Family string }

func link(t store.Trigger) string {
	if t == store.TriggerClick {
		return "https://example.com"
	}
	return ""
}

func location(t store.Trigger) string {
	if t == store.TriggerClick {
		return "HTML"
	}
	return ""
}

func sampleBounce(c common, e *store.Event) bouncePayload {
	info := bounce.Type(e.Bounce).Info()
	return bouncePayload{
		common: c, ID: e.BounceID(store.ID{}), Type: info.Type, TypeCode: info.Code, Name: info.Name, Description: info.Description,
		Details: "Test bounce details", Email: e.Recipient, From: "sender@example.com", BouncedAt: stamp(e.At), Inactive: true,
		CanActivate: info.Type == bounce.HardBounce, Subject: "Test subject",
	}
}
