package api

import (
	"fmt"
	"net/http"
	"time"
)

// Code is an ErrorCode of an answer. Numbers are Postmark's.
type Code int

// Every code that we return. Nothing else in the package makes numbers of its
// own.
const (
	CodeToken          Code = 10  // 401
	CodeUnavailable    Code = 100 // 503
	CodeInternal       Code = 101 // 500
	CodeInvalidEmail   Code = 300 // also 408, 413, 414: what cannot be read
	CodeSender         Code = 400
	CodeJSON           Code = 402
	CodeField          Code = 403
	CodeInactive       Code = 406
	CodeContentType    Code = 409 // 415
	CodeBatchSize      Code = 410
	CodeAttachmentType Code = 411
	CodeRateLimit      Code = 429
	CodeRequestKey     Code = 430 // ours

	CodeSenderQuery      Code = 500 // domains too
	CodeSenderUnknown    Code = 501
	CodeNothing          Code = 502 // to change
	CodePublicDomain     Code = 503
	CodeSenderExists     Code = 504
	CodeRenewed          Code = 505 // a key waits for its record
	CodeSenderConfirmed  Code = 506
	CodeDomainUnknown    Code = 510
	CodeDomainField      Code = 511
	CodeDomainExists     Code = 512
	CodeDomainName       Code = 514
	CodeDomainNameLong   Code = 515
	CodeDomainNameFormat Code = 516
	CodeSenderMissing    Code = 520
	CodeSenderLong       Code = 521
	CodeSenderField      Code = 522

	CodeServerQuery      Code = 600
	CodeServerExists     Code = 603
	CodeServerColor      Code = 607
	CodeServerName       Code = 608
	CodeServerType       Code = 613
	CodeServerTokens     Code = 614
	CodeUnsupported      Code = 615 // also 404 and 405 of routes
	CodeMessageQuery     Code = 700
	CodeMessageUnknown   Code = 701
	CodeStatsQuery       Code = 900
	CodeStatsSpan        Code = 1502
	CodeStreamType       Code = 1221
	CodeStreamID         Code = 1222
	CodeStreamName       Code = 1223
	CodeStreamNameLong   Code = 1224
	CodeStreamLimit      Code = 1225
	CodeStreamMissing    Code = 1226
	CodeStreamIDFormat   Code = 1227
	CodeStreamInbound    Code = 1228
	CodeStreamDefault    Code = 1229
	CodeStreamExists     Code = 1230
	CodeStreamText       Code = 1231
	CodeStreamPrefix     Code = 1233
	CodeStreamHTML       Code = 1234
	CodeStreamUnknown    Code = 1235
	CodeStreamNotSending Code = 1236

	CodeStreamHandlingKind Code = 1239
	CodeStreamHandling     Code = 1240

	CodeServerID Code = 601

	CodeBounceQuery    Code = 1000
	CodeBounceUnknown  Code = 1001
	CodeBounceID       Code = 1002 // 400
	CodeBounceActivate Code = 1003

	CodeSuppressionReason  Code = 1404
	CodeSuppressionOrigin  Code = 1405
	CodeSuppressionBody    Code = 1409
	CodeSuppressionLimit   Code = 1410
	CodeSuppressionAddress Code = 1411

	CodeURLInternal     Code = 606
	CodeWebhookArchived Code = 1350
	CodeWebhookInbound  Code = 1351
	CodeWebhook         Code = 1352
	CodeWebhookTrigger  Code = 1353
	CodeWebhookURL      Code = 1354
	CodeWebhookBody     Code = 1355
	CodeWebhookID       Code = 1356
	CodeWebhookFixed    Code = 1357
	CodeWebhookHeader   Code = 1358
	CodeWebhookLimit    Code = 1359
	CodeWebhookValue    Code = 1361
	CodeWebhookVerify   Code = 1364

	CodeSMTPToken        Code = 1451
	CodeSMTPTokenName    Code = 1456
	CodeSMTPTokenInbound Code = 1457
	CodeSMTPTokenLimit   Code = 1458
	CodeSMTPTokenStream  Code = 1459
	CodeSMTPTokenOff     Code = 1460
)

// Error is a refusal as its client gets it.
type Error struct {
	Status  int
	Code    Code
	Message string
	// RetryAfter is sent as the header of that name, 0 for none.
	RetryAfter time.Duration
	// Inactive are the suppressed addresses that CodeInactive is about.
	Inactive []string
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// refuse makes the usual refusal: 422.
func refuse(code Code, format string, args ...any) *Error {
	return &Error{Status: http.StatusUnprocessableEntity, Code: code, Message: fmt.Sprintf(format, args...)}
}

func failure(status int, code Code, message string) *Error {
	return &Error{Status: status, Code: code, Message: message}
}

// The refusals that do not depend on what was asked.
var (
	errNoRoute     = Error{Status: http.StatusNotFound, Code: CodeUnsupported, Message: "There is no such path in this API."}
	errNoMethod    = Error{Status: http.StatusMethodNotAllowed, Code: CodeUnsupported, Message: "This path does not support the method; see the Allow header."}
	errLongURI     = Error{Status: http.StatusRequestURITooLong, Code: CodeInvalidEmail, Message: "The request target is longer than 8,192 octets."}
	errSlowBody    = Error{Status: http.StatusRequestTimeout, Code: CodeInvalidEmail, Message: "The request body did not arrive in time."}
	errBody        = Error{Status: http.StatusBadRequest, Code: CodeInvalidEmail, Message: "The request body could not be read."}
	errContentType = Error{Status: http.StatusUnsupportedMediaType, Code: CodeContentType,
		Message: "The Content-Type header must be application/json, text/json or text/x-json in UTF-8, and the body must not be compressed."}
	errBusy       = Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Message: "The server is busy with large requests. Please try again.", RetryAfter: time.Second}
	errSearches   = Error{Status: http.StatusTooManyRequests, Code: CodeRateLimit, Message: "This token has too many searches under way. Please try again.", RetryAfter: time.Second}
	errStopping   = Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Message: "The server is shutting down. Please try again.", RetryAfter: 5 * time.Second}
	errFull       = Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Message: "There is no space for new mail at present. Please try again.", RetryAfter: time.Minute}
	errNoWebhooks = Error{Status: http.StatusServiceUnavailable, Code: CodeUnavailable, Message: "Webhooks are not served here."}
)

func errTooLarge(limit int64) *Error {
	return failure(http.StatusRequestEntityTooLarge, CodeInvalidEmail, fmt.Sprintf("The request body is larger than %d octets.", limit))
}

// errInternal tells the client no more than what finds the cause in the log.
func errInternal(id string) *Error {
	return failure(http.StatusInternalServerError, CodeInternal, "An unexpected error occurred. Please quote the error id "+id+".")
}
