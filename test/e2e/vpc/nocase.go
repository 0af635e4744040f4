package vpc

// NoCase says of each code that has no fault here why there is none. Whoever adds a
// code adds a fault or a reason; a test compares both with the table of codes.
func NoCase() map[string]string {
	const (
		input   = "input alone decides it: tables of the configuration's tests have it"
		machine = "a fact of the machine, not of a network: a namespace has the build machine's"
	)
	return map[string]string{
		"NP-CFG-112": input,
		"NP-CFG-113": input,
		"NP-LNK-110": "a counter of the ENA driver, which a veth pair has not; recorded reports have it",
		"NP-CLK-101": "systemd-timedated says it, and no bus answers in a namespace; recorded reports have it",
		"NP-CLK-105": "needs timedated's word that the clock is not synchronised, see NP-CLK-101",
		"NP-NET-118": "a process cannot be made to run out of sockets at the same one each time; the probe's tests return the errors",
		"NP-NOD-108": machine + " (memory)",
		"NP-HST-101": machine + "; TestUnwritableFileHeals has it",
		"NP-HST-102": machine + "; the host package's tests have it",
		"NP-RUN-102": "needs a kubelet under systemd; TestSystemd has it",
		"NP-INT-001": "no fault of a VPC makes nodeprep fail; the run's tests have it",
		"NP-INT-002": "a failure that no rule explains has no cause to inject; the judge's tests have it",
	}
}
