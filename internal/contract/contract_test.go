package contract_test

import (
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/internal/contract"
)

func newChecker(t *testing.T) *contract.Checker {
	t.Helper()
	doc, err := os.ReadFile("testdata/api.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := contract.New(doc)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestChecker_Exchange(t *testing.T) {
	for _, tt := range []struct {
		name              string
		method, url, sent string
		headers           string // of the answer beside the usual ones
		status            int
		got, wrong        string
	}{
		{"as documented", "POST", "/Things/7/?Count=5", `{"NAME":"a","list":[{"deep":1}],"Other":1}`, "", 200, `{"ID":7}`, ""},
		{"no body where none is needed", "POST", "/things/7?count=5", "null", "", 200, `{"ID":7}`, ""},
		{"a word before a variable", "GET", "/things/all", "", "", 200, `[]`, ""},
		{"a field too many", "POST", "/things/7?count=5", `{}`, "", 200, `{"ID":7,"New":1}`, "New"},
		{"a field too few", "POST", "/things/7?count=5", `{}`, "", 200, `{}`, "ID"},
		{"a field too many in a list", "GET", "/things/all", "", "", 200, `[{"ID":7,"New":1}]`, "New"},
		{"a field of another type", "POST", "/things/7?count=5", `{}`, "", 200, `{"ID":"7"}`, "want integer"},
		{"no JSON", "POST", "/things/7?count=5", `{}`, "", 200, `{`, "EOF"},
		{"a status too many", "POST", "/things/7?count=5", `{}`, "", 201, `{"ID":7}`, "status 201"},
		{"a header too many", "POST", "/things/7?count=5", `{}`, "X-New: 1", 200, `{"ID":7}`, "X-New"},
		{"a header too few", "POST", "/things/7?count=5", `{}`, "X-Id: ", 200, `{"ID":7}`, "without the header X-Id"},
		{"another type", "POST", "/things/7?count=5", `{}`, "Content-Type: text/html", 200, `{"ID":7}`, "text/html"},
		{"a parameter that is none", "POST", "/things/7?count=x", `{}`, "", 200, `{"ID":7}`, "count"},
		{"a parameter that is missing", "POST", "/things/7?count=", `{}`, "", 200, `{"ID":7}`, "without the parameter count"},
		{"a parameter of the path", "POST", "/things/toolong?count=1", `{}`, "", 200, `{"ID":7}`, "maxLength"},
		{"a request that is none", "POST", "/things/7?count=5", `{"list":[{"DEEP":"x"}]}`, "", 200, `{"ID":7}`, "accepted"},
		{"a request that is refused", "POST", "/things/7?count=x", `{"list":5}`, "", 422, `{"ErrorCode":300,"Message":"m"}`, ""},
		{"a code too many", "POST", "/things/7?count=5", `{}`, "", 422, `{"ErrorCode":301,"Message":"m"}`, "ErrorCode"},
		{"a refusal with a field too many", "POST", "/things/7?count=5", `{}`, "", 422, `{"ErrorCode":300,"Message":"m","x":1}`, "x"},
		{"no such path", "GET", "/nothing", "", "", 404, `{"ErrorCode":300,"Message":"m"}`, ""},
		{"an undocumented path", "GET", "/nothing", "", "", 200, `{}`, "not in the document"},
		{"no such method", "PUT", "/things/7", "", "", 405, `{"ErrorCode":300,"Message":"m"}`, ""},
		{"an undocumented method", "PUT", "/things/7", "", "", 404, `{"ErrorCode":300,"Message":"m"}`, "not in the document"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, err := url.Parse(tt.url)
			if err != nil {
				t.Fatal(err)
			}
			req := &http.Request{Method: tt.method, URL: u, Header: http.Header{"X-Token": {"t"}}}
			resp := &http.Response{StatusCode: tt.status, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}, "X-Id": {"1"}}}
			if name, value, ok := strings.Cut(tt.headers, ": "); ok {
				resp.Header.Set(name, value)
				if value == "" {
					resp.Header.Del(name)
				}
			}
			err = newChecker(t).Exchange(req, []byte(tt.sent), resp, []byte(tt.got))
			if tt.wrong == "" && err != nil || tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
				t.Errorf("error %v, want one with %q", err, tt.wrong)
			}
		})
	}
}

func TestChecker_AcceptedWithoutToken(t *testing.T) {
	u, _ := url.Parse("/things/all")
	resp := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}, "X-Id": {"1"}}}
	err := newChecker(t).Exchange(&http.Request{Method: "GET", URL: u, Header: http.Header{}}, nil, resp, []byte("[]"))
	if err == nil || !strings.Contains(err.Error(), "X-Token") {
		t.Errorf("error %v", err)
	}
}

func TestChecker_HeaderOfARequest(t *testing.T) {
	for key, wrong := range map[string]string{"": "", "abc": "", "abcd": "X-Key"} {
		u, _ := url.Parse("/things/7?count=1")
		resp := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}, "X-Id": {"1"}}}
		err := newChecker(t).Exchange(&http.Request{Method: "POST", URL: u, Header: http.Header{"X-Token": {"t"}, "X-Key": {key}}}, nil, resp, []byte(`{"ID":7}`))
		if wrong == "" && err != nil || wrong != "" && (err == nil || !strings.Contains(err.Error(), wrong)) {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

func TestChecker_Covers(t *testing.T) {
	c := newChecker(t)
	if got := c.Unanswered(); len(got) != 2 {
		t.Errorf("unanswered %v", got)
	}
	u, _ := url.Parse("/things/all")
	resp := &http.Response{StatusCode: 200, Header: http.Header{}}
	_ = c.Exchange(&http.Request{Method: "GET", URL: u, Header: http.Header{}}, nil, resp, []byte(`[{"ErrorCode":7}]`)) // wrong in other ways
	if got := c.Unanswered(); len(got) != 1 || got[0] != "POST /things/{id}" || !c.Came(7) || c.Came(8) {
		t.Errorf("unanswered %v, 7 came %v, 8 came %v", got, c.Came(7), c.Came(8))
	}
}

func TestNew_RefusesSchemas(t *testing.T) {
	for _, doc := range []string{`{`, `{"components":{"schemas":{"A":{"type":"text"}}}}`, `{"components":{"schemas":{"A":{"$ref":"#/components/schemas/B"}}}}`} {
		if _, err := contract.New([]byte(doc)); err == nil {
			t.Errorf("%s passes", doc)
		}
	}
}
