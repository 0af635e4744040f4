package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
)

// The elements of a JUnit report that CI systems read.
type junitSuites struct {
	XMLName xml.Name     `xml:"testsuites"`
	Suites  []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Stamp    string      `xml:"timestamp,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Skipped *junitSkipped `xml:"skipped,omitempty"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Error   *junitFailure `xml:"error,omitempty"`
	Out     string        `xml:"system-out,omitempty"`
}

type junitSkipped struct {
	Message string `xml:"message,attr"`
}

type junitFailure struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

// writeJUnit writes one test case per target and one per finding that concerns
// none; warnings fail when strict. Targets that fail by one of
// all findings that is not among the outcome's are skipped: they do not pass.
func writeJUnit(w io.Writer, o bootstrap.Outcome, strict bool, all []bootstrap.Finding) error {
	suite := junitSuite{
		Name: "nodeprep check", Time: fmt.Sprintf("%.3f", o.Updated.Sub(o.Started).Seconds()),
		Stamp: o.Started.Format("2006-01-02T15:04:05"),
	}
	place := map[string]int{}
	for _, t := range o.Plan.Targets {
		place[t.Name] = len(suite.Cases)
		suite.Cases = append(suite.Cases, junitCase{Class: "nodeprep." + string(t.Role), Name: t.Name})
	}
	for _, f := range o.Verdict.Findings {
		var cases []*junitCase
		for _, t := range f.Targets {
			if i, ok := place[t]; ok {
				cases = append(cases, &suite.Cases[i])
			}
		}
		if len(cases) == 0 {
			suite.Cases = append(suite.Cases, junitCase{Class: "nodeprep." + f.Code.Area(), Name: strings.Join(append([]string{string(f.Code)}, f.Subject()...), " ")})
			cases = append(cases, &suite.Cases[len(suite.Cases)-1])
		}
		for _, c := range cases {
			c.add(f, strict)
		}
	}
	for _, f := range all {
		for _, t := range f.Targets {
			if i, ok := place[t]; ok && f.Blocks && suite.Cases[i].Failure == nil {
				suite.Cases[i].Skipped = &junitSkipped{Message: string(f.Code) + " is not counted here"}
			}
		}
	}
	for _, name := range o.Verdict.Pending {
		if i, ok := place[name]; ok && suite.Cases[i].Failure == nil {
			suite.Cases[i].Error = &junitFailure{Type: "pending", Message: "not decided", Text: bootstrap.StatusLine(o, o.Updated)}
		}
	}
	if o.Err != "" {
		suite.Cases = append(suite.Cases, junitCase{Class: "nodeprep", Name: "nodeprep", Error: &junitFailure{Type: "internal", Message: firstLine(o.Err), Text: o.Err}})
	}
	suite.Tests = len(suite.Cases)
	for _, c := range suite.Cases {
		switch {
		case c.Failure != nil:
			suite.Failures++
		case c.Error != nil:
			suite.Errors++
		case c.Skipped != nil:
			suite.Skipped++
		}
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", "  ")
	if err := e.Encode(junitSuites{Suites: []junitSuite{suite}}); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// add records a finding; the first that fails the case is its failure.
func (c *junitCase) add(f bootstrap.Finding, strict bool) {
	if (f.Blocks || strict) && c.Failure == nil {
		c.Failure = &junitFailure{Type: string(f.Code), Message: f.Title, Text: "\n" + findingText(f)}
		return
	}
	c.Out += "\n" + findingText(f)
}
