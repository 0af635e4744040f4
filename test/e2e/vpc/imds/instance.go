package imds

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// An Instance is what the service knows. The zero value of a field means that
// the service answers 404 for it.
type Instance struct {
	ID, Type, AMI string
	Architecture  string // x86_64 or arm64
	AccountID     string
	Region        string
	Zone          string // availability zone name
	ZoneID        string
	Domain        string // services/domain
	Partition     string // services/partition
	LifeCycle     string // instance-life-cycle: on-demand, spot
	LocalHostname string
	MAC           string // of the primary interface, lower case with colons
	LocalIPv4     netip.Addr
	PublicIPv4    netip.Addr
	IPv6          []netip.Addr
	VPC           []netip.Prefix // IPv4 and IPv6 blocks, the primary IPv4 block first
	Subnet        []netip.Prefix
	InterfaceID   string
	SubnetID      string
	VPCID         string
	// SecurityGroups maps the id of each security group to its name.
	SecurityGroups map[string]string
	// Role is the name of the instance profile's role, empty for no profile.
	Role        string
	Credentials Credentials
	// UserData is nil for none.
	UserData []byte
	// TargetLifecycleState is autoscaling/target-lifecycle-state.
	TargetLifecycleState string
	// Tags is nil unless InstanceMetadataTags is enabled.
	Tags map[string]string

	// TokensOptional answers requests without a token, as version 1 did.
	TokensOptional bool
	// HopLimit is the TTL of the packets that carry a token, 1 to 64; 0 means 64.
	HopLimit int
}

// Credentials are temporary credentials of a role.
type Credentials struct {
	AccessKeyID     string
	SecretAccessKey string
	SessionToken    string
	// Lifetime is how long credentials are valid from the moment they are
	// read; 0 means six hours, negative means that they are expired.
	Lifetime time.Duration
	// Code replaces Success; the document then has Message and no credentials.
	Code, Message string
}

// tree is every value by its path below /latest/. Directories follow from it.
func (i Instance) tree() map[string]string {
	m := map[string]string{}
	set := func(path, value string) {
		if value != "" {
			m[path] = value
		}
	}
	meta := func(path, value string) { set("meta-data/"+path, value) }
	meta("ami-id", i.AMI)
	meta("hostname", i.LocalHostname)
	meta("instance-id", i.ID)
	meta("instance-life-cycle", i.LifeCycle)
	meta("instance-type", i.Type)
	meta("local-hostname", i.LocalHostname)
	meta("local-ipv4", text(i.LocalIPv4))
	meta("mac", i.MAC)
	meta("placement/availability-zone", i.Zone)
	meta("placement/availability-zone-id", i.ZoneID)
	meta("placement/region", i.Region)
	meta("public-ipv4", text(i.PublicIPv4))
	meta("services/domain", i.Domain)
	meta("services/partition", i.Partition)
	meta("autoscaling/target-lifecycle-state", i.TargetLifecycleState)
	if len(i.IPv6) > 0 {
		meta("ipv6", i.IPv6[0].String())
	}
	for k, v := range i.Tags {
		meta("tags/instance/"+k, v)
	}
	if i.MAC != "" {
		i.setInterface(func(path, value string) { meta("network/interfaces/macs/"+i.MAC+"/"+path, value) })
	}
	if i.Role != "" {
		meta("iam/info", i.profile())
		// The real value is made when it is asked for; this one makes the listing.
		meta("iam/security-credentials/"+i.Role, "-")
	}
	set("dynamic/instance-identity/document", i.document())
	set("user-data", string(i.UserData))
	return m
}

func (i Instance) setInterface(set func(path, value string)) {
	set("device-number", "0")
	set("interface-id", i.InterfaceID)
	set("local-hostname", i.LocalHostname)
	set("local-ipv4s", text(i.LocalIPv4))
	set("mac", i.MAC)
	set("owner-id", i.AccountID)
	set("public-ipv4s", text(i.PublicIPv4))
	set("subnet-id", i.SubnetID)
	set("vpc-id", i.VPCID)
	set("ipv6s", lines(i.IPv6, func(netip.Addr) bool { return true }))
	is4 := func(p netip.Prefix) bool { return p.Addr().Is4() }
	is6 := func(p netip.Prefix) bool { return p.Addr().Is6() }
	set("subnet-ipv4-cidr-block", lines(i.Subnet, is4))
	set("subnet-ipv6-cidr-blocks", lines(i.Subnet, is6))
	set("vpc-ipv4-cidr-blocks", lines(i.VPC, is4))
	first, _, _ := strings.Cut(lines(i.VPC, is4), "\n")
	set("vpc-ipv4-cidr-block", first)
	set("vpc-ipv6-cidr-blocks", lines(i.VPC, is6))
	ids := slices.Sorted(maps.Keys(i.SecurityGroups))
	names := make([]string, len(ids))
	for n, id := range ids {
		names[n] = i.SecurityGroups[id]
	}
	set("security-group-ids", strings.Join(ids, "\n"))
	set("security-groups", strings.Join(names, "\n"))
}

func (i Instance) profile() string {
	return encode(map[string]string{
		"Code":               "Success",
		"LastUpdated":        time.Now().UTC().Format(time.RFC3339),
		"InstanceProfileArn": fmt.Sprintf("arn:%s:iam::%s:instance-profile/%s", i.Partition, i.AccountID, i.Role),
		"InstanceProfileId":  "AIPALABPROFILE0000000",
	})
}

func (i Instance) credentials(now time.Time) string {
	life := i.Credentials.Lifetime
	if life == 0 {
		life = 6 * time.Hour
	}
	if i.Credentials.Code != "" {
		return encode(map[string]string{
			"Code": i.Credentials.Code, "Message": i.Credentials.Message, "LastUpdated": now.UTC().Format(time.RFC3339),
		})
	}
	return encode(map[string]string{
		"Code":            "Success",
		"LastUpdated":     now.UTC().Format(time.RFC3339),
		"Type":            "AWS-HMAC",
		"AccessKeyId":     i.Credentials.AccessKeyID,
		"SecretAccessKey": i.Credentials.SecretAccessKey,
		"Token":           i.Credentials.SessionToken,
		"Expiration":      now.Add(life).UTC().Format(time.RFC3339),
	})
}

func (i Instance) document() string {
	return encode(map[string]any{
		"accountId":               i.AccountID,
		"architecture":            i.Architecture,
		"availabilityZone":        i.Zone,
		"billingProducts":         nil,
		"devpayProductCodes":      nil,
		"imageId":                 i.AMI,
		"instanceId":              i.ID,
		"instanceType":            i.Type,
		"kernelId":                nil,
		"marketplaceProductCodes": nil,
		"pendingTime":             "2026-01-01T00:00:00Z",
		"privateIp":               text(i.LocalIPv4),
		"ramdiskId":               nil,
		"region":                  i.Region,
		"version":                 "2017-09-30",
	})
}

// encode writes JSON the way the service does, indented.
func encode(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		// Only maps of strings come here.
		panic(err)
	}
	return string(b)
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func lines[T fmt.Stringer](list []T, want func(T) bool) string {
	var out []string
	for _, v := range list {
		if want(v) {
			out = append(out, v.String())
		}
	}
	return strings.Join(out, "\n")
}
