// Package api is the HTTP API in the shapes of Postmark's: a program moves by
// changing the base URL of its client library.
//
// Every answer is JSON, every refusal has an ErrorCode of errors.go, and 200 to
// a send means what 250 means over SMTP: the message is durable.
package api
