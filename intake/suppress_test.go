package intake_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mailchute/mailchute/intake"
	"github.com/mailchute/mailchute/store"
)

// list is a list of stream outbound of server 1 by address.
type list struct {
	of    map[string]store.Suppression
	err   error
	asked []string
}

func (l *list) Suppressed(_ context.Context, server int64, stream string, addresses ...string) (out []store.Suppression, err error) {
	l.asked = append(l.asked, fmt.Sprintf("%d %s %s", server, stream, strings.Join(addresses, " ")))
	if server != 1 || stream != "outbound" {
		return nil, l.err
	}
	for _, a := range addresses {
		if s, ok := l.of[a]; ok {
			s.Address = a
			out = append(out, s)
		}
	}
	return out, l.err
}

func listOf(addresses ...string) *list {
	l := &list{of: map[string]store.Suppression{}}
	for _, a := range addresses {
		l.of[a] = store.Suppression{Reason: store.SuppressedSpamComplaint, Origin: store.OriginRecipient, Created: now.Add(-72 * time.Hour)}
	}
	return l
}

func submitTo(t *testing.T, s *spool, l *list, content string, to ...string) error {
	t.Helper()
	e := envelope(serverToken)
	e.Recipients = nil
	for _, a := range to {
		e.Recipients = append(e.Recipients, intake.Recipient{Address: a})
	}
	in := intake.New(s, s, intake.Options{Hostname: "mx.mailchute.example", Now: func() time.Time { return now }, Suppressions: l})
	_, err := in.Submit(t.Context(), e, strings.NewReader(content))
	return err
}

func TestSubmit_LeavesOutThoseOnTheList(t *testing.T) {
	s, l := account(t), listOf("off@one.example", "off@two.example")
	if err := submitTo(t, s, l, simple, "a@one.example", "OFF@One.example", "off@two.example", "b@three.example"); err != nil {
		t.Fatal(err)
	}
	got := map[string]store.State{}
	for _, d := range s.deliveries {
		for _, r := range d.Recipients {
			got[r.Address] = r.State
			if r.State == store.Suppressed && r.Last.Text != "not sent: SpamComplaint by the Recipient since 2026-11-20" {
				t.Errorf("%s: %q", r.Address, r.Last.Text)
			}
		}
	}
	want := map[string]store.State{"a@one.example": store.Queued, "OFF@One.example": store.Suppressed, "off@two.example": store.Suppressed, "b@three.example": store.Queued}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("states (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"1 outbound a@one.example off@one.example off@two.example b@three.example"}, l.asked); d != "" {
		t.Errorf("asked (-want +got):\n%s", d)
	}
}

func TestSubmit_RefusesWhenAllAreOnTheList(t *testing.T) {
	many, addresses := listOf(), []string{}
	for i := range 9 {
		a := fmt.Sprintf("%d@one.example", i)
		many.of[a], addresses = store.Suppression{}, append(addresses, a)
	}
	long := strings.Repeat("x", 60) + "." + strings.Repeat("y", 60) + "." + strings.Repeat("z", 60) + ".example"
	for _, tc := range []struct {
		name string
		list *list
		to   []string
		want string
	}{
		{"one", listOf("off@one.example"), []string{"Off@one.example"}, "Found inactive addresses: off@one.example. Inactive"},
		{"one twice", listOf("off@one.example"), []string{"off@one.example", "OFF@one.example"}, "Found inactive addresses: off@one.example. Inactive"},
		{"two", listOf("off@one.example", "off@two.example"), []string{"off@one.example", "off@two.example"}, "addresses: off@one.example, off@two.example. Inactive"},
		{"long ones", listOf("a@"+long, "b@"+long), []string{"a@" + long, "b@" + long}, "addresses: a@" + long + " and 1 more. Inactive"},
		{"many", many, addresses, "addresses: 0@one.example, 1@one.example, 2@one.example, 3@one.example, 4@one.example and 4 more. Inactive"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := account(t)
			err := submitTo(t, s, tc.list, simple, tc.to...)
			var r *intake.Refusal
			if !errors.As(err, &r) || r.Kind != intake.KindSuppressed || !strings.Contains(r.Reason, tc.want) || len(r.Reason) > 480 {
				t.Errorf("Submit = %v, want %q", err, tc.want)
			}
			if r != nil && len(r.Inactive) != len(tc.list.of) {
				t.Errorf("inactive: %q", r.Inactive)
			}
			if s.committed != 0 {
				t.Error("something was queued")
			}
		})
	}
}

func TestSubmit_ListsAreTheStreamsOwn(t *testing.T) {
	s, l := account(t), listOf("off@one.example")
	if err := submitTo(t, s, l, "X-PM-Message-Stream: broadcast\r\n"+simple, "off@one.example"); err != nil {
		t.Errorf("Submit to another stream = %v", err)
	}
	if d := cmp.Diff([]string{"1 broadcast off@one.example"}, l.asked); d != "" {
		t.Errorf("asked (-want +got):\n%s", d)
	}
}

// TestSubmit_AnUnreadableListIsTemporary: nobody is written to who is perhaps on it.
func TestSubmit_AnUnreadableListIsTemporary(t *testing.T) {
	s, l := account(t), listOf()
	l.err = store.ErrDamaged
	err := submitTo(t, s, l, simple, "a@one.example")
	var r *intake.Refusal
	if !errors.As(err, &r) || r.Kind != intake.KindUnavailable || s.committed != 0 {
		t.Errorf("Submit = %v, %d queued", err, s.committed)
	}
}
