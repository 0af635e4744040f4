// Command mutants measures how well tests hold the predicates of a package: it
// flips each condition of the given files, one at a time, and reports those whose
// flipping no test notices.
//
// All mutants are compiled into one test binary, which an environment
// variable tells the one to flip; a thousand mutants cost one build. Tests run in
// stages: a later, slower one only for what the earlier ones did not notice.
//
// A predicate whose flipping changes nothing that anybody could see is listed in
// equivalent.txt with the reason. An entry that is no such predicate any more is an
// error, so that the list only holds what is true.
package main
