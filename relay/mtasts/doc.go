// Package mtasts finds, keeps and applies the policies by which domains ask for authenticated TLS (RFC 8461).
//
// A Cache answers for one domain at a time:
//
//	policy, found, err := cache.Policy(ctx, "example.com", now)
//
// found and err are independent. A policy that is found is in force whatever err says: it may be an older one that is still
// valid while the domain's new one cannot be had (RFC 8461 5.1). Without one the domain is treated as if it had none (3.3), and err tells why that is so where it is not
// the domain's wish; it belongs in the log and, when it is a *FetchError, in the TLS report.
//
// What a policy means for delivery (RFC 8461 5):
//
//   - None: nothing.
//   - Testing: deliver as without a policy, but check Match and the certificate, and report what would have failed.
//   - Enforce: leave out hosts that do not Match; require TLS with a certificate that is valid for the host's name by the public authorities
//     (RFC 8461 4.2); where no host is left, the message waits.
//
// A host under DANE is not concerned: neither may replace the other's verdict (RFC 8461 2).
//
// # Durability
//
// A policy protects against an attacker only from the second delivery on, so policies survive restarts: one file per domain in a directory, written to another name,
// synchronised, renamed, and the directory synchronised. A file that cannot be read back is removed, as if the domain had never been seen.
package mtasts
