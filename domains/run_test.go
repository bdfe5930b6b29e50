package domains_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mailchute/mailchute/domains"
	"github.com/mailchute/mailchute/store"
)

// lines is a log that keeps its messages.
type lines struct {
	mu   sync.Mutex // guards list
	list []string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, string(b))
	return len(b), nil
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(l.list), func(s string) bool { return !strings.Contains(s, text) }))
}

// running starts Run under the clock of a synctest bubble.
func (w *world) running(t *testing.T) *lines {
	log := &lines{}
	w.keeper = domains.NewKeeper(w.dir, w.keyring, domains.Options{
		Resolver: w.zone, Log: slog.New(slog.NewTextHandler(log, nil)), Rand: func() float64 { return 0.5 },
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.keeper.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return log
}

func (w *world) current(d store.Domain) store.Domain { return w.dir.Snapshot().Domains[d.ID] }

func TestRun_NewKeysBeginToSignByThemselves(t *testing.T) {
	w := newWorld(t)
	synctest.Test(t, func(t *testing.T) {
		log := w.running(t)
		d, err := w.keeper.Add(t.Context(), "example.com")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if w.zone.asked() > 0 {
			t.Error("it looked before the records could be there, which resolvers would remember")
		}
		w.zone.publish(d)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if d = w.current(d); d.Verified.IsZero() || len(d.SigningKeys(time.Now())) != 2 {
			t.Errorf("ten minutes after: %s", states(d))
		}
		if log.count("domain key signs from now on") != 2 {
			t.Errorf("log: %v", log.list)
		}
	})
}

// The longer a record is missing, the rarer are the looks.
func TestRun_DoesNotAskForEver(t *testing.T) {
	w := newWorld(t)
	synctest.Test(t, func(t *testing.T) {
		w.running(t)
		if _, err := w.keeper.Add(t.Context(), "example.com"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * 24 * time.Hour)
		synctest.Wait()
		if n := w.zone.asked() / 5; n < 35 || n > 80 { // 2 keys, SPF, DMARC at two names
			t.Errorf("%d looks in a month, want about one a day and some more at first", n)
		}
	})
}

func TestRun_TellsOnceWhatBroke(t *testing.T) {
	w := newWorld(t)
	synctest.Test(t, func(t *testing.T) {
		log := w.running(t)
		d, err := w.keeper.Add(t.Context(), "example.com")
		if err != nil {
			t.Fatal(err)
		}
		w.zone.publish(d)
		time.Sleep(time.Hour)
		name := d.Keys[0].RecordName(d.Name)
		const broke = "domain record broke"
		fail := func(err error) {
			w.zone.mu.Lock()
			defer w.zone.mu.Unlock()
			w.zone.fail[name] = err
		}
		fail(context.DeadlineExceeded)
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if log.count(broke) != 0 || log.count("not looked up") == 0 {
			t.Errorf("after a timeout: %v", log.list)
		}
		fail(domains.ErrNoDomain)
		time.Sleep(96 * time.Hour)
		synctest.Wait()
		if log.count(broke) != 1 {
			t.Errorf("after the record was gone for four days it was told %d times", log.count(broke))
		}
		if d = w.current(d); d.Check.OK || d.Verified.IsZero() || len(d.SigningKeys(time.Now())) != 2 {
			t.Errorf("a domain with a broken record: %+v", d)
		}
		fail(nil)
		time.Sleep(48 * time.Hour)
		synctest.Wait()
		if log.count("domain record is right") != 1 || !w.current(d).Check.OK {
			t.Errorf("after it came back: %v", log.list)
		}
	})
}

func TestRun_RetiresAndForgets(t *testing.T) {
	w := newWorld(t)
	synctest.Test(t, func(t *testing.T) {
		w.running(t)
		d, err := w.keeper.Add(t.Context(), "example.com")
		if err != nil {
			t.Fatal(err)
		}
		if _, err = w.keeper.Rotate(t.Context(), d.ID, true); err != nil {
			t.Fatal(err)
		}
		if d, err = w.keeper.Rotate(t.Context(), d.ID, true); err != nil {
			t.Fatal(err)
		}
		w.zone.publish(d)
		day := 24 * time.Hour
		for _, tc := range []struct {
			after time.Duration
			want  string
		}{
			{6 * day, "replaced replaced active active"},
			{3 * day, "retired retired active active"},
			{40 * day, "retired retired active active"},
			{10 * day, "active active"},
		} {
			time.Sleep(tc.after)
			synctest.Wait()
			var got []string
			for _, k := range w.current(d).Keys {
				got = append(got, k.State())
			}
			if strings.Join(got, " ") != tc.want {
				t.Errorf("%v later: %v, want %s", tc.after, got, tc.want)
			}
		}
	})
}
