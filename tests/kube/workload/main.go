// Command workload is what stands behind every simulated pod of a test cluster: an HTTP server, an
// echo server, and the writer of the pods' log. A program of its own because it takes a few MB,
// where roadstead-kube takes a hundred.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// maxBody bounds what one request may send.
	maxBody = 1 << 20
	// tickEvery gives "logs --follow" something to follow.
	tickEvery = time.Second
	// maxTicks bounds the log's growth (about 60 bytes each) for a cluster that somebody forgot.
	maxTicks = 100_000
)

func main() {
	httpAddress := flag.String("http", "", "address of the HTTP server")
	echoAddress := flag.String("echo", "", "address of the echo server")
	logPath := flag.String("log", "", "the pods' log, in CRI format")
	flag.Parse()

	file, err := os.OpenFile(*logPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		log.Fatalf("failed to open the pods' log: %v", err)
	}
	pods := &podLog{file: file}
	go tick(pods)
	go func() { log.Fatal(serveEcho(*echoAddress)) }()
	server := &http.Server{Addr: *httpAddress, Handler: routes(pods), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.ListenAndServe())
}

func routes(pods *podLog) http.Handler {
	routes := http.NewServeMux()
	routes.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello from a simulated pod")
	})
	routes.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, http.MaxBytesReader(w, r.Body, maxBody))
	})
	// A test that follows a log writes the line it waits for.
	routes.HandleFunc("POST /log", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
		if err == nil {
			for _, line := range strings.Split(strings.TrimRight(string(body), "\n"), "\n") {
				if err = pods.write(line); err != nil {
					break
				}
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	return routes
}

type podLog struct {
	mutex sync.Mutex
	file  *os.File
}

func (p *podLog) write(line string) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	_, err := fmt.Fprintf(p.file, "%s stdout F %s\n", time.Now().UTC().Format(time.RFC3339Nano), line)
	return err
}

func tick(pods *podLog) {
	for count := 1; count <= maxTicks; count++ {
		time.Sleep(tickEvery)
		if err := pods.write(fmt.Sprintf("roadstead: tick %d", count)); err != nil {
			log.Printf("failed to write the pods' log: %v", err)
			return
		}
	}
}

func serveEcho(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		connection, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return err
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond) // out of file handles, say; it passes
			continue
		}
		go func() {
			defer connection.Close()
			_, _ = io.Copy(connection, connection)
		}()
	}
}
