package main

import "strconv"

// series is a row of bench runs in which one thing changes.
type series struct {
	Name  string
	Title string
	flags []string // the same for all points
	vary  string   // the flag that changes
	steps []string // its values
	base  bool     // measure the discarding server too
}

// grown are the series that the documentation shows.
func grown(backlog int) []series {
	backlogs := []string{"0", "1000", "10000", "100000"}
	if backlog > 100_000 {
		backlogs = append(backlogs, strconv.Itoa(backlog))
	}
	return []series{
		{Name: "connections", Title: "Acceptance, 4 KiB, by connections", vary: "--connections", steps: []string{"1", "2", "5", "10", "20", "50", "100", "200"}, base: true},
		{Name: "size", Title: "Acceptance, 20 connections, by size", flags: []string{"--connections", "20"}, vary: "--size", steps: []string{"1KiB", "4KiB", "16KiB", "64KiB", "256KiB", "1MiB"}, base: true},
		{Name: "backlog", Title: "Acceptance, 50 connections, by deferred messages", vary: "--backlog", steps: backlogs},
		{Name: "streams", Title: "Acceptance, 50 connections, by streams", vary: "--streams", steps: []string{"1", "10", "100", "1000"}},
		{Name: "destinations", Title: "Acceptance and delivery over MX, by destinations", flags: []string{"--deliver"}, vary: "--destinations", steps: []string{"2", "100", "10000"}},
	}
}
