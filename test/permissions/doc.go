// Package permissions proves what `recoveryd permissions` prints: every role can do its work
// with it, needs all of it, and can do nothing else.
package permissions
