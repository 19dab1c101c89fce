package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

type upOptions struct {
	nodes, pods int
	auditLog    bool
	timeout     time.Duration
}

// errEndedEarly says that a process ended before the cluster was ready, as it does when somebody
// took its port in between.
var errEndedEarly = errors.New("ended before the cluster was ready")

// up returns the kubeconfig of a ready cluster.
func up(ctx context.Context, s *store, name string, options upOptions) (string, error) {
	unlock, err := s.lock(name)
	if err != nil {
		return "", err
	}
	defer unlock()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(ctx, options.timeout)
	defer cancel()

	c, err := s.find(name)
	if err != nil {
		return "", err
	}
	if c != nil && c.Ready && c.state() != "stopped" {
		if err := startMissing(ctx, c); err != nil {
			return "", err
		}
	} else if c, err = startFresh(ctx, s, name, options); err != nil {
		return "", err
	}
	if err := ensureNodes(ctx, c, options.nodes); err != nil {
		return "", err
	}
	note("cluster %s is ready after %.1f s", name, time.Since(begin).Seconds())
	if options.pods > 0 {
		pods := loadOptions{pods: options.pods, namespace: "load", wait: true, timeout: options.timeout}
		if err := load(ctx, c, pods); err != nil {
			return "", err
		}
	}
	return c.kubeconfig(), nil
}

// startFresh makes a new cluster where there is none, or only the remains of one.
func startFresh(ctx context.Context, s *store, name string, options upOptions) (*cluster, error) {
	const attempts = 3 // a port lost to somebody else is rare, twice in a row is something else
	for attempt := 1; ; attempt++ {
		c, err := startOnce(ctx, s, name, options)
		if err == nil {
			return c, nil
		}
		if !errors.Is(err, errEndedEarly) || attempt == attempts {
			if keep := keepLogs(s, name); keep != "" {
				err = fmt.Errorf("%w (logs kept in %s)", err, keep)
			}
			return nil, errors.Join(err, remove(s, name))
		}
		note("cluster %s: %v, trying again", name, err)
	}
}

func startOnce(ctx context.Context, s *store, name string, options upOptions) (*cluster, error) {
	if err := remove(s, name); err != nil {
		return nil, err
	}
	c := &cluster{Name: name, AuditLog: options.auditLog}
	c.folder = s.folder(name)
	var err error
	if c.Ports, err = pickPorts(s, portNames...); err != nil {
		return nil, err
	}
	if err := os.Mkdir(c.folder, 0o700); err != nil {
		return nil, fmt.Errorf("failed to make the folder of cluster %s: %w", name, err)
	}
	if err := c.save(); err != nil {
		return nil, err
	}
	if err := writeFiles(c); err != nil {
		return nil, fmt.Errorf("failed to write the files of cluster %s: %w", name, err)
	}
	c.Processes = newProcesses(c)
	if err := startMissing(ctx, c); err != nil {
		return nil, err
	}
	c.Ready = true
	return c, c.save()
}

// startMissing starts each process that does not run, and waits until the cluster answers.
func startMissing(ctx context.Context, c *cluster) error {
	// etcd and the API server first; the others end when they find no API server.
	early, late := c.Processes[:2], c.Processes[2:]
	for _, group := range [][]*process{early, late} {
		for _, process := range group {
			if process.alive() {
				continue
			}
			if err := process.start(c); err != nil {
				return err
			}
			if err := c.save(); err != nil {
				return err
			}
		}
		if err := waitReady(ctx, c, group); err != nil {
			return err
		}
	}
	return nil
}

// keepLogs moves the logs of a cluster that did not start out of the way of its removal. Only the
// last failure of a name is kept.
func keepLogs(s *store, name string) string {
	keep := s.folder(".failed-" + name)
	_ = os.RemoveAll(keep)
	if os.Rename(filepath.Join(s.folder(name), "logs"), keep) != nil {
		return ""
	}
	return keep
}
