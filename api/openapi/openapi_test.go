package openapi

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

// The schema is the one that https://spec.openapis.org/oas/3.1/schema/2022-10-07
// names, by the OpenAPI Initiative under the Apache License 2.0.
const schemaFile = "testdata/oas-3.1.schema.json"

func TestJSON_IsOpenAPI31(t *testing.T) {
	doc, err := JSON()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	meta, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("oas.json", meta); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("oas.json")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(parsed); err != nil {
		t.Error(err)
	}
	delete(parsed.(object), "info")
	if err := schema.Validate(parsed); err == nil {
		t.Error("a document without info is valid: the schema checks nothing")
	}
}

// Names of operations are what generators make function names of.
func TestJSON_OperationIDsAreUnique(t *testing.T) {
	doc, err := read()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[any]string{}
	for path, item := range doc["paths"].(object) {
		for method, v := range item.(object) {
			if op, ok := v.(object); ok {
				id, at := op["operationId"], method+" "+path
				if id == nil || seen[id] != "" {
					t.Errorf("%s: operationId %v is missing or that of %q", at, id, seen[id])
				}
				seen[id] = at
			}
		}
	}
}

func TestMerge(t *testing.T) {
	for _, tt := range []struct{ into, part, want, err string }{
		{"{a: {b: 1}}", "{a: {c: 2}, d: 3}", "{a: {b: 1, c: 2}, d: 3}", ""},
		{"{tags: [1]}", "{tags: [2]}", "{tags: [1, 2]}", ""},
		{"{a: {b: 1}}", "{a: {b: 1}}", "", "'b' is defined twice"},
		{"{a: {b: 1}}", "{a: 1}", "", "'a' is defined twice"},
		{"{a: 1}", "{a: {b: 1}}", "", "'a' is an object here"},
		{"{a: 1}", "{a: [1]}", "", "'a' is a list here"},
	} {
		into := parse(t, tt.into)
		err := merge(into, parse(t, tt.part))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("merge(%s, %s) = %v, want %s", tt.into, tt.part, err, tt.err)
			}
			continue
		}
		got, _ := yaml.Marshal(into)
		wanted, _ := yaml.Marshal(parse(t, tt.want))
		if err != nil || !bytes.Equal(got, wanted) {
			t.Errorf("merge(%s, %s) = %v:\n%s", tt.into, tt.part, err, got)
		}
	}
}

func TestComplete_RefusesHalfAnOperation(t *testing.T) {
	for _, op := range []string{"{}", "{security: [], responses: {}, x-error-codes: []}", `{responses: {"200": {}}, x-error-codes: []}`, `{security: [], responses: {"200": {}}}`} {
		if err := complete(parse(t, "{paths: {/x: {get: "+op+"}}}")); err == nil {
			t.Errorf("%s passes", op)
		}
	}
}

func parse(t *testing.T, text string) (v object) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// Text with a comma in braces makes keys without a value, which schemas allow.
func TestRead_NoKeyWithoutValue(t *testing.T) {
	doc, err := read()
	if err != nil {
		t.Fatal(err)
	}
	noNulls(t, "", doc)
}

func noNulls(t *testing.T, at string, v any) {
	switch x := v.(type) {
	case object:
		for key, value := range x {
			if value == nil {
				t.Errorf("%s/%s has no value", at, key)
			}
			noNulls(t, at+"/"+key, value)
		}
	case []any:
		for _, item := range x {
			noNulls(t, at, item)
		}
	case string, bool, int, nil:
	default:
		t.Errorf("%s is a %T, which JSON has not: quote it", at, v)
	}
}
