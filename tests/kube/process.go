package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is one process of a cluster. Its number alone does not name it, because numbers are used
// again: Birth, the boot and the tick it started at, does.
type process struct {
	Name      string   `json:"name"`
	Program   string   `json:"program"`
	Arguments []string `json:"arguments"`
	Pid       int      `json:"pid"`
	Birth     string   `json:"birth"`
}

// start runs the process in a session of its own, so that it outlives this command, and with an
// environment of its own: etcd and kwok would take settings from the caller's.
func (p *process) start(c *cluster) error {
	program, err := programPath(p.Program)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(c.path("logs", p.Name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("failed to open the log of %s: %w", p.Name, err)
	}
	defer log.Close()
	command := exec.Command(program, p.Arguments...)
	command.Dir = c.path("work")
	command.Env = []string{"HOME=" + c.path("work"), "KWOK_WORKDIR=" + c.path("work"), "PATH=" + searchPath()}
	command.Stdout, command.Stderr = log, log
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := command.Start(); err != nil {
		return fmt.Errorf("failed to start %s: %w", p.Name, err)
	}
	p.Pid = command.Process.Pid
	_, p.Birth = look(p.Pid)
	// Reaps it if it ends while this command runs; otherwise the system does.
	go func() { _ = command.Wait() }()
	return nil
}

func (p *process) alive() bool {
	running, birth := look(p.Pid)
	return running && birth == p.Birth
}

// signal reaches the process we started or none. os.FindProcess holds the process itself (a pidfd),
// so the check made after it stays true for the signal.
func (p *process) signal(signal os.Signal) error {
	if p.Pid <= 0 {
		return nil
	}
	handle, err := os.FindProcess(p.Pid)
	if err != nil {
		return err
	}
	defer handle.Release()
	if !p.alive() {
		return nil
	}
	if err := handle.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("failed to signal %s (process %d): %w", p.Name, p.Pid, err)
	}
	return nil
}

func (p *process) waitEnd(limit time.Duration) bool {
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if !p.alive() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

func (p *process) residentBytes() int64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.Pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// look reads whether a process runs (one that ended but was not reaped does not) and its birth.
func look(pid int) (running bool, birth string) {
	if pid <= 0 {
		return false, ""
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false, ""
	}
	// The name in parentheses may hold anything; the fields after the last ')' are plain.
	_, rest, _ := cutLast(string(text), ")")
	fields := strings.Fields(rest)
	const state, startTime = 0, 19 // fields 3 and 22 of proc(5)
	if len(fields) <= startTime {
		return false, ""
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	running = fields[state] != "Z" && fields[state] != "X"
	return running, strings.TrimSpace(string(boot)) + "/" + fields[startTime]
}

func cutLast(text, separator string) (before, after string, found bool) {
	if index := strings.LastIndex(text, separator); index >= 0 {
		return text[:index], text[index+len(separator):], true
	}
	return text, "", false
}

// programPath finds a program that build.sh put beside this one; "" is this one.
func programPath(name string) (string, error) {
	own, err := os.Executable()
	if err != nil {
		return "", err
	}
	if name == "" {
		return own, nil
	}
	path := filepath.Join(filepath.Dir(own), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("failed to find %s beside this program, build it with tests/kube/build.sh: %w", name, err)
	}
	return path, nil
}

// searchPath is for what exec runs in a simulated pod.
func searchPath() string {
	if path := os.Getenv("PATH"); path != "" {
		return path
	}
	return "/usr/local/bin:/usr/bin:/bin"
}
