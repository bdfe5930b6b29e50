package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"net/netip"
)

// The tests of the configuration are in the package: what they test is not
// exported, since nothing but the command uses it.

var equalConfigs = cmp.Options{
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmpopts.EquateEmpty(),
	cmpopts.IgnoreFields(Config{}, "Source"),
}

func TestExampleIsDefault(t *testing.T) {
	example, err := filepath.Abs("../../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := loadConfig(configSource{file: example, cwd: filepath.Dir(example)})
	if err != nil {
		t.Fatal(err)
	}
	want, err := loadConfig(configSource{file: emptyFile(t), cwd: filepath.Dir(example), flags: map[string]any{"data_dir": "mailchute-data"}})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, equalConfigs); diff != "" {
		t.Errorf("config.example.yaml differs from the defaults (-default +example):\n%s", diff)
	}
}

func TestExampleNamesEveryKey(t *testing.T) {
	text, err := os.ReadFile("../../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for key := range flatten(Default()) {
		last := key[strings.LastIndexByte(key, '.')+1:]
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(strings.TrimLeft(l, " "), last+":") }) {
			t.Errorf("config.example.yaml does not name %s", key)
		}
	}
}

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

func TestEnvironmentNamesAreUnique(t *testing.T) {
	seen := map[string]string{}
	for key := range flatten(Default()) {
		if other, ok := seen[envName(key)]; ok {
			t.Errorf("%s and %s have the same variable %s", key, other, envName(key))
		}
		seen[envName(key)] = key
	}
}

func emptyFile(t *testing.T) string {
	t.Helper()
	return writeConfig(t, "")
}

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "mailchute.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad_Refuses(t *testing.T) {
	for _, tt := range []struct {
		name, file string
		environ    []string
		want       []string // all of them in the error
	}{
		{"unknown key", "hostnam: x", nil, []string{"hostnam", "unknown key"}},
		{"unknown nested key", "smtp: {limits: {recipents: 5}}", nil, []string{"smtp.limits.recipents"}},
		{"unknown key without value", "hostnam:", nil, []string{"hostnam"}},
		{"misplaced key points home", "message_size: 5MiB", nil, []string{"did you mean smtp.limits.message_size"}},
		{"unknown key in a list", "smtp: {listeners: [{addres: '1.2.3.4:5'}]}", nil, []string{"smtp.listeners[0]", "addres"}},
		{"section as value", "smtp: 5", nil, []string{"smtp", "section"}},
		{"value as section", "hostname: {a: b}", nil, []string{"hostname.a"}},
		{"bare duration", "shutdown_grace: 30", nil, []string{"shutdown_grace", `"30"`, "unit"}},
		{"bare quoted duration", "shutdown_grace: '30'", nil, []string{"shutdown_grace", "unit"}},
		{"bare duration in a list", "delivery: {schedule: [1m, 5]}", nil, []string{"delivery.schedule[1]", "unit"}},
		{"bare size", "smtp: {limits: {message_size: 50}}", nil, []string{"smtp.limits.message_size", "50MiB"}},
		{"fractional size", "smtp: {limits: {message_size: 1.5MiB}}", nil, []string{"smtp.limits.message_size"}},
		{"bare duration in the environment", "", []string{"MAILCHUTE_SHUTDOWN_GRACE=30"}, []string{"shutdown_grace"}},
		{"unknown variable", "", []string{"MAILCHUTE_HOSTNAM=x", "OTHER=y"}, []string{"MAILCHUTE_HOSTNAM"}},
		{"duplicate key", "hostname: a\nhostname: b", nil, []string{"hostname"}},
		{"not YAML", "smtp: [", nil, []string{"mailchute.yaml"}},
		{"bad network", "smtp: {cleartext_auth: [10.0.0.0]}", nil, []string{"smtp.cleartext_auth[0]"}},
		{"every problem at once", "log: {level: loud, format: xml}\nsmtp: {listeners: [{address: nowhere, tls: maybe}]}\ndelivery: {concurrency: 0}", nil,
			[]string{"log.level", "log.format", "smtp.listeners[0].address", "smtp.listeners[0].tls", "delivery.concurrency"}},
		{"address twice", "smtp: {listeners: [{address: '1.1.1.1:25'}, {address: '1.1.1.1:25'}]}", nil, []string{"smtp.listeners[1].address", "twice"}},
		{"half a certificate", "smtp: {tls: {cert_file: a.pem}}", nil, []string{"smtp.tls", "together"}},
		{"no listeners", "smtp: {listeners: []}", nil, []string{"smtp.listeners"}},
		{"switch as number", "delivery: {concurrency: true}", nil, []string{"delivery.concurrency"}},
		{"fraction as number", "delivery: {concurrency: 1.5}", nil, []string{"delivery.concurrency", "whole"}},
		{"number as switch", "intake: {private_trace: 1}", nil, []string{"intake.private_trace"}},
		{"switch as text", "hostname: true", nil, []string{"hostname"}},
		{"word as number", "", []string{"MAILCHUTE_DELIVERY_CONCURRENCY=many"}, []string{"delivery.concurrency", "many"}},
		{"word as switch", "", []string{"MAILCHUTE_INTAKE_PRIVATE_TRACE=yes"}, []string{"intake.private_trace", "yes"}},
		{"negative duration", "shutdown_grace: -30s", nil, []string{"shutdown_grace"}},
		{"too small a duration", "smtp: {limits: {idle_timeout: 30ns}}", nil, []string{"smtp.limits.idle_timeout"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := loadConfig(configSource{file: writeConfig(t, tt.file), environ: tt.environ, cwd: t.TempDir()})
			if err == nil {
				t.Fatal("accepted")
			}
			if got := exitCode(err); got != exitConfig {
				t.Errorf("exit code %d, want %d", got, exitConfig)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error does not name %q: %v", want, err)
				}
			}
		})
	}
}

func TestLoad_Precedence(t *testing.T) {
	file := writeConfig(t, "hostname: file.example\nshutdown_grace: 1m\nlog: {level: warn}\n")
	cfg, err := loadConfig(configSource{
		file: file, cwd: "/srv/mailchute",
		environ: []string{"MAILCHUTE_SHUTDOWN_GRACE=2m", "MAILCHUTE_HOSTNAME=env.example", "MAILCHUTE_LOG_FORMAT=", "MAILCHUTE_STORAGE_RETENTION=7d"},
		flags:   map[string]any{"hostname": "flag.example"},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := []any{cfg.Hostname, cfg.Grace, cfg.Log.Level, cfg.Log.Format, cfg.Storage.Retention}
	want := []any{"flag.example", 2 * time.Minute, "warn", "text", 7 * 24 * time.Hour}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestLoad_EmptySectionsAndKeysMeanDefaults(t *testing.T) {
	want, err := loadConfig(configSource{file: emptyFile(t), cwd: "/srv/mailchute"})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"smtp:\n", "smtp:\n  limits:\n", "delivery:\n  # schedule: [1m]\n", "hostname:\n", "# nothing\n", "---\n"} {
		got, err := loadConfig(configSource{file: writeConfig(t, text), cwd: "/srv/mailchute"})
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if diff := cmp.Diff(want, got, equalConfigs); diff != "" {
			t.Errorf("%q (-default +got):\n%s", text, diff)
		}
	}
}

func TestLoad_Scalars(t *testing.T) {
	cfg, err := loadConfig(configSource{file: emptyFile(t), cwd: "/srv/mailchute", environ: []string{
		"MAILCHUTE_DELIVERY_CONCURRENCY=7", "MAILCHUTE_INTAKE_PRIVATE_TRACE=true", "MAILCHUTE_SMTP_LIMITS_MESSAGE_SIZE=20MiB",
	}})
	if err != nil || cfg.Delivery.Concurrency != 7 || !cfg.Intake.PrivateTrace || cfg.SMTP.Limits.MessageSize != 20*MiB {
		t.Errorf("loadConfig = %d, %v, %v, %v", cfg.Delivery.Concurrency, cfg.Intake.PrivateTrace, cfg.SMTP.Limits.MessageSize, err)
	}
}

func TestLoad_Lists(t *testing.T) {
	cfg, err := loadConfig(configSource{file: emptyFile(t), cwd: "/srv/mailchute", environ: []string{
		"MAILCHUTE_SMTP_LISTENERS=[::1]:587, 127.0.0.1:465/implicit,127.0.0.1:25/none",
		"MAILCHUTE_SMTP_CLEARTEXT_AUTH=10.0.0.0/8,fd00::/8",
		"MAILCHUTE_DELIVERY_SCHEDULE=10s,1m",
	}})
	if err != nil {
		t.Fatal(err)
	}
	wantListeners := []ListenerConfig{{"[::1]:587", "starttls", nil}, {"127.0.0.1:465", "implicit", nil}, {"127.0.0.1:25", "none", nil}}
	if diff := cmp.Diff(wantListeners, cfg.SMTP.Listeners, equalConfigs); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(prefixes("10.0.0.0/8", "fd00::/8"), cfg.SMTP.CleartextAuth, equalConfigs); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]time.Duration{10 * time.Second, time.Minute}, cfg.Delivery.Schedule); diff != "" {
		t.Error(diff)
	}
}

func TestLoad_PathsCountFromWhereTheyStand(t *testing.T) {
	file := writeConfig(t, "data_dir: d\nsmtp: {tls: {cert_file: c.pem, key_file: k.pem}}\n")
	dir := filepath.Dir(file)
	cfg, err := loadConfig(configSource{file: file, cwd: "/srv/mailchute", environ: []string{"MAILCHUTE_SMTP_TLS_KEY_FILE=e.pem"}})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{cfg.DataDir, cfg.SMTP.TLS.CertFile, cfg.SMTP.TLS.KeyFile, cfg.KeyFile}
	want := []string{filepath.Join(dir, "d"), filepath.Join(dir, "c.pem"), "/srv/mailchute/e.pem", filepath.Join(dir, "d", "mailchute.key")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	cfg, err = loadConfig(configSource{file: emptyFile(t), cwd: "/srv/mailchute"})
	if err != nil || cfg.DataDir != "/srv/mailchute/mailchute-data" {
		t.Errorf("default data directory = %q, %v", cfg.DataDir, err)
	}
}

func TestChangedKeys(t *testing.T) {
	fresh := Default()
	fresh.Log.Level = "debug"
	fresh.Grace = time.Minute
	fresh.SMTP.Listeners[0].Address = "127.0.0.1:2526"
	want := []string{"shutdown_grace", "smtp.listeners"}
	if diff := cmp.Diff(want, changedKeys(Default(), fresh)); diff != "" {
		t.Error(diff)
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]Size{"0B": 0, "500B": 500, "100KiB": 100 << 10, "50MiB": 50 << 20, "2GiB": 2 << 30} {
		got, err := parseSize(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("parseSize(%q) = %v, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "5", "MiB", "-5MiB", "5MB", "5 MiB", "5mib", "9999999999GiB", "1e3B"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("parseSize(%q) = %v, want an error", text, got)
		}
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"45d": 45 * 24 * time.Hour, "1h30m": 90 * time.Minute, "500ms": 500 * time.Millisecond, "0s": 0} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "30", "0", "-1d", "1.5d", "d", "5 m", "99999999d", "1w", "-5m", "+5m"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", text, got)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	f.Add("50MiB")
	f.Add("iB")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseSize(text)
		if err != nil {
			return
		}
		if again, err := parseSize(n.String()); err != nil || again != n {
			t.Errorf("parseSize(%q) = %d, but its text %q gives %d, %v", text, n, n, again, err)
		}
	})
}
