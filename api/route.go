package api

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// role is whose token a route needs.
type role int

const (
	forServer role = iota
	forAccount
	forAnyone
)

// route is one method of one path. Paths are in lower case.
type route struct {
	method, path string
	role         role
	trial        bool // POSTMARK_API_TEST will do for a token
	batch        bool // the body may be as large as a batch
	handle       handler
}

// handler answers a call with what is to be sent as JSON.
type handler func(*call) (any, *Error)

func (s *Server) routes() []route {
	return slices.Concat(
		describeRoutes(),
		healthRoutes(),
		emailRoutes(),
		messageRoutes(),
		statsRoutes(),
		streamRoutes(),
		suppressionRoutes(),
		bounceRoutes(),
		domainRoutes(),
		senderRoutes(),
		serverRoutes(),
		webhookRoutes(),
	)
}

// newMux registers every route, and for every path what to say to other
// methods.
func (s *Server) newMux() *http.ServeMux {
	mux := http.NewServeMux()
	allowed := map[string][]string{}
	for _, r := range s.routes() {
		mux.HandleFunc(r.method+" "+r.path, func(w http.ResponseWriter, req *http.Request) { s.serve(r, w, req) })
		allowed[r.path] = append(allowed[r.path], r.method)
	}
	for p, methods := range allowed {
		allow := strings.Join(methods, ", ")
		mux.HandleFunc(p, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Allow", allow)
			s.fail(w, &errNoMethod)
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { s.fail(w, &errNoRoute) })
	return mux
}

// normalise makes a path what routes are written in: lower case, no slash at
// the end. It is false for paths that ServeMux would answer with a redirect.
func normalise(p string) (string, bool) {
	p = strings.ToLower(p)
	if len(p) > 1 {
		p = strings.TrimSuffix(p, "/")
	}
	return p, strings.HasPrefix(p, "/") && path.Clean(p) == p
}
