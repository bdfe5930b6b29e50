package smtpd

import "crypto/tls"

// serverTLS returns the configuration for incoming connections: at least TLS 1.2
// (RFC 8314 4.1), and no session tickets, whose key would outlive forward
// secrecy and which save little where clients keep their connections.
func serverTLS(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	c = c.Clone()
	c.MinVersion = max(c.MinVersion, tls.VersionTLS12)
	c.SessionTicketsDisabled = true
	return c
}

// tlsWords are version and cipher for the trace field.
func tlsWords(s *tls.ConnectionState) string {
	if s == nil {
		return ""
	}
	return tls.VersionName(s.Version) + " " + tls.CipherSuiteName(s.CipherSuite)
}
