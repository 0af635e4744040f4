package e2e_test

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/nodeprep/nodeprep/pkg/bootstrap"
	"github.com/nodeprep/nodeprep/pkg/netcfg"
	"github.com/nodeprep/nodeprep/pkg/probe"
	"github.com/nodeprep/nodeprep/test/e2e/vpc"
)

// A shows reports whether an outcome is one of the shape: a shape that the node does not
// notice would pass as well.
type shows func(bootstrap.Outcome) bool

// shapeShows has each shape.
func shapeShows() map[string]shows {
	public := netip.MustParsePrefix("52.94.0.0/16")
	all := []string{vpc.EC2, vpc.ECRAPI, vpc.ECRDKR}
	return map[string]shows{
		"private":             both(in("10.20.0.0/16", all...), in("3.5.76.0/22", vpc.S3)),
		"private-nat":         both(in(public.String(), all...), in("10.20.0.0/16", vpc.APIServer)),
		"public":              both(in(public.String(), append(all, vpc.APIServer)...), func(o bootstrap.Outcome) bool { return o.Plan.Instance.PublicIPv4 }),
		"nat-and-endpoints":   both(in(public.String(), vpc.EC2), in("10.20.0.0/16", vpc.ECRAPI)),
		"shared-endpoints":    both(in("10.40.0.0/16", all...), in("10.20.0.0/16", vpc.APIServer)),
		"one-zone":            both(in("10.20.1.0/24", all...), paths(vpc.EC2, 1)),
		"three-zones":         both(in("10.20.0.0/22", all...), paths(vpc.EC2, 3)),
		"endpoint-subnets":    both(in("10.20.8.0/23", all...), paths(vpc.EC2, 2)),
		"one-endpoint-subnet": both(in("10.20.8.0/24", all...), paths(vpc.EC2, 1)),
		"one-elsewhere":       both(in("10.20.2.0/24", vpc.ECRAPI), paths(vpc.ECRAPI, 1)),
		"secondary-cidr":      both(in("100.64.0.0/16", all...), func(o bootstrap.Outcome) bool { return o.Plan.Node.IP.String() == "100.64.1.50" }),
		"s3-interface":        in("10.20.0.0/16", vpc.S3),
		"dual-stack-vpc":      func(o bootstrap.Outcome) bool { return o.Network.HasIPv6() && o.Plan.Node.IP.Is4() },
		"ipv6-cluster":        both(paths(vpc.APIServer, 4), func(o bootstrap.Outcome) bool { return o.Plan.Node.IP.Is6() }),
		"service-cidr-10-100": func(o bootstrap.Outcome) bool { return o.Plan.Cluster.ServiceCIDR.String() == "10.100.0.0/16" },
		"all-needs":           func(o bootstrap.Outcome) bool { return len(o.Plan.Policy.Needs) == len(bootstrap.KnownNeeds()) },
		"slow-network":        slow(150*time.Millisecond, func(r probe.Result) time.Duration { return time.Duration(r.Paths[0].Steps[0].Took) }),
		"busy-api":            status(429),
		"closed-api":          status(401),
		"ca-rotation":         func(o bootstrap.Outcome) bool { return len(o.Plan.Cluster.Authorities) == 2 },

		"us-east-1":      named(vpc.EC2, "ec2.us-east-1.amazonaws.com"),
		"cn-north-1":     named(vpc.ECRAPI, "api.ecr.cn-north-1.amazonaws.com.cn"),
		"us-gov-west-1":  named(vpc.ECRDKR, "013241004608.dkr.ecr.us-gov-west-1.amazonaws.com"),
		"us-iso-east-1":  named(vpc.EC2, "ec2.us-iso-east-1.c2s.ic.gov"),
		"eusc-de-east-1": named(vpc.EC2, "ec2.eusc-de-east-1.amazonaws.eu"),

		"own-dns":        servers("10.20.0.53"),
		"outside-dns":    servers("10.60.0.53"),
		"two-dns":        servers("10.20.0.53", "10.20.0.2"),
		"link-local-dns": servers("169.254.169.253"),
		"ipv6-dns":       servers("fd00:ec2::253"),
		"cname-own-dns": func(o bootstrap.Outcome) bool {
			return strings.HasPrefix(result(o, vpc.EC2).Lookups[0].CNAMEs[0], "vpce-")
		},
		"search-domains":       dns(func(d netcfg.DNS) bool { return len(d.Search) == 2 && d.NDots == 6 }),
		"search-wildcard":      dns(func(d netcfg.DNS) bool { return d.Search[0] == "corp.example" && d.NDots == 5 }),
		"truncated":            anything, // Shape.Extra counts the second question
		"dns-over-tcp":         anything, // libc's options are not in a report
		"stub":                 both(servers("10.20.0.2"), dns(func(d netcfg.DNS) bool { return d.Stub })),
		"vpce-names":           named(vpc.ECRDKR, "vpce-0c1d2e3f4a5b6c7d8-ab12cd34.dkr.ecr.us-west-2.vpce.amazonaws.com"),
		"fips":                 named(vpc.ECRAPI, "ecr-fips.us-east-1.amazonaws.com"),
		"fips-kubelet":         both(named(vpc.ECRAPI, "ecr-fips.us-gov-west-1.amazonaws.com"), named(vpc.EC2, "ec2.us-gov-west-1.amazonaws.com")),
		"dual-stack-names":     both(named(vpc.EC2, "ec2.us-west-2.api.aws"), in(public.String(), vpc.EC2)),
		"hosts-file":           func(o bootstrap.Outcome) bool { t, _ := o.Plan.Target(vpc.APIServer); return len(t.Hosts) == 2 },
		"rotating-s3":          deadS3,
		"rotating-strict":      both(deadS3, func(o bootstrap.Outcome) bool { return o.Plan.Policy.Mode == bootstrap.ModeStrict }),
		"slow-dns":             slow(400*time.Millisecond, func(r probe.Result) time.Duration { return time.Duration(r.Lookups[0].Took) }),
		"aaaa-refused":         anything, // Shape.Extra counts the second try
		"own-dns-refuses-aaaa": func(o bootstrap.Outcome) bool { return result(o, vpc.EC2).Lookups[1].Cause == probe.DNSRefused },

		"proxy":            proxied(vpc.ECRAPI, vpc.ECRDKR, vpc.S3),
		"proxy-agent":      both(proxied(vpc.ECRAPI, vpc.ECRDKR, vpc.S3), agentProxied),
		"proxy-everything": both(proxied(vpc.APIServer, vpc.ECRAPI, vpc.ECRDKR, vpc.S3), agentProxied),
		"proxy-names":      both(proxied(vpc.APIServer, vpc.ECRAPI, vpc.ECRDKR, vpc.S3), system(probe.DNSNXDomain)),
		"proxy-silence":    proxied(vpc.APIServer, vpc.ECRAPI, vpc.ECRDKR, vpc.S3),
		"proxy-lower":      proxied(vpc.ECRAPI, vpc.ECRDKR, vpc.S3),
		"proxy-idle": both(proxied(), func(o bootstrap.Outcome) bool {
			return o.Plan.Environments[bootstrap.ConsumerKubelet].HTTPSProxy != ""
		}),

		"several-enis":  func(o bootstrap.Outcome) bool { return len(o.Network.Links) == 3 && len(o.Network.Rules) == 1 },
		"pods":          func(o bootstrap.Outcome) bool { return len(o.Network.Links) == 7 && len(o.Network.Rules) == 5 },
		"efa":           func(o bootstrap.Outcome) bool { return len(o.Network.Links) == 4 && bare(o.Network) == 2 },
		"slow-metadata": func(o bootstrap.Outcome) bool { return o.Updated.Sub(o.Started) > 900*time.Millisecond },
		"clock-20s": func(o bootstrap.Outcome) bool {
			return len(o.Report.Clock) == 1 && time.Duration(o.Report.Clock[0].Offset) > 15*time.Second
		},
		"hop-limit": anything, // a hop limit shows where it is too low

		"private-only": func(o bootstrap.Outcome) bool { return o.Plan.Policy.PrivateOnly },
		"strict":       func(o bootstrap.Outcome) bool { return o.Plan.Policy.Mode == bootstrap.ModeStrict },
		"no-experiments": func(o bootstrap.Outcome) bool {
			return !o.Plan.Policy.Experiments.UDPTest && !o.Plan.Policy.Experiments.NTP
		},
		"registry-mirror": func(o bootstrap.Outcome) bool {
			return len(o.Plan.Targets) == 2 && len(result(o, "registry").Paths) == 1
		},
	}
}

// anything is for what an outcome does not show.
func anything(bootstrap.Outcome) bool { return true }

func both(a, b shows) shows {
	return func(o bootstrap.Outcome) bool { return a(o) && b(o) }
}

func result(o bootstrap.Outcome, target string) probe.Result {
	r, _ := o.Report.Result(target)
	return r
}

// in says that all IPv4 addresses of targets are in a block.
func in(block string, targets ...string) shows {
	p := netip.MustParsePrefix(block)
	return func(o bootstrap.Outcome) bool {
		return !slices.ContainsFunc(targets, func(target string) bool {
			r := result(o, target)
			return len(r.Paths) == 0 || slices.ContainsFunc(r.Paths, func(path probe.Path) bool {
				return path.Address.Addr().Is4() && !p.Contains(path.Address.Addr())
			})
		})
	}
}

func paths(target string, n int) shows {
	return func(o bootstrap.Outcome) bool { return len(result(o, target).Paths) == n }
}

func named(target, name string) shows {
	return func(o bootstrap.Outcome) bool { t, _ := o.Plan.Target(target); return t.Host == name }
}

func dns(is func(netcfg.DNS) bool) shows {
	return func(o bootstrap.Outcome) bool { return is(o.Network.DNS) }
}

func servers(want ...string) shows {
	return dns(func(d netcfg.DNS) bool {
		var got []string
		for _, s := range d.Servers {
			got = append(got, s.Addr().String())
		}
		return slices.Equal(got, want)
	})
}

// slow says that something took its time for each target.
func slow(least time.Duration, took func(probe.Result) time.Duration) shows {
	return func(o bootstrap.Outcome) bool {
		return !slices.ContainsFunc(o.Plan.Targets, func(t bootstrap.Target) bool { return took(result(o, t.Name)) < least })
	}
}

// status says that the API server gave such an answer.
func status(want int) shows {
	return func(o bootstrap.Outcome) bool {
		return slices.ContainsFunc(result(o, vpc.APIServer).Paths, func(p probe.Path) bool {
			s, ok := p.Step(probe.PhaseHTTP)
			return ok && s.HTTP != nil && s.HTTP.Status == want
		})
	}
}

func system(cause probe.Cause) shows {
	return func(o bootstrap.Outcome) bool {
		s := result(o, vpc.APIServer).System
		return s != nil && s.Cause == cause
	}
}

// deadS3 says that S3 passes by some of its addresses.
func deadS3(o bootstrap.Outcome) bool {
	r := result(o, vpc.S3)
	return slices.ContainsFunc(r.Paths, probe.Path.OK) && slices.ContainsFunc(r.Paths, func(p probe.Path) bool { return !p.OK() })
}

// proxied says which targets are reached through the proxy, and that no others are.
func proxied(targets ...string) shows {
	return func(o bootstrap.Outcome) bool {
		for _, t := range o.Plan.Targets {
			if (t.Proxy != "") != slices.Contains(targets, t.Name) {
				return false
			}
		}
		return true
	}
}

func agentProxied(o bootstrap.Outcome) bool {
	return o.Plan.Environments[bootstrap.ConsumerAgent].HTTPSProxy != ""
}

// bare counts the interfaces that run and have no address.
func bare(s netcfg.State) int {
	n := 0
	for _, l := range s.Links {
		if !l.Loopback && l.Running && len(l.Usable(false))+len(l.Usable(true)) == 0 {
			n++
		}
	}
	return n
}
