package probe

import "sync"

// A queue does work of one kind on at most limit goroutines, in the order of
// the targets. Work that waits is data: a thousand waiting paths cost no
// stacks, and a goroutine that did a handshake keeps its grown stack for the next.
type queue[T any] struct {
	limit int
	work  func(T)
	// hold, when not nil and true, lets no further work begin until kick.
	hold func() bool

	mu      sync.Mutex
	running int
	seq     uint64
	heap    []queued[T]
}

// queued is one waiting piece of work; the lowest key is next.
type queued[T any] struct {
	key  uint64
	item T
}

// add queues item behind everything that waits with the same or a lower order.
func (q *queue[T]) add(order int, item T) {
	q.mu.Lock()
	q.seq++
	q.push(queued[T]{uint64(order)<<40 | q.seq&(1<<40-1), item})
	q.startLocked()
	q.mu.Unlock()
}

// kick looks again whether hold lets work begin.
func (q *queue[T]) kick() {
	q.mu.Lock()
	q.startLocked()
	q.mu.Unlock()
}

// waiting is the number of items that no goroutine took yet.
func (q *queue[T]) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.heap)
}

func (q *queue[T]) startLocked() {
	if q.readyLocked() && q.running < q.limit {
		q.running++
		go q.run()
	}
}

func (q *queue[T]) readyLocked() bool {
	return len(q.heap) > 0 && (q.hold == nil || !q.hold())
}

func (q *queue[T]) run() {
	for {
		q.mu.Lock()
		if !q.readyLocked() {
			q.running--
			q.mu.Unlock()
			return
		}
		item := q.pop()
		q.mu.Unlock()
		q.work(item)
	}
}

func (q *queue[T]) push(e queued[T]) {
	q.heap = append(q.heap, e)
	for i := len(q.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if q.heap[up].key <= q.heap[i].key {
			return
		}
		q.heap[up], q.heap[i] = q.heap[i], q.heap[up]
		i = up
	}
}

func (q *queue[T]) pop() T {
	first := q.heap[0].item
	last := len(q.heap) - 1
	q.heap[0] = q.heap[last]
	q.heap[last] = queued[T]{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		least := i
		for down := 2*i + 1; down <= 2*i+2 && down < last; down++ {
			if q.heap[down].key < q.heap[least].key {
				least = down
			}
		}
		if least == i {
			return first
		}
		q.heap[least], q.heap[i] = q.heap[i], q.heap[least]
		i = least
	}
}
