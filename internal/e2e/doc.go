// Package e2e runs real mail clients, mail servers and name servers with the
// real binary and compares what is submitted with what arrives.
//
// Its tests need the build tag e2e, root (Postfix starts as root) and
//   - the clients swaks, python3, node with nodemailer (npm ci in clients),
//     msmtp and curl;
//   - the mail servers Postfix and Exim, and saslpasswd2;
//   - the name servers Knot, which signs, and Unbound, which validates.
//
// What is missing fails them; .ci/run installs it. Servers run on loopback, on
// high ports, with configuration, queue and mailboxes in a directory of the
// test: the system's own are neither read nor changed, and nothing leaves the
// machine.
package e2e
