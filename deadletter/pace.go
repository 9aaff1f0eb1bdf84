package deadletter

import "time"

// maxBehind is how much of a delay a Pace makes up for.
const maxBehind = time.Second

// Pace spreads letters evenly over time. The zero value does not hold anything back.
type Pace struct {
	interval time.Duration
	next     time.Time
}

// NewPace lets a number of letters through per second, 0 = any.
func NewPace(perSecond float64) *Pace {
	if perSecond <= 0 {
		return &Pace{}
	}
	return &Pace{interval: time.Duration(float64(time.Second) / perSecond)}
}

// Take takes the place of the next letter and returns how long to wait for it.
func (p *Pace) Take(now time.Time) time.Duration {
	if p.interval == 0 {
		return 0
	}
	if p.next.IsZero() {
		p.next = now
	}
	if earliest := now.Add(-maxBehind); p.next.Before(earliest) {
		p.next = earliest
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(p.interval)
	return max(0, wait)
}

// Batch is how many letters go within a time, at least 1 and at most limit.
func (p *Pace) Batch(within time.Duration, limit int) int {
	if p.interval == 0 {
		return limit
	}
	return int(min(max(1, within/p.interval), time.Duration(limit)))
}
