package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
)

// version is the kubelet that this program claims to be.
const version = "v1.36.3"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		klog.ErrorS(err, "command failed")
		klog.Flush()
		os.Exit(1) //nolint:forbidigo // this is main
	}
	klog.Flush()
}

// run is a kubelet's life. It ends with the context, or with an error that a
// kubelet exits on.
func run(ctx context.Context, args []string) error {
	o, err := parseFlags(args)
	if err != nil {
		return err
	}
	if o.version != "false" {
		_, err := fmt.Fprintf(os.Stdout, "Kubernetes %s\n", version)
		return err
	}
	if o.config == "" || o.kubeconfig == "" {
		return errors.New("the stand-in needs --config and --kubeconfig")
	}
	config, err := loadConfig(o.config, o.configDir)
	if err != nil {
		return err
	}
	if err := validate(config); err != nil {
		return fmt.Errorf("failed to validate kubelet configuration, path: %s: %w", o.config, err)
	}
	missing, err := checkCredentialProvider(o)
	if err != nil {
		return err
	}
	for _, path := range missing {
		klog.InfoS("A kubelet would exit: credential provider plugin does not exist", "path", path)
	}
	access, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("invalid kubeconfig: %w", err)
	}
	api, err := newClient(access)
	if err != nil {
		return fmt.Errorf("failed to initialize kubelet client: %w", err)
	}
	n, err := newNode(o, config)
	if err != nil {
		return err
	}
	klog.InfoS("Kubelet version", "kubeletVersion", version)
	go serveHealthz(ctx, config)
	return n.join(ctx, api)
}
