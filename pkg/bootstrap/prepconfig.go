package bootstrap

// prepConfigKind is nodeprep's own kind, every field with its default.
func prepConfigKind() *documentKind {
	variants := []string{string(VariantAuto), string(VariantAlways), string(VariantNever)}
	roles := []string{string(RoleGate), string(RoleReady), string(RoleWorkload), string(RoleOptional)}
	return &documentKind{
		apiVersion: prepConfigGroup + "v1alpha1", kind: "PrepConfig",
		fields: documentFields(
			fieldSpec{
				name: "mode", shape: shapeText, effect: true, def: string(ModeQuorum),
				words: []string{string(ModeQuorum), string(ModeStrict), string(ModeObserve)},
			},
			fieldSpec{name: "needs", shape: shapeGroups, effect: true, none: true, bare: "name", fields: []fieldSpec{
				{name: "name", shape: shapeText, effect: true, words: needNames()},
				{name: "verify", shape: shapeBool},
			}},
			fieldSpec{name: "cni", shape: shapeText, effect: true, def: "vpc-cni", words: []string{"vpc-cni", "other"}},
			fieldSpec{name: "endpoints", shape: shapeGroups, effect: true, fields: []fieldSpec{
				{name: "name", shape: shapeText, effect: true},
				{name: "host", shape: shapeText, effect: true},
				{name: "port", shape: shapeInteger, effect: true, def: "443"},
				{name: "role", shape: shapeText, effect: true, words: roles},
				{name: "why", shape: shapeText, effect: true},
				{name: "ca", shape: shapeText, effect: true},
				{name: "tls", shape: shapeBool, effect: true, def: "true"},
			}},
			fieldSpec{name: "hosts", shape: shapeTextMap, effect: true},
			fieldSpec{name: "names", fields: []fieldSpec{
				{name: "fips", shape: shapeSwitch, effect: true, def: string(VariantAuto), words: variants},
				{name: "dualStack", shape: shapeSwitch, effect: true, def: string(VariantAuto), words: variants},
			}},
			fieldSpec{name: "privateOnly", shape: shapeBool, effect: true},
			fieldSpec{name: "anchors", shape: shapeTexts, effect: true},
			fieldSpec{name: "enforce", shape: shapeTexts, effect: true},
			fieldSpec{name: "waive", shape: shapeGroups, effect: true, fields: []fieldSpec{
				{name: "code", shape: shapeText, effect: true},
				{name: "reason", shape: shapeText, effect: true},
				{name: "until", shape: shapeText, effect: true},
			}},
			fieldSpec{name: "assumedHold", shape: shapeDuration, effect: true, def: "forever", words: []string{"forever"}},
			fieldSpec{name: "rejoinHold", shape: shapeDuration, effect: true, def: "2m", words: []string{"forever"}},
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
				{
					name: "compareDNS", shape: shapeText, effect: true, def: compareAWSNames,
					words: []string{compareAWSNames, compareAll, experimentOff},
				},
				{name: "directPath", shape: shapeText, effect: true, def: directPrivate, words: []string{directPrivate, experimentOff}},
				{name: "secondSNI", shape: shapeBool, effect: true, def: "true"},
				{name: "smallHello", shape: shapeBool, effect: true, def: "true"},
				{name: "mssClamp", shape: shapeBool, effect: true, def: "true"},
				{name: "udpTest", shape: shapeBool, effect: true, def: "true"},
				{name: "ntp", shape: shapeBool, effect: true, def: "true"},
			}},
			fieldSpec{name: "tagOverride", shape: shapeBool},
			fieldSpec{name: "failSafe", fields: []fieldSpec{
				{name: "after", shape: shapeDuration, def: "10m"},
				{name: "for", shape: shapeText, def: "joined-before", words: []string{"joined-before", "never"}},
			}},
			fieldSpec{name: "console", shape: shapeText, def: "full", words: []string{"full", "minimal", "off"}},
			fieldSpec{name: "metrics", shape: shapeText},
			fieldSpec{name: "locked", shape: shapeTexts, effect: true, appends: true},
		),
	}
}
