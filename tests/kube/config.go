package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// auditPolicy records who did what, without bodies. Leases are left out: every node renews one all
// the time, and no test asks for them.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  resources: [{group: coordination.k8s.io, resources: [leases]}]
- level: None
  nonResourceURLs: ["/healthz*", "/livez*", "/readyz*"]
- level: Metadata
`

// firstLogLines is what the log of a simulated pod starts with; the workload adds to it.
const firstLogLines = `2026-01-01T00:00:00.000000000Z stdout F roadstead: simulated pod starts
2026-01-01T00:00:01.000000000Z stdout F roadstead: listening
2026-01-01T00:00:02.000000000Z stderr F roadstead: a line on stderr
2026-01-01T00:00:03.000000000Z stdout F roadstead: ready
`

const previousLogLines = `2025-12-31T23:59:58.000000000Z stdout F roadstead: simulated pod of the last run
2025-12-31T23:59:59.000000000Z stderr F roadstead: ended
`

// writeFiles writes all that the processes read.
func writeFiles(c *cluster) error {
	for _, folder := range []string{"pki", "logs", "work"} {
		if err := os.MkdirAll(c.path(folder), 0o700); err != nil {
			return err
		}
	}
	if err := writePki(c); err != nil {
		return err
	}
	if err := writeUsers(c); err != nil {
		return err
	}
	kwok, err := kwokConfig(c)
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"audit-policy.yaml":      auditPolicy,
		"kwok.yaml":              kwok,
		"logs/pods.log":          firstLogLines,
		"logs/pods-previous.log": previousLogLines,
	} {
		if err := os.WriteFile(c.path(name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// writeUsers gives each client a user, a random token and a kubeconfig of its own. The controller
// manager and the scheduler get their rights from the roles every cluster has.
func writeUsers(c *cluster) error {
	authority, err := os.ReadFile(c.pki("ca.crt"))
	if err != nil {
		return err
	}
	var tokens strings.Builder
	for _, user := range []struct{ file, name, group string }{
		{"kubeconfig", "admin", "system:masters"},
		{"kwok.kubeconfig", "kwok", "system:masters"},
		{"controller-manager.kubeconfig", "system:kube-controller-manager", ""},
		{"scheduler.kubeconfig", "system:kube-scheduler", ""},
	} {
		token := newToken()
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", token, user.name, user.name, user.group)
		config := clientcmdapi.NewConfig()
		config.Clusters[c.Name] = &clientcmdapi.Cluster{Server: c.server(), CertificateAuthorityData: authority}
		config.AuthInfos[user.name] = &clientcmdapi.AuthInfo{Token: token}
		config.Contexts[c.Name] = &clientcmdapi.Context{Cluster: c.Name, AuthInfo: user.name}
		config.CurrentContext = c.Name
		if err := clientcmd.WriteToFile(*config, c.path(user.file)); err != nil {
			return err
		}
	}
	return os.WriteFile(c.path("tokens.csv"), []byte(tokens.String()), 0o600)
}

// kwokConfig joins kwok's own stages (build.sh laid them beside this program) with what a simulated
// pod answers to logs, attach, exec and port-forward.
func kwokConfig(c *cluster) (string, error) {
	folder, err := programPath("stages")
	if err != nil {
		return "", err
	}
	stages, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(stages) == 0 {
		return "", fmt.Errorf("failed to find kwok's stages in %s", folder)
	}
	var documents []string
	for _, stage := range stages {
		text, err := os.ReadFile(stage)
		if err != nil {
			return "", err
		}
		documents = append(documents, string(text))
	}

	type object = map[string]any
	target := func(name string) object { return object{"address": "127.0.0.1", "port": c.Ports[name]} }
	specs := []struct {
		kind string
		spec object
	}{
		{"ClusterLogs", object{"logs": []object{{
			"logsFile":         c.path("logs", "pods.log"),
			"previousLogsFile": c.path("logs", "pods-previous.log"),
		}}}},
		{"ClusterAttach", object{"attaches": []object{{"logsFile": c.path("logs", "pods.log")}}}},
		// kwok runs it with its own environment, see process.start.
		{"ClusterExec", object{"execs": []object{{"local": object{"workDir": c.path("work")}}}}},
		{"ClusterPortForward", object{"forwards": []object{
			{"ports": []int{7}, "target": target("workload-echo")}, // the echo port of RFC 862
			{"target": target("workload-http")},
		}}},
	}
	for _, entry := range specs {
		// JSON is YAML, and quotes paths right.
		text, err := json.Marshal(object{
			"apiVersion": "kwok.x-k8s.io/v1alpha1",
			"kind":       entry.kind,
			"metadata":   object{"name": "roadstead"},
			"spec":       entry.spec,
		})
		if err != nil {
			return "", err
		}
		documents = append(documents, string(text)+"\n")
	}
	return strings.Join(documents, "---\n"), nil
}
