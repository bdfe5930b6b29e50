package api

import "strconv"

// page is which part of a list a client wants.
type page struct{ count, offset int }

const (
	maxCount  = 500
	maxWindow = 10_000 // count and offset together
)

// page reads count and offset, which every list needs.
func (c *call) page(code Code) (page, *Error) {
	count, err := strconv.Atoi(c.query["count"])
	if err != nil || count < 1 || count > maxCount {
		return page{}, refuse(code, "Parameter 'count' must be a number from 1 to %d.", maxCount)
	}
	offset, err := strconv.Atoi(c.query["offset"])
	if err != nil || offset < 0 || offset > maxWindow-count {
		return page{}, refuse(code, "Parameter 'offset' must be a number from 0, and 'count' and 'offset' together at most %d.", maxWindow)
	}
	return page{count, offset}, nil
}

// cut returns the part of a list.
func cut[T any](list []T, p page) []T {
	from := min(p.offset, len(list))
	return list[from:min(from+p.count, len(list))]
}
