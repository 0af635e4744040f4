package bootstrap

// anchors are the roots to which the certificates of AWS's own endpoints in a partition
// lead, as SHA-256 of their SubjectPublicKeyInfo; nil where they are not known here.
//
// Source: AWS security blog, "How to prepare for AWS's move to its own certificate
// authority", which names these five. The fingerprints were computed from the certificates in Debian's
// ca-certificates by: openssl x509 -in ROOT.crt -noout -pubkey | openssl pkey -pubin
// -outform der | sha256sum; TestAnchors does it again where they are installed.
func (p Partition) anchors() []string {
	if p.ID != "aws" {
		return nil
	}
	return []string{
		"fbe3018031f9586bcbf41727e417b7d1c45c2f47f93be372a17b96b50757d5a2", // Amazon Root CA 1
		"7f4296fc5b6a4e3b35d3c369623e364ab1af381d8fa7121533c9d6c633ea2461", // Amazon Root CA 2
		"36abc32656acfc645c61b71613c4bf21c787f5cabbee48348d58597803d7abc9", // Amazon Root CA 3
		"f7ecded5c66047d28ed6466b543c40e0743abe81d109254dcf845d4c2c7853c5", // Amazon Root CA 4
		"2b071c59a0a0ae76b0eadb2bad23bad4580b69c3601b630c2eaf0613afa83f92", // Starfield Services Root Certificate Authority - G2
	}
}
