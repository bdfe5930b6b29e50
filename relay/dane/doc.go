// Package dane finds and checks the keys that mail hosts publish in signed DNS (RFC 7672, RFC 7671, RFC 6698).
//
// The steps for one domain:
//
//  1. Resolver.LookupMX. An error that is not ErrNoDomain or ErrNoRecords is temporary for the whole domain. If the answer is not Authentic,
//     DANE does not apply to any of its hosts (RFC 7672 2.2.1).
//  2. Resolver.LookupHost for each host. A TemporaryError means: skip this host.
//  3. Resolver.LookupTLSA with that Host. Again a TemporaryError means: skip this host, never "go on without" (2.1.2). Otherwise Set.Level says
//     what the host is owed: nothing, TLS of any kind, or TLS with a certificate that Verify accepts.
//  4. In the handshake, SNI is Set.Base and tls.Config.VerifyConnection calls Set.Verify or Verify, with InsecureSkipVerify set because the
//     rules of the PKIX do not apply. When it fails the host is skipped: neither plaintext nor MTA-STS may stand in for it.
//
// # Whom to trust
//
// Signatures are not checked here: the AD bit of the resolver is taken for it. That is sound only for a validating resolver on a path that
// nobody can write to (RFC 7672 2.1.1), which normally means one on loopback. No address is proof of it by itself (a stub on loopback may forward to a
// resolver that is not to be trusted), so it is Options.Trusted that says so, and without it nothing is ever Authentic.
package dane
