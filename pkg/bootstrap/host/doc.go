// Package host is the only package that changes the machine: it replaces files
// atomically, opens the gate, starts units over D-Bus, and tells systemd, the
// journal and the console what package bootstrap decided.
//
// What acts and what it may do to its caller:
//
//	WriteFiles, Gate, WriteReport,
//	WriteJoined                     write and return an error
//	ReadClockState, FlushDNS        wait for the bus, at most busDeadline
//	Units                           waits for systemd, never past the context's deadline
//	Notifier                        waits for systemd, at most notifyDeadline
//	Journal, Console                never wait and never fail: what they cannot deliver they count
//
// What they say is made by the pure functions Entries, HeartbeatEntry,
// ConsoleBlock and ConsoleHeartbeat.
package host
