package bootstrap

import (
	"strings"

	"github.com/nodeprep/nodeprep/pkg/probe"
)

// ofAmazon: a distinguished name of Amazon's own CAs. An interceptor would name itself.
func ofAmazon(dn string) bool {
	return strings.Contains(dn, "O=Amazon") || strings.Contains(dn, "O=Starfield")
}

// inspectors are products that inspect TLS, by what their CAs call themselves in
// lower case; in this order.
var inspectors = [...]struct{ mark, name string }{
	{"fortinet", "Fortinet FortiGate"},
	{"fortigate", "Fortinet FortiGate"},
	{"palo alto", "Palo Alto Networks"},
	{"prisma access", "Palo Alto Networks"},
	{"zscaler", "Zscaler"},
	{"umbrella", "Cisco Umbrella"},
	{"cisco", "Cisco"},
	{"check point", "Check Point"},
	{"checkpoint", "Check Point"},
	{"blue coat", "Symantec ProxySG"},
	{"bluecoat", "Symantec ProxySG"},
	{"symantec", "Symantec ProxySG"},
	{"sophos", "Sophos"},
	{"netskope", "Netskope"},
	{"goskope", "Netskope"},
	{"forcepoint", "Forcepoint"},
	{"websense", "Forcepoint"},
	{"skyhigh", "Skyhigh Security"},
	{"mcafee", "McAfee Web Gateway"},
	{"barracuda", "Barracuda"},
	{"sonicwall", "SonicWall"},
	{"watchguard", "WatchGuard"},
	{"juniper", "Juniper SRX"},
	{"trend micro", "Trend Micro"},
	{"cato networks", "Cato Networks"},
	{"iboss", "iboss"},
	{"gateway ca - cloudflare", "Cloudflare Gateway"},
	{"menlo security", "Menlo Security"},
	{"mitmproxy", "mitmproxy"},
	{"squid", "Squid"},
}

// inspector is the product that a chain names, empty for none.
func inspector(chain []probe.Certificate) string {
	for i := range chain {
		issuer := strings.ToLower(chain[i].Issuer)
		for _, p := range inspectors {
			if strings.Contains(issuer, p.mark) {
				return p.name
			}
		}
	}
	return ""
}

// publicCAs are organisations whose roots are in every trust store: a chain that
// leads to one of them is no inspection, whatever the list of anchors says.
var publicCAs = [...]string{
	"Amazon", "Starfield", "DigiCert", "Baltimore", "GlobalSign", "GoDaddy", "The Go Daddy Group", "Sectigo", "COMODO", "USERTRUST", "Entrust", "Internet Security Research Group",
	"Google Trust Services", "IdenTrust", "SSL Corp", "Certainly", "Microsoft Corporation", "QuoVadis", "Actalis", "Unizeto", "Asseco", "SwissSign", "TWCA", "SECOM",
	"China Financial Certification Authority", "GUANG DONG CERTIFICATE AUTHORITY", "TrustAsia", "Hellenic Academic", "Buypass", "D-Trust", "T-Systems", "Telia",
}

func publicCA(subject string) bool {
	for _, o := range publicCAs {
		if strings.Contains(subject, "O="+o) {
			return true
		}
	}
	return false
}
