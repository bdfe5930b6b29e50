//go:build !failpoints

package failpoint

// Enabled tells whether the program was built with the tag failpoints.
const Enabled = false

// Hit does nothing.
func Hit(Point) {}

// Fail returns nil.
func Fail(Point) error { return nil }

// Tune returns normal.
func Tune(_ Number, normal int64) int64 { return normal }
