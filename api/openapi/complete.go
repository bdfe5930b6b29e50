package openapi

import (
	"errors"
	"fmt"
	"slices"
)

// Answers that operations have in common, by the names of components.responses
// in base.yaml.
var (
	always       = []string{"400", "408", "413", "414", "415", "500", "503"}
	withSecurity = []string{"401", "429"}
)

var errShape = errors.New("an operation needs security, responses with \"200\", and x-error-codes as a list")

// complete gives every operation the answers and headers that all have.
func complete(doc object) error {
	paths, _ := doc["paths"].(object)
	for path, item := range paths {
		methods, _ := item.(object)
		for method, op := range methods {
			if method == "parameters" {
				continue
			}
			if err := operation(doc, op); err != nil {
				return fmt.Errorf("%s %s: %w", method, path, err)
			}
		}
	}
	return nil
}

func operation(doc object, v any) error {
	op, _ := v.(object)
	responses, _ := op["responses"].(object)
	ok, _ := responses["200"].(object)
	security, secured := op["security"].([]any)
	own, listed := op["x-error-codes"].([]any)
	if ok == nil || !secured || !listed {
		return errShape
	}
	names := slices.Clone(always)
	if len(security) > 0 {
		names = append(names, withSecurity...)
	}
	if _, body := op["requestBody"]; body {
		own = append([]any{402, 403}, own...)
	}
	headers := object{"X-Request-Id": object{"$ref": "#/components/headers/X-Request-Id"}}
	if len(security) > 0 {
		headers["RateLimit"] = object{"$ref": "#/components/headers/RateLimit"}
		headers["RateLimit-Policy"] = object{"$ref": "#/components/headers/RateLimit-Policy"}
	}
	ok["headers"] = headers
	for _, name := range names {
		responses[name] = object{"$ref": "#/components/responses/" + name}
	}
	if len(own) > 0 {
		responses["422"] = refusal(doc, own)
	}
	delete(op, "x-error-codes")
	return nil
}

// refusal is the answer 422 with the ErrorCodes that it can have.
func refusal(doc object, codes []any) object {
	components, _ := doc["components"].(object)
	common, _ := components["responses"].(object)
	base, _ := common["422"].(object)
	return object{
		"description": base["description"],
		"headers":     base["headers"],
		"content": object{"application/json": object{"schema": object{
			"allOf":      []any{object{"$ref": "#/components/schemas/Error"}},
			"properties": object{"ErrorCode": object{"enum": codes}},
		}}},
	}
}
