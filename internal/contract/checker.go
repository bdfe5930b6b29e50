// Package contract holds what goes over the wire to the OpenAPI document of the
// API. It is for tests: an answer with a field, header, status or ErrorCode that
// the document does not have is an error, and so is a request that was accepted
// and is not in the document.
package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Checker checks exchanges of requests and answers. It is safe for concurrent use.
type Checker struct {
	doc       object // with everything referred to in place
	schemas   *compiler
	endpoints []endpoint

	mu    sync.Mutex
	done  map[string]bool // names of operations that have answered 200
	codes map[int]bool    // ErrorCodes that have come
}

type object = map[string]any

// endpoint is one operation.
type endpoint struct {
	method     string
	segments   []string
	op         object
	at         string   // JSON pointer
	parameters []string // JSON pointers
}

func (e endpoint) name() string { return e.method + " /" + strings.Join(e.segments, "/") }

// New reads a document. It is an error if that, or a schema in it, is not valid.
func New(doc []byte) (*Checker, error) {
	c := &Checker{done: map[string]bool{}, codes: map[int]bool{}}
	if err := json.Unmarshal(doc, &c.doc); err != nil {
		return nil, fmt.Errorf("reading the document: %w", err)
	}
	var err error
	if c.schemas, err = newCompiler(doc); err != nil {
		return nil, err
	}
	paths, _ := c.doc["paths"].(object)
	for path, item := range paths {
		methods, _ := item.(object)
		for method, op := range methods {
			if op, ok := op.(object); ok {
				c.endpoints = append(c.endpoints, c.endpoint(method, path, op))
			}
		}
	}
	// A word of a path goes before a variable.
	slices.SortFunc(c.endpoints, func(a, b endpoint) int { return -slices.Compare(a.segments, b.segments) })
	return c, c.compileAll()
}

func (c *Checker) endpoint(method, path string, op object) endpoint {
	e := endpoint{method: strings.ToUpper(method), segments: strings.Split(path, "/")[1:], op: op, at: pointer("paths", path, method)}
	for _, at := range []string{pointer("paths", path, "parameters"), e.at + pointer("parameters")} {
		v, _ := c.at(at)
		list, _ := v.([]any)
		for i := range list {
			e.parameters = append(e.parameters, at+pointer(strconv.Itoa(i)))
		}
	}
	return e
}

// compileAll compiles every schema that is there, used or not.
func (c *Checker) compileAll() error {
	var errs []error
	walk(c.doc, "", func(at string, v object) {
		var locations []string
		if _, there := v["schema"].(object); there {
			locations = append(locations, at+pointer("schema"))
		}
		list, _ := v["schemas"].(object)
		for name := range list {
			locations = append(locations, at+pointer("schemas", name))
		}
		for _, l := range locations {
			if _, err := c.schemas.compile(l, false); err != nil {
				errs = append(errs, err)
			}
		}
	})
	return errors.Join(errs...)
}

// Operations lists method, path and the security schemes of each operation,
// sorted, as in "GET /servers account".
func (c *Checker) Operations() []string {
	var out []string
	for _, e := range c.endpoints {
		name := e.name()
		list, _ := e.op["security"].([]any)
		for _, scheme := range list {
			for s := range scheme.(object) {
				name += " " + s
			}
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Unanswered lists the operations that have not answered 200 yet.
func (c *Checker) Unanswered() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, e := range c.endpoints {
		if !c.done[e.name()] {
			out = append(out, e.name())
		}
	}
	return out
}

// Came tells whether an answer has had the ErrorCode.
func (c *Checker) Came(code int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.codes[code]
}

// Exchange checks one request with its answer.
func (c *Checker) Exchange(req *http.Request, sent []byte, resp *http.Response, got []byte) error {
	e, known := c.find(req)
	if !known {
		return c.stray(req, resp, got)
	}
	c.note(e, resp.StatusCode, got)
	errs := []error{c.answer(e, resp, got)}
	if resp.StatusCode == http.StatusOK {
		errs = append(errs, c.request(e, req, sent))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("%s %s: %w", req.Method, req.URL.Path, err)
	}
	return nil
}

func (c *Checker) note(e endpoint, status int, got []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if status == http.StatusOK {
		c.done[e.name()] = true
	}
	c.noteCodes(got)
}

func (c *Checker) noteCodes(got []byte) {
	type coded struct{ ErrorCode int }
	var one coded
	var many []coded
	if json.Unmarshal(got, &one) == nil {
		many = append(many, one)
	} else {
		_ = json.Unmarshal(got, &many) // other lists have none
	}
	for _, v := range many {
		c.codes[v.ErrorCode] = true
	}
}

// find returns the operation of a request.
func (c *Checker) find(req *http.Request) (endpoint, bool) {
	for _, e := range c.endpoints {
		if e.method == req.Method && e.matches(req.URL.Path) {
			return e, true
		}
	}
	return endpoint{}, false
}

func (e endpoint) matches(path string) bool {
	segments := split(path)
	if len(segments) != len(e.segments) {
		return false
	}
	for i, s := range e.segments {
		if segments[i] == "" || s != segments[i] && !strings.HasPrefix(s, "{") {
			return false
		}
	}
	return true
}

// split returns the parts of a path without regard to case and a slash at the end.
func split(path string) []string {
	return strings.Split(strings.TrimSuffix(strings.ToLower(path), "/"), "/")[1:]
}

// stray checks the answer to a request that is no operation.
func (c *Checker) stray(req *http.Request, resp *http.Response, got []byte) error {
	c.mu.Lock()
	c.noteCodes(got)
	c.mu.Unlock()
	want := []int{http.StatusNotFound, http.StatusRequestURITooLong}
	for _, e := range c.endpoints {
		if e.matches(req.URL.Path) {
			want = []int{http.StatusMethodNotAllowed, http.StatusRequestURITooLong}
		}
	}
	if !slices.Contains(want, resp.StatusCode) {
		return fmt.Errorf("%s %s answers %d and is not in the document", req.Method, req.URL.Path, resp.StatusCode)
	}
	return c.matchAnswer(pointer("components", "responses", strconv.Itoa(resp.StatusCode)), resp, got)
}

func (c *Checker) answer(e endpoint, resp *http.Response, got []byte) error {
	at := e.at + pointer("responses", strconv.Itoa(resp.StatusCode))
	if c.object(at) == nil {
		return fmt.Errorf("status %d is not in the document: %s", resp.StatusCode, got)
	}
	return c.matchAnswer(at, resp, got)
}

func (c *Checker) matchAnswer(at string, resp *http.Response, got []byte) error {
	at = c.follow(at)
	schema, err := c.schemas.compile(at+pointer("content", "application/json", "schema"), true)
	if err != nil {
		return err
	}
	errs := []error{c.headers(at, resp.Header)}
	if t := resp.Header.Get("Content-Type"); t != "application/json; charset=utf-8" {
		errs = append(errs, fmt.Errorf("answer of the type %q", t))
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(got))
	if err != nil {
		return fmt.Errorf("answer %.200q: %w", got, err)
	}
	if err := schema.Validate(instance); err != nil {
		errs = append(errs, fmt.Errorf("answer %d %.500s: %w", resp.StatusCode, got, err))
	}
	return errors.Join(errs...)
}
