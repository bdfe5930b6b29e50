// Package openapi holds the description of the HTTP API in OpenAPI 3.1, one YAML
// file for each area, and puts the files together.
//
// An area writes down its paths and schemas. What holds everywhere is added when
// the files are put together and is not repeated in them: the answers for a bad
// token, a body that is too large or no JSON, rate limits and errors of ours, and
// the headers that every answer has.
//
// # Adding a route
//
// Write the operation into the file of its area, or a new file (any *.yaml of
// this directory counts; a name that two files define is an error). An operation
// has
//
//   - operationId, tags and summary,
//   - security: [server: []] or [account: []] for the token that it needs; []
//     for none,
//   - parameters, with the path's written as in the route table, in lower case,
//   - requestBody without "required" where an empty body will do; its schema
//     names every field that the handler reads,
//   - responses: "200" alone, with a schema that names every field of the
//     answer, in "required" those that are always there,
//   - x-error-codes: the ErrorCodes of its refusals with status 422. 402 and 403
//     are added where there is a body.
//
// Status codes are quoted, and so are values that look like dates. Operations
// that answer alike share a schema in components, with the names in Go's style.
//
// # What the tests hold it to
//
//   - The document is valid OpenAPI 3.1, and its schemas are valid JSON Schema.
//   - The route table and the document have the same operations and tokens.
//   - Everything that goes over the wire in the tests of package api: a request
//     that got 200 must match the document, and every answer must, with no field,
//     header, status or ErrorCode beside the documented ones.
//   - Every operation has answered 200 in these tests, and every ErrorCode of
//     package api has come over the wire.
package openapi
