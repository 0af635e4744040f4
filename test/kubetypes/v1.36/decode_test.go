package kubetypes_test

import (
	"encoding/json"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	clientcmdv1 "k8s.io/client-go/tools/clientcmd/api/v1"
	credentialv1 "k8s.io/kubelet/config/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"

	"github.com/nodeprep/nodeprep/pkg/bootstrap/kubelet"
	"github.com/nodeprep/nodeprep/test/kubetypes/rendered"
)

// decode reads a document with the official types, strictly.
func decode(t *testing.T, data []byte) (runtime.Object, error) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{kubeletv1beta1.AddToScheme, credentialv1.AddToScheme, clientcmdv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	object, _, err := codecs.UniversalDeserializer().Decode(data, nil, nil)
	return object, err
}

// as decodes a document that must be of type T.
func as[T runtime.Object](t *testing.T, data []byte) T {
	t.Helper()
	object, err := decode(t, data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	typed, ok := object.(T)
	if !ok {
		t.Fatalf("a document of type %T\n%s", object, data)
	}
	return typed
}

func render(t *testing.T, p kubelet.Params) map[string][]byte {
	t.Helper()
	files, err := kubelet.Render(p)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		out[f.Path] = f.Data
	}
	return out
}

func TestOfficialTypesDecodeStrictly(t *testing.T) {
	t.Parallel()
	for name, p := range rendered.Cases(minor) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := render(t, p)
			checkConfiguration(t, p, as[*kubeletv1beta1.KubeletConfiguration](t, files[kubelet.ConfigPath]))
			checkKubeconfig(t, p, files[kubelet.KubeconfigPath])
			checkCredentialProvider(t, p, as[*credentialv1.CredentialProviderConfig](t, files[kubelet.CredentialProviderConfigPath]))

			dropIn, given := files[kubelet.DropInPath]
			if given != (len(p.UserConfig) > 0) {
				t.Errorf("drop-in: %v", given)
			}
			if given {
				c := as[*kubeletv1beta1.KubeletConfiguration](t, dropIn)
				if c.MaxPods != 110 || len(c.RegisterWithTaints) != 1 || c.ShutdownGracePeriod.Duration != time.Minute {
					t.Errorf("drop-in %+v", c)
				}
			}
		})
	}
}

func checkConfiguration(t *testing.T, p kubelet.Params, c *kubeletv1beta1.KubeletConfiguration) {
	t.Helper()
	if int(c.MaxPods) != p.MaxPods || c.ProviderID != p.ProviderID {
		t.Errorf("maxPods %d, providerID %s", c.MaxPods, c.ProviderID)
	}
	if len(c.ClusterDNS) != 1 || c.ClusterDNS[0] != p.ClusterDNS[0].String() || c.ClusterDomain != "cluster.local" {
		t.Errorf("clusterDNS %v, clusterDomain %s", c.ClusterDNS, c.ClusterDomain)
	}
	if a := c.Authentication; a.Anonymous.Enabled == nil || *a.Anonymous.Enabled || a.Webhook.Enabled == nil || !*a.Webhook.Enabled ||
		a.Webhook.CacheTTL.Duration != 2*time.Minute || a.X509.ClientCAFile != kubelet.CAPath {
		t.Errorf("authentication %+v", a)
	}
	if a := c.Authorization; a.Mode != kubeletv1beta1.KubeletAuthorizationModeWebhook ||
		a.Webhook.CacheAuthorizedTTL.Duration != 5*time.Minute || a.Webhook.CacheUnauthorizedTTL.Duration != 30*time.Second {
		t.Errorf("authorization %+v", a)
	}
	for name, value := range c.KubeReserved {
		if _, err := resource.ParseQuantity(value); err != nil {
			t.Errorf("kubeReserved.%s %q: %v", name, value, err)
		}
	}
	if want := strconv.Itoa(11*p.MaxPods+255) + "Mi"; c.KubeReserved["memory"] != want {
		t.Errorf("kubeReserved %v, want memory %s", c.KubeReserved, want)
	}
	if c.Address != "0.0.0.0" || c.ReadOnlyPort != 0 || c.CgroupDriver != "systemd" || c.CgroupRoot != "/" ||
		c.ContainerRuntimeEndpoint != "unix:///run/containerd/containerd.sock" || c.HairpinMode != "hairpin-veth" ||
		!c.ProtectKernelDefaults || !c.ServerTLSBootstrap || c.SerializeImagePulls == nil || *c.SerializeImagePulls ||
		c.KubeReservedCgroup != "/runtime" || c.SystemReservedCgroup != "/system" || c.Logging.Verbosity != 2 ||
		len(c.TLSCipherSuites) != 8 || len(c.EvictionHard) != 3 {
		t.Errorf("defaults of the EKS images are not all there: %+v", c)
	}
	// What 1.34 added must not be there before, nor for an unknown version.
	newer := !p.Version.IsZero() && p.Version.Minor >= 34
	if (c.ShutdownGracePeriod.Duration == 150*time.Second) != newer || (c.ShutdownGracePeriodCriticalPods.Duration == 30*time.Second) != newer {
		t.Errorf("shutdown grace %v and %v", c.ShutdownGracePeriod, c.ShutdownGracePeriodCriticalPods)
	}
	if !c.FeatureGates["RotateKubeletServerCertificate"] || c.FeatureGates["MutableCSINodeAllocatableCount"] != newer {
		t.Errorf("feature gates %v", c.FeatureGates)
	}
}

func checkKubeconfig(t *testing.T, p kubelet.Params, data []byte) {
	t.Helper()
	as[*clientcmdv1.Config](t, data)
	config, err := clientcmd.Load(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := clientcmd.Validate(*config); err != nil && !strings.Contains(err.Error(), kubelet.CAPath) {
		// Only the CA file may be missing: it is on the node, not here.
		t.Error(err)
	}
	context := config.Contexts[config.CurrentContext]
	cluster, user := config.Clusters[context.Cluster], config.AuthInfos[context.AuthInfo]
	if cluster.Server != p.APIServer || cluster.CertificateAuthority != kubelet.CAPath {
		t.Errorf("cluster %+v", cluster)
	}
	e := user.Exec
	if e.Command != p.TokenBinary || e.APIVersion != "client.authentication.k8s.io/v1" ||
		e.InteractiveMode != clientcmdapi.NeverExecInteractiveMode || e.ProvideClusterInfo ||
		strings.Join(e.Args, " ") != "token --cluster-name blue --region us-west-2" {
		t.Errorf("exec %+v", e)
	}
}

func checkCredentialProvider(t *testing.T, p kubelet.Params, c *credentialv1.CredentialProviderConfig) {
	t.Helper()
	if len(c.Providers) != 1 {
		t.Fatalf("%d providers", len(c.Providers))
	}
	provider := c.Providers[0]
	want := 12
	if p.Version.Minor >= 32 {
		want = 13
	}
	if provider.Name != "ecr-credential-provider" || provider.APIVersion != "credentialprovider.kubelet.k8s.io/v1" ||
		provider.DefaultCacheDuration == nil || provider.DefaultCacheDuration.Duration != 12*time.Hour || len(provider.MatchImages) != want {
		t.Errorf("provider %+v", provider)
	}
}

// Without this the test above could pass because nothing is strict.
func TestStrict(t *testing.T) {
	t.Parallel()
	for _, p := range []string{kubelet.ConfigPath, kubelet.KubeconfigPath, kubelet.CredentialProviderConfigPath} {
		var document map[string]any
		if err := json.Unmarshal(render(t, rendered.Cases(minor)["plain"])[p], &document); err != nil {
			t.Fatal(err)
		}
		document["maxPodz"] = 1
		data, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(t, data); !runtime.IsStrictDecodingError(err) {
			t.Errorf("%s with an unknown field: %v", p, err)
		}
	}
	if _, err := decode(t, []byte(`{"apiVersion":"v2","kind":"Config"}`)); !runtime.IsNotRegisteredError(err) {
		t.Errorf("a kind that is not there: %v", err)
	}
}

// The types are those of the minor that the folder promises.
func TestVersionOfTypes(t *testing.T) {
	t.Parallel()
	// The build information of a test binary lists no modules.
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := "\tk8s.io/kubelet v0." + strconv.Itoa(minor) + "."
	if !strings.Contains(string(mod), want) {
		t.Errorf("go.mod does not require %s", strings.TrimSpace(want))
	}
}
