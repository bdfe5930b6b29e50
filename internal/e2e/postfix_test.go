//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// postfix is an instance of Postfix with a configuration, queue and mailboxes
// of its own. Nothing of the system's instance is read or changed.
type postfix struct {
	dir  string
	mail string // mailboxes: one Maildir for each user
	log  *shadow
}

// The services that Postfix needs to take mail and to write notices.
const postfixServices = `
pickup    unix       n - n 1   1 pickup
cleanup   unix       n - n -   0 cleanup
qmgr      unix       n - n 1   1 qmgr
tlsmgr    unix       - - n -   1 tlsmgr
rewrite   unix       - - n -   - trivial-rewrite
bounce    unix       - - n -   0 bounce
defer     unix       - - n -   0 bounce
trace     unix       - - n -   0 bounce
verify    unix       - - n -   1 verify
proxymap  unix       - - n -   - proxymap
smtp      unix       - - n -   - smtp
relay     unix       - - n -   - smtp
error     unix       - - n -   - error
retry     unix       - - n -   - error
virtual   unix       - n n -   - virtual
anvil     unix       - - n -   1 anvil
scache    unix       - - n -   1 scache
postlog   unix-dgram n - n -   1 postlogd
`

// postfixSettings is main.cf, given the directory, the name, the owner of
// mailboxes and their group, and what the test adds.
const postfixSettings = `compatibility_level = 3.6
queue_directory = %[1]s/spool
data_directory = %[1]s/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
shlib_directory = /usr/lib/postfix
meta_directory = /etc/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = /dev/stdout
myhostname = %[2]s
mydestination =
mynetworks =
inet_protocols = ipv4
inet_interfaces = loopback-only
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
alias_maps =
alias_database =
smtputf8_enable = yes
virtual_mailbox_base = %[1]s/mail
virtual_minimum_uid = 1
virtual_uid_maps = static:%[3]s
virtual_gid_maps = static:%[4]s
maximal_backoff_time = 2s
minimal_backoff_time = 1s
queue_run_delay = 1s
%[5]s`

// postfixConfig is what instances differ in.
type postfixConfig struct {
	name      string
	listeners string // lines of master.cf
	settings  string // lines of main.cf
	sasl      string // smtpd.conf of the SASL library
}

// newPostfix starts an instance. It looks nothing up in DNS.
func newPostfix(t testing.TB, c postfixConfig) *postfix {
	t.Helper()
	dir := sharedDir(t)
	p := &postfix{dir: dir, mail: filepath.Join(dir, "mail")}
	nobody := account(t, "nobody")
	for _, sub := range []string{"etc", "spool", "data", "mail"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	give(t, p.mail, nobody)
	give(t, filepath.Join(dir, "data"), account(t, "postfix"))
	put(t, filepath.Join(dir, "etc", "main.cf"), fmt.Sprintf(postfixSettings, dir, c.name, nobody.Uid, nobody.Gid, c.settings))
	put(t, filepath.Join(dir, "etc", "master.cf"), c.listeners+postfixServices)
	put(t, filepath.Join(dir, "etc", "sasl", "smtpd.conf"), c.sasl) // where Debian's Postfix looks
	p.start(t, c.listeners)
	return p
}

func (p *postfix) start(t testing.TB, listeners string) {
	t.Helper()
	config := filepath.Join(p.dir, "etc")
	// It daemonises its own way: only its own command ends all of it.
	onDeath(t, `exec /usr/sbin/postfix -c "$1" stop`, config)
	p.log = daemon(t, nil, "/usr/sbin/postfix", "-c", config, "start-fg")
	t.Cleanup(func() {
		if out, err := exec.Command("/usr/sbin/postfix", "-c", config, "stop").CombinedOutput(); err != nil {
			t.Errorf("postfix stop: %v\n%s", err, out)
		}
	})
	if !until(15*time.Second, func() bool { return strings.Contains(p.log.String(), "daemon started") }) {
		t.Fatalf("Postfix does not start:\n%s", p.log)
	}
	for line := range strings.Lines(listeners) {
		if address := strings.Fields(line); len(address) > 0 && strings.Contains(address[0], ":") {
			listening(t, address[0], p.log)
		}
	}
}

// submit hands Postfix a message as a program on its machine does.
func (p *postfix) submit(t testing.TB, from, to, content string) {
	t.Helper()
	cmd := exec.Command("/usr/sbin/sendmail", "-C", filepath.Join(p.dir, "etc"), "-i", "-f", from, "--", to)
	cmd.Stdin = strings.NewReader(content)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sendmail: %v\n%s", err, out)
	}
}

// postfixReceiver is Postfix as the mail host of postfix.example, of
// sender.example, where notices go, and of more domains: mailboxes buyer, shop, müller and r1, r2 ... (one for all
// of these); everybody else is unknown. slow@ is greylisted.
func postfixReceiver(t testing.TB, address string, cert certificate) *postfix {
	t.Helper()
	policy := greylist(t)
	maps := put(t, filepath.Join(sharedDir(t), "mailboxes"), `/^buyer@/ buyer/
/^shop@/ shop/
/^slow@/ slow/
/^r[0-9]+@/ many/
/^müller@/ mueller/
`)
	return newPostfix(t, postfixConfig{name: "mx.postfix.example", listeners: address + " inet n - n - - smtpd\n", settings: fmt.Sprintf(`
virtual_mailbox_domains = postfix.example, sender.example, second.example, implicit.example, alias.example, wide.example
virtual_mailbox_maps = regexp:%s
smtpd_recipient_restrictions = reject_unauth_destination, reject_unlisted_recipient, check_policy_service inet:%s
smtpd_tls_security_level = may
smtpd_tls_cert_file = %s
smtpd_tls_key_file = %s
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
`, maps, policy, cert.cert, cert.key)})
}

// greylist is a policy service of Postfix that answers the first attempt for
// slow@ with 450, as greylisting does, and takes the second.
func greylist(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &greylister{seen: map[string]bool{}}
	g.serve(t, l)
	return l.Addr().String()
}
