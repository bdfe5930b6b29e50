package auth

import (
	"testing"

	"github.com/mailchute/mailchute/store"
)

// Who may do what, by role: the whole table. The two server roles are assigned
// to shop and not to blog.
func TestPermissions(t *testing.T) {
	user := func(role store.Role) store.User { return store.User{ID: 1, Role: role, Servers: []int64{shop}} }
	on := func(f func(store.User, int64) bool, server int64) func(store.User) bool {
		return func(u store.User) bool { return f(u, server) }
	}
	touch := func(role store.Role) func(store.User) bool {
		return func(u store.User) bool { return MayManageUser(u, store.User{ID: 2, Role: role}) }
	}
	roles := []store.Role{store.Owner, store.Admin, store.ServerAdmin, store.ServerViewer, "", "root"}
	const (
		owner  = "O-----"
		whole  = "OA----"
		admins = "OAS---"
		all    = "OASV--"
	)
	tests := []struct {
		action string
		may    func(store.User) bool
		want   string
	}{
		{"see account tokens", MaySeeAccountTokens, whole},
		{"manage account tokens", MayManageAccountTokens, whole},
		{"see tokens of own server", on(MaySeeServerTokens, shop), admins},
		{"see tokens of other server", on(MaySeeServerTokens, blog), whole},
		{"manage tokens of own server", on(MayManageServerTokens, shop), admins},
		{"manage tokens of other server", on(MayManageServerTokens, blog), whole},
		{"see SMTP tokens of own server", on(MaySeeSMTPTokens, shop), admins},
		{"see SMTP tokens of other server", on(MaySeeSMTPTokens, blog), whole},
		{"manage SMTP tokens of own server", on(MayManageSMTPTokens, shop), admins},
		{"manage SMTP tokens of other server", on(MayManageSMTPTokens, blog), whole},
		{"view own server", on(MayViewServer, shop), all},
		{"view other server", on(MayViewServer, blog), whole},
		{"view server 0", on(MayViewServer, 0), whole},
		{"edit own server", on(MayEditServer, shop), admins},
		{"edit other server", on(MayEditServer, blog), whole},
		{"make and delete servers", MayManageServers, whole},
		{"change domains", MayManageDomains, whole},
		{"change an owner", touch(store.Owner), owner},
		{"change an admin", touch(store.Admin), whole},
		{"change a server admin", touch(store.ServerAdmin), whole},
		{"change a server viewer", touch(store.ServerViewer), whole},
		{"delete the account", MayDeleteAccount, owner},
	}
	for _, tt := range tests {
		got := []byte("------")
		for i, role := range roles {
			if tt.may(user(role)) {
				got[i] = "OASV??"[i]
			}
		}
		if string(got) != tt.want {
			t.Errorf("%s: %s, want %s", tt.action, got, tt.want)
		}
	}
}

func TestServerRolesWithoutServersMayNothing(t *testing.T) {
	for _, role := range []store.Role{store.ServerAdmin, store.ServerViewer} {
		if u := (store.User{Role: role}); MayViewServer(u, shop) || MayEditServer(u, shop) || MaySeeServerTokens(u, 0) {
			t.Errorf("%s of no server", role)
		}
	}
}
