package main

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mailchute/mailchute/store"
)

// suppressionColumns are the columns of a list as CSV. Names are those of
// Postmark's exports; import takes them in any case and order.
var suppressionColumns = [...]string{"EmailAddress", "SuppressionReason", "Origin", "CreatedAt", "Stream", "By"}

func (a *app) suppressionExport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "export", Short: "Write lists as CSV", Args: noArgs,
		Example: "  mailchute suppression export --stream outbound > suppressed.csv",
	}
	flags := a.listFlags(cmd, "only this `stream`")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, _ []string) error {
		f, err := flags.filter(a)
		if err != nil {
			return err
		}
		out := bufio.NewWriterSize(a.out, 32<<10)
		w := csv.NewWriter(out)
		_ = w.Write(suppressionColumns[:]) // Error tells
		for cursor, more := "", true; more; {
			page, next, err := a.store.ListSuppressions(ctx, f, cursor, pageSize)
			if err == nil && cursor == "" {
				err = a.misnamed(len(page), f.Server, f.Stream)
			}
			if err != nil {
				return err
			}
			for _, s := range page {
				_ = w.Write([]string{s.Address, string(s.Reason), string(s.Origin), s.Created.UTC().Format(time.RFC3339), s.Stream, s.By})
			}
			cursor, more = next, next != ""
		}
		w.Flush()
		return errors.Join(w.Error(), out.Flush())
	})
	return cmd
}

func (a *app) suppressionImport() *cobra.Command {
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Suppress the addresses of a CSV file", Args: cobra.ExactArgs(1),
		Long: `Suppress the addresses of a CSV file: of an export, of Postmark's, or one address a line. The first
line may name the columns: EmailAddress, SuppressionReason, Origin, CreatedAt, Stream, By. What a line
does not say comes from the flags. The whole file is checked before anything is done.`,
		Example: "  mailchute suppression import --stream outbound suppressed.csv --dry-run",
	}
	flags := a.listFlags(cmd, "the `stream`, where no column says it")
	cmd.Flags().StringVar(&flags.reason, "reason", string(store.SuppressedManually), "the `reason`, where no column says it")
	cmd.Flags().StringVar(&flags.origin, "origin", string(store.OriginAdmin), "the `origin`, where no column says it")
	skip := cmd.Flags().Bool("skip-invalid", false, "leave out lines that cannot be used")
	dryRun := cmd.Flags().Bool("dry-run", false, "only check and count; an address that is there twice counts twice")
	cmd.RunE = a.admin(func(ctx context.Context, a *admin, args []string) error {
		in := suppressionFile{admin: a, path: a.abs(args[0]), flags: flags, result: suppressionResult{DryRun: *dryRun}}
		if err := in.prepare(); err != nil {
			return err
		}
		if err := in.check(*skip); err != nil {
			return err
		}
		if err := in.load(ctx); err != nil {
			return fmt.Errorf("%w; %d addresses were suppressed before", err, in.result.Changed)
		}
		return a.print(in.result, func() error { a.say("%s", in.result.added(in.where())); return nil })
	})
	return cmd
}

// suppressionFile is a file being imported. It is read twice, and never held in
// memory: lists have millions of lines.
type suppressionFile struct {
	*admin
	path   string
	flags  *listFlags
	server store.Server
	draft  store.Suppression // what the flags say
	result suppressionResult
}

func (f *suppressionFile) prepare() (err error) {
	if f.server, err = serverOf(f.store.Snapshot(), f.flags.server); err != nil {
		return err
	}
	stream := store.Stream{Server: f.server.ID}
	if f.flags.stream != "" {
		if stream, err = f.flags.one(f.admin); err != nil {
			return err
		}
	}
	f.draft, err = f.flags.draft(f.admin, stream)
	return err
}

func (f *suppressionFile) where() string {
	if f.flags.stream != "" {
		return f.flags.stream
	}
	return "the streams that the file names"
}

// maxShown bounds how many bad lines are shown.
const maxShown = 10

// check reads the whole file and refuses it when a line cannot be used.
func (f *suppressionFile) check(skip bool) error {
	var shown []string
	bad := 0
	err := f.each(func(line int, _ store.Suppression, err error) error {
		if err == nil {
			return nil
		}
		if bad++; bad <= maxShown {
			shown = append(shown, fmt.Sprintf("line %d: %v", line, err))
		}
		return nil
	})
	if err != nil || bad == 0 || skip {
		return err
	}
	if bad > maxShown {
		shown = append(shown, fmt.Sprintf("and %d more", bad-maxShown))
	}
	return exitWith(exitData, "%d lines cannot be used, nothing was changed; --skip-invalid leaves them out:\n  %s", bad, strings.Join(shown, "\n  "))
}

const importBatch = 5000

func (f *suppressionFile) load(ctx context.Context) error {
	var batch []store.Suppression
	flush := func() error {
		err := addSuppressions(ctx, f.admin, batch, &f.result)
		batch = batch[:0]
		return err
	}
	err := f.each(func(_ int, s store.Suppression, err error) error {
		if err != nil {
			f.result.Invalid++
			return nil
		}
		if batch = append(batch, s); len(batch) < importBatch {
			return nil
		}
		return flush()
	})
	if err != nil {
		return err
	}
	return flush()
}

// each calls fn for every line but the first where that names the columns, with what is
// wrong with it.
func (f *suppressionFile) each(fn func(line int, s store.Suppression, err error) error) error {
	file, err := os.Open(f.path)
	if err != nil {
		return fmt.Errorf("opening the list: %w", err)
	}
	defer file.Close() // read only
	r := csv.NewReader(bufio.NewReader(file))
	r.FieldsPerRecord, r.LazyQuotes, r.ReuseRecord, r.TrimLeadingSpace = -1, true, true, true
	columns := map[string]int{"emailaddress": 0}
	for first := true; ; first = false {
		record, err := r.Read()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return exitWith(exitData, "reading the list: %w", err)
		}
		if first {
			if named := columnsOf(record); named != nil {
				columns = named
				continue
			}
		}
		line, _ := r.FieldPos(0)
		s, err := f.parse(record, columns)
		if err := fn(line, s, err); err != nil {
			return err
		}
	}
}

// columnsOf returns where the columns are when the line names them.
func columnsOf(record []string) map[string]int {
	columns := map[string]int{}
	for i, name := range record {
		name = strings.ToLower(strings.NewReplacer("_", "", " ", "", "-", "", "\ufeff", "").Replace(name))
		switch name {
		case "email", "address", "recipient":
			name = "emailaddress"
		case "reason":
			name = "suppressionreason"
		case "created", "date":
			name = "createdat"
		}
		columns[name] = i
	}
	if _, ok := columns["emailaddress"]; !ok {
		return nil
	}
	return columns
}

// parse makes a suppression of a line.
func (f *suppressionFile) parse(record []string, columns map[string]int) (s store.Suppression, err error) {
	get := func(name string) string {
		if i, ok := columns[name]; ok && i < len(record) {
			return strings.TrimSpace(record[i])
		}
		return ""
	}
	s = f.draft
	if s.Address, err = mailboxKey(strings.TrimPrefix(get("emailaddress"), "\ufeff")); err != nil {
		return s, err
	}
	if text := get("suppressionreason"); text != "" {
		if s.Reason, err = parseReason(text); err != nil {
			return s, err
		}
	}
	if text := get("origin"); text != "" {
		if s.Origin, err = parseOrigin(text); err != nil {
			return s, err
		}
	}
	if text := get("createdat"); text != "" {
		if s.Created, err = time.Parse(time.RFC3339, text); err != nil {
			return s, fmt.Errorf("CreatedAt %q is not a time such as 2026-01-31T08:00:00Z", text)
		}
	}
	if text := get("by"); text != "" {
		s.By = text
	}
	if s.Stream == "" {
		s.Stream = get("stream")
		if _, ok := f.store.Snapshot().Streams[store.StreamKey{Server: f.server.ID, Stream: s.Stream}]; !ok {
			return s, fmt.Errorf("stream %q: %w; name one with --stream", s.Stream, store.ErrNotFound)
		}
	}
	return s, s.Check()
}
