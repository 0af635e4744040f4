// Package layer keeps what was changed on top of a healthy state, so that each
// change can be taken back on its own, in any order.
package layer

import (
	"slices"
	"sync"
)

// A Stack is a list of changes, oldest first. The zero value is empty and ready.
type Stack[T any] struct {
	mu    sync.Mutex
	items []*T
}

// Push adds v on top. The returned function removes it; calling that twice is harmless.
func (s *Stack[T]) Push(v T) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &v
	s.items = append(s.items, p)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.items = slices.DeleteFunc(s.items, func(q *T) bool { return q == p })
	}
}

// All returns the changes, oldest first.
func (s *Stack[T]) All() []T {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]T, len(s.items))
	for i, p := range s.items {
		out[i] = *p
	}
	return out
}

// Top returns the latest change, or the zero T when there is none.
func (s *Stack[T]) Top() T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.items) == 0 {
		var none T
		return none
	}
	return *s.items[len(s.items)-1]
}
