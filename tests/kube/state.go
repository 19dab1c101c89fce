package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
)

// nameRule keeps a cluster's name usable as a folder, a context and the start of a node's name.
var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

// store is the folder that holds one folder for each cluster.
type store struct{ root string }

// cluster is what cluster.json says. It is written after every change, so that down finds each
// process even when up was ended half way.
type cluster struct {
	Name      string         `json:"name"`
	Ports     map[string]int `json:"ports"`
	AuditLog  bool           `json:"auditLog"`
	Ready     bool           `json:"ready"`
	Processes []*process     `json:"processes"`

	folder string
}

func openStore(folder string) (*store, error) {
	if folder == "" {
		folder = os.Getenv(stateVariable)
	}
	if folder == "" {
		// Not os.UserCacheDir: build.sh uses this rule too, and on every system.
		cache := os.Getenv("XDG_CACHE_HOME")
		if cache == "" {
			home, err := os.UserHomeDir()
			if err != nil {
				return nil, fmt.Errorf("failed to find a folder for clusters, set %s: %w", stateVariable, err)
			}
			cache = filepath.Join(home, ".cache")
		}
		folder = filepath.Join(cache, "roadstead", "kube")
	}
	root, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	// Keys and tokens live below: nobody else reads them.
	if err := os.MkdirAll(filepath.Join(root, ".locks"), 0o700); err != nil {
		return nil, fmt.Errorf("failed to make the folder of clusters: %w", err)
	}
	return &store{root: root}, nil
}

// lock waits until no other command changes this cluster. Lock files stay: removing one races with
// a waiter that has it open.
func (s *store) lock(name string) (func(), error) {
	if !nameRule.MatchString(name) {
		return nil, fmt.Errorf("%q is no cluster name: small letters, digits and '-', 40 at most", name)
	}
	file, err := os.OpenFile(filepath.Join(s.root, ".locks", name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("failed to open the lock of cluster %s: %w", name, err)
	}
	for {
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("failed to lock cluster %s: %w", name, err)
	}
	return func() { _ = file.Close() }, nil
}

// find returns nil when there is no such cluster.
func (s *store) find(name string) (*cluster, error) {
	if !nameRule.MatchString(name) {
		return nil, fmt.Errorf("%q is no cluster name", name)
	}
	found := &cluster{folder: filepath.Join(s.root, name)}
	text, err := os.ReadFile(found.path("cluster.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("failed to read the state of cluster %s: %w", name, err)
	}
	if err := json.Unmarshal(text, found); err != nil {
		return nil, fmt.Errorf("failed to decode the state of cluster %s: %w", name, err)
	}
	return found, nil
}

func (s *store) existing(name string) (*cluster, error) {
	found, err := s.find(name)
	if err == nil && found == nil {
		err = fmt.Errorf("there is no cluster %s", name)
	}
	return found, err
}

func (s *store) all() ([]*cluster, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, err
	}
	var clusters []*cluster
	for _, entry := range entries {
		if !entry.IsDir() || !nameRule.MatchString(entry.Name()) {
			continue
		}
		found, err := s.find(entry.Name())
		if err != nil {
			return nil, err
		}
		if found != nil {
			clusters = append(clusters, found)
		}
	}
	return clusters, nil
}

func (c *cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.folder}, parts...)...)
}

func (c *cluster) kubeconfig() string { return c.path("kubeconfig") }

func (c *cluster) server() string {
	return fmt.Sprintf("https://127.0.0.1:%d", c.Ports["kube-apiserver"])
}

func (c *cluster) save() error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return writeWhole(c.path("cluster.json"), text)
}

func (c *cluster) process(name string) *process {
	for _, process := range c.Processes {
		if process.Name == name {
			return process
		}
	}
	return nil
}

func (c *cluster) state() string {
	running := 0
	for _, process := range c.Processes {
		if process.alive() {
			running++
		}
	}
	switch {
	case running == 0:
		return "stopped"
	case !c.Ready:
		return "starting"
	case running < len(c.Processes):
		return "degraded"
	default:
		return "running"
	}
}

// writeWhole never leaves half a file: a reader sees the old text or the new one.
func writeWhole(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
