package main

import (
	"context"
	"net"
	"net/http"
	"strconv"
	"time"

	"k8s.io/klog/v2"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
)

// The kubelet's defaults for healthzBindAddress and healthzPort, and how long
// it waits before it tries again to listen.
const (
	healthzAddress = "127.0.0.1"
	healthzPort    = 10248
	listenAgain    = 5 * time.Second
)

// serveHealthz answers /healthz with ok until the context ends. As in the
// kubelet a port that is taken is logged and tried again.
func serveHealthz(ctx context.Context, c *kubeletv1beta1.KubeletConfiguration) {
	host, port := c.HealthzBindAddress, healthzPort
	if host == "" {
		host = healthzAddress
	}
	if c.HealthzPort != nil {
		port = int(*c.HealthzPort)
	}
	if port == 0 {
		return
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		// The client may have gone away; there is nobody to tell.
		_, _ = w.Write([]byte("ok"))
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: listenAgain}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	for {
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err == nil {
			err = server.Serve(listener)
		}
		if ctx.Err() != nil {
			return
		}
		klog.ErrorS(err, "Failed to start healthz server")
		if !wait(ctx, listenAgain) {
			return
		}
	}
}

// wait pauses and reports whether the context is still there afterwards.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
