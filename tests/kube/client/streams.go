package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
)

const (
	podName = "hold"
	// echoPort is where a simulated pod answers with what it was sent.
	echoPort = 7
	// forwarded goes through each connection of a port-forward, each way.
	forwarded = 64 << 10
)

// How streams are carried.
type protocol int

const (
	webSocket protocol = iota
	spdyOnly
	fallback
)

func logs(ctx context.Context, c *client) error {
	tail := int64(1)
	options := &corev1.PodLogOptions{Follow: true, TailLines: &tail, InsecureSkipTLSVerifyBackend: true}
	stream, err := c.typed.CoreV1().Pods(c.namespace).GetLogs(podName, options).Stream(ctx)
	if err != nil {
		return err
	}
	defer stream.Close()
	lines := bufio.NewScanner(stream)
	for range 3 {
		if !lines.Scan() {
			return fmt.Errorf("the log ended: %w", lines.Err())
		}
		if !strings.Contains(lines.Text(), "roadstead: tick") {
			return fmt.Errorf("the log says %q", lines.Text())
		}
	}
	return nil
}

// execute sends bytes through a command and compares what comes back.
func execute(how protocol) func(context.Context, *client) error {
	return func(ctx context.Context, c *client) error {
		request := c.typed.CoreV1().RESTClient().Post().Resource("pods").Namespace(c.namespace).Name(podName).SubResource("exec")
		request.VersionedParams(&corev1.PodExecOptions{
			// It ends by itself, as simulated pods do not hear the end of standard input, and not before a line says that all
			// has come back: what a simulated node has not sent by then is lost, also without a hub.
			Command: []string{"sh", "-c", fmt.Sprintf("head -c %d && read -r _", c.bytes)}, Stdin: true, Stdout: true, Stderr: true,
		}, scheme.ParameterCodec)
		executor, err := c.executor(how, request.URL())
		if err != nil {
			return err
		}
		sent, received := sha256.New(), sha256.New()
		count := &counter{Writer: received, until: c.bytes, full: make(chan struct{})}
		source := io.LimitReader(rand.New(rand.NewSource(int64(how))), c.bytes)
		var complaints bytes.Buffer
		err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{
			Stdin: io.MultiReader(io.TeeReader(source, sent), &afterwards{ctx: ctx, full: count.full}), Stdout: count, Stderr: &complaints,
		})
		if err != nil {
			return fmt.Errorf("%w after %d bytes: %s", err, count.bytes, complaints.String())
		}
		if count.bytes != c.bytes || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
			return fmt.Errorf("%d of %d bytes came back, or others", count.bytes, c.bytes)
		}
		return nil
	}
}

func (c *client) executor(how protocol, address *url.URL) (remotecommand.Executor, error) {
	socket, err := remotecommand.NewWebSocketExecutor(c.config, http.MethodGet, address.String())
	if err != nil || how == webSocket {
		return socket, err
	}
	stream, err := remotecommand.NewSPDYExecutor(c.config, http.MethodPost, address)
	if err != nil || how == spdyOnly {
		return stream, err
	}
	return remotecommand.NewFallbackExecutor(socket, stream, httpstream.IsUpgradeFailure)
}

// counter says when so many bytes have come.
type counter struct {
	io.Writer
	bytes, until int64
	full         chan struct{}
}

func (c *counter) Write(some []byte) (int, error) {
	before := c.bytes
	c.bytes += int64(len(some))
	if before < c.until && c.bytes >= c.until {
		close(c.full)
	}
	return c.Writer.Write(some)
}

// afterwards is a line that is there once everything has come back.
type afterwards struct {
	ctx  context.Context
	full chan struct{}
	said bool
}

func (a *afterwards) Read(into []byte) (int, error) {
	if a.said {
		return 0, io.EOF
	}
	select {
	case <-a.full:
		a.said = true
		return copy(into, "\n"), nil
	case <-a.ctx.Done():
		return 0, a.ctx.Err()
	}
}

// forward echoes through many connections at once.
func forward(how protocol) func(context.Context, *client) error {
	return func(ctx context.Context, c *client) error {
		request := c.typed.CoreV1().RESTClient().Post().Resource("pods").Namespace(c.namespace).Name(podName).SubResource("portforward")
		var dialer httpstream.Dialer
		if how == webSocket {
			tunnelling, err := portforward.NewSPDYOverWebsocketDialer(request.URL(), c.config)
			if err != nil {
				return err
			}
			dialer = tunnelling
		} else {
			transport, upgrader, err := spdy.RoundTripperFor(c.config)
			if err != nil {
				return err
			}
			dialer = spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, request.URL())
		}
		stop, ready := make(chan struct{}), make(chan struct{})
		forwarder, err := portforward.New(dialer, []string{fmt.Sprintf("0:%d", echoPort)}, stop, ready, io.Discard, io.Discard)
		if err != nil {
			return err
		}
		ended := make(chan error, 1)
		go func() { ended <- forwarder.ForwardPorts() }()
		select {
		case <-ready:
		case err := <-ended:
			return fmt.Errorf("it ended: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
		ports, err := forwarder.GetPorts()
		if err != nil {
			return err
		}
		address := fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
		var all sync.WaitGroup
		failures := make(chan error, c.forwards)
		for number := range c.forwards {
			all.Go(func() { failures <- echo(address, int64(number)) })
		}
		all.Wait()
		close(failures)
		var joined []error
		for failure := range failures {
			joined = append(joined, failure)
		}
		close(stop)
		if err := errors.Join(joined...); err != nil {
			return err
		}
		return <-ended
	}
}

func echo(address string, seed int64) error {
	connection, err := net.DialTimeout("tcp", address, limit)
	if err != nil {
		return err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(limit / 2)); err != nil {
		return err
	}
	sent := make([]byte, forwarded)
	_, _ = rand.New(rand.NewSource(seed)).Read(sent)
	wrote := make(chan error, 1)
	go func() {
		_, err := connection.Write(sent)
		wrote <- err
	}()
	received := make([]byte, forwarded)
	if _, err := io.ReadFull(connection, received); err != nil {
		return fmt.Errorf("connection %d: %w", seed, err)
	}
	if err := <-wrote; err != nil {
		return err
	}
	if !bytes.Equal(sent, received) {
		return fmt.Errorf("connection %d: the bytes came back changed", seed)
	}
	return nil
}
