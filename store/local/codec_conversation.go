package local

import "github.com/mailchute/mailchute/store"

func putConversation(b []byte, c *store.Conversation) []byte {
	b = putInt(b, 1, int64(c.Attempt))
	b = putTime(b, 2, c.Began)
	b = putInt(b, 3, int64(c.Missing))
	for i := range c.Lines {
		var at int
		b, at = open(b, 4)
		l := &c.Lines[i]
		b = putInt(b, 1, l.After)
		b = putString(b, 2, l.Speaks)
		b = shut(putString(b, 3, l.Text), at)
	}
	return b
}

func readConversation(f *fields, c *store.Conversation) {
	for f.next() {
		switch f.tag {
		case 1:
			c.Attempt = f.number()
		case 2:
			c.Began = f.time()
		case 3:
			c.Missing = f.number()
		case 4:
			c.Lines = element(f, c.Lines, readLine)
		default:
			f.unknown("conversation")
		}
	}
}

func readLine(f *fields, l *store.Line) {
	for f.next() {
		switch f.tag {
		case 1:
			l.After = f.signed()
		case 2:
			l.Speaks = store.Speaker(f.text)
		case 3:
			l.Text = f.text
		default:
			f.unknown("line of a conversation")
		}
	}
}
