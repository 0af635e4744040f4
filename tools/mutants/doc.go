// Command mutants measures how well tests hold the predicates of a package: it
// flips each condition of the given files, one at a time, and reports those whose
// flipping no test notices.
//
// All mutants are compiled into one test binary, which an environment
// variable tells the one to flip; a thousand mutants cost one build.
package main
