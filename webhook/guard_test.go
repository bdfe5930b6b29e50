package webhook

import (
	"errors"
	"net/netip"
	"testing"
)

func TestGuard_CheckURL(t *testing.T) {
	for _, tc := range []struct {
		url  string
		want error
	}{
		{"https://hooks.example/x?y=z", nil},
		{"http://hooks.example", nil},
		{"https://u:p@hooks.example:8443/", nil},
		{"https://bücher.example/", nil},
		{"https://8.8.8.8/", nil},
		{"https://[2606:4700::1111]/", nil},
		{"", ErrURL},
		{"hooks.example", ErrURL},
		{"//hooks.example", ErrURL},
		{"ftp://hooks.example", ErrURL},
		{"file:///etc/passwd", ErrURL},
		{"https:hooks.example", ErrURL},
		{"https://", ErrURL},
		{"https://:443/", ErrURL},
		{"https://hooks.example/#x", ErrURL},
		{"https://hooks.example/\r\nX: y", ErrURL},
		{"https://hooks.example/a b", ErrURL},
		{"https://hooks.example:25/", ErrURL},
		{"https://hooks.example:0/", ErrURL},
		{"https://hooks.example:65536/", ErrURL},
		{"http://2130706433/", ErrURL},
		{"http://0x7f000001/", ErrURL},
		{"http://0x7f.1/", ErrURL},
		{"http://127.1/", ErrURL},
		{"http://0177.0.0.1/", ErrURL},
		{"http://127.0.0.1/", ErrInternal},
		{"http://127.0.0.1.:8080/", ErrInternal},
		{"http://localhost/", ErrInternal},
		{"http://LocalHost./", ErrInternal},
		{"http://a.localhost/", ErrInternal},
		{"http://0.0.0.0/", ErrInternal},
		{"http://10.1.2.3/", ErrInternal},
		{"http://100.64.0.1/", ErrInternal},
		{"http://169.254.169.254/latest/meta-data/", ErrInternal},
		{"http://224.0.0.1/", ErrInternal},
		{"http://255.255.255.255/", ErrInternal},
		{"http://[::1]/", ErrInternal},
		{"http://[::]/", ErrInternal},
		{"http://[fe80::1%25eth0]/", ErrInternal},
		{"http://[fd00::1]/", ErrInternal},
		{"http://[ff02::1]/", ErrInternal},
		{"http://[::ffff:10.0.0.1]/", ErrInternal},
		{"http://[64:ff9b::10.0.0.1]/", ErrInternal},
		{"http://[2002:a00:1::]/", ErrInternal},
		{"http://[2001:0:1::1]/", ErrInternal},
	} {
		_, err := Guard{}.CheckURL(tc.url)
		if !errors.Is(err, tc.want) || tc.want == nil && err != nil {
			t.Errorf("CheckURL(%q) = %v, want %v", tc.url, err, tc.want)
		}
	}
}

func TestGuard_Allow(t *testing.T) {
	g := Guard{Allow: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("127.0.0.1/32")}}
	for url, ok := range map[string]bool{
		"http://10.1.2.3": true, "http://[::ffff:10.1.2.3]": true, "http://localhost": true, "http://10.2.0.1": false, "http://127.0.0.2": false,
	} {
		if _, err := g.CheckURL(url); (err == nil) != ok {
			t.Errorf("CheckURL(%q) = %v", url, err)
		}
	}
	if internal, err := g.Refuses("http://10.2.0.1"); !internal || err == nil {
		t.Errorf("Refuses = %v, %v", internal, err)
	}
}

func TestGuard_Control(t *testing.T) {
	for address, want := range map[string]error{
		"8.8.8.8:443": nil, "[2606:4700::1111]:8443": nil, "8.8.8.8:25": ErrURL, "10.0.0.1:443": ErrInternal,
		"[::ffff:127.0.0.1]:443": ErrInternal, "[fe80::1%eth0]:443": ErrInternal, "nonsense": ErrInternal,
	} {
		if err := (Guard{}).control("tcp", address, nil); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("control(%q) = %v, want %v", address, err, want)
		}
	}
}

// FuzzGuard: what CheckURL passes is http or https to a host, and no address
// that the guard refuses.
func FuzzGuard(f *testing.F) {
	for _, s := range []string{"https://hooks.example/x", "http://127.1:80", "http://[::ffff:10.0.0.1%25x]", "https://u:p@h", "http://0x7f.1/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := Guard{}.CheckURL(raw)
		if err != nil {
			if !errors.Is(err, ErrURL) && !errors.Is(err, ErrInternal) {
				t.Errorf("CheckURL(%q) = %v", raw, err)
			}
			return
		}
		if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
			t.Errorf("passed %q", raw)
		}
		if ip, err := netip.ParseAddr(u.Hostname()); err == nil && (Guard{}).check(ip) != nil {
			t.Errorf("passed %q, whose address is internal", raw)
		}
	})
}
