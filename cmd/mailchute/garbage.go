package main

// headroom is how much garbage may gather beside what is in use before it is
// collected. A relay that has little in memory would else collect ten times a
// second under load. It is reserved and never touched, so it is address space
// and no memory. GOGC and GOMEMLIMIT work as always.
const headroom = 64 << 20

func reserveHeadroom() []byte { return make([]byte, headroom) }
