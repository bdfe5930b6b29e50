// Package message handles the bytes of mail: envelope addresses, the DATA stream and its canonical form, header
// sections, control headers, trace fields and delivery status notifications.
//
// Everything here is a pure function or a wrapper around an io.Reader or io.Writer that the caller supplies. There is no
// network, no disk and no clock: a time is always a parameter.
//
// One message passes through the package in this order:
//
//	DotReader   the wire form of DATA, up to CRLF.CRLF, with the dots unstuffed
//	Canonical   CRLF line ends only; smuggling, long lines and oversize refused
//	ReadHeader  the header section, kept byte for byte; the body stays a stream
//	Controls    X-PM-* instructions taken out, blind and forged fields stripped
//	Received    the trace field put on top
//	DotWriter   the wire form again, on the way out
package message
