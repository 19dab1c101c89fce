package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"time"
)

// certificateLife is far longer than a test cluster lives, and short enough to be harmless.
const certificateLife = 365 * 24 * time.Hour

// keyPair is a certificate with its key, stored as NAME.crt and NAME.key in the cluster's pki folder.
type keyPair struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// writePki makes every key of a cluster. Three authorities, because each one opens another door:
// "ca" signs the API server and the simulated kubelets (and certificate requests), "etcd-ca" lets in
// only the API server, "front-proxy-ca" vouches for the aggregator.
func writePki(c *cluster) error {
	serving := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	client := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	both := append(append([]x509.ExtKeyUsage{}, serving...), client...)

	authorities := map[string]*keyPair{}
	for _, name := range []string{"ca", "etcd-ca", "front-proxy-ca"} {
		pair, err := issue(nil, &x509.Certificate{
			Subject:               pkix.Name{CommonName: "roadstead-test-" + c.Name + "-" + name},
			IsCA:                  true,
			BasicConstraintsValid: true,
			KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		})
		if err != nil {
			return err
		}
		authorities[name] = pair
		if err := pair.write(c, name); err != nil {
			return err
		}
	}

	leaves := []struct {
		name, authority, common, organisation string
		usage                                 []x509.ExtKeyUsage
		hosts                                 []string
	}{
		{"apiserver", "ca", "kube-apiserver", "", serving, []string{"kubernetes", "kubernetes.default",
			"kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
		{"kubelet", "ca", "kubelet", "", serving, nil},
		{"apiserver-kubelet-client", "ca", "kube-apiserver-kubelet-client", "system:masters", client, nil},
		{"etcd", "etcd-ca", "etcd", "", both, nil},
		{"apiserver-etcd-client", "etcd-ca", "kube-apiserver-etcd-client", "", client, nil},
		{"front-proxy-client", "front-proxy-ca", "front-proxy-client", "", client, nil},
	}
	for _, leaf := range leaves {
		template := &x509.Certificate{
			Subject:     pkix.Name{CommonName: leaf.common},
			KeyUsage:    x509.KeyUsageDigitalSignature,
			ExtKeyUsage: leaf.usage,
			DNSNames:    append([]string{"localhost"}, leaf.hosts...),
			// 10.0.0.1 is the first address of the service range, where the API serves itself.
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv4(10, 0, 0, 1).To4()},
		}
		if leaf.organisation != "" {
			template.Subject.Organization = []string{leaf.organisation}
		}
		pair, err := issue(authorities[leaf.authority], template)
		if err != nil {
			return err
		}
		if err := pair.write(c, leaf.name); err != nil {
			return err
		}
	}

	signing, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return (&keyPair{key: signing}).write(c, "service-account")
}

// issue signs the template with the parent, or with its own key when there is none.
func issue(parent *keyPair, template *x509.Certificate) (*keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(certificateLife)
	signer := &keyPair{certificate: template, key: key}
	if parent != nil {
		signer = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer.certificate, &key.PublicKey, signer.key)
	if err != nil {
		return nil, fmt.Errorf("failed to sign the certificate of %s: %w", template.Subject.CommonName, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &keyPair{certificate: certificate, key: key}, nil
}

func (k *keyPair) write(c *cluster, name string) error {
	der, err := x509.MarshalECPrivateKey(k.key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(c.path("pki", name+".key"), text, 0o600); err != nil {
		return err
	}
	if k.certificate == nil {
		return nil
	}
	text = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.certificate.Raw})
	return os.WriteFile(c.path("pki", name+".crt"), text, 0o600)
}

func newToken() string {
	bytes := make([]byte, 24)
	_, _ = rand.Read(bytes) // never fails: it ends the process instead
	return hex.EncodeToString(bytes)
}
