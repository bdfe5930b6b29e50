package openapi

import (
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

//go:embed *.yaml
var files embed.FS

// object is a JSON object of the document.
type object = map[string]any

// JSON returns the whole document. It fails only where the files of the package
// are wrong, which a test rules out.
func JSON() ([]byte, error) {
	doc, err := read()
	if err != nil {
		return nil, err
	}
	if err := complete(doc); err != nil {
		return nil, err
	}
	b, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("writing the API's description: %w", err)
	}
	return b, nil
}

func read() (object, error) {
	names, err := files.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("listing the API's description: %w", err)
	}
	doc := object{}
	for _, entry := range names {
		b, err := files.ReadFile(entry.Name())
		if err != nil {
			return nil, fmt.Errorf("reading the API's description: %w", err)
		}
		var part object
		if err := yaml.Unmarshal(b, &part); err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Name(), err)
		}
		if err := merge(doc, part); err != nil {
			return nil, fmt.Errorf("%s: %w", entry.Name(), err)
		}
	}
	return doc, nil
}

// merge adds what part has to into. Lists grow; no other value may stand in both.
func merge(into, part object) error {
	for _, key := range slices.Sorted(maps.Keys(part)) {
		old, there := into[key]
		if !there {
			into[key] = part[key]
			continue
		}
		switch fresh := part[key].(type) {
		case object:
			inner, ok := old.(object)
			if !ok {
				return fmt.Errorf("'%s' is an object here and none elsewhere", key)
			}
			if err := merge(inner, fresh); err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		case []any:
			list, ok := old.([]any)
			if !ok {
				return fmt.Errorf("'%s' is a list here and none elsewhere", key)
			}
			into[key] = append(list, fresh...)
		default:
			return fmt.Errorf("'%s' is defined twice", key)
		}
	}
	return nil
}
