package api_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"

	"github.com/mailchute/mailchute/api"
)

// sink is a writer of answers that keeps the first octets only.
type sink struct {
	*httptest.ResponseRecorder
	n int
}

func (s *sink) Write(p []byte) (int, error) {
	s.n += len(p)
	if s.Body.Len() < 1000 {
		s.Body.Write(p[:min(len(p), 1000)])
	}
	return len(p), nil
}

// allocated returns what answering a request has allocated, which is at least
// what it had in memory at any moment, and the beginning of the answer.
func (r *rig) allocated(method, path, body string) (uint64, string) {
	r.t.Helper()
	req := httptest.NewRequestWithContext(r.t.Context(), method, path, strings.NewReader(body))
	req.Header.Set("X-Postmark-Server-Token", r.server)
	req.Header.Set("Content-Type", "application/json")
	w := &sink{ResponseRecorder: httptest.NewRecorder()}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r.api.ServeHTTP(w, req)
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc, w.Body.String()
}

// bodies are requests to send one message, each large in another way.
func bodies(octets int) map[string]string {
	lines := make(map[string]int)
	for i := range 9_000 {
		lines[fmt.Sprintf("%0*d", octets/9_000-5, i)] = 0
	}
	file := func(content string) map[string]any {
		return map[string]any{"Attachments": []map[string]string{{"Name": "a.pdf", "Content": content}}}
	}
	out := map[string]string{}
	for name, what := range map[string]map[string]any{
		"attachment":         file(strings.Repeat("QUJD", octets/4)),
		"wrapped attachment": file(strings.Repeat(strings.Repeat("QUJD", 15)+"\n", octets/62)),
		"text":               {"TextBody": strings.Repeat("line of text\n", octets/14)},
		"umlauts":            {"TextBody": strings.Repeat("ü", octets/4), "HtmlBody": strings.Repeat("ü", octets/4)},
		"unknown keys":       {"Other": lines},
		"addresses":          {"To": strings.Repeat("a@b.example,", octets/12) + "a@b.example"},
		"short addresses":    {"Bcc": strings.Repeat("a@b,", octets/4) + "a@b"},
		"a long name":        {"ReplyTo": "\"" + strings.Repeat("n", octets) + "\" <a@b.example>"},
		"From":               {"From": strings.Repeat("a@b,", octets/4) + "a@b"},
		"subject":            {"Subject": strings.Repeat("s", octets)},
		"tag":                {"Tag": strings.Repeat("t", octets)},
		"a media type":       {"Attachments": []map[string]string{{"Name": "a.pdf", "ContentType": parameters(octets)}}},
		"a content ID":       {"Attachments": []map[string]string{{"Name": "a.pdf", "ContentID": strings.Repeat("c", octets)}}},
		"a header":           {"Headers": []map[string]string{{"Name": "X-A", "Value": strings.Repeat("v ", octets/2)}}},
		"metadata":           {"Metadata": map[string]string{"a": strings.Repeat("v", octets)}},
		"stream":             {"MessageStream": strings.Repeat("v", octets)},
		"headers":            {"Headers": make([]struct{}, 10_000)},
		"attachments":        {"Attachments": make([]struct{}, 10_000)},
		"small":              {},
	} {
		m := map[string]any{"From": "a@x.example", "To": "b@y.example", "Subject": "s", "TextBody": "t"}
		maps.Copy(m, what)
		b, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		out[name] = string(b)
	}
	return out
}

// parameters is a media type with very many.
func parameters(octets int) string {
	var b strings.Builder
	b.WriteString("application/pdf")
	for i := 0; b.Len() < octets; i++ {
		fmt.Fprintf(&b, ";p%d=v", i)
	}
	return b.String()
}

// What a request takes in memory is what it reserves of the budget. The numbers
// are those of call.go.
func TestMemory(t *testing.T) {
	const octets, held, shown, element, fixed = 1 << 20, 4, 6, 384, 1 << 19
	r := newRig(t, rigOptions{})
	within := func(what string, n uint64, most int) {
		t.Logf("%-30s %9d octets of %9d", what, n, most)
		if n > uint64(most) {
			t.Errorf("%s: %d octets, more than %d", what, n, most)
		}
	}
	for name, body := range bodies(octets) {
		elements := strings.Count(body, ",") + 2
		n, answer := r.allocated("POST", "/email", body)
		within("single, "+name, n, held*len(body)+element*elements+fixed)
		batch := "[" + strings.TrimSuffix(strings.Repeat(body+",", 3), ",") + "]"
		n, _ = r.allocated("POST", "/email/batch", batch)
		within("batch, "+name, n, held*len(batch)+3*element*elements+fixed)
		var sent struct{ MessageID string }
		if err := json.Unmarshal([]byte(answer), &sent); err != nil || sent.MessageID == "" {
			continue // refused
		}
		n, _ = r.allocated("GET", "/messages/outbound/"+sent.MessageID+"/dump", "")
		within("dump, "+name, n, fixed)
		n, _ = r.allocated("GET", "/messages/outbound/"+sent.MessageID+"/details", "")
		within("details, "+name, n, shown*min(octets, len(body))+fixed)
	}
}

// An item of a batch that is too large is not decoded.
func TestMemory_LargeItemOfABatch(t *testing.T) {
	r := newRig(t, rigOptions{api: api.Options{MaxBody: 1 << 19}})
	body := "[" + bodies(4 << 20)["text"] + "]"
	n, answer := r.allocated("POST", "/email/batch", body)
	if most := uint64(len(body) + 1<<19); n > most || !strings.Contains(answer, "larger than 524288 octets") {
		t.Errorf("%d octets, want %d for the body alone; %s", n, most, answer)
	}
}
