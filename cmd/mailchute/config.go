package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/spf13/viper"
)

// This is the only file that knows viper. Rules, each against a trap of it:
//
//   - A private instance for each load, and no watching: SIGHUP loads afresh.
//   - Every key is registered from Default, so a key that is not registered is
//     unknown, in the file and in the environment, and unknown is an error.
//   - Numbers without unit are no durations and no sizes.
//   - No map has names of the operator's choice as keys (viper lower-cases and
//     splits them): what repeats is a list.
//   - Viper does not read the environment. It would report no unknown variable.
//
// The order of precedence: flag, environment, file, default. A relative path
// counts from the directory of the file that holds it, and from the working
// directory when it came from flag, environment or default.

const envPrefix = "MAILCHUTE_"

// configPlaces are tried in order when no file is named.
var configPlaces = [...]string{"mailchute.yaml", "/etc/mailchute.yaml"}

// configSource is everything that a configuration is made from.
type configSource struct {
	file    string // as given, "" to look in the usual places
	environ []string
	cwd     string
	flags   map[string]any // by key
}

// loadConfig returns the configuration, or an error with every problem found.
// Its exit code is 78.
func loadConfig(src configSource) (Config, error) {
	cfg, err := decodeConfig(src)
	if err == nil {
		err = cfg.Validate()
	}
	if err == nil {
		return cfg, nil
	}
	return Config{}, faultyConfig(err)
}

// faultyConfig is the error for the problems that err joins.
func faultyConfig(err error) error {
	text := " " + err.Error()
	if strings.Contains(text, "\n") {
		text = "\n  " + strings.ReplaceAll(err.Error(), "\n", "\n  ")
	}
	return exitWith(exitConfig, "configuration:%s", text)
}

func decodeConfig(src configSource) (Config, error) {
	known := flatten(Default())
	file, err := readFile(src)
	if err != nil {
		return Config{}, err
	}
	v := viper.New()
	for key, value := range known {
		v.SetDefault(key, value)
	}
	// AllSettings leaves out what has no value: a section whose keys are all commented out would hide their defaults.
	if err := v.MergeConfigMap(file.AllSettings()); err != nil {
		return Config{}, err
	}
	paths := map[string]string{} // key to the directory it counts from
	for key := range known {
		paths[key] = src.cwd
		if v.InConfig(key) {
			paths[key] = filepath.Dir(file.ConfigFileUsed())
		}
	}
	if err := errors.Join(unknownKeys(file, known), overlay(v, known, src, paths)); err != nil {
		return Config{}, err
	}
	cfg := Config{Source: file.ConfigFileUsed()}
	if err := v.UnmarshalExact(&cfg, viper.DecodeHook(decodeHook()), strictly); err != nil {
		found := byKey(err)
		slices.SortFunc(found, func(x, y error) int { return strings.Compare(x.Error(), y.Error()) })
		return Config{}, errors.Join(found...)
	}
	return cfg.resolved(paths), nil
}

// byKey takes the decoder's error apart, so that each problem begins with its
// key as all others do.
func byKey(err error) []error {
	switch e := err.(type) {
	case *mapstructure.DecodeError:
		return []error{fmt.Errorf("%s: %w", e.Name(), e.Unwrap())}
	case interface{ Unwrap() []error }:
		var out []error
		for _, one := range e.Unwrap() {
			out = append(out, byKey(one)...)
		}
		return out
	case interface{ Unwrap() error }:
		return byKey(e.Unwrap())
	}
	return []error{err}
}

// readFile reads the configuration file. Where there is none it returns an
// empty one.
func readFile(src configSource) (*viper.Viper, error) {
	v := viper.New()
	path, err := findFile(src)
	if err != nil || path == "" {
		return v, err
	}
	v.SetConfigFile(path)
	v.SetConfigType("yaml")
	if err := v.ReadInConfig(); err != nil {
		return v, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

func findFile(src configSource) (string, error) {
	if src.file != "" {
		return join(src.cwd, src.file), nil
	}
	if path := environment(src.environ)["CONFIG"]; path != "" {
		return join(src.cwd, path), nil
	}
	for _, place := range configPlaces {
		path := join(src.cwd, place)
		if _, err := os.Stat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return "", nil
}

func join(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func unknownKeys(v *viper.Viper, known map[string]any) error {
	var errs []error
	for _, key := range slices.Sorted(slices.Values(v.AllKeys())) {
		if _, ok := known[key]; ok || v.Get(key) == nil && isSection(key, known) {
			continue
		}
		errs = append(errs, fmt.Errorf("%s: unknown key%s", key, hint(key, known)))
	}
	return errors.Join(errs...)
}

func isSection(key string, known map[string]any) bool {
	for k := range known {
		if strings.HasPrefix(k, key+".") {
			return true
		}
	}
	return false
}

// hint points from a wrong key to the nearest right one.
func hint(key string, known map[string]any) string {
	if isSection(key, known) {
		return ": it is a section, not a value"
	}
	last := key[strings.LastIndexByte(key, '.')+1:]
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if k == last || strings.HasSuffix(k, "."+last) {
			return fmt.Sprintf("; did you mean %s?", k)
		}
	}
	return ""
}

// overlay puts environment and flags over what the file says. An empty variable
// counts as not set.
func overlay(v *viper.Viper, known map[string]any, src configSource, paths map[string]string) error {
	byName := map[string]string{"CONFIG": ""}
	for key := range known {
		byName[envName(key)] = key
	}
	var errs []error
	env := environment(src.environ)
	for _, name := range slices.Sorted(maps.Keys(env)) {
		key, ok := byName[name]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("%s%s: unknown environment variable; names are those of the keys, such as %sDATA_DIR", envPrefix, name, envPrefix))
		case key != "" && env[name] != "":
			v.Set(key, env[name])
			paths[key] = src.cwd
		}
	}
	for key, value := range src.flags {
		v.Set(key, value)
		paths[key] = src.cwd
	}
	return errors.Join(errs...)
}

func envName(key string) string { return strings.ToUpper(strings.ReplaceAll(key, ".", "_")) }

// environment returns our variables without the prefix.
func environment(environ []string) map[string]string {
	out := map[string]string{}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if name, ok := strings.CutPrefix(name, envPrefix); ok {
			out[name] = value
		}
	}
	return out
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
)

func decodeHook() mapstructure.DecodeHookFunc {
	return mapstructure.ComposeDecodeHookFunc(splitHook, unitHook, scalarHook, mapstructure.TextUnmarshallerHookFunc())
}

// strictly keeps the decoder from making 1 of true and a list of anything.
func strictly(c *mapstructure.DecoderConfig) { c.WeaklyTypedInput = false }

// scalarHook reads numbers and switches given as text, as the environment has
// them, and refuses fractions where a whole number is wanted.
func scalarHook(from, to reflect.Type, data any) (any, error) {
	switch {
	case to == durationType || to == sizeType:
		return data, nil
	case to.Kind() == reflect.Int && from.Kind() == reflect.Float64:
		return nil, fmt.Errorf("%v is not a whole number", data)
	case from.Kind() != reflect.String:
		return data, nil
	case to.Kind() == reflect.Int:
		n, err := strconv.Atoi(data.(string))
		if err != nil {
			return nil, fmt.Errorf("%q is not a whole number", data)
		}
		return n, nil
	case to.Kind() == reflect.Bool:
		if text := data.(string); text != "true" && text != "false" {
			return nil, fmt.Errorf("%q is neither true nor false", text)
		}
		return data == "true", nil
	}
	return data, nil
}

// unitHook reads durations and sizes, which viper would take without a unit as
// nanoseconds and octets.
func unitHook(_, to reflect.Type, data any) (any, error) {
	if to != durationType && to != sizeType {
		return data, nil
	}
	if reflect.TypeOf(data) == to {
		return data, nil
	}
	text, ok := data.(string)
	if !ok {
		text = fmt.Sprint(data)
	}
	if to == sizeType {
		return parseSize(text)
	}
	return parseDuration(text)
}

// splitHook reads lists given as one string, in the environment and in flags:
// comma separated.
func splitHook(from, to reflect.Type, data any) (any, error) {
	if from.Kind() != reflect.String || to.Kind() != reflect.Slice {
		return data, nil
	}
	out := []string{}
	for part := range strings.SplitSeq(data.(string), ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out, nil
}

// flatten lists the keys of a configuration with plain values, as a YAML file
// would give them.
func flatten(cfg Config) map[string]any {
	out := map[string]any{}
	flattenStruct(out, "", reflect.ValueOf(cfg))
	return out
}

func flattenStruct(out map[string]any, prefix string, v reflect.Value) {
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("mapstructure")
		if name == "-" {
			continue
		}
		if field := v.Field(i); field.Kind() == reflect.Struct && !hasText(field) {
			flattenStruct(out, prefix+name+".", field)
		} else {
			out[prefix+name] = plain(field)
		}
	}
}

func hasText(v reflect.Value) bool {
	_, ok := v.Interface().(fmt.Stringer)
	return ok
}

func plain(v reflect.Value) any {
	switch {
	case hasText(v):
		return v.Interface().(fmt.Stringer).String()
	case v.Kind() == reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = plain(v.Index(i))
		}
		return list
	case v.Kind() == reflect.Struct:
		m := map[string]any{}
		flattenStruct(m, "", v)
		return m
	}
	return v.Interface()
}

// changedKeys lists the keys that differ, except those that a reload applies.
func changedKeys(old, fresh Config) []string {
	var out []string
	was, is := flatten(old), flatten(fresh)
	for _, key := range slices.Sorted(maps.Keys(is)) {
		if key != "log.level" && !reflect.DeepEqual(was[key], is[key]) {
			out = append(out, key)
		}
	}
	return out
}

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}
