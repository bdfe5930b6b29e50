package api

import "encoding/json"

func describeRoutes() []route {
	return []route{{method: "GET", path: "/openapi.json", role: forAnyone, handle: describe}}
}

// describe answers with the OpenAPI document. It tells nothing of this server, so
// that no token is needed.
func describe(c *call) (any, *Error) {
	doc, err := c.document()
	if err != nil {
		return nil, c.unexpected("putting the OpenAPI document together", err)
	}
	return json.RawMessage(doc), nil
}
