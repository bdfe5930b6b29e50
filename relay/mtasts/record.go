package mtasts

import (
	"errors"
	"fmt"
	"strings"
)

const (
	txtVersion = "v=STSv1"
	// maxID is the longest id (RFC 8461 3.1).
	maxID = 32
	// maxName is the longest name of a field (RFC 8461 3.1, 3.2).
	maxName = 32
)

// ErrNoRecord: none of the TXT records is for MTA-STS.
var ErrNoRecord = errors.New("no MTA-STS record")

// ParseRecord returns the id in the TXT records of _mta-sts.<domain>, each with its strings joined. Records that do not begin with "v=STSv1;" are left out; the
// others must be one (RFC 8461 3.1). Unknown fields are ignored, and of a field given twice the first counts.
func ParseRecord(records []string) (id string, err error) {
	var ours []string
	for _, r := range records {
		if strings.HasPrefix(r, txtVersion+";") {
			ours = append(ours, r)
		}
	}
	switch len(ours) {
	case 0:
		return "", ErrNoRecord
	case 1:
		return parseRecord(ours[0])
	}
	return "", fmt.Errorf("%d MTA-STS records, want one", len(ours))
}

func parseRecord(r string) (id string, err error) {
	fields := strings.Split(r, ";")[1:]
	for i, field := range fields {
		field = strings.Trim(field, " \t")
		if field == "" && i == len(fields)-1 {
			break // the delimiter at the end is optional
		}
		name, value, ok := strings.Cut(field, "=")
		if !ok || !fieldName(name) || !fieldValue(value) {
			return "", fmt.Errorf("field %d of the MTA-STS record is malformed", i+1)
		}
		if name != "id" || id != "" {
			continue
		}
		if len(value) > maxID || !all(value, alphanumeric) {
			return "", errors.New("id of the MTA-STS record is malformed")
		}
		id = value
	}
	if id == "" {
		return "", errors.New("MTA-STS record has no id")
	}
	return id, nil
}

// fieldName is sts-ext-name and sts-policy-ext-name.
func fieldName(s string) bool {
	return s != "" && len(s) <= maxName && alphanumeric(s[0]) &&
		all(s[1:], func(c byte) bool { return alphanumeric(c) || c == '_' || c == '-' || c == '.' })
}

// fieldValue is sts-ext-value: printable ASCII but "=" and ";".
func fieldValue(s string) bool {
	return s != "" && all(s, func(c byte) bool { return c > ' ' && c < 0x7f && c != '=' && c != ';' })
}

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func all(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}
