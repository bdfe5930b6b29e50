//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/internal/contract"
)

// checkedAPI stands before the API of a relay and holds everything that goes
// through it to the OpenAPI document that the relay serves. It returns its
// address.
func checkedAPI(t testing.TB, address string) string {
	t.Helper()
	resp, err := http.Get("http://" + address + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	doc, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	checker, err := contract.New(doc)
	if err != nil {
		t.Fatal(err)
	}
	base := &http.Transport{}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: address}) },
		Transport: &contract.Transport{Base: base, Checker: checker, Report: func(err error) { t.Error(err) }},
	})
	t.Cleanup(func() {
		proxy.Close()
		base.CloseIdleConnections()
	})
	return strings.TrimPrefix(proxy.URL, "http://")
}

// caller calls the API with a token.
type caller struct {
	t                      testing.TB
	address, header, token string
}

// call returns the object that comes with 200.
func (c caller) call(method, path string, body any) map[string]any {
	c.t.Helper()
	status, answer := c.try(method, path, body)
	if status != http.StatusOK {
		c.t.Fatalf("%s %s: %d %v", method, path, status, answer)
	}
	return answer
}

func (c caller) try(method, path string, body any) (status int, answer map[string]any) {
	c.t.Helper()
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			c.t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.address+path, &sent)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set(c.header, c.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, answer
}
