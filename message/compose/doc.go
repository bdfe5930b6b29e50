// Package compose turns what a program says about a message (addresses, bodies,
// attachments) into the octets of one, and a message back into what a person
// reads of it. It does no I/O of its own and keeps no state.
//
// What it writes is ASCII with CRLF line ends and short lines, except for a
// mailbox whose local part is not ASCII (see Letter.UTF8).
package compose
