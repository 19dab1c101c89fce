package main

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Below the range that systems hand out for outgoing connections (32768 on), so that none takes a
// port between our look and the server's bind.
const firstPort, lastPort = 20000, 32000

// pickPorts finds a free port for each name. Ports of other clusters are left alone even when
// nothing listens there: resume needs them again.
func pickPorts(s *store, names ...string) (map[string]int, error) {
	taken := map[int]bool{}
	clusters, err := s.all()
	if err != nil {
		return nil, err
	}
	for _, other := range clusters {
		for _, port := range other.Ports {
			taken[port] = true
		}
	}
	ports := map[string]int{}
	const tries = 1000 // of 12000 ports; a machine this full needs a look by somebody
	for try := 0; try < tries && len(ports) < len(names); try++ {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if taken[port] {
			continue
		}
		taken[port] = true
		listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		_ = listener.Close()
		ports[names[len(ports)]] = port
	}
	if len(ports) < len(names) {
		return nil, fmt.Errorf("failed to find %d free ports from %d to %d", len(names), firstPort, lastPort)
	}
	return ports, nil
}
