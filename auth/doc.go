// Package auth decides who a client is and what a user may do: it mints,
// seals, verifies and revokes the credentials of mailchute, slows down those
// who guess them, and speaks the SASL mechanisms PLAIN and LOGIN.
//
// # The three kinds
//
// A server API token is a UUID version 4. It authenticates the HTTP endpoints
// of its server, and SMTP as username and password at once. It is compared
// without regard to case.
//
// An account API token is a UUID version 4. It authenticates account endpoints
// and never SMTP.
//
// An SMTP token is an access key and a secret. It authenticates SMTP for one
// outbound stream, as that exact pair only. The secret is shown once.
//
// # The key file
//
// All stored credentials hang on the key file (see [OpenKeyring]). Server and
// account tokens are stored sealed, so that they can be shown again, and as a
// keyed hash, by which they are found. SMTP secrets are stored as a keyed hash
// only. All secrets carry at least 122 random bits, so a fast keyed hash is
// enough: nobody can search that space, with or without the database. The
// private DKIM keys of domains are stored sealed.
//
// Who has the database without the key file can neither read a token nor test a
// guess. Who loses the key file loses the tokens and the DKIM keys: none can be
// verified, shown or used any more, all must be made anew. Nothing else is lost;
// queue, messages and settings do not depend on it. So keep a copy of the key file apart from the
// backups of the data directory. [Keyring.Check] tells at start whether file and
// directory belong together ([ErrKeyMissing] names the key that is wanted);
// [Keyring.Reset] is the way on when the file is gone for good.
//
// # Rotation
//
// [Keyring.Rotate] adds a key that seals and hashes from then on;
// [Keyring.Rekey] moves the server and account tokens and the DKIM keys to it; [Keyring.Prune]
// drops the keys that no record needs. The hash of an SMTP secret cannot be
// moved, since the secret is not known: the old key stays until the SMTP tokens
// made under it are revoked.
//
// # What an attacker sees
//
// Every refusal is [ErrDenied] with the same text, whatever was wrong, and costs
// the same number of keyed hashes. Delays grow with the failures of the client's
// network, see [ThrottleOptions].
package auth
