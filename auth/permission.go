package auth

import (
	"slices"

	"github.com/mailchute/mailchute/store"
)

// The functions of this file say what a signed-in user may do. They decide on
// the user record alone; an unknown role may do nothing.

func wholeAccount(u store.User) bool { return u.Role == store.Owner || u.Role == store.Admin }

func assigned(u store.User, server int64) bool { return slices.Contains(u.Servers, server) }

// MaySeeAccountTokens tells whether u may list and reveal account API tokens.
func MaySeeAccountTokens(u store.User) bool { return wholeAccount(u) }

// MayManageAccountTokens tells whether u may make and revoke account API tokens.
func MayManageAccountTokens(u store.User) bool { return wholeAccount(u) }

// MaySeeServerTokens tells whether u may list and reveal the server's API tokens.
func MaySeeServerTokens(u store.User, server int64) bool { return MayEditServer(u, server) }

// MayManageServerTokens tells whether u may make and revoke the server's API tokens.
func MayManageServerTokens(u store.User, server int64) bool { return MayEditServer(u, server) }

// MaySeeSMTPTokens tells whether u may list the SMTP tokens of the server's
// streams: names and access keys. Nobody sees a secret again.
func MaySeeSMTPTokens(u store.User, server int64) bool { return MayEditServer(u, server) }

// MayManageSMTPTokens tells whether u may make SMTP tokens, seeing the secret of
// each once, and revoke them.
func MayManageSMTPTokens(u store.User, server int64) bool { return MayEditServer(u, server) }

// MayViewServer tells whether u may see the server's activity and statistics.
func MayViewServer(u store.User, server int64) bool {
	return MayEditServer(u, server) || u.Role == store.ServerViewer && assigned(u, server)
}

// MayEditServer tells whether u may see and change the server's settings,
// streams and suppressions.
func MayEditServer(u store.User, server int64) bool {
	return wholeAccount(u) || u.Role == store.ServerAdmin && assigned(u, server)
}

// MayManageServers tells whether u may make and delete servers.
func MayManageServers(u store.User) bool { return wholeAccount(u) }

// MayManageDomains tells whether u may change domains and sender signatures.
func MayManageDomains(u store.User) bool { return wholeAccount(u) }

// MayManageUser tells whether u may add, change or remove the user other. Only
// an Owner may touch an Owner.
func MayManageUser(u, other store.User) bool {
	return u.Role == store.Owner || u.Role == store.Admin && other.Role != store.Owner
}

// MayDeleteAccount tells whether u may delete the account.
func MayDeleteAccount(u store.User) bool { return u.Role == store.Owner }
