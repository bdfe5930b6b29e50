// Package doctor examines whether a relay has what direct delivery needs: a
// resolver, a name, addresses that resolve both ways, records of its sender
// domains, certificates, and a sound machine.
//
// It changes nothing. It asks DNS only through the Resolver it is given, and
// connects only to the host that the operator named as Case.Probe.
package doctor
