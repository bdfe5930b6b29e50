package contract

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiler compiles schemas of the document: as they stand, and so that an object
// has no other keys than the schema names.
type compiler struct {
	mu           sync.Mutex
	open, strict *jsonschema.Compiler
}

const (
	openURL   = "mem://open.json"
	strictURL = "mem://strict.json"
)

func newCompiler(doc []byte) (*compiler, error) {
	c := &compiler{}
	for _, v := range []struct {
		into   **jsonschema.Compiler
		url    string
		closed bool
	}{{&c.open, openURL, false}, {&c.strict, strictURL, true}} {
		parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
		if err != nil {
			return nil, fmt.Errorf("reading the document: %w", err)
		}
		if v.closed {
			walk(parsed, "", func(_ string, schema object) { forbidOthers(schema) })
		}
		*v.into = jsonschema.NewCompiler()
		(*v.into).DefaultDraft(jsonschema.Draft2020)
		(*v.into).AssertFormat()
		if err := (*v.into).AddResource(v.url, parsed); err != nil {
			return nil, fmt.Errorf("adding the document: %w", err)
		}
	}
	return c, nil
}

// forbidOthers closes a schema of an object, except one that others add to.
func forbidOthers(schema object) {
	_, properties := schema["properties"].(object)
	_, composed := schema["allOf"]
	if _, there := schema["additionalProperties"]; properties && !composed && !there {
		schema["additionalProperties"] = false
	}
}

func (c *compiler) compile(at string, strict bool) (*jsonschema.Schema, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, url := c.open, openURL
	if strict {
		from, url = c.strict, strictURL
	}
	s, err := from.Compile(url + "#" + at)
	if err != nil {
		return nil, fmt.Errorf("schema %s: %w", at, err)
	}
	return s, nil
}

// pointer makes a JSON pointer (RFC 6901) of names.
func pointer(names ...string) string {
	var b strings.Builder
	for _, n := range names {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1", "%", "%25", "{", "%7B", "}", "%7D").Replace(n))
	}
	return b.String()
}

var unescape = strings.NewReplacer("~1", "/", "~0", "~", "%7B", "{", "%7D", "}", "%25", "%")

// at returns what a pointer names.
func (c *Checker) at(pointer string) (v any, ok bool) {
	v, ok = c.doc, true
	for _, name := range strings.Split(pointer, "/")[1:] {
		name = unescape.Replace(name)
		switch x := v.(type) {
		case object:
			v, ok = x[name]
		case []any:
			i, err := strconv.Atoi(name)
			if ok = err == nil && i < len(x); ok {
				v = x[i]
			}
		default:
			ok = false
		}
		if !ok {
			return nil, false
		}
	}
	return v, true
}

// follow returns where a pointer leads when it names a reference.
func (c *Checker) follow(pointer string) string {
	v, _ := c.at(pointer)
	o, _ := v.(object)
	if ref, ok := o["$ref"].(string); ok {
		return c.follow(strings.TrimPrefix(ref, "#"))
	}
	return pointer
}

// object returns the object that a pointer leads to, nil for none.
func (c *Checker) object(pointer string) object {
	v, _ := c.at(c.follow(pointer))
	o, _ := v.(object)
	return o
}

// walk calls visit for every object below v with its JSON pointer, in order.
func walk(v any, at string, visit func(at string, v object)) {
	switch x := v.(type) {
	case object:
		visit(at, x)
		for _, key := range slices.Sorted(maps.Keys(x)) {
			walk(x[key], at+pointer(key), visit)
		}
	case []any:
		for i, item := range x {
			walk(item, at+pointer(strconv.Itoa(i)), visit)
		}
	}
}
