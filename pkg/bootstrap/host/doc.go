// Package host is the only package that changes the machine: it replaces files
// atomically, opens the gate, starts units over D-Bus, and tells systemd, the
// journal and the console what package bootstrap decided.
package host
