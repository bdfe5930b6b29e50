// Package e2e runs real mail clients against the real binary and compares what
// they submit with what arrives at a real receiver. Its tests need the build
// tag e2e and the clients swaks, python3, node with nodemailer (npm ci in
// clients), msmtp and curl; a client that is missing fails them.
package e2e
