// Command codes generates from pkg/bootstrap/codes.yaml everything that names
// a cause: the Go table, the journal catalog and the pages in docs/codes.
//
// Usage: go run ./codes -root DIR, where DIR is the root of the repository.
package main
