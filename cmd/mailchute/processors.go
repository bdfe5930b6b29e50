package main

import (
	"os"
	"runtime"
	"sync"
)

// spareProcessor lets one goroutine more run than there are processors, unless GOMAXPROCS says how many. Most of the
// time one of them waits for a disk in fdatasync(2), where it keeps its place until the runtime has taken notice: on two
// processors that is half of all.
var spareProcessor = sync.OnceFunc(func() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
})
