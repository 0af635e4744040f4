package bootstrap

// ExplainByInput folds what mistakes in the input explain into their findings.
func ExplainByInput(v Verdict) Verdict { return explainByInput(v) }
