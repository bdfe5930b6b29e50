package store_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/mailchute/mailchute/store"
)

func TestRate(t *testing.T) {
	for text, want := range map[string]store.Rate{
		"": {}, "0": {}, "10/s": {Count: 10, Per: time.Second}, "600/min": {Count: 600, Per: time.Minute}, "1/h": {Count: 1, Per: time.Hour},
	} {
		got, err := store.ParseRate(text)
		if err != nil || got != want {
			t.Errorf("ParseRate(%q) = %v, %v", text, got, err)
		}
		if again, err := store.ParseRate(got.String()); err != nil || again != got {
			t.Errorf("%q does not come back from %q: %v, %v", text, got, again, err)
		}
	}
	for _, text := range []string{"10", "/s", "0/s", "-1/s", "10/day", "10/m", "1e3/s", "10/s ", "99999999999/s", "1000001/h"} {
		if got, err := store.ParseRate(text); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("ParseRate(%q) = %v, %v, want ErrInvalid", text, got, err)
		}
	}
	b, err := json.Marshal(store.Route{Host: "a", Port: 25, Rate: store.Rate{Count: 5, Per: time.Second}, DailyQuota: 7})
	if err != nil || string(b) != `{"host":"a","port":25,"daily_quota":7,"rate":"5/s"}` {
		t.Errorf("JSON of a route = %s, %v", b, err)
	}
	var r store.Route
	if err := json.Unmarshal(b, &r); err != nil || r.Rate.Gap() != 200*time.Millisecond {
		t.Errorf("read back: %+v, %v", r, err)
	}
}
