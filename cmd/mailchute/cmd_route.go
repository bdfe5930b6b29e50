package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/relay"
	"github.com/mailchute/mailchute/store"
)

func (a *app) streamRoute() *cobra.Command {
	return a.group("route", "The routes of a stream: what one cannot take goes by the next",
		a.routeList(), a.routeAdd(), a.routeWeight(), a.routeLimit(), a.routePause(), a.routeResume(), a.routeRemove())
}

// how names a route for people.
func how(r store.Route) string {
	if !r.Smarthost() {
		if r.TLS == "" || r.TLS == store.TLSOpportunistic {
			return "MX"
		}
		return "MX " + string(r.TLS)
	}
	text := net.JoinHostPort(r.Host, strconv.Itoa(r.Port)) + " " + string(routeTLS(r))
	if r.Username != "" {
		text += " as " + r.Username
	}
	return text
}

func (a *app) routeList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list STREAM", Short: "List the routes of a stream", Args: cobra.ExactArgs(1),
		Example:           "  mailchute stream route list outbound",
		ValidArgsFunction: a.completeStreams,
	}
	server := a.serverFlag(cmd)
	cmd.RunE = a.admin(func(_ context.Context, a *admin, args []string) error {
		_, s, err := streamOf(a.store.Snapshot(), *server, args[0])
		if err != nil {
			return err
		}
		return printRoutes(a, s)
	})
	return cmd
}

// routeView is a route with what the running server knows of it.
type routeView struct {
	store.Route
	Status *relay.RouteStatus `json:"status,omitempty"`
}

func viewRoutes(a *admin, s store.Stream) []routeView {
	var known []relay.RouteStatus
	if a.routes != nil {
		known = a.routes(store.StreamKey{Server: s.Server, Stream: s.ID})
	}
	var out []routeView
	for _, r := range s.Routes() {
		v := routeView{Route: r}
		if i := slices.IndexFunc(known, func(k relay.RouteStatus) bool { return k.Route == r.Key() }); i >= 0 {
			v.Status = &known[i]
		}
		out = append(out, v)
	}
	return out
}

// today tells how much of the daily quota is used.
func (v routeView) today() string {
	switch {
	case v.Status == nil && v.DailyQuota == 0:
		return "-"
	case v.Status == nil:
		return fmt.Sprintf("of %d", v.DailyQuota)
	case v.DailyQuota == 0:
		return "no quota"
	}
	return fmt.Sprintf("%d of %d", v.Status.Used, v.DailyQuota)
}

func (v routeView) rate() string {
	if v.Rate.IsZero() {
		return "-"
	}
	return v.Rate.String()
}

// state tells why it is not used, as far as that is known.
func (v routeView) state(now time.Time) string {
	switch {
	case !v.Paused.IsZero():
		return strings.TrimSuffix("paused since "+when(v.Paused)+": "+v.PausedWhy, ": ")
	case !v.Draining.IsZero():
		return strings.TrimSuffix("drained since "+when(v.Draining)+": "+v.DrainingWhy, ": ")
	case v.Status == nil:
		return "-"
	case v.Status.Why == "":
		return "open"
	case v.Status.Until.After(now):
		return v.Status.Why + " (for " + span(v.Status.Until.Sub(now)) + ")"
	}
	return v.Status.Why
}

func printRoutes(a *admin, s store.Stream) error {
	views := viewRoutes(a, s)
	return a.print(views, func() error {
		t := newTable(a.out, "ROUTE", "BY", "WEIGHT", "USED", "TODAY", "RATE", "STATE")
		for i, r := range views {
			weight, used := "-", "after the others"
			switch {
			case r.Weight > 0:
				weight, used = strconv.Itoa(r.Weight), "in turns by weight"
			case i == 0 && !slices.ContainsFunc(s.Alternates, func(r store.Route) bool { return r.Weight > 0 }):
				used = "first"
			}
			t.row(i+1, how(r.Route), weight, used, r.today(), r.rate(), printable(r.state(a.now())))
		}
		return t.flush()
	})
}

// routeCommand is one that changes the routes of a stream and then lists them.
func (a *app) routeCommand(cmd *cobra.Command, change func(a *admin, s *store.Stream, args []string) error) *cobra.Command {
	server := a.serverFlag(cmd)
	cmd.ValidArgsFunction = a.completeStreams
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		s, err := updateStream(ctx, a, *server, args[0], func(s *store.Stream) error {
			s.Alternates = slices.Clone(s.Alternates) // the snapshot's is everybody's
			return change(a, s, args[1:])
		})
		if err != nil {
			return err
		}
		return printRoutes(a, s)
	})
	return cmd
}

func (a *app) routeAdd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "add STREAM", Short: "Add a route for what the others cannot take, or with a weight to share with them", Args: cobra.ExactArgs(1),
		Example: `  mailchute stream route add outbound --smarthost spare.example.com:587 --username u --password-file /etc/mailchute/spare.pw
  mailchute stream route add outbound --mx`,
	}
	v := addRouteFlags(cmd)
	weight := cmd.Flags().Int("weight", 0, "share among the routes with a weight, 1 to 100; 0: after them")
	cmd.MarkFlagsOneRequired("mx", "smarthost")
	return a.routeCommand(cmd, func(a *admin, s *store.Stream, _ []string) error {
		var fresh store.Route
		if err := v.apply(&fresh, a.abs); err != nil {
			return err
		}
		fresh.Weight = *weight
		s.Alternates = append(s.Alternates, fresh)
		return nil
	})
}

func (a *app) routeWeight() *cobra.Command {
	cmd := &cobra.Command{
		Use: "weight STREAM ROUTE WEIGHT", Short: "Set the share of a route; 0 puts it after those that have one", Args: cobra.ExactArgs(3),
		Example: "  mailchute stream route weight outbound 1 80",
	}
	return a.routeCommand(cmd, func(_ *admin, s *store.Stream, args []string) error {
		weight, err := strconv.Atoi(args[1])
		if err != nil {
			return usage("%q is not a weight, 0 to 100", args[1])
		}
		return editRoutes(s, args[0], func(routes []store.Route, i int) []store.Route {
			routes[i].Weight = weight
			return routes
		})
	})
}

func (a *app) routeRemove() *cobra.Command {
	cmd := &cobra.Command{
		Use: "remove STREAM ROUTE", Short: "Remove a route, by its number in the list", Args: cobra.ExactArgs(2),
		Example: "  mailchute stream route remove outbound 2",
	}
	return a.routeCommand(cmd, func(_ *admin, s *store.Stream, args []string) error {
		if len(s.Alternates) == 0 {
			return usage("stream %q has only this route; change it with \"mailchute stream set\"", s.ID)
		}
		return editRoutes(s, args[0], func(routes []store.Route, i int) []store.Route { return slices.Delete(routes, i, i+1) })
	})
}

func editRoutes(s *store.Stream, number string, edit func([]store.Route, int) []store.Route) error {
	n, err := routeAt(*s, number)
	if err != nil {
		return err
	}
	routes := edit(s.Routes(), n)
	s.Route, s.Alternates = routes[0], routes[1:]
	return nil
}

// routeAt finds a route in s.Routes() by its number in the list.
func routeAt(s store.Stream, number string) (int, error) {
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > len(s.Routes()) {
		return 0, usage("%q is not the number of a route of stream %q; \"mailchute stream route list %s\" shows them", number, s.ID, s.ID)
	}
	return n - 1, nil
}

// parseSources reads the values of --source.
func parseSources(values []string) ([]store.Source, error) {
	var out []store.Source
	for _, v := range values {
		if v == "" {
			continue
		}
		address, name, named := strings.Cut(v, "=")
		a, err := netip.ParseAddr(address)
		if err != nil || named && !validHostname(name) {
			return nil, usage("--source: %q is not address or address=name, such as 192.0.2.1=mail1.example.com", v)
		}
		out = append(out, store.Source{Address: a.Unmap(), Hostname: name})
	}
	return out, nil
}

func sourceText(sources []store.Source) string {
	var out []string
	for _, s := range sources {
		text := s.Address.String()
		if s.Hostname != "" {
			text += " as " + s.Hostname
		}
		out = append(out, text)
	}
	return strings.Join(out, ", ")
}
