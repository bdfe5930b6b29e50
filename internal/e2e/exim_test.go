//go:build e2e

package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// exim is an instance of Exim that runs without any privilege, as the mail host
// of exim.example: mailboxes buyer, second and r0 to r9. It takes three messages
// in a session.
type exim struct {
	mail string
	main string // the log of what it takes
	log  *shadow
}

func newExim(t testing.TB, address string, cert certificate) *exim {
	t.Helper()
	dir := sharedDir(t)
	path := eximProgram(t, dir)
	e := &exim{mail: filepath.Join(dir, "mail"), main: filepath.Join(dir, "log", "mainlog")}
	for _, sub := range []string{"mail", "spool", "log"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	host, port, _ := net.SplitHostPort(address)
	conf := put(t, filepath.Join(dir, "exim.conf"), fmt.Sprintf(`exim_path = %[1]s
primary_hostname = mx.exim.example
spool_directory = %[2]s/spool
log_file_path = %[2]s/log/%%slog
pid_file_path = %[2]s/exim.pid
local_interfaces = %[3]s
daemon_smtp_ports = %[4]s
deliver_drop_privilege = true
keep_environment =
add_environment = PATH=/usr/bin:/bin
host_lookup =
dns_ipv4_lookup = *
rfc1413_query_timeout = 0s
tls_advertise_hosts = *
tls_certificate = %[5]s
tls_privatekey = %[6]s
chunking_advertise_hosts = *
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
message_size_limit = 200K
smtp_accept_max_per_connection = 3
acl_smtp_rcpt = check_recipient
acl_smtp_data = accept

begin acl
check_recipient:
  require domains = exim.example
  require verify = recipient
  accept

begin routers
mailboxes:
  driver = accept
  domains = exim.example
  local_parts = buyer : second : r0 : r1 : r2 : r3 : r4 : r5 : r6 : r7 : r8 : r9
  transport = maildir

begin transports
maildir:
  driver = appendfile
  maildir_format
  create_directory
  directory = %[2]s/mail/$local_part_data
  return_path_add
  envelope_to_add
`, path, dir, host, port, cert.cert, cert.key))
	owner := account(t, "Debian-exim")
	give(t, dir, owner)
	e.log = daemon(t, owner, path, "-C", conf, "-bdf", "-q1h")
	listening(t, address, e.log)
	return e
}

// eximProgram is a copy of the program in a place where its user may run it.
func eximProgram(t testing.TB, dir string) string {
	t.Helper()
	found, err := exec.LookPath("exim4")
	if err != nil {
		t.Fatalf("%v (.ci/run says what must be installed)", err)
	}
	program, err := os.ReadFile(found)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "exim4")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
