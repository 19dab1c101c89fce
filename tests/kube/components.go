package main

import (
	"fmt"
	"strconv"
)

// portNames are the listeners of a cluster, all on 127.0.0.1.
var portNames = []string{"etcd", "etcd-peer", "kube-apiserver", "kwok", "workload-http", "workload-echo"}

// newProcesses lists a cluster's processes in the order they start. down ends them the other way round.
func newProcesses(c *cluster) []*process {
	return []*process{
		{Name: "etcd", Arguments: append([]string{"etcd"}, etcdFlags(c)...)},
		{Name: "kube-apiserver", Arguments: append([]string{"kube-apiserver"}, apiServerFlags(c)...)},
		{Name: "kube-controller-manager", Arguments: append([]string{"kube-controller-manager"}, controllerFlags(c)...)},
		{Name: "kube-scheduler", Arguments: append([]string{"kube-scheduler"}, schedulerFlags(c)...)},
		{Name: "workload", Program: "workload", Arguments: workloadFlags(c)},
		{Name: "kwok", Program: "kwok", Arguments: kwokFlags(c)},
	}
}

func etcdFlags(c *cluster) []string {
	client := c.loopback("https://", "etcd")
	peer := c.loopback("https://", "etcd-peer")
	return []string{
		"--name=" + c.Name,
		"--data-dir=" + c.path("etcd"),
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=" + c.Name + "=" + peer,
		"--client-cert-auth",
		"--trusted-ca-file=" + c.pki("etcd-ca.crt"),
		"--cert-file=" + c.pki("etcd.crt"),
		"--key-file=" + c.pki("etcd.key"),
		"--peer-client-cert-auth",
		"--peer-trusted-ca-file=" + c.pki("etcd-ca.crt"),
		"--peer-cert-file=" + c.pki("etcd.crt"),
		"--peer-key-file=" + c.pki("etcd.key"),
		// A test cluster's data need not outlive the machine, and fsync is most of the start.
		"--unsafe-no-fsync",
		"--log-level=warn",
	}
}

func apiServerFlags(c *cluster) []string {
	flags := []string{
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		"--secure-port=" + c.port("kube-apiserver"),
		"--etcd-servers=" + c.loopback("https://", "etcd"),
		"--etcd-cafile=" + c.pki("etcd-ca.crt"),
		"--etcd-certfile=" + c.pki("apiserver-etcd-client.crt"),
		"--etcd-keyfile=" + c.pki("apiserver-etcd-client.key"),
		"--tls-cert-file=" + c.pki("apiserver.crt"),
		"--tls-private-key-file=" + c.pki("apiserver.key"),
		"--client-ca-file=" + c.pki("ca.crt"),
		"--token-auth-file=" + c.path("tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.pki("service-account.key"),
		"--service-account-signing-key-file=" + c.pki("service-account.key"),
		"--service-cluster-ip-range=10.0.0.0/16",
		// An endpoint may not be a loopback address, and we have no other.
		"--endpoint-reconciler-type=none",
		"--allow-privileged",
		"--kubelet-certificate-authority=" + c.pki("ca.crt"),
		"--kubelet-client-certificate=" + c.pki("apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + c.pki("apiserver-kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + c.pki("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.pki("front-proxy-client.crt"),
		"--proxy-client-key-file=" + c.pki("front-proxy-client.key"),
	}
	if c.AuditLog {
		flags = append(flags,
			"--audit-policy-file="+c.path("audit-policy.yaml"),
			"--audit-log-path="+c.path("audit.log"),
			// Its default mode, blocking, writes the row before the answer: a test need not wait for it.
			"--audit-log-maxsize=200", // MB; one old file is kept, so a cluster writes 400 MB at most
			"--audit-log-maxbackup=1",
		)
	}
	return flags
}

func controllerFlags(c *cluster) []string {
	return []string{
		"--kubeconfig=" + c.path("controller-manager.kubeconfig"),
		"--use-service-account-credentials",
		"--service-account-private-key-file=" + c.pki("service-account.key"),
		"--root-ca-file=" + c.pki("ca.crt"),
		"--cluster-signing-cert-file=" + c.pki("ca.crt"),
		"--cluster-signing-key-file=" + c.pki("ca.key"),
		"--secure-port=0",
		"--leader-elect=false",
		// Seen with 2000 pods and a killed API server: all nodes counted as not ready for 5 s, so their
		// pods were marked not ready, and kwok, unlike a kubelet, never marks them ready again.
		"--node-monitor-grace-period=1h",
		// The default of 20 a second makes 2000 pods in 100 s.
		"--kube-api-qps=1000",
		"--kube-api-burst=2000",
	}
}

func schedulerFlags(c *cluster) []string {
	return []string{
		"--kubeconfig=" + c.path("scheduler.kubeconfig"),
		"--secure-port=0",
		"--leader-elect=false",
		"--kube-api-qps=1000", // see controllerFlags
		"--kube-api-burst=2000",
	}
}

func workloadFlags(c *cluster) []string {
	return []string{
		"-http=" + c.loopback("", "workload-http"),
		"-echo=" + c.loopback("", "workload-echo"),
		"-log=" + c.path("logs", "pods.log"),
	}
}

func kwokFlags(c *cluster) []string {
	return []string{
		"--kubeconfig=" + c.path("kwok.kubeconfig"),
		"--config=" + c.path("kwok.yaml"),
		"--manage-all-nodes=true",
		"--cidr=10.64.0.0/10", // the default holds 256 pods
		"--node-ip=127.0.0.1",
		"--node-port=" + c.port("kwok"),
		"--server-address=" + c.loopback("", "kwok"),
		"--tls-cert-file=" + c.pki("kubelet.crt"),
		"--tls-private-key-file=" + c.pki("kubelet.key"),
	}
}

func (c *cluster) pki(name string) string { return c.path("pki", name) }

func (c *cluster) port(name string) string { return strconv.Itoa(c.Ports[name]) }

func (c *cluster) loopback(scheme, name string) string {
	return fmt.Sprintf("%s127.0.0.1:%d", scheme, c.Ports[name])
}
