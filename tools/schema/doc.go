// Command schema writes docs/report.schema.json: the JSON Schema of the report,
// made from the Go types, their comments and the table of codes.
package main
