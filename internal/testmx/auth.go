package testmx

import (
	"encoding/base64"
	"slices"
	"strings"
)

func (c *session) onAuth(arg string) error {
	mechanism, initial, hasInitial := strings.Cut(arg, " ")
	mechanism = strings.ToUpper(mechanism)
	if !slices.Contains(c.s.script.Mechanisms, mechanism) {
		return c.send("504 5.5.4 unknown mechanism")
	}
	var username, password string
	var err error
	switch mechanism {
	case "PLAIN":
		username, password, err = c.plain(initial, hasInitial)
	case "LOGIN":
		username, password, err = c.login(initial, hasInitial)
	}
	if err != nil {
		return err
	}
	known, ok := c.s.script.Users[username]
	ok = ok && known == password
	c.s.update(func() {
		c.s.credentials = append(c.s.credentials, Credential{mechanism, username, password, ok, c.tls})
	})
	if !ok {
		return c.answer(Auth, "", "535 5.7.8 no such user or password", nil)
	}
	return c.answer(Auth, "", "235 2.7.0 welcome", func() { c.user = username })
}

func (c *session) plain(initial string, has bool) (username, password string, err error) {
	if !has {
		if initial, err = c.challenge(""); err != nil {
			return "", "", err
		}
	}
	parts := strings.Split(c.decode(initial), "\x00")
	if len(parts) != 3 {
		c.violation("AUTH PLAIN without three parts")
		return "", "", nil
	}
	return parts[1], parts[2], nil
}

func (c *session) login(initial string, has bool) (username, password string, err error) {
	if !has {
		if initial, err = c.challenge("Username:"); err != nil {
			return "", "", err
		}
	}
	second, err := c.challenge("Password:")
	return c.decode(initial), c.decode(second), err
}

func (c *session) challenge(text string) (string, error) {
	if err := c.send("334 " + base64.StdEncoding.EncodeToString([]byte(text))); err != nil {
		return "", err
	}
	return c.readLine(12288)
}

func (c *session) decode(s string) string {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		c.violation("AUTH answer is not base64")
	}
	return string(b)
}
