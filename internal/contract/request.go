package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// request checks a request that was accepted.
func (c *Checker) request(e endpoint, req *http.Request, sent []byte) error {
	errs := []error{c.token(e, req.Header)}
	query := map[string]string{}
	for name, values := range req.URL.Query() {
		if values[0] != "" {
			query[strings.ToLower(name)] = values[0]
		}
	}
	for _, at := range e.parameters {
		if err := c.parameter(e, at, query, req); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, c.body(e, sent))...)
}

func (c *Checker) token(e endpoint, h http.Header) error {
	list, _ := e.op["security"].([]any)
	for _, scheme := range list {
		for name := range scheme.(object) {
			definition := c.object(pointer("components", "securitySchemes", name))
			if header := fmt.Sprint(definition["name"]); h.Get(header) == "" {
				return fmt.Errorf("accepted without %s", header)
			}
		}
	}
	return nil
}

// parameter checks one at a location of the document.
func (c *Checker) parameter(e endpoint, at string, query map[string]string, req *http.Request) error {
	at = c.follow(at)
	p := c.object(at)
	name := fmt.Sprint(p["name"])
	text, there := query[name]
	switch p["in"] {
	case "header":
		text = req.Header.Get(name)
		there = text != ""
	case "path":
		text, there = split(req.URL.Path)[slices.Index(e.segments, "{"+name+"}")], true
	}
	switch {
	case p["style"] == "form": // of an object: its keys are parameters
		return nil
	case !there && p["required"] == true:
		return fmt.Errorf("accepted without the parameter %s", name)
	case !there:
		return nil
	}
	if err := c.value(at+pointer("schema"), text); err != nil {
		return fmt.Errorf("parameter %s: %w", name, err)
	}
	return nil
}

// value checks the text of a parameter or header.
func (c *Checker) value(at, text string) error {
	schema, err := c.schemas.compile(at, false)
	if err != nil {
		return err
	}
	instance := any(text)
	if t := c.object(at)["type"]; t == "integer" {
		instance = json.Number(text)
	}
	if err := schema.Validate(instance); err != nil {
		return fmt.Errorf("%q: %w", text, err)
	}
	return nil
}

// body checks the body of an accepted request. Keys count without regard to case.
func (c *Checker) body(e endpoint, sent []byte) error {
	documented := c.object(e.at + pointer("requestBody"))
	switch string(bytes.TrimSpace(sent)) {
	case "", "null", `""`, "''":
		if documented["required"] == true {
			return errors.New("accepted without a body")
		}
		return nil
	}
	if documented == nil {
		return nil // nobody reads it
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(sent))
	if err != nil {
		return fmt.Errorf("request %.200q: %w", sent, err)
	}
	at := e.at + pointer("requestBody", "content", "application/json", "schema")
	schema, err := c.schemas.compile(at, false)
	if err != nil {
		return err
	}
	if err := schema.Validate(c.fold(instance, at)); err != nil {
		return fmt.Errorf("accepted %.500s: %w", sent, err)
	}
	return nil
}

// fold spells the keys of an instance as its schema does.
func (c *Checker) fold(instance any, at string) any {
	at = c.follow(at)
	switch x := instance.(type) {
	case object:
		properties, _ := c.object(at)["properties"].(object)
		out := object{}
		for key, value := range x {
			for name := range properties {
				if strings.EqualFold(name, key) {
					key, value = name, c.fold(value, at+pointer("properties", name))
				}
			}
			out[key] = value
		}
		return out
	case []any:
		out := make([]any, len(x))
		for i, value := range x {
			out[i] = c.fold(value, at+pointer("items"))
		}
		return out
	}
	return instance
}
