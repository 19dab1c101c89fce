// Command client is a program like those that people write with client-go: it goes through what the library offers and
// fails on the first thing that is not as it must be. tests/mesh runs it against a cluster through the hub.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// limit is longer than any step takes on a busy machine, and short enough that a hub that hangs is noticed.
const limit = 60 * time.Second

// perByte is what a step may take beyond that for each byte of exec: a megabyte a second, both ways.
const perByte = time.Microsecond

// client is what every step gets.
type client struct {
	config    *rest.Config
	typed     kubernetes.Interface
	namespace string
	bytes     int64
	forwards  int
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "the kubeconfig")
	namespace := flag.String("namespace", "client-go", "a namespace that is made and removed")
	size := flag.Int64("bytes", 8<<20, "bytes through exec, each way")
	only := flag.String("only", "", "only the steps whose name begins with this, after the pod")
	forwards := flag.Int("forwards", 50, "connections at once through one port-forward")
	flag.Parse()
	if err := run(*kubeconfig, *namespace, *only, *size, *forwards); err != nil {
		fmt.Fprintf(os.Stderr, "client: %v\n", err)
		os.Exit(1)
	}
}

func run(kubeconfig, namespace, only string, size int64, forwards int) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	// The library's own limit would be what is measured.
	config.QPS = -1
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	c := &client{config: config, typed: typed, namespace: namespace, bytes: size, forwards: forwards}
	space := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := typed.CoreV1().Namespaces().Create(context.Background(), space, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("failed to make the namespace: %w", err)
	}
	defer func() {
		_ = typed.CoreV1().Namespaces().Delete(context.Background(), namespace, metav1.DeleteOptions{})
	}()
	steps := []struct {
		name string
		run  func(context.Context, *client) error
	}{
		{"discovery", discover}, {"list by pages", pages}, {"protobuf", protobuf}, {"dynamic", dynamicClient},
		{"server-side apply", apply}, {"informer", informer}, {"scale", scale}, {"pod", pod}, {"logs", logs},
		{"exec over WebSocket", execute(webSocket)}, {"exec over SPDY", execute(spdyOnly)},
		{"exec with fallback", execute(fallback)}, {"port-forward over WebSocket", forward(webSocket)},
		{"port-forward over SPDY", forward(spdyOnly)},
	}
	for _, step := range steps {
		// Streams need the pod, whatever else is left out.
		if step.name != "pod" && !strings.HasPrefix(step.name, only) {
			continue
		}
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), limit+time.Duration(size)*perByte)
		err := step.run(ctx, c)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		fmt.Printf("%s: %d ms\n", step.name, time.Since(began).Milliseconds())
	}
	return nil
}

// answers looks at each answer that comes.
type answers struct {
	inner http.RoundTripper
	look  func(*http.Response)
}

func (a answers) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := a.inner.RoundTrip(request)
	if err == nil {
		a.look(response)
	}
	return response, err
}
