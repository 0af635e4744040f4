package bootstrap

import (
	"slices"
	"strings"
)

//go:generate go run -C ../../tools ./codes -root ..
//go:generate go run -C ../../tools ./schema -root ..

// CodeInfo is one row of codes.yaml: all that is known about a cause before
// it is found on a node.
type CodeInfo struct {
	Code  Code   `json:"code"`
	Title string `json:"title"` // at most 60 characters
	Cause string `json:"cause"`
	// Signal is what is measured when this is the cause.
	Signal string `json:"signal"`
	// Remedy and Consequence are templates with {named} fields, which the
	// judge fills with the names and addresses of the node.
	Remedy      string `json:"remedy"`
	Consequence string `json:"consequence"`
	// Check is a command that shows the cause by hand; words in capitals
	// stand for values.
	Check string `json:"check,omitempty"`
	// Severity is that of a failure that holds the gate, Confidence the
	// strongest that may be claimed.
	Severity   Severity   `json:"severity"`
	Confidence Confidence `json:"confidence"`
	// Exit is the exit code of the class.
	Exit int `json:"exit"`
	// MessageID is the journal's MESSAGE_ID: UUIDv5 of the project's namespace
	// and the code, 32 lower-case hex digits.
	MessageID string `json:"messageID"`
	// Suppresses are the codes of symptoms that this cause explains.
	Suppresses []Code `json:"suppresses,omitempty"`
	// TakesEffect says how long after the change the node can notice it.
	TakesEffect string `json:"takesEffect"`
	// Verified is lab, aws or guess.
	Verified string `json:"verified"`
	// Since is the first version that gives the code, Retired the first that
	// does not any more, empty for none.
	Since   string `json:"since"`
	Retired string `json:"retired,omitempty"`
}

// Info returns the row of the code and whether there is one. The slices of the
// row are shared: do not change them.
func (c Code) Info() (CodeInfo, bool) {
	i, ok := slices.BinarySearchFunc(codeIndex[:], c, func(i uint8, c Code) int {
		return strings.Compare(string(codeTable[i].Code), string(c))
	})
	if !ok {
		return CodeInfo{}, false
	}
	return codeTable[codeIndex[i]], true
}

// Codes returns all rows in the order of the table.
func Codes() []CodeInfo { return slices.Clone(codeTable[:]) }

// Area is the middle of the code: CFG, DNS, NET.
func (c Code) Area() string {
	_, rest, _ := strings.Cut(string(c), "-")
	area, _, _ := strings.Cut(rest, "-")
	return area
}

// Explain returns the row that a person means by "NP-NET-105", "net-105" or
// "NET105", and whether there is one.
func Explain(code string) (CodeInfo, bool) {
	s := strings.ToUpper(strings.TrimSpace(code))
	s = strings.ReplaceAll(strings.TrimPrefix(s, "NP"), "-", "")
	if len(s) < 4 {
		return CodeInfo{}, false
	}
	return Code("NP-" + s[:3] + "-" + s[3:]).Info()
}
