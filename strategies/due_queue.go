package strategies

// dueQueue is a binary heap of breakers by the time of their next look. It is written out because each breaker knows
// its own slot, which keeps a moved one from being searched for.
type dueQueue []*breaker

// place puts b where its time belongs, or takes it out if it has none.
func (q *dueQueue) place(b *breaker) {
	if b.next == 0 {
		q.remove(b)
		return
	}
	if b.slot < 0 {
		b.slot = int32(len(*q))
		*q = append(*q, b)
	}
	q.up(int(b.slot))
	q.down(int(b.slot))
}

func (q *dueQueue) remove(b *breaker) {
	if b.slot < 0 {
		return
	}
	at, last := int(b.slot), len(*q)-1
	q.swap(at, last)
	(*q)[last] = nil
	*q = (*q)[:last]
	b.slot = -1
	if at < last {
		q.up(at)
		q.down(at)
	}
}

func (q dueQueue) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if q[parent].next <= q[i].next {
			return
		}
		q.swap(i, parent)
		i = parent
	}
}

func (q dueQueue) down(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(q); child++ {
			if q[child].next < q[least].next {
				least = child
			}
		}
		if least == i {
			return
		}
		q.swap(i, least)
		i = least
	}
}

func (q dueQueue) swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].slot, q[j].slot = int32(i), int32(j)
}

// due appends the keys below i whose time has come. It looks at no others but their children.
func (q dueQueue) due(i int, now int64, keys []string) []string {
	if i >= len(q) || q[i].next > now {
		return keys
	}
	keys = append(keys, q[i].key)
	keys = q.due(2*i+1, now, keys)
	return q.due(2*i+2, now, keys)
}
