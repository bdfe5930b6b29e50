package auth

import "fmt"

// Kind is the sort of a credential.
type Kind string

// The three kinds of credential.
const (
	KindServerToken  Kind = "server-token"
	KindSMTPToken    Kind = "smtp-token"
	KindAccountToken Kind = "account-token"
)

// Principal is who a client has proved to be. It holds no secret.
type Principal struct {
	Kind   Kind
	Token  int64  // store ID of the token
	Server int64  // 0 for an account token
	Stream string // the only stream allowed; "" means any (server token)
	Name   string // the token's name, as given by its maker
}

// String returns kind, token, server and stream, for logs. It leaves out the
// name, which its maker may have filled with anything.
func (p Principal) String() string {
	switch {
	case p.Kind == "":
		return "nobody"
	case p.Stream != "":
		return fmt.Sprintf("%s %d (server %d, stream %s)", p.Kind, p.Token, p.Server, p.Stream)
	case p.Server != 0:
		return fmt.Sprintf("%s %d (server %d)", p.Kind, p.Token, p.Server)
	}
	return fmt.Sprintf("%s %d", p.Kind, p.Token)
}
