// Package returns is the way back: it gives every recipient of a message a reverse-path of its own, and takes what comes
// back there: bounces, delay notices, complaints, automatic answers.
//
// A return path carries a tag that only we can make (see Tags). The tag alone decides which message and which recipient
// something is about; what a report says adds detail and never names anybody. So a forged bounce needs a tag, and with one
// it can speak of the one recipient only whom that tag was given to.
//
// Nothing here is ever answered with mail to whoever wrote in: the sender of the original message gets the notices, and
// the rest is kept.
package returns
