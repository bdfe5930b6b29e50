package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/mailchute/mailchute/internal/testdns"
	"github.com/mailchute/mailchute/internal/testmx"
	"github.com/mailchute/mailchute/store"
)

// The scripts of testdata/script drive real processes of the command: the test
// binary runs itself as mailchute. Besides the commands of testscript they have:
//
//	serve [NAME=VALUE...]       start "mailchute serve", with variables and flags, and wait until it serves; its output goes to
//	                            serve.out and serve.log, its addresses to $SMTP and $SMTPS, and what
//	                            a first start prints to $TOKEN, $ACCESS, $SECRET and $ACCOUNT
//	quit                        SIGTERM, and the exit code must be 0
//	term                        SIGTERM, and wait until it has closed its listeners
//	wait-exit                   wait until it has ended; the exit code must be 0
//	wait-killed                 wait until it has ended by SIGTERM
//	kill9                       SIGKILL
//	hup                         SIGHUP
//	wait-log TEXT               wait until serve.log has the text
//	wait-message ID TEXT        wait until "mailchute message show" has the text, which stdout then looks at
//	exits CODE COMMAND ARG...   run, and the exit code must be CODE
//	dns FILE...                 start a name server at $DNS with the zones in the files, or add them to it; ${MXPORT} and ${TLSA} are known
//	dns-sign NAME...            what lies under the names is authentic from now on
//	dns-remove NAME             take all records of a name away
//	delivered-is FILE           the newest message that the host has taken is the file
//	mx                          start a receiving host at $MX (port $MXPORT)
//	tls-mx HOSTNAME             start a host with STARTTLS at $MX (port $MXPORT); $TLSA is the record of its key
//	silent-mx                   start a host at $MX (port $MXPORT) that hangs up at the final dot of the first two messages, and then takes all
//	refusing-mx                 start a host at $MX (port $MXPORT) that refuses the first recipient for good, and then takes all
//	wait-stdout TEXT COMMAND ARG...
//	                            run until the output has the text
//	capture NAME REGEXP         what the group of the expression matches in stdout goes to $NAME
//	wait-delivered N [SUBJECT]  wait until it has taken N messages in all, or with that subject
//	send USER PASSWORD TO WANT [SUBJECT [HEADER...]]
//	                            submit; the last reply must begin with WANT; a message ID in it goes to $ID
//	open USER PASSWORD          log in and keep the connection
//	say LINE WANT               on that connection; \n in the line is CRLF
//	return-path RECIPIENT [WANT]
//	                            the reverse-path that the receiving host got for the recipient goes to $RETURN
//	bounce-to TO WANT [FILE]    send the file from the null reverse-path to $BOUNCES; the last reply must begin with WANT
//	load                        submit from 8 connections until kill9
//	wait-acknowledged           wait until the host has taken all that load got a 250 for
//	cert NAME                   make NAME.crt and NAME.key
//	wait-cert NAME              wait until $SMTPS shows NAME.crt
//	no-secrets FILE...          none of the secrets printed so far is in the files
//	hooks STATUS                start an endpoint for webhooks at $HOOK that answers with the status, or let it answer so from now on
//	wait-webhooks PATTERN       wait until "mailchute webhook list" matches
//	wait-hooks N                wait until it has got N requests
//	wait-hooked                 wait until it has got a delivery of every message that load got a 250 for; what comes twice has one ID
//	wait-hook TEXT              wait until it has got a request that has the text; the request goes to hook.json

// noExitSleep spares each process the second that the race detector waits at its
// end by default.
const noExitSleep = "atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mailchute": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "../../testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Values[stageKey{}] = &stage{t: t}
			env.Setenv("GORACE", noExitSleep)
			env.Setenv("MAILCHUTE_API_LISTENERS", "127.0.0.1:0/none") // scripts run side by side
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":             onStage((*stage).serve),
			"quit":              onStage((*stage).quit),
			"term":              onStage((*stage).term),
			"wait-exit":         onStage((*stage).waitExit),
			"wait-killed":       onStage((*stage).waitKilled),
			"kill9":             onStage((*stage).kill9),
			"hup":               onStage((*stage).hup),
			"wait-log":          onStage((*stage).waitLog),
			"wait-message":      onStage((*stage).waitMessage),
			"exits":             onStage((*stage).exits),
			"dns":               onStage((*stage).startDNS),
			"dns-remove":        onStage((*stage).removeDNS),
			"delivered-is":      onStage((*stage).deliveredIs),
			"mx":                onStage((*stage).startMX),
			"dns-sign":          onStage((*stage).signDNS),
			"tls-mx":            onStage((*stage).startTLSMX),
			"refusing-mx":       onStage((*stage).startRefusingMX),
			"silent-mx":         onStage((*stage).startSilentMX),
			"wait-stdout":       onStage((*stage).waitStdout),
			"capture":           onStage((*stage).capture),
			"wait-delivered":    onStage((*stage).waitDelivered),
			"send":              onStage((*stage).send),
			"open":              onStage((*stage).open),
			"say":               onStage((*stage).say),
			"return-path":       onStage((*stage).returnPath),
			"bounce-to":         onStage((*stage).bounceTo),
			"load":              onStage((*stage).startLoad),
			"wait-acknowledged": onStage((*stage).waitAcknowledged),
			"cert":              onStage((*stage).cert),
			"wait-cert":         onStage((*stage).waitCert),
			"no-secrets":        onStage((*stage).noSecrets),
			"hooks":             onStage((*stage).startHooks),
			"wait-hook":         onStage((*stage).waitHook),
			"wait-webhooks":     onStage((*stage).waitWebhooks),
			"wait-hooks":        onStage((*stage).waitHooks),
			"wait-hooked":       onStage((*stage).waitHooked),
		},
	})
}

type stageKey struct{}

// stage is what one script has running.
type stage struct {
	dns     *testdns.Server
	t       *testing.T
	process *exec.Cmd
	mx      *demoMX
	session *demoSession
	load    *load
	secrets []string
	hooks   *hookEndpoint
}

func onStage(run func(*stage, *testscript.TestScript, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		if neg {
			ts.Fatalf("cannot be negated")
		}
		run(ts.Value(stageKey{}).(*stage), ts, args)
	}
}

const patience = 20 * time.Second

// eventually polls until ok or the patience is over.
func eventually(ts *testscript.TestScript, what string, ok func() bool) {
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not come about within %v", what, patience)
		}
	}
}

func (s *stage) serve(ts *testscript.TestScript, args []string) {
	dir := ts.Getenv("WORK")
	outFile, logFile := filepath.Join(dir, "serve.out"), filepath.Join(dir, "serve.log")
	out, err := os.Create(outFile)
	ts.Check(err)
	defer out.Close()
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	ts.Check(err)
	defer log.Close()
	variables := append(os.Environ(), "HOME="+dir, "GORACE="+noExitSleep, "MAILCHUTE_API_LISTENERS=127.0.0.1:0/none", "MAILCHUTE_SMTP_LISTENERS=127.0.0.1:0,127.0.0.1:0/implicit")
	for len(args) > 0 && strings.HasPrefix(args[0], envPrefix) {
		variables, args = append(variables, args[0]), args[1:]
	}
	cmd := exec.Command("mailchute", append([]string{"serve"}, args...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.Env = dir, out, log, variables
	ts.Check(cmd.Start())
	s.process = cmd
	ts.Defer(func() {
		if s.process == cmd {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	// The sockets are bound before it prints, so that who has read this can connect.
	var text []byte
	eventually(ts, "serving", func() bool {
		text, err = os.ReadFile(outFile)
		return err == nil && bytes.Contains(text, []byte("listening"))
	})
	s.learn(ts, string(text))
}

// learn takes addresses and secrets from what serve printed.
func (s *stage) learn(ts *testscript.TestScript, out string) {
	for _, v := range []struct {
		name, pattern string
		secret        bool
	}{
		{"SMTP", `listening +(\S+) +STARTTLS`, false},
		{"SMTPS", `listening +(\S+) +implicit`, false},
		{"BOUNCES", `bounces +(\S+) +for`, false},
		{"API", `HTTP API +(\S+)`, false},
		{"ACCESS", `access key +(\S+)`, false},
		{"TOKEN", `server token +(\S+)`, true},
		{"SECRET", `secret key +(\S+)`, true},
		{"ACCOUNT", `account token +(\S+)`, true},
	} {
		found := regexp.MustCompile(v.pattern).FindStringSubmatch(out)
		if found == nil {
			continue
		}
		ts.Setenv(v.name, found[1])
		if v.secret {
			s.secrets = append(s.secrets, found[1])
		}
	}
}

func (s *stage) quit(ts *testscript.TestScript, _ []string) {
	ts.Check(s.process.Process.Signal(syscall.SIGTERM))
	s.waitExit(ts, nil)
}

func (s *stage) term(ts *testscript.TestScript, _ []string) {
	ts.Check(s.process.Process.Signal(syscall.SIGTERM))
	eventually(ts, "closing of the listeners", func() bool {
		c, err := net.Dial("tcp", ts.Getenv("SMTP"))
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
}

func (s *stage) waitExit(ts *testscript.TestScript, _ []string) {
	err := s.process.Wait()
	s.process = nil
	ts.Check(err)
}

func (s *stage) waitKilled(ts *testscript.TestScript, _ []string) {
	err := s.process.Wait()
	s.process = nil
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		ts.Fatalf("it ended otherwise: %v", err)
	}
}

func (s *stage) kill9(ts *testscript.TestScript, _ []string) {
	ts.Check(s.process.Process.Kill())
	_ = s.process.Wait() // says that it was killed
	s.process = nil
	if s.load != nil {
		s.load.stop()
	}
}

func (s *stage) hup(ts *testscript.TestScript, _ []string) {
	ts.Check(s.process.Process.Signal(syscall.SIGHUP))
}

func (s *stage) waitLog(ts *testscript.TestScript, args []string) {
	eventually(ts, "log line "+args[0], func() bool { return strings.Contains(ts.ReadFile("serve.log"), args[0]) })
}

func (s *stage) waitMessage(ts *testscript.TestScript, args []string) {
	eventually(ts, args[1], func() bool {
		ts.Check(ts.Exec("mailchute", "message", "show", args[0]))
		return strings.Contains(ts.ReadFile("stdout"), args[1])
	})
}

func (s *stage) exits(ts *testscript.TestScript, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func (s *stage) startMX(ts *testscript.TestScript, _ []string) {
	mx, err := listenMX()
	ts.Check(err)
	s.mx = mx
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- mx.Run(ctx) }()
	ts.Defer(func() {
		cancel()
		<-ended
	})
	address := mx.listener.Addr().String()
	ts.Setenv("MX", address)
	ts.Setenv("MXPORT", address[strings.LastIndexByte(address, ':')+1:])
}

func (s *stage) startDNS(ts *testscript.TestScript, args []string) {
	if s.dns == nil {
		s.dns = testdns.New(s.t, "")
		ts.Setenv("DNS", s.dns.Addr())
	}
	known := strings.NewReplacer("${MXPORT}", ts.Getenv("MXPORT"), "${TLSA}", ts.Getenv("TLSA"))
	for _, file := range args {
		s.dns.Add(known.Replace(ts.ReadFile(file)))
	}
}

func (s *stage) removeDNS(_ *testscript.TestScript, args []string) { s.dns.Remove(args[0]) }

func (s *stage) deliveredIs(ts *testscript.TestScript, args []string) {
	letters := s.mx.received()
	if got := string(letters[len(letters)-1].body); got != ts.ReadFile(args[0]) {
		ts.Fatalf("delivered:\n%s", got)
	}
}

func (s *stage) signDNS(_ *testscript.TestScript, args []string) { s.dns.Secure(args...) }

func (s *stage) startTLSMX(ts *testscript.TestScript, args []string) {
	mx := testmx.New(s.t, testmx.Script{Hostname: args[0]})
	ts.Setenv("MX", mx.Addr())
	ts.Setenv("MXPORT", strconv.Itoa(mx.Port()))
	ts.Setenv("TLSA", mx.TLSA())
}

func (s *stage) startRefusingMX(ts *testscript.TestScript, _ []string) {
	mx := testmx.New(s.t, testmx.Script{TLS: testmx.NoTLS, Steps: map[testmx.Phase][]testmx.Step{testmx.Rcpt: {{Reply: "550 5.1.1 no such user"}}}})
	ts.Setenv("MX", mx.Addr())
	ts.Setenv("MXPORT", strconv.Itoa(mx.Port()))
}

func (s *stage) startSilentMX(ts *testscript.TestScript, _ []string) {
	mx := testmx.New(s.t, testmx.Script{TLS: testmx.NoTLS, Steps: map[testmx.Phase][]testmx.Step{testmx.Dot: {{Drop: true}, {Drop: true}}}})
	ts.Setenv("MX", mx.Addr())
	ts.Setenv("MXPORT", strconv.Itoa(mx.Port()))
}

func (s *stage) waitStdout(ts *testscript.TestScript, args []string) {
	eventually(ts, args[0], func() bool {
		ts.Check(ts.Exec(args[1], args[2:]...))
		return strings.Contains(ts.ReadFile("stdout"), args[0])
	})
}

func (s *stage) capture(ts *testscript.TestScript, args []string) {
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("stdout has no %s", args[1])
	}
	ts.Setenv(args[0], found[1])
}

func (s *stage) delivered(subject string) int {
	n := 0
	for _, l := range s.mx.received() {
		if subject == "" || bytes.Contains(l.body, []byte("Subject: "+subject+"\r\n")) {
			n++
		}
	}
	return n
}

func (s *stage) waitDelivered(ts *testscript.TestScript, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	subject := strings.Join(args[1:], " ")
	eventually(ts, fmt.Sprintf("%d messages delivered", want), func() bool { return s.delivered(subject) >= want })
}

func (s *stage) send(ts *testscript.TestScript, args []string) {
	a := attempt{
		what: "script", address: ts.Getenv("SMTP"), username: args[0], password: args[1],
		from: "shop@example.com", to: strings.Split(args[2], ","), text: "Hello.\r\n",
	}
	if len(args) > 4 {
		a.what, a.header = args[4], args[5:]
	}
	r, err := a.submit()
	ts.Check(err)
	if !strings.HasPrefix(r.text, args[3]) {
		ts.Fatalf("answered %q, want %q", r.text, args[3])
	}
	if id, err := store.ParseID(r.text[strings.LastIndexByte(r.text, ' ')+1:]); err == nil {
		ts.Setenv("ID", id.String())
	}
}

func (s *stage) open(ts *testscript.TestScript, args []string) {
	c, err := tls.Dial("tcp", ts.Getenv("SMTPS"), demoTLS())
	ts.Check(err)
	ts.Defer(func() { _ = c.Close() })
	ts.Check(c.SetDeadline(time.Now().Add(time.Minute)))
	s.session = &demoSession{}
	s.session.use(c)
	s.session.expect("connect", 220)
	s.session.command("EHLO", "EHLO script.example", 250)
	s.session.command("AUTH", "AUTH PLAIN "+plainResponse(args[0], args[1]), 235)
	ts.Check(s.session.err)
	if s.session.done {
		ts.Fatalf("no login: %s", s.session.last.text)
	}
}

func plainResponse(username, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + username + "\x00" + password))
}

func (s *stage) say(ts *testscript.TestScript, args []string) {
	s.session.done = false
	s.session.command("say", strings.ReplaceAll(args[0], `\n`, "\r\n"), 0)
	ts.Check(s.session.err)
	if !strings.HasPrefix(s.session.last.text, args[1]) {
		ts.Fatalf("answered %q, want %q", s.session.last.text, args[1])
	}
}

func (s *stage) returnPath(ts *testscript.TestScript, args []string) {
	eventually(ts, "delivery to "+args[0], func() bool {
		for _, l := range s.mx.received() {
			if len(l.to) == 1 && l.to[0] == args[0] {
				ts.Setenv("RETURN", l.from)
				if len(args) > 1 && l.from != args[1] {
					ts.Fatalf("return path %s, want %s", l.from, args[1])
				}
				return true
			}
		}
		return false
	})
}

func (s *stage) bounceTo(ts *testscript.TestScript, args []string) {
	text := "Subject: x\n\nx\n"
	if len(args) > 2 {
		text = ts.ReadFile(args[2])
	}
	c, err := net.Dial("tcp", ts.Getenv("BOUNCES"))
	ts.Check(err)
	defer c.Close()
	ts.Check(c.SetDeadline(time.Now().Add(patience)))
	back := &demoSession{}
	back.use(c)
	back.expect("connect", 220)
	back.command("EHLO", "EHLO mx.example.org", 250)
	back.command("MAIL", "MAIL FROM:<>", 250)
	back.command("RCPT", "RCPT TO:<"+args[0]+">", 250)
	back.command("DATA", "DATA", 354)
	back.command("final dot", strings.ReplaceAll(text, "\n", "\r\n")+".", 0)
	ts.Check(back.err)
	if !strings.HasPrefix(back.last.text, args[1]) {
		ts.Fatalf("%s answered %q, want %q", back.last.command, back.last.text, args[1])
	}
}

// load submits until it is told to stop or the server is gone.
type load struct {
	workers sync.WaitGroup
	over    chan struct{}
	once    sync.Once

	mu    sync.Mutex // guards the rest
	acked []string   // subjects
	ids   []string   // of the messages, as the replies gave them
}

func (l *load) stop() {
	l.once.Do(func() { close(l.over) }) // a script may kill more than once
	l.workers.Wait()
}

func (s *stage) startLoad(ts *testscript.TestScript, _ []string) {
	s.load = &load{over: make(chan struct{})}
	address, token := ts.Getenv("SMTP"), ts.Getenv("TOKEN")
	for w := range 8 {
		s.load.workers.Go(func() { s.load.work(address, token, w) })
	}
	eventually(ts, "200 acknowledged messages", func() bool {
		s.load.mu.Lock()
		defer s.load.mu.Unlock()
		return len(s.load.acked) >= 200
	})
}

func (l *load) work(address, token string, worker int) {
	for n := 0; ; n++ {
		select {
		case <-l.over:
			return
		default:
		}
		a := attempt{
			what: fmt.Sprintf("load %d-%d", worker, n), address: address, username: token, password: token,
			from: "shop@example.com", to: []string{"someone@example.org"}, text: "Hello.\r\n",
		}
		r, err := a.submit()
		if err != nil {
			return // the server was killed
		}
		if strings.HasPrefix(r.text, "250 ") {
			l.mu.Lock()
			l.acked = append(l.acked, a.what)
			l.ids = append(l.ids, r.text[strings.LastIndexByte(r.text, ' ')+1:])
			l.mu.Unlock()
		}
	}
}

func (s *stage) waitAcknowledged(ts *testscript.TestScript, _ []string) {
	missing := map[string]bool{}
	for _, subject := range s.load.acked {
		missing[subject] = true
	}
	ts.Logf("%d messages were acknowledged", len(missing))
	seen := 0
	eventually(ts, "delivery of everything acknowledged", func() bool {
		letters := s.mx.received()
		for _, l := range letters[seen:] {
			r := bufio.NewScanner(bytes.NewReader(l.body))
			for r.Scan() && r.Text() != "" {
				if subject, ok := strings.CutPrefix(r.Text(), "Subject: "); ok {
					delete(missing, subject)
				}
			}
		}
		seen = len(letters)
		return len(missing) == 0
	})
	ts.Logf("%d messages arrived", seen)
}

func (s *stage) cert(ts *testscript.TestScript, args []string) {
	cert, key, err := selfSigned(args[0]+".example", time.Now())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".crt"), pem.EncodeToMemory(cert), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".key"), pem.EncodeToMemory(key), 0o600))
}

func (s *stage) waitCert(ts *testscript.TestScript, args []string) {
	eventually(ts, "certificate "+args[0], func() bool {
		c, err := tls.Dial("tcp", ts.Getenv("SMTPS"), demoTLS())
		if err != nil {
			return false
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName == args[0]+".example"
	})
}

// noSecrets looks for each secret as such and in the forms in which AUTH sends
// it.
func (s *stage) noSecrets(ts *testscript.TestScript, args []string) {
	if len(s.secrets) < 3 {
		ts.Fatalf("knows only %d secrets", len(s.secrets))
	}
	access := ts.Getenv("ACCESS")
	for _, file := range args {
		text := strings.ToLower(ts.ReadFile(file))
		if len(text) == 0 {
			ts.Fatalf("%s is empty", file)
		}
		for _, secret := range s.secrets {
			forms := []string{secret, plainResponse(secret, secret), plainResponse(access, secret), plainResponse(secret, access),
				base64.StdEncoding.EncodeToString([]byte(secret))}
			for i, form := range forms {
				if strings.Contains(text, strings.ToLower(form)) {
					ts.Fatalf("%s has a secret in form %d", file, i)
				}
			}
		}
	}
}
