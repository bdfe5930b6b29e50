// Package testmx is a mail server for tests that misbehaves on demand: a remote MX or smarthost on loopback which follows a
// script, keeps what it was given byte for byte, and watches whether the client keeps the rules of SMTP.
//
// The zero Script is a well-behaved server with STARTTLS and all extensions that accepts everything:
//
//	mx := testmx.New(t, testmx.Script{})
//	// … send to mx.Addr() …
//	got := mx.Wait(1)[0]
//
// A Script changes single steps. Steps are counted over all connections of the server: the first time the server comes
// to a phase it uses the first step listed for it, then the second, and when they are used up it behaves normally again.
// So greylisting is
//
//	testmx.Script{Steps: map[testmx.Phase][]testmx.Step{testmx.Rcpt: {{Reply: "451 4.7.1 come back later"}}}}
//
// and a step with Always set stays for good:
//
//	testmx.Script{Steps: map[testmx.Phase][]testmx.Step{testmx.Connect: {{Reply: "554 no", Always: true}}}}
//
// Replies for single recipients are in Script.Rcpt. A client that breaks a rule (a command sent ahead without
// PIPELINING, a line without CR, a command over 2,048 octets, content after AUTH that is no base64) fails the test when
// the server closes; see Violations.
//
// The package is written on net and crypto/tls alone, so that it shares no mistake with any SMTP library.
package testmx
