package main

import (
	"context"
	"fmt"
	"net"
	"os/user"
	"strconv"
)

// operatorKey marks who gives a command in the context of a connection.
type operatorKey struct{}

// withOperator notes the user at the other end of the control socket.
func withOperator(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, operatorKey{}, operatorName(peerUser(c)))
}

// operatorName is what events say of who did something.
func operatorName(uid int) string {
	if uid < 0 {
		return "operator"
	}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprintf("user %d", uid)
}
