package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// kwokGrace lets kwok end the commands that exec runs in simulated pods.
const kwokGrace = 3 * time.Second

// killGrace is how long a killed process may take to go; longer means the system is stuck.
const killGrace = 10 * time.Second

func down(s *store, name string) error {
	unlock, err := s.lock(name)
	if err != nil {
		return err
	}
	defer unlock()
	_ = os.RemoveAll(s.folder(".failed-" + name))
	return remove(s, name)
}

func (s *store) folder(name string) string { return filepath.Join(s.root, name) }

// remove ends what the cluster started and takes its folder away. The caller holds the lock.
func remove(s *store, name string) error {
	c, err := s.find(name)
	if err != nil {
		return err
	}
	if c != nil {
		if err := c.endProcesses(); err != nil {
			return err // the folder stays: it is the only record of what still runs
		}
	}
	if err := os.RemoveAll(s.folder(name)); err != nil {
		return fmt.Errorf("failed to remove the folder of cluster %s: %w", name, err)
	}
	return nil
}

// endProcesses does not ask politely, except kwok: the data goes away with the processes, and the
// API server would first wait for its watchers.
func (c *cluster) endProcesses() error {
	if kwok := c.process("kwok"); kwok != nil {
		if err := kwok.signal(syscall.SIGTERM); err != nil {
			return err
		}
		kwok.waitEnd(kwokGrace)
	}
	var failures []error
	for index := len(c.Processes) - 1; index >= 0; index-- {
		failures = append(failures, c.Processes[index].signal(syscall.SIGKILL))
	}
	for _, process := range c.Processes {
		if !process.waitEnd(killGrace) {
			failures = append(failures, fmt.Errorf("%s (process %d) did not end", process.Name, process.Pid))
		}
	}
	return errors.Join(failures...)
}
