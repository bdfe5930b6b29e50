// Package unsubscribe is a page that the public reaches: hosted one-click unsubscription (RFC 8058).
//
// Every copy of a message of a stream that wants it carries a link of its own in List-Unsubscribe. A link says by itself
// whom it is about, encrypted, so that it works after its message has been forgotten, shows nobody an address, and cannot
// be made by others. Whoever has a link has been sent it, or was shown it by somebody who was.
//
// A GET never changes anything, since programs that look for malware follow links: it shows a page with a button. A
// POST of List-Unsubscribe=One-Click unsubscribes, as often as it comes. There are no cookies, no redirects, nothing from
// elsewhere on the page, and one answer to everything that is no link of ours.
package unsubscribe
