package kubelet

// kubeconfig gives the kubelet the cluster's address and CA, and the program
// that signs its tokens. JSON is YAML, and what kubectl writes for -o json.
//
// The exec API is v1, which every supported kubelet speaks; the peers still
// write v1beta1. interactiveMode is required there: a kubelet has no terminal.
// See https://kubernetes.io/docs/reference/config-api/client-authentication.v1/
func kubeconfig(p Params) object {
	return object{
		"apiVersion": "v1",
		"kind":       "Config",
		"clusters": []object{{
			"name": "kubernetes",
			"cluster": object{
				"certificate-authority": CAPath,
				"server":                p.APIServer,
			},
		}},
		"contexts": []object{{
			"name":    "kubelet",
			"context": object{"cluster": "kubernetes", "user": "kubelet"},
		}},
		"current-context": "kubelet",
		"users": []object{{
			"name": "kubelet",
			"user": object{"exec": object{
				"apiVersion":         "client.authentication.k8s.io/v1",
				"command":            p.TokenBinary,
				"args":               []string{"token", "--cluster-name", p.ClusterName, "--region", p.Region},
				"interactiveMode":    "Never",
				"provideClusterInfo": false,
			}},
		}},
	}
}

// credentialProviderConfig makes the kubelet ask the ECR credential provider
// for images of every partition's private registries, and of the public ones.
// The patterns are those of the EKS images.
func credentialProviderConfig(v Version) object {
	images := []string{
		"*.dkr.ecr.*.amazonaws.com",
		"*.dkr-ecr.*.on.aws",
		"*.dkr.ecr.*.amazonaws.com.cn",
		"*.dkr-ecr.*.on.amazonwebservices.com.cn",
		"*.dkr.ecr-fips.*.amazonaws.com",
		"*.dkr-ecr-fips.*.on.aws",
		"*.dkr.ecr.*.c2s.ic.gov",
		"*.dkr.ecr.*.sc2s.sgov.gov",
		"*.dkr.ecr.*.cloud.adc-e.uk",
		"*.dkr.ecr.*.csp.hci.ic.gov",
		"*.dkr.ecr.*.amazonaws.eu",
		"public.ecr.aws",
	}
	if v.AtLeast(1, 32) {
		images = append(images, "ecr-public.aws.com")
	}
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1",
		"kind":       "CredentialProviderConfig",
		"providers": []object{{
			"name":                 "ecr-credential-provider",
			"apiVersion":           "credentialprovider.kubelet.k8s.io/v1",
			"matchImages":          images,
			"defaultCacheDuration": "12h0m0s",
		}},
	}
}
