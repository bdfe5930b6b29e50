// Package webhook sends what happens to messages and suppression lists to
// customers' endpoints.
//
// The engine queues each event once for each webhook that wants it, durably
// (store.Notifications). A Sender claims what is due, posts it, and records the
// result; a crash between the two sends it again, with the same ID. Events of one
// message reach an endpoint in order, and so do changes of one address.
//
// An endpoint is a stranger's machine at a URL that a customer chose. So every
// address is checked where it is dialled, after resolution (Guard), redirects
// are counted and checked again, answers are read up to a bound, and an endpoint
// that is slow or fails holds up nobody but itself.
package webhook
