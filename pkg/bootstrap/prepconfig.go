package bootstrap

// prepConfigKind is nodeprep's own kind, every field with its default.
func prepConfigKind() *documentKind {
	roles := []string{string(RoleGate), string(RoleReady), string(RoleWorkload), string(RoleOptional)}
	return &documentKind{
		apiVersion: prepConfigGroup + "v1alpha1", kind: "PrepConfig",
		fields: documentFields(
			fieldSpec{
				name: "mode", shape: shapeText, effect: true, def: string(ModeQuorum),
				words: []string{string(ModeQuorum), string(ModeStrict), string(ModeObserve)},
			},
			fieldSpec{name: "needs", shape: shapeGroups, bare: "name", isDefault: defaultNeeds, fields: []fieldSpec{
				{name: "name", shape: shapeText},
				{name: "verify", shape: shapeBool},
			}},
			fieldSpec{name: "cni", shape: shapeText, def: "vpc-cni", words: []string{"vpc-cni", "other"}},
			fieldSpec{name: "endpoints", shape: shapeGroups, effect: true, fields: []fieldSpec{
				{name: "name", shape: shapeText, effect: true},
				{name: "host", shape: shapeText, effect: true},
				{name: "port", shape: shapeInteger, effect: true, def: "443"},
				{name: "role", shape: shapeText, effect: true, words: roles},
				{name: "why", shape: shapeText, effect: true},
				{name: "ca", shape: shapeText},
				{name: "tls", shape: shapeBool, effect: true, def: "true"},
			}},
			fieldSpec{name: "hosts", shape: shapeTextMap},
			fieldSpec{name: "names", fields: []fieldSpec{
				{name: "fips", shape: shapeText, def: "auto"},
				{name: "dualStack", shape: shapeText, def: "auto"},
			}},
			fieldSpec{name: "privateOnly", shape: shapeBool},
			fieldSpec{name: "enforce", shape: shapeTexts},
			fieldSpec{name: "waive", shape: shapeGroups, fields: []fieldSpec{
				{name: "code", shape: shapeText},
				{name: "reason", shape: shapeText},
				{name: "until", shape: shapeText},
			}},
			fieldSpec{name: "assumedHold", shape: shapeDuration, def: "forever", words: []string{"forever"}},
			fieldSpec{name: "rejoinHold", shape: shapeDuration, def: "2m", words: []string{"forever"}},
			fieldSpec{name: "giveUpAfter", shape: shapeDuration, effect: true, def: "never", words: []string{"never"}},
			fieldSpec{name: "identity", fields: []fieldSpec{
				{name: "block", shape: shapeBool, def: "true"},
				{name: "for", shape: shapeDuration, def: "forever", words: []string{"forever"}},
			}},
			fieldSpec{name: "nodeName", fields: []fieldSpec{
				{name: "strategy", shape: shapeText, def: "auto", words: []string{"auto", "ip-name", "resource-name", "instance-id", "ec2-api"}},
				{name: "onMismatch", shape: shapeText, def: "adopt", words: []string{"adopt", "error"}},
			}},
			fieldSpec{name: "maxPods", fields: []fieldSpec{
				{name: "prefixDelegation", shape: shapeBool},
				{name: "customNetworking", shape: shapeBool},
				{name: "maxENIs", shape: shapeInteger, def: "0"},
				{name: "cap", shape: shapeCount, def: "none", words: []string{"none", "recommended"}},
			}},
			fieldSpec{name: "kubelet", fields: []fieldSpec{
				{name: "unit", shape: shapeText, def: "kubelet.service"},
				{name: "token", shape: shapeText, def: "nodeprep", words: []string{"nodeprep", "aws", "aws-iam-authenticator"}},
			}},
			fieldSpec{name: "confirm", fields: []fieldSpec{
				{name: "until", shape: shapeText, def: "registered", words: []string{"none", "registered", "ready"}},
				{name: "timeout", shape: shapeDuration, def: "5m"},
				{name: "publish", shape: shapeText, def: "node", words: []string{"node", "none"}},
			}},
			fieldSpec{name: "waitForScripts", shape: shapeText, def: "auto", words: []string{"auto", "always", "never"}},
			fieldSpec{name: "waitFor", shape: shapeGroups, fields: []fieldSpec{
				{name: "unit", shape: shapeText},
				{name: "path", shape: shapeText},
				{name: "mount", shape: shapeText},
				{name: "device", shape: shapeText},
				{name: "timeout", shape: shapeDuration},
				{name: "onTimeout", shape: shapeText, words: []string{"block", "warn"}},
			}},
			fieldSpec{name: "experiments", fields: []fieldSpec{
				{name: "compareDNS", shape: shapeText, def: "aws-names"},
				{name: "directPath", shape: shapeText, def: "private"},
				{name: "secondSNI", shape: shapeBool, def: "true"},
				{name: "smallHello", shape: shapeBool, def: "true"},
				{name: "mssClamp", shape: shapeBool, def: "true"},
				{name: "udpTest", shape: shapeBool, def: "true"},
				{name: "ntp", shape: shapeBool, def: "true"},
			}},
			fieldSpec{name: "tagOverride", shape: shapeBool},
			fieldSpec{name: "failSafe", fields: []fieldSpec{
				{name: "after", shape: shapeDuration, def: "10m"},
				{name: "for", shape: shapeText, def: "joined-before", words: []string{"joined-before", "never"}},
			}},
			fieldSpec{name: "console", shape: shapeText, def: "full", words: []string{"full", "minimal", "off"}},
			fieldSpec{name: "metrics", shape: shapeText},
			fieldSpec{name: "locked", shape: shapeTexts},
		),
	}
}

// defaultNeeds reports whether needs lists exactly the built-in default.
func defaultNeeds(needs []element) bool {
	if len(needs) != 2 {
		return false
	}
	names := map[any]bool{}
	for _, g := range needs {
		if verify, ok := g.get("verify"); ok && !verify.atDefault() {
			return false
		}
		name, _ := g.get("name")
		names[name.value] = true
	}
	return names["vpc-cni"] && names["image-pull"]
}
