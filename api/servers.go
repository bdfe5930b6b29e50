package api

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/mailchute/mailchute/auth"
	"github.com/mailchute/mailchute/store"
)

func serverRoutes() []route {
	const one, tokens = "/servers/{server}", "/servers/{server}/tokens"
	return []route{
		{method: "GET", path: "/server", handle: getServer},
		{method: "PUT", path: "/server", handle: editServer},
		{method: "GET", path: "/servers", role: forAccount, handle: listServers},
		{method: "POST", path: "/servers", role: forAccount, handle: createServer},
		{method: "GET", path: one, role: forAccount, handle: getServer},
		{method: "PUT", path: one, role: forAccount, handle: editServer},
		{method: "DELETE", path: one, role: forAccount, handle: deleteServer},
		{method: "GET", path: tokens, role: forAccount, handle: listTokens},
		{method: "POST", path: tokens, role: forAccount, handle: createToken},
		{method: "POST", path: tokens + "/{token}/roll", role: forAccount, handle: rollToken},
		{method: "DELETE", path: tokens + "/{token}", role: forAccount, handle: deleteToken},
	}
}

// serverView has every key that clients read. What there is no feature for has
// its empty value.
type serverView struct {
	ID                         int64
	Name                       string
	APITokens                  []string `json:"ApiTokens"`
	Color                      string
	SMTPAPIActivated           bool `json:"SmtpApiActivated"`
	RawEmailEnabled            bool
	DeliveryType               string
	ServerLink                 string
	InboundAddress             string
	InboundHookURL             string `json:"InboundHookUrl"`
	BounceHookURL              string `json:"BounceHookUrl"`
	OpenHookURL                string `json:"OpenHookUrl"`
	DeliveryHookURL            string `json:"DeliveryHookUrl"`
	ClickHookURL               string `json:"ClickHookUrl"`
	PostFirstOpenOnly          bool
	InboundDomain              string
	InboundHash                string
	InboundSpamThreshold       int
	TrackOpens                 bool
	TrackLinks                 string
	IncludeBounceContentInHook bool
	EnableSMTPAPIErrorHooks    bool `json:"EnableSmtpApiErrorHooks"`
}

// serverRequest holds what can be set; null and absent leave it as it is. The
// last ones are refused unless they ask for what is the case anyway.
type serverRequest struct {
	Name, Color, DeliveryType *string
	SMTPAPIActivated          *bool `json:"SmtpApiActivated"`

	RawEmailEnabled, PostFirstOpenOnly, TrackOpens, TrackLinks, IncludeBounceContentInHook, InboundDomain, InboundSpamThreshold any

	EnableSMTPAPIErrorHooks any `json:"EnableSmtpApiErrorHooks"`
	InboundHookURL          any `json:"InboundHookUrl"`
	BounceHookURL           any `json:"BounceHookUrl"`
	OpenHookURL             any `json:"OpenHookUrl"`
	DeliveryHookURL         any `json:"DeliveryHookUrl"`
	ClickHookURL            any `json:"ClickHookUrl"`
}

var colors = []string{"purple", "blue", "turquoise", "green", "red", "yellow", "grey", "orange"}

func (c *call) viewServer(snap *store.Snapshot, v store.Server) (serverView, *Error) {
	view := serverView{
		ID: v.ID, Name: v.Name, APITokens: []string{}, Color: cmp.Or(v.Color, colors[0]), SMTPAPIActivated: !v.SMTPDisabled,
		DeliveryType: map[store.DeliveryType]string{store.Live: "Live", store.Sandbox: "Sandbox"}[v.DeliveryType], TrackLinks: "None",
	}
	for _, t := range tokensOf(snap, v.ID) {
		token, err := auth.RevealServerToken(c.keyring, t)
		if err != nil {
			return view, c.unexpected("opening a server token", err)
		}
		view.APITokens = append(view.APITokens, token)
	}
	return view, nil
}

func tokensOf(snap *store.Snapshot, server int64) []store.ServerToken {
	list := slices.SortedFunc(maps.Values(snap.ServerTokens), func(a, b store.ServerToken) int { return cmp.Compare(a.ID, b.ID) })
	return slices.DeleteFunc(list, func(t store.ServerToken) bool { return t.Server != server })
}

// server finds the server that the path names, or the caller's own.
func (c *call) server(snap *store.Snapshot) (store.Server, *Error) {
	id := c.principal.Server
	if id == 0 {
		id, _ = strconv.ParseInt(c.r.PathValue("server"), 10, 64)
	}
	v, ok := snap.Servers[id]
	if !ok {
		return v, refuse(CodeServerID, "The server was not found.")
	}
	return v, nil
}

func getServer(c *call) (any, *Error) {
	snap := c.snapshot()
	v, e := c.server(snap)
	if e != nil {
		return nil, e
	}
	return answerOf(c.viewServer(snap, v))
}

func answerOf[T any](v T, e *Error) (any, *Error) { return v, e }

func listServers(c *call) (any, *Error) {
	p, e := c.page(CodeServerQuery)
	if e != nil {
		return nil, e
	}
	snap := c.snapshot()
	name := strings.ToLower(c.query["name"])
	found := slices.SortedFunc(maps.Values(snap.Servers), func(a, b store.Server) int { return cmp.Compare(a.ID, b.ID) })
	found = slices.DeleteFunc(found, func(v store.Server) bool { return !strings.Contains(strings.ToLower(v.Name), name) })
	list := struct {
		TotalCount int
		Servers    []serverView
	}{TotalCount: len(found), Servers: []serverView{}}
	for _, v := range cut(found, p) {
		view, e := c.viewServer(snap, v)
		if e != nil {
			return nil, e
		}
		list.Servers = append(list.Servers, view)
	}
	return list, nil
}

// apply puts what was asked for into the server.
func (r serverRequest) apply(v *store.Server) *Error {
	if name := unsupported(r); name != "" {
		return refuse(CodeUnsupported, "'%s' is not supported.", name)
	}
	if r.Name != nil {
		v.Name = strings.TrimSpace(*r.Name)
	}
	if v.Name == "" || len(v.Name) > 100 || hasControl(v.Name) {
		return refuse(CodeServerName, "The 'Name' must have 1 to 100 octets without control characters.")
	}
	if r.Color != nil {
		if v.Color = strings.ToLower(*r.Color); !slices.Contains(colors, v.Color) {
			return refuse(CodeServerColor, "The 'Color' must be one of %s.", strings.Join(colors, ", "))
		}
	}
	if r.SMTPAPIActivated != nil {
		v.SMTPDisabled = !*r.SMTPAPIActivated
	}
	return nil
}

// unsupported returns the name of a setting that asks for what we do not do.
func unsupported(r serverRequest) string {
	b, _ := json.Marshal(r) // plain values
	var set map[string]any
	_ = json.Unmarshal(b, &set)
	for _, name := range slices.Sorted(maps.Keys(set)) {
		switch {
		case slices.Contains([]string{"Name", "Color", "DeliveryType", "SmtpApiActivated"}, name),
			set[name] == nil, set[name] == "", set[name] == false, set[name] == float64(0), set[name] == "None":
		default:
			return name
		}
	}
	return ""
}

func unique(snap *store.Snapshot, v store.Server) *Error {
	if other, ok := snap.ServerByName(v.Name); ok && other.ID != v.ID {
		return refuse(CodeServerExists, "A server with this name exists already.")
	}
	return nil
}

func editServer(c *call) (any, *Error) {
	var req serverRequest
	if e := c.decode(&req); e != nil {
		return nil, e
	}
	var v store.Server
	if e := c.update(func(snap *store.Snapshot) (_ []store.Change, e *Error) {
		if v, e = c.server(snap); e != nil {
			return nil, e
		}
		if e = req.apply(&v); e != nil {
			return nil, e
		}
		return []store.Change{{Server: &v}}, unique(snap, v)
	}); e != nil {
		return nil, e
	}
	return answerOf(c.viewServer(c.snapshot(), v))
}

// createServer makes a live or sandbox server with its default streams and one
// token, all in one transaction.
func createServer(c *call) (any, *Error) {
	var req serverRequest
	if e := c.decode(&req); e != nil {
		return nil, e
	}
	v := store.Server{DeliveryType: store.Live, Created: c.opts.Now()}
	if req.DeliveryType != nil {
		v.DeliveryType = store.DeliveryType(strings.ToLower(*req.DeliveryType))
	}
	if v.DeliveryType != store.Live && v.DeliveryType != store.Sandbox {
		return nil, refuse(CodeServerType, "The 'DeliveryType' must be Live or Sandbox.")
	}
	if e := req.apply(&v); e != nil {
		return nil, e
	}
	if e := c.update(func(snap *store.Snapshot) ([]store.Change, *Error) {
		v.ID = snap.NextID(0)
		changes := []store.Change{{Server: &v}}
		for _, s := range store.DefaultStreams(v.ID, store.ModeLive, v.Created) {
			changes = append(changes, store.Change{Stream: &s})
		}
		_, token := auth.MintServerToken(c.keyring, snap.NextID(1), v.ID, "first", v.Created)
		return append(changes, store.Change{ServerToken: &token}), unique(snap, v)
	}); e != nil {
		return nil, e
	}
	return answerOf(c.viewServer(c.snapshot(), v))
}

func deleteServer(c *call) (any, *Error) {
	var v store.Server
	e := c.update(func(snap *store.Snapshot) (_ []store.Change, e *Error) {
		v, e = c.server(snap)
		return []store.Change{{Delete: true, Server: &v}}, e
	})
	return removed{Message: "Server " + v.Name + " removed."}, e
}

type tokenView struct {
	ID        int64
	ServerID  int64
	Name      string
	Token     string
	CreatedAt string
}

func viewToken(t store.ServerToken, token string) tokenView {
	return tokenView{ID: t.ID, ServerID: t.Server, Name: t.Name, Token: token, CreatedAt: stamp(t.Created)}
}

func listTokens(c *call) (any, *Error) {
	snap := c.snapshot()
	v, e := c.server(snap)
	if e != nil {
		return nil, e
	}
	list := struct {
		TotalCount int
		Tokens     []tokenView
	}{Tokens: []tokenView{}}
	for _, t := range tokensOf(snap, v.ID) {
		token, err := auth.RevealServerToken(c.keyring, t)
		if err != nil {
			return nil, c.unexpected("opening a server token", err)
		}
		list.Tokens = append(list.Tokens, viewToken(t, token))
	}
	list.TotalCount = len(list.Tokens)
	return list, nil
}

func createToken(c *call) (any, *Error) {
	var req struct{ Name string }
	if e := c.decode(&req); e != nil {
		return nil, e
	}
	v, e := c.server(c.snapshot())
	if e != nil {
		return nil, e
	}
	token, t, err := auth.CreateServerToken(c.context(), c.store, c.keyring, v.ID, req.Name, c.opts.Now())
	switch {
	case errors.Is(err, store.ErrLimit):
		return nil, refuse(CodeServerTokens, "A server has at most %d API tokens. Revoke or roll one.", store.MaxServerTokens)
	case errors.Is(err, store.ErrInvalid):
		return nil, refuse(CodeServerName, "The 'Name' has at most 100 octets of printable characters.")
	case err != nil:
		return nil, c.unexpected("making a server token", err)
	}
	return viewToken(t, token), nil
}

// token finds the token that the path names.
func (c *call) token(snap *store.Snapshot) (store.ServerToken, *Error) {
	v, e := c.server(snap)
	if e != nil {
		return store.ServerToken{}, e
	}
	id, _ := strconv.ParseInt(c.r.PathValue("token"), 10, 64)
	t, ok := snap.ServerTokens[id]
	if !ok || t.Server != v.ID {
		return t, refuse(CodeServerID, "The token was not found.")
	}
	return t, nil
}

// rollToken replaces a token by a fresh one of the same name: the old one ends
// in the moment in which the new one begins.
func rollToken(c *call) (any, *Error) {
	var token string
	var fresh store.ServerToken
	e := c.update(func(snap *store.Snapshot) ([]store.Change, *Error) {
		old, e := c.token(snap)
		if e != nil {
			return nil, e
		}
		token, fresh = auth.MintServerToken(c.keyring, snap.NextID(0), old.Server, old.Name, c.opts.Now())
		return []store.Change{{Delete: true, ServerToken: &old}, {ServerToken: &fresh}}, nil
	})
	return viewToken(fresh, token), e
}

func deleteToken(c *call) (any, *Error) {
	t, e := c.token(c.snapshot())
	if e != nil {
		return nil, e
	}
	return removed{Message: "Token removed."}, c.revoke(t.ID, auth.RevokeServerToken, refuse(CodeServerID, "The token was not found."))
}
