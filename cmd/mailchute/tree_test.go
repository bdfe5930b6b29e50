package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// These tests are in the package: the command tree is not exported.

func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, visit)
	}
}

func TestTree_EveryCommandExplainsItself(t *testing.T) {
	walk((&app{}).root(), func(cmd *cobra.Command) {
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s: short %q, example %q: neither may be empty", cmd.CommandPath(), cmd.Short, cmd.Example)
		}
		if strings.HasSuffix(cmd.Short, ".") {
			t.Errorf("%s: its short text ends with a full stop", cmd.CommandPath())
		}
		if cmd.Args == nil && !strings.Contains(cmd.Use, "...") {
			t.Errorf("%s: takes any arguments", cmd.CommandPath())
		}
	})
}

func TestTree_ExamplesParse(t *testing.T) {
	walk((&app{}).root(), func(cmd *cobra.Command) {
		for line := range strings.Lines(strings.ReplaceAll(cmd.Example, "\\\n", " ")) {
			args := words(line)
			if len(args) == 0 || args[0] != "mailchute" {
				t.Errorf("%s: example %q does not begin with mailchute", cmd.CommandPath(), line)
				continue
			}
			args = cutRedirect(args[1:])
			found, rest, err := (&app{}).root().Find(args)
			if err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
				continue
			}
			if err := found.ParseFlags(rest); err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
				continue
			}
			if err := found.ValidateArgs(found.Flags().Args()); err != nil {
				t.Errorf("%s: example %q: %v", cmd.CommandPath(), line, err)
			}
		}
	})
}

func cutRedirect(args []string) []string {
	for i, a := range args {
		if a == ">" {
			return args[:i]
		}
	}
	return args
}

// words splits a shell line with double quotes.
func words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			out = append(out, part)
			continue
		}
		out = append(out, strings.Fields(part)...)
	}
	return out
}

func TestTable_ReplacesControlCharacters(t *testing.T) {
	var out bytes.Buffer
	tab := newTable(&out, "A", "B")
	tab.row("red \x1b[31m", "two\r\nlines\tand \u202e")
	if err := tab.flush(); err != nil {
		t.Fatal(err)
	}
	want := "A          B\nred ?[31m  two??lines?and ?\n"
	if got := out.String(); got != want {
		t.Errorf("table = %q, want %q", got, want)
	}
}
