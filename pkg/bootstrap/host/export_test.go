package host

// For the fuzz tests: the readers of systemd's forms.
var (
	EnvironmentFile = func(data []byte) [][2]string { return pairs(environmentFile(data)) }
	Assignments     = func(data []byte, section string) [][2]string { return pairs(assignments(data, section)) }
	SplitWords      = splitWords
)

func pairs(list []assignment) [][2]string {
	var out [][2]string
	for _, a := range list {
		out = append(out, [2]string{a.key, a.value})
	}
	return out
}
