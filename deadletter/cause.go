package deadletter

const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

// Cause returns the fingerprint of a failure: 8 lower-case hex digits over
// reason, NUL and Normalise(errText). Equal causes group dead letters.
//
// It is FNV-1a with 64 bits, the upper half folded onto the lower by XOR
// (http://www.isthe.com/chongo/tech/comp/fnv/). FNV rather than SHA-256 because
// 32 bits resist no adversary anyway, and any client can repeat it in five
// lines. Among 1,000 different causes two share a fingerprint once in 8,600.
func Cause(reason, errText string) string {
	var s normaliser
	h := uint64(fnvOffset)
	for i := range len(reason) {
		h = (h ^ uint64(reason[i])) * fnvPrime
	}
	h *= fnvPrime // the NUL
	for _, c := range s.read(errText) {
		h = (h ^ uint64(c)) * fnvPrime
	}
	folded := uint32(h>>32) ^ uint32(h)
	var hex [8]byte
	for i := range hex {
		hex[i] = "0123456789abcdef"[folded>>(28-4*i)&15]
	}
	return string(hex[:])
}
