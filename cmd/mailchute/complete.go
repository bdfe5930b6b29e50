package main

import (
	"bytes"
	"encoding/json"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
)

// Names for shell completion come from the running server only: opening the
// files for a key press could replay a journal.

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

func (a *app) completeFlag(cmd *cobra.Command, flag string, fn completion) {
	if err := cmd.RegisterFlagCompletionFunc(flag, fn); err != nil {
		panic(err) // the flag does not exist: a bug of the command tree
	}
}

// ask runs a listing command in the server and decodes its JSON into v.
func (a *app) ask(cmd *cobra.Command, v any, args ...string) bool {
	if a.live != nil {
		return false // the server completes nothing
	}
	cfg, err := a.config(cmd)
	if err != nil {
		return false
	}
	var out, errout bytes.Buffer
	code, err := forward(cmd.Context(), cfg, request{Args: append(args, "--json"), Cwd: a.cwd}, &out, &errout)
	return err == nil && code == exitOK && json.Unmarshal(out.Bytes(), v) == nil
}

func (a *app) completeServers(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var servers []store.Server
	var names []string
	if a.ask(cmd, &servers, "server", "list") {
		for _, v := range servers {
			names = append(names, v.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeStreams(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	ask := []string{"stream", "list"}
	if f := cmd.Flags().Lookup("server"); f != nil && f.Value.String() != "" {
		ask = append(ask, "--server", f.Value.String())
	}
	var streams []store.Stream
	var names []string
	if a.ask(cmd, &streams, ask...) {
		for _, v := range streams {
			names = append(names, v.ID)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
