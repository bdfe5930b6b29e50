package contract

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
)

// plain are the headers of HTTP that a document need not name.
var plain = []string{"Cache-Control", "Connection", "Content-Length", "Content-Type", "Date", "Transfer-Encoding", "X-Content-Type-Options"}

// headers checks those of an answer, documented at a location.
func (c *Checker) headers(at string, got http.Header) error {
	documented, _ := c.object(at)["headers"].(object)
	var errs []error
	known := map[string]bool{}
	for name := range documented {
		key := http.CanonicalHeaderKey(name)
		known[key] = true
		location := c.follow(at + pointer("headers", name))
		values := got.Values(key)
		switch {
		case len(values) == 0 && c.object(location)["required"] == true:
			errs = append(errs, fmt.Errorf("an answer without the header %s", name))
		case len(values) > 1:
			errs = append(errs, fmt.Errorf("an answer with the header %s twice", name))
		case len(values) == 1:
			if err := c.value(location+pointer("schema"), values[0]); err != nil {
				errs = append(errs, fmt.Errorf("header %s: %w", name, err))
			}
		}
	}
	for name := range got {
		if !known[name] && !slices.Contains(plain, name) {
			errs = append(errs, fmt.Errorf("the header %s is not in the document", name))
		}
	}
	return errors.Join(errs...)
}
