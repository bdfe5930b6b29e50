// Command plots measures how a relay grows and draws what it measured:
//
//	go run ./internal/plots -out docs/plots
//
// Each point is one run of "mailchute bench" of this checkout, each plot a
// series of points in which one thing changes. It takes about ten minutes with
// the defaults; nothing else should run on the machine. The figures stand in a
// JSON file beside the plots.
package main
