package doctor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// renewBefore is how long a certificate should still be valid. Those of ACME
// authorities are renewed when 30 days are left: less than 21 means that
// renewal has failed for a while.
const renewBefore = 21 * 24 * time.Hour

// clockSlack is how far in the future a file may lie.
const clockSlack = time.Minute

// earliest is before any release of this program.
var earliest = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (e *exam) directory() {
	d := e.Directory
	a := e.chart.about("data directory", d.Path)
	switch {
	case errors.Is(d.Err, fs.ErrNotExist):
		a.warn("start the server once: mailchute serve", "is not there yet")
		return
	case d.Err != nil:
		a.fail("see that the user of the server may read it", "cannot be read: %v", d.Err)
		return
	case d.Mode.Perm()&0o077 != 0:
		a.fail(fmt.Sprintf("chmod 700 %s", d.Path), "mode %04o lets others in, and it holds mail and keys", d.Mode.Perm())
	case d.Foreign:
		a.warn("run the commands as the user of the server", "belongs to another user than you")
	default:
		a.ok("mode %04o", d.Mode.Perm())
	}
	a = e.chart.about("free space", d.Path)
	switch {
	case d.Free < d.MinFree:
		a.fail("make room, or set storage.min_free", "%s free: below %s new mail is refused", size(d.Free), size(d.MinFree))
	case d.Free/2 < d.MinFree:
		a.warn("make room, or shorten storage.retention", "%s free: below %s new mail is refused", size(d.Free), size(d.MinFree))
	default:
		a.ok("%s free, %s needed", size(d.Free), size(d.MinFree))
	}
}

func size(n uint64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

func (e *exam) clock() {
	c := e.Clock
	a := e.chart.about("clock", "")
	const advice = "run a time service, such as chrony or systemd-timesyncd"
	switch {
	case c.Now.Before(earliest):
		a.fail(advice, "it is %s: certificates and signatures cannot be right", stamp(c.Now))
	case c.Newest.Sub(c.Now) > clockSlack:
		a.fail(advice, "it is %s, but a file was written at %s: the clock was set back", stamp(c.Now), stamp(c.Newest))
	case c.Unsynchronised:
		a.warn(advice, "it is %s, and the kernel is not synchronised with a time service", stamp(c.Now))
	case c.Unknown:
		a.ok("it is %s; whether it is synchronised cannot be read here", stamp(c.Now))
	default:
		a.ok("it is %s, synchronised", stamp(c.Now))
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func (e *exam) openFiles() {
	f := e.OpenFiles
	a := e.chart.about("open files", "")
	advice := fmt.Sprintf("raise it to %d: LimitNOFILE= in the unit, or ulimit -n", f.All)
	switch {
	case f.Err != nil:
		a.warn(fmt.Sprintf("see that ulimit -n is at least %d", f.All), "the limit cannot be read: %v", f.Err)
	case f.Limit < f.Outgoing:
		a.fail(advice, "at most %d, but deliveries alone may need %d", f.Limit, f.Outgoing)
	case f.Limit < f.All:
		a.warn(advice, "at most %d, but all clients and deliveries together may need %d", f.Limit, f.All)
	default:
		a.ok("at most %d, %d needed", f.Limit, f.All)
	}
}

func (e *exam) certificate() {
	c := e.Certificate
	a := e.chart.about("certificate", c.File)
	switch {
	case errors.Is(c.Err, fs.ErrNotExist):
		a.warn("start the server once, or set smtp.tls", "there is none yet")
		return
	case c.Err != nil:
		a.fail("see smtp.tls in the configuration", "cannot be used: %v", c.Err)
		return
	case len(c.Chain) == 0:
		a.fail("see smtp.tls in the configuration", "holds no certificate")
		return
	}
	leaf, now := c.Chain[0], e.Clock.Now
	left := leaf.NotAfter.Sub(now)
	switch {
	case now.Before(leaf.NotBefore):
		a.fail("look at the clock", "is valid from %s only", stamp(leaf.NotBefore))
	case left <= 0:
		a.fail("renew it", "expired on %s", stamp(leaf.NotAfter))
	case leaf.VerifyHostname(c.Host) != nil:
		a.fail("get one for that name, or set hostname to the name that clients use", "is not valid for %s", c.Host)
	case left < renewBefore:
		a.warn("renew it, and see why that has not happened", "expires on %s, in %d days", stamp(leaf.NotAfter), int(left.Hours()/24))
	case bytes.Equal(leaf.RawIssuer, leaf.RawSubject):
		a.warn("name one of a public authority in smtp.tls, or give clients this file to trust", "is self-signed: clients that verify refuse it")
	default:
		a.ok("valid for %s until %s", c.Host, stamp(leaf.NotAfter))
	}
}
