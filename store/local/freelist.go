package local

// freeList keeps what nobody uses, as many as were ever in use at once. The lock of its owner guards it.
type freeList[T any] []*T

// get returns one that nobody has.
func (f *freeList[T]) get() *T {
	last := len(*f) - 1
	if last < 0 {
		return new(T)
	}
	v := (*f)[last]
	*f = (*f)[:last]
	return v
}

func (f *freeList[T]) put(v *T) { *f = append(*f, v) }
