package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// manyKeys is an object with 9,000 of them.
var manyKeys = func() string {
	var b strings.Builder
	for i := range 9_000 {
		fmt.Fprintf(&b, `,"%d":0`, i)
	}
	return "{" + b.String()[1:] + "}"
}()

func TestCheckShape(t *testing.T) {
	for body, want := range map[string]error{
		`{"a":{"b":[1,{"a":"b"}]},"c":"{\"a\""}`:                                      nil,
		`{"Metadata":{"a":1,"A":2}}`:                                                  nil,
		`{"Metadata":{"a":1,"a":2}}`:                                                  errDuplicate,
		`[{"Metadata":{}},{"To":1,"to":2}]`:                                           errDuplicate,
		`{"a":1,"\u0061":2}`:                                                          errDuplicate,
		`{"a":1,"b":[{"a":1},{"a":1}],"A":1}`:                                         errDuplicate,
		`{"a":1}}`:                                                                    errSyntax,
		"\"\xff\"":                                                                    errSyntax,
		`{"a":"\\","b":"\""}`:                                                         nil,
		strings.Repeat("[", 32) + strings.Repeat("]", 32):                             nil,
		strings.Repeat("[", 33) + strings.Repeat("]", 33):                             errDeep,
		"[" + strings.Repeat("1,", 9_999) + "1]":                                      nil,
		"[" + strings.Repeat("1,", 10_000) + "1]":                                     errLong,
		`{"a":` + manyKeys + `,"b":` + manyKeys + `}`:                                 nil, // one after the other
		strings.Repeat(manyKeys[:len(manyKeys)-1]+`,"in":`, 2) + manyKeys + "}}":      errLong,
		`{"` + strings.Repeat("k", 400) + `":1,"` + strings.Repeat("k", 400) + `":2}`: nil, // no name of ours
	} {
		if err := checkShape([]byte(body)); !errors.Is(err, want) || err != nil && want == nil {
			t.Errorf("checkShape(%s) = %v, want %v", body, err, want)
		}
	}
}

// duplicated reads the keys with the standard decoder, another way to the same
// answer.
func duplicated(d *json.Decoder) bool {
	tok, err := d.Token()
	if err != nil {
		return false
	}
	open, ok := tok.(json.Delim)
	if !ok {
		return false
	}
	seen, found := map[string]bool{}, false
	for d.More() {
		if open == '{' {
			key, _ := d.Token()
			name, _ := key.(string)
			found = found || seen[strings.ToLower(name)]
			seen[strings.ToLower(name)] = true
		}
		found = duplicated(d) || found
	}
	_, _ = d.Token()
	return found
}

func FuzzCheckShape(f *testing.F) {
	for _, s := range []string{`{"From":"a@x.example","Headers":[{"Name":"a","Value":"b"}]}`, `[{"a":1,"A":{}}]`, `{"a":"\\\"","a":[]}`, `"x"`, `''`, "[[[["} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := checkShape(b)
		if len(b) > maxKey || bytes.Contains(bytes.ToLower(b), []byte("meta")) || bytes.Contains(b, []byte(`\u`)) {
			return // keys of metadata have a rule of their own
		}
		if err == nil && (!json.Valid(b) || duplicated(json.NewDecoder(bytes.NewReader(b)))) {
			t.Errorf("passed %q", b)
		}
		if errors.Is(err, errDuplicate) && !duplicated(json.NewDecoder(bytes.NewReader(b))) {
			t.Errorf("no key twice in %q", b)
		}
	})
}

func FuzzEmail(f *testing.F) {
	f.Add([]byte(`{"From":"\"a, b\" <a@x.example>","To":"b@y.example,c@z.example","Subject":"=?","HtmlBody":"h","Headers":[{"Name":"X","Value":"y"}],"Metadata":{"a":"b"},"Attachments":[{"Name":"a","Content":"eA==","ContentType":"text/plain; charset=x"}]}`))
	c := &call{Server: &Server{opts: Options{}.withDefaults()}}
	f.Fuzz(func(t *testing.T, b []byte) {
		var req emailRequest
		if checkShape(b) != nil || decodeChecked(b, &req) != nil {
			return
		}
		p, e := c.prepare(req)
		if e != nil {
			return
		}
		var raw bytes.Buffer
		if _, err := p.letter.WriteTo(&raw); err != nil {
			t.Fatalf("accepted %q and could not write it: %v", b, err)
		}
		if err := SameMessage(b, raw.Bytes()); err != nil && !empty(b) {
			t.Errorf("accepted %q and wrote\n%s: %v", b, raw.Bytes(), err)
		}
	})
}

func FuzzElements(f *testing.F) {
	for _, s := range []string{`[]`, ` [ 1 , {"a":[1,"],["]} , "\"," , [[],{}] ] `, `{"a":1}`, `7`, `[[`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !json.Valid(b) {
			return
		}
		got, ok := elements(b)
		var want []json.RawMessage
		if err := json.Unmarshal(b, &want); ok != (err == nil && want != nil) {
			t.Fatalf("elements(%q) = %q, %v; an array: %v", b, got, ok, err == nil)
		}
		if !ok {
			return
		}
		same := len(got) == len(want)
		for i := 0; same && i < len(want); i++ {
			same = bytes.Equal(got[i], bytes.TrimSpace(want[i]))
		}
		if !same {
			t.Errorf("elements(%q) = %q, want %q", b, got, want)
		}
	})
}

func FuzzBase64Text(f *testing.F) {
	for _, s := range []string{`"QUJD"`, `"QU\nJD RA=="`, `"QU\u004aD"`, `"a\/b+"`, `"\\n"`, `null`, `7`, `""`, `"="`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var got base64Text
		var text *string
		err := json.Unmarshal(b, &text)
		if (json.Unmarshal(b, &got) == nil) != (err == nil) {
			t.Fatalf("%q: %v as a text", b, err)
		}
		if err != nil || text == nil {
			return
		}
		want, err := base64.StdEncoding.DecodeString(strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "").Replace(*text))
		if got.bad != (err != nil) || !got.bad && !bytes.Equal(got.octets, want) {
			t.Errorf("%q = %q, bad %v; want %q, %v", b, got.octets, got.bad, want, err)
		}
	})
}
