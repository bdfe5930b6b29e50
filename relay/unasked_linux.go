package relay

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unasked tells whether the host has said something, or hung up, since the last reply was read. Replies would be one off
// on such a connection. It does not wait.
func unasked(raw net.Conn) (said bool) {
	c, ok := raw.(syscall.Conn)
	if !ok {
		return false
	}
	rc, err := c.SyscallConn()
	if err != nil {
		return true
	}
	err = rc.Control(func(fd uintptr) {
		var b [1]byte
		_, _, err := unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		said = err != unix.EAGAIN
	})
	return said || err != nil
}
