package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/version"
)

// pollEvery is short against the 3 s that a cluster takes, and a poll costs next to nothing.
const pollEvery = 50 * time.Millisecond

func (c *cluster) client() (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("failed to read the kubeconfig of cluster %s: %w", c.Name, err)
	}
	config.QPS, config.Burst = 200, 400 // the defaults (5, 10) are for guests
	config.Timeout = 30 * time.Second
	// The server may log a deprecation; it is none of the caller's business.
	config.WarningHandler = rest.NoWarnings{}
	return kubernetes.NewForConfig(config)
}

// waitReady waits for /readyz, and stops early when one of the processes is gone.
func waitReady(ctx context.Context, c *cluster, started []*process) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	return poll(ctx, "cluster "+c.Name+" to be ready", func() (bool, error) {
		for _, process := range started {
			if !process.alive() {
				return false, fmt.Errorf("%s %w: %s", process.Name, errEndedEarly, lastLine(c, process.Name))
			}
		}
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		return client.Discovery().RESTClient().Get().AbsPath("/readyz").Do(attempt).Error() == nil, nil
	})
}

// ensureNodes makes the missing ones of count simulated nodes, and waits until pods can run on them.
func ensureNodes(ctx context.Context, c *cluster, count int) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	for index := range count {
		node := newNode(fmt.Sprintf("%s-node-%d", c.Name, index))
		_, err := client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("failed to create node %s: %w", node.Name, err)
		}
	}
	return poll(ctx, "nodes of cluster "+c.Name+" to be ready", func() (bool, error) {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, nil
		}
		ready := 0
		for _, node := range nodes.Items {
			if usable(&node) {
				ready++
			}
		}
		// A pod is refused while its namespace has no service account.
		_, err = client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return ready >= count && err == nil, nil
	})
}

func newNode(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{"kwok.x-k8s.io/node": "fake", "node.alpha.kubernetes.io/ttl": "0"},
			Labels: map[string]string{
				"kubernetes.io/arch":          "amd64",
				"kubernetes.io/hostname":      name,
				"kubernetes.io/os":            "linux",
				"node-role.kubernetes.io/sim": "",
				"type":                        "kwok",
			},
		},
		// kwok fills in the rest. Not the addresses: its stage node-initialize takes them away when it
		// runs a second time (the node was not ready for a while) and either kind is missing.
		Status: corev1.NodeStatus{
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeInternalIP, Address: "127.0.0.1"},
				{Type: corev1.NodeHostName, Address: name},
			},
			NodeInfo: corev1.NodeSystemInfo{KubeletVersion: version.Get().GitVersion, OSImage: "simulated"},
		},
	}
}

// usable says whether the scheduler may choose the node: ready, and the taint of a new node is gone.
func usable(node *corev1.Node) bool {
	for _, taint := range node.Spec.Taints {
		if taint.Key == corev1.TaintNodeNotReady {
			return false
		}
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func poll(ctx context.Context, what string, done func() (bool, error)) error {
	for {
		finished, err := done()
		if err != nil || finished {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up waiting for %s: %w", what, ctx.Err())
		case <-time.After(pollEvery):
		}
	}
}

func lastLine(c *cluster, process string) string {
	text, _ := os.ReadFile(c.path("logs", process+".log"))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}
