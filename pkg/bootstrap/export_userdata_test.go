package bootstrap

// FieldPaths returns the path of every field below spec of NodeConfig and
// PrepConfig that holds a value, and whether this version does what it asks for.
func FieldPaths() map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for _, k := range []*documentKind{nodeConfigKind(), prepConfigKind()} {
		paths := map[string]bool{}
		leafPaths(findField(k.fields, "spec").fields, "spec", paths)
		out[k.kind] = paths
	}
	return out
}

func leafPaths(fields []fieldSpec, path string, out map[string]bool) {
	for _, f := range fields {
		here := joinPath(path, f.name)
		switch {
		case f.shape == shapeObject:
			leafPaths(f.fields, here, out)
		case f.shape == shapeGroups && f.effect:
			leafPaths(f.fields, here+"[]", out)
		default:
			out[here] = f.effect
		}
	}
}

// ConfigSkeleton is what the remedy of a missing configuration shows.
const ConfigSkeleton = configSkeleton
