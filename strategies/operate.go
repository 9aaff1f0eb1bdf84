package strategies

// operate does what an operator asks. Asking for the state that is there already renews its limit and its reason.
func (b *breaker) operate(c *BreakerConfig, in *Input, out *Output) {
	if in.Op.Actor == "" {
		in.Op.Actor = "operator" // an empty actor means that nobody decided
	}
	switch in.Op.To {
	case ForcedOpen, Disabled:
		b.change(in.Op.To, in, in.Op.Reason, out)
		b.more.until = max(0, in.Op.Until)
		out.Change.OpenUntil = b.more.until
	case HalfOpen:
		b.halfOpen(c, in, in.Op.Reason, out)
	case Closed:
		b.level = 0
		b.close(c, in, in.Op.Reason, out)
	}
}
