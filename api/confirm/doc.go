// Package confirm asks the owner of a sender address to confirm it: by a message
// with a link, to a page with a button.
//
// A link names a signature and when it ends, and has a keyed hash over both and
// the address. Nothing is stored for it: who has it has read the mail of the
// address. A GET changes nothing, since programs that look for malware follow
// links.
package confirm
