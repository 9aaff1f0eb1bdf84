// Package strategies decides what happens to failed work.
package strategies
