package local

// WithBlocksOf makes search blocks that few messages fill.
func (o Options) WithBlocksOf(n int) Options {
	o.blockSize = n
	return o
}
