package kubelet

import (
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
)

// A SettingError is a setting of the user with which the kubelet would not
// start, or not do what it says.
type SettingError struct {
	// Path is the field: spec.kubelet.flags[1], spec.kubelet.config.maxPods.
	Path   string
	Reason string // why, without the setting's value
	Remedy string
	// Unknown says that the kubelet knows no such setting.
	Unknown bool
}

// Error names the field and the reason.
func (e *SettingError) Error() string { return e.Path + ": " + e.Reason }

// Settings are the user's settings that decide what this machine will be in
// the cluster. The zero value of a field means that the user left it alone.
type Settings struct {
	MaxPods int
	// MaxPodsFrom is the setting that MaxPods comes from: --max-pods or maxPods.
	MaxPodsFrom string
	NodeName    string // --hostname-override
	NodeIP      netip.Addr
	ProviderID  string
	ClusterDNS  []netip.Addr
	// ReservedMemory says that kubeReserved.memory is the user's own.
	ReservedMemory bool
}

// Check reads the user's configuration and flags as the kubelet will: a flag
// wins over the configuration, the last of several over the others. The
// errors are in the order of the configuration's keys, then of the flags.
func Check(config map[string]any, flags []string, v Version) (Settings, []*SettingError) {
	var c checker
	c.config(config)
	var words []word
	for i, text := range flags {
		split, err := Words(text)
		if err != nil {
			c.add(flagPath(i), "systemd cannot hand it to the kubelet: "+err.Error(),
				"Use spec.kubelet.config instead of the flag, or change its value.")
			continue
		}
		for _, w := range split {
			words = append(words, word{w, i})
		}
	}
	for _, f := range parseFlags(words) {
		c.flag(f, v)
	}
	return c.settings, c.errs
}

func flagPath(element int) string { return fmt.Sprintf("spec.kubelet.flags[%d]", element) }

type checker struct {
	settings Settings
	errs     []*SettingError
}

func (c *checker) add(path, reason, remedy string) {
	c.errs = append(c.errs, &SettingError{Path: path, Reason: reason, Remedy: remedy})
}

const configPath = "spec.kubelet.config."

// config reads the fields that the plan must know. The others are the
// kubelet's to judge: its types grow with every version.
func (c *checker) config(config map[string]any) {
	c.constant(config, "apiVersion", configAPIVersion)
	if given, ok := config["clusterDNS"]; ok && given != nil {
		c.clusterDNS(given)
	}
	c.constant(config, "kind", configKind)
	if reserved, ok := config["kubeReserved"].(map[string]any); ok {
		c.settings.ReservedMemory = reserved["memory"] != nil
	}
	if given, ok := config["maxPods"]; ok {
		switch n, whole := wholeNumber(given); {
		case given == nil:
			// In a JSON merge patch null removes our value: the kubelet's own
			// default takes its place.
			c.settings.MaxPods, c.settings.MaxPodsFrom = 110, "the kubelet's default, because spec.kubelet.config has maxPods: null"
		case !whole || n < 1 || n > math.MaxInt32:
			c.add(configPath+"maxPods", "it is not a whole number from 1 to 2147483647", "Write the number without quotes.")
		default:
			c.settings.MaxPods, c.settings.MaxPodsFrom = n, "maxPods of spec.kubelet.config"
		}
	}
	if given, ok := config["providerID"]; ok && given != nil {
		if id, ok := given.(string); ok {
			c.settings.ProviderID = id
		} else {
			c.add(configPath+"providerID", "it is not a string", "Remove it: nodeprep derives it from the instance metadata.")
		}
	}
	if _, err := json.Marshal(config); err != nil {
		c.add("spec.kubelet.config", "it has no JSON form: "+err.Error(), "Use only strings, numbers, booleans, lists and maps with string keys.")
	}
}

func (c *checker) constant(config map[string]any, key, want string) {
	if given, ok := config[key]; ok && given != want {
		c.add(configPath+key, "the kubelet accepts only "+want+" in a drop-in file", "Remove it: nodeprep writes it.")
	}
}

func (c *checker) clusterDNS(given any) {
	list, ok := given.([]any)
	if !ok {
		c.add(configPath+"clusterDNS", "it is not a list", "Write a list of IP addresses.")
		return
	}
	for i, entry := range list {
		text, _ := entry.(string)
		addr, err := netip.ParseAddr(text)
		if err != nil {
			c.add(fmt.Sprintf("%sclusterDNS[%d]", configPath, i), "it is not an IP address", "Write IP addresses, or remove the field: nodeprep derives it from the service CIDR.")
			continue
		}
		c.settings.ClusterDNS = append(c.settings.ClusterDNS, addr)
	}
}

// flag checks one flag and keeps what the plan must know.
func (c *checker) flag(f userFlag, v Version) {
	path := flagPath(f.element)
	if f.name == "" {
		c.add(path, "the kubelet takes no arguments beside flags and exits on one", "Write --NAME=VALUE, with quotes around blanks.")
		return
	}
	if reason, remedy := refusedBy(f.name, v); reason != "" {
		c.errs = append(c.errs, &SettingError{Path: path, Reason: reason, Remedy: remedy, Unknown: true})
		return
	}
	switch f.name {
	case "max-pods":
		n, err := strconv.ParseInt(f.value, 0, 32)
		if err != nil || n < 1 {
			c.add(path, "--max-pods is not a whole number from 1 to 2147483647", "Write --max-pods=NUMBER.")
			return
		}
		c.settings.MaxPods, c.settings.MaxPodsFrom = int(n), "--max-pods of spec.kubelet.flags"
	case "node-labels":
		if reason, remedy := refusedLabel(f.value); reason != "" {
			c.add(path, reason, remedy)
		}
	case "hostname-override":
		c.settings.NodeName = f.value
	case "provider-id":
		c.settings.ProviderID = f.value
	case "node-ip":
		// A dual-stack node gives two; the first is the node's own. :: and
		// 0.0.0.0 leave the choice to the kubelet.
		first, _, _ := strings.Cut(f.value, ",")
		addr, err := netip.ParseAddr(first)
		if err != nil {
			c.add(path, "--node-ip is not an IP address", "Remove it: nodeprep takes the address from the instance metadata.")
			return
		}
		c.settings.NodeIP = addr
	case "cluster-dns":
		var addrs []netip.Addr
		for text := range strings.SplitSeq(f.value, ",") {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				c.add(path, "--cluster-dns is not a list of IP addresses", "Write IP addresses with commas between them.")
				return
			}
			addrs = append(addrs, addr)
		}
		c.settings.ClusterDNS = addrs
	case "kube-reserved":
		c.settings.ReservedMemory = strings.Contains(","+f.value, ",memory=")
	}
}

// wholeNumber reads the forms that a number has after YAML or JSON decoding.
func wholeNumber(v any) (int, bool) {
	switch n := v.(type) {
	case int:
		return n, true
	case int64:
		return int(n), true
	case uint64:
		return int(n), n <= math.MaxInt32
	case float64:
		return int(n), n == math.Trunc(n) && math.Abs(n) <= math.MaxInt32
	case json.Number:
		i, err := n.Int64()
		return int(i), err == nil
	default:
		return 0, false
	}
}
