//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"
)

func TestPostmarkClient_WorksAgainstTheRelay(t *testing.T) {
	rcv := newReceiver(t)
	address := freePort(t)
	t.Setenv("MAILCHUTE_API_LISTENERS", address+"/none")
	r := newRelay(t, rcv.address)
	out, err := run("", []string{"API=" + checkedAPI(t, address), "SERVER_TOKEN=" + r.serverToken, "ACCOUNT_TOKEN=" + r.accountToken,
		"FROM=shop@sender.example", "TO=buyer@dest.example"}, "node", "clients/api.mjs")
	if err != nil || !strings.Contains(out, "done") {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, subject := range []string{"api-single", "api-batch-1", "api-batch-2"} {
		if !until(10*time.Second, func() bool { return len(rcv.about("Subject: "+subject+"\r\n")) == 1 }) {
			t.Errorf("%s was delivered %d times", subject, len(rcv.about("Subject: "+subject+"\r\n")))
		}
	}
	if len(rcv.about("Subject: api-trial\r\n")) > 0 {
		t.Error("the trial token sent a message")
	}
}
