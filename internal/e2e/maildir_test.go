//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mailbox returns the messages of a Maildir, with the LF line ends that mail
// has on disk.
func mailbox(dir string) []string {
	var mails []string
	for _, sub := range []string{"new", "cur"} {
		files, _ := os.ReadDir(filepath.Join(dir, sub))
		for _, f := range files {
			if b, err := os.ReadFile(filepath.Join(dir, sub, f.Name())); err == nil {
				mails = append(mails, string(b))
			}
		}
	}
	return mails
}

// about returns the messages of a Maildir that contain the mark.
func about(dir, mark string) []string {
	var out []string
	for _, m := range mailbox(dir) {
		if strings.Contains(m, mark) {
			out = append(out, m)
		}
	}
	return out
}

// awaitMail waits for a message with the mark and returns it. why is what to
// show when none comes.
func awaitMail(t testing.TB, dir, mark string, why func() string) string {
	t.Helper()
	if !until(20*time.Second, func() bool { return len(about(dir, mark)) > 0 }) {
		t.Fatalf("no mail with %q in %s\n%s", mark, dir, why())
	}
	return about(dir, mark)[0]
}
