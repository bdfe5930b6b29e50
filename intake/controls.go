package intake

import (
	"strings"

	"github.com/mailchute/mailchute/message"
)

// combine returns what the front end was told beside the header, filled up with
// what the header says. Two different streams are refused: nobody can say which
// was meant.
func combine(beside, header message.Controls) (message.Controls, error) {
	if beside.Stream != "" && header.Stream != "" && beside.Stream != header.Stream {
		return message.Controls{}, &Refusal{Kind: KindStream, Reason: "the request and its X-PM-Message-Stream header name different message streams"}
	}
	if beside.Stream != "" {
		header.Stream = beside.Stream
	}
	if beside.Tag != "" {
		header.Tag = beside.Tag
	}
	if beside.TrackOpens != nil {
		header.TrackOpens = beside.TrackOpens
	}
	if beside.TrackLinks != "" {
		header.TrackLinks = beside.TrackLinks
	}
	for _, m := range beside.Metadata {
		header.Metadata = withMetadatum(header.Metadata, m)
	}
	return header, nil
}

func withMetadatum(list []message.Metadatum, m message.Metadatum) []message.Metadatum {
	for i := range list {
		if strings.EqualFold(list[i].Key, m.Key) {
			list[i] = m
			return list
		}
	}
	return append(list, m)
}
