package relay

// ring is a queue that turns: first in, first out, without moving its elements.
type ring[T any] struct {
	items []T
	head  int
	n     int
}

// ringKept is how much room an empty ring keeps, for one whose only element comes and goes.
const ringKept = 4

func (r *ring[T]) len() int { return r.n }

func (r *ring[T]) front() T { return r.items[r.head] }

func (r *ring[T]) push(v T) {
	if r.n == len(r.items) {
		r.grow()
	}
	r.items[(r.head+r.n)%len(r.items)] = v
	r.n++
}

func (r *ring[T]) pop() T {
	var zero T
	v := r.items[r.head]
	r.items[r.head] = zero
	r.head = (r.head + 1) % len(r.items)
	r.n--
	if r.n == 0 && len(r.items) > ringKept {
		*r = ring[T]{}
	}
	return v
}

// rotate moves the front to the back.
func (r *ring[T]) rotate() { r.push(r.pop()) }

func (r *ring[T]) grow() {
	items := make([]T, max(ringKept, 2*len(r.items)))
	for i := range r.n {
		items[i] = r.items[(r.head+i)%len(r.items)]
	}
	r.items, r.head = items, 0
}

// laneHeap orders the waiting lanes by the due time of their heads.
type laneHeap []*lane

// laneOrder is container/heap's view of it.
type laneOrder struct{ s *schedule }

func (o laneOrder) Len() int { return len(o.s.waiting) }

func (o laneOrder) Less(i, j int) bool { return o.s.ripe(o.s.waiting[i]) < o.s.ripe(o.s.waiting[j]) }

func (o laneOrder) Swap(i, j int) {
	w := o.s.waiting
	w[i], w[j] = w[j], w[i]
	w[i].index, w[j].index = i, j
}

func (o laneOrder) Push(x any) {
	l := x.(*lane)
	l.index = len(o.s.waiting)
	o.s.waiting = append(o.s.waiting, l)
}

func (o laneOrder) Pop() any {
	w := o.s.waiting
	l := w[len(w)-1]
	w[len(w)-1] = nil
	o.s.waiting = w[:len(w)-1]
	return l
}
