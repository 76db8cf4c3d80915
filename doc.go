// Package atrest is the root of a library for secrets at rest.
package atrest
