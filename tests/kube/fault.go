package main

import (
	"context"
	"fmt"
	"syscall"
	"time"
)

// kill ends one process as a crash would. It does not come back before resume.
func kill(s *store, name, which string) error {
	unlock, err := s.lock(name)
	if err != nil {
		return err
	}
	defer unlock()
	c, err := s.existing(name)
	if err != nil {
		return err
	}
	process := c.process(which)
	if process == nil {
		return fmt.Errorf("cluster %s has no process %s", name, which)
	}
	if err := process.signal(syscall.SIGKILL); err != nil {
		return err
	}
	if !process.waitEnd(killGrace) {
		return fmt.Errorf("%s of cluster %s (process %d) did not end", which, name, process.Pid)
	}
	return nil
}

func resume(ctx context.Context, s *store, name string, timeout time.Duration) error {
	unlock, err := s.lock(name)
	if err != nil {
		return err
	}
	defer unlock()
	c, err := s.existing(name)
	if err != nil {
		return err
	}
	if !c.Ready {
		return fmt.Errorf("cluster %s was never ready, run up again", name)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return startMissing(ctx, c)
}
