package main

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	credentialv1 "k8s.io/kubelet/config/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	sigsjson "sigs.k8s.io/json"
)

// decodeInto reads a document of the official type T, strictly.
func decodeInto[T runtime.Object](data []byte) (T, error) {
	var none T
	scheme := runtime.NewScheme()
	if err := errors.Join(kubeletv1beta1.AddToScheme(scheme), credentialv1.AddToScheme(scheme)); err != nil {
		return none, err
	}
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	object, kind, err := codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return none, err
	}
	typed, ok := object.(T)
	if !ok {
		return none, fmt.Errorf("unknown apiVersion/kind: %v", kind)
	}
	return typed, nil
}

// loadConfig reads the configuration file and merges the drop-ins over it:
// files named *.conf in lexical order, subdirectories included, as JSON merge
// patches (KEP-3983).
func loadConfig(file, dir string) (*kubeletv1beta1.KubeletConfiguration, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("failed to load kubelet config file: %w", err)
	}
	config, err := decodeInto[*kubeletv1beta1.KubeletConfiguration](data)
	if err != nil {
		return nil, fmt.Errorf("failed to load kubelet config file, path: %s, error: %w", file, err)
	}
	if dir == "" {
		return config, nil
	}
	merged, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".conf" {
			return err
		}
		dropIn, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, err := decodeInto[*kubeletv1beta1.KubeletConfiguration](dropIn); err != nil {
			return fmt.Errorf("failed to load kubelet dropin file, path: %s, error: %w", path, err)
		}
		if merged, err = jsonpatch.MergePatch(merged, dropIn); err != nil {
			return fmt.Errorf("failed to merge drop-in %s and current config: %w", path, err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("failed to walk through kubelet dropin directory %q: %w", dir, err)
	}
	config = &kubeletv1beta1.KubeletConfiguration{}
	if problems, err := sigsjson.UnmarshalStrict(merged, config); err != nil || len(problems) > 0 {
		return nil, fmt.Errorf("failed to unmarshal merged JSON into kubelet configuration: %w", errors.Join(append(problems, err)...))
	}
	return config, nil
}

// validate refuses what a kubelet exits on although it decodes.
func validate(c *kubeletv1beta1.KubeletConfiguration) error {
	var errs []error
	for field, quantities := range map[string]map[string]string{"kubeReserved": c.KubeReserved, "systemReserved": c.SystemReserved} {
		for name, text := range quantities {
			if q, err := resource.ParseQuantity(text); err != nil || q.Sign() < 0 {
				errs = append(errs, fmt.Errorf("%s: %s %q is not a quantity", field, name, text))
			}
		}
	}
	for _, text := range c.ClusterDNS {
		if _, err := netip.ParseAddr(text); err != nil {
			errs = append(errs, fmt.Errorf("clusterDNS: %w", err))
		}
	}
	if c.MaxPods < 0 {
		errs = append(errs, fmt.Errorf("maxPods: %d is negative", c.MaxPods))
	}
	if c.ShutdownGracePeriodCriticalPods.Duration > c.ShutdownGracePeriod.Duration {
		errs = append(errs, errors.New("shutdownGracePeriodCriticalPods is longer than shutdownGracePeriod"))
	}
	if file := c.Authentication.X509.ClientCAFile; file != "" {
		pem, err := os.ReadFile(file)
		if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
			err = errors.New("it has no certificate")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("unable to load client CA file %s: %w", file, err))
		}
	}
	return errors.Join(errs...)
}

// checkCredentialProvider decodes the configuration of the image credential
// provider. Missing plugins are returned: a kubelet would exit, but the lab's
// node pulls no images.
func checkCredentialProvider(o options) (missing []string, err error) {
	if (o.providerConfig == "") != (o.providerBinDir == "") {
		return nil, errors.New("image credential provider config and bin dir must be given together")
	}
	if o.providerConfig == "" {
		return nil, nil
	}
	data, err := os.ReadFile(o.providerConfig)
	if err != nil {
		return nil, fmt.Errorf("failed to register CRI auth plugins: %w", err)
	}
	config, err := decodeInto[*credentialv1.CredentialProviderConfig](data)
	if err != nil {
		return nil, fmt.Errorf("failed to register CRI auth plugins: %s: %w", o.providerConfig, err)
	}
	for _, p := range config.Providers {
		if path := filepath.Join(o.providerBinDir, p.Name); len(p.MatchImages) == 0 || p.DefaultCacheDuration == nil {
			return nil, fmt.Errorf("failed to register CRI auth plugins: provider %s lacks matchImages or defaultCacheDuration", p.Name)
		} else if _, err := os.Stat(path); err != nil {
			missing = append(missing, path)
		}
	}
	return missing, nil
}
