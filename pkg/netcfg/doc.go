// Package netcfg reads the machine's network: links, addresses, routes, rules
// over netlink, DNS servers from resolv.conf, names from the hosts file, what the network
// cards dropped from their drivers. Look asks the kernel how it would reach single
// addresses. It sends no packet. What follows from a State by computation alone (the
// primary link, the route to an address, a cluster's DNS address) is derived here too, as
// pure functions.
package netcfg
