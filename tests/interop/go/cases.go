package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

const (
	pingBytes   = 32
	streamBytes = 1 << 10
	halfBytes   = 100 << 10
)

// run executes one command of the control input.
func (p *program) run(tag, name string, args []string) (answer, error) {
	switch {
	case name == "about" && len(args) == 0:
		return about(), nil
	case name == "load" && len(args) >= 2:
		return p.load(tag, args[0], args[1], args[2:])
	}
	counts := map[string]int{
		"learned": 1, "identify": 1, "ping": 2, "echo": 2, "streams": 3, "half": 1, "reset": 1, "wrong-id": 1,
		"idle": 2, "perf": 3, "simultaneous": 1, "disconnect": 1,
	}
	if count, known := counts[name]; !known || count != len(args) {
		return nil, fmt.Errorf("no command %q with %d arguments", name, len(args))
	}
	numbers := []int{}
	for _, text := range args[1:] {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("not a count: %q", text)
		}
		numbers = append(numbers, n)
	}
	timeout := commandTimeout
	if name == "idle" {
		timeout += time.Duration(numbers[0]) * time.Second
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()

	switch name {
	case "learned", "disconnect":
		id, err := peer.Decode(args[0])
		if err != nil {
			return nil, err
		}
		if name == "learned" {
			return p.waitLearned(id)
		}
		return nil, p.listener.Network().ClosePeer(id)
	case "simultaneous":
		return p.simultaneous(ctx, args[0])
	case "wrong-id":
		return p.wrongID(ctx, args[0])
	case "identify":
		return p.identify(ctx, args[0])
	}

	d, err := p.dial(ctx, args[0])
	if err != nil {
		return nil, err
	}
	defer d.host.Close()
	switch name {
	case "ping":
		return d.ping(ctx, numbers[0])
	case "echo":
		return d.echo(ctx, numbers[0])
	case "streams":
		return d.streams(ctx, numbers[0], numbers[1])
	case "half":
		return nil, d.half(ctx)
	case "reset":
		return d.reset(ctx)
	case "idle":
		return d.idle(ctx, time.Duration(numbers[0])*time.Second)
	default:
		return d.perf(ctx, uint64(numbers[0]), uint64(numbers[1]))
	}
}

// open opens a stream on the connection that was dialled, never on another one (nil: any will do).
func (d *dialled) open(ctx context.Context, id protocol.ID) (network.Stream, error) {
	s, err := d.host.NewStream(network.WithNoDial(ctx, "case"), d.peer, id)
	if err != nil {
		return nil, err
	}
	if d.conn != nil && s.Conn() != d.conn {
		s.Reset()
		return nil, errors.New("stream came on another connection")
	}
	deadline, _ := ctx.Deadline()
	return s, s.SetDeadline(deadline)
}

func (p *program) identify(ctx context.Context, address string) (answer, error) {
	h, err := p.newHost(nil, libp2p.NoListenAddrs) // closed with the process: the other side may be asked what it learned
	if err != nil {
		return nil, err
	}
	kinds := []any{new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerIdentificationFailed)}
	events, err := h.EventBus().Subscribe(kinds)
	if err != nil {
		return nil, err
	}
	defer events.Close()
	target, err := peer.AddrInfoFromString(address)
	if err != nil {
		return nil, err
	}
	if err := h.Connect(ctx, *target); err != nil {
		return nil, err
	}
	select {
	case e := <-events.Out():
		if failed, is := e.(event.EvtPeerIdentificationFailed); is {
			return nil, failed.Reason
		}
		result := describe(e.(event.EvtPeerIdentificationCompleted))
		result["localId"] = h.ID().String()
		return result, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d *dialled) ping(ctx context.Context, count int) (answer, error) {
	s, err := d.open(ctx, ping.ID)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	times := []int64{}
	sent, got := make([]byte, pingBytes), make([]byte, pingBytes)
	for range count {
		rand.Read(sent)
		start := time.Now()
		if _, err := s.Write(sent); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(s, got); err != nil {
			return nil, err
		}
		if !bytes.Equal(sent, got) {
			return nil, errors.New("other bytes came back")
		}
		times = append(times, time.Since(start).Microseconds())
	}
	slices.Sort(times)
	state := s.Conn().ConnState()
	return answer{"rttUs": times[len(times)/2], "security": state.Security,
		"earlyMuxer": state.UsedEarlyMuxerNegotiation}, nil
}

// exchange sends bytes on a new /echo/1.0.0 stream, and returns the SHA-256 of them if they all come back.
func (d *dialled) exchange(ctx context.Context, count int) (string, error) {
	s, err := d.open(ctx, echoProtocol)
	if err != nil {
		return "", err
	}
	defer s.Reset()
	var seed [32]byte
	rand.Read(seed[:])
	sent := sha256.New()
	failed := make(chan error, 1)
	go func() {
		source := io.LimitReader(mrand.NewChaCha8(seed), int64(count))
		_, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(s, sent)}, source, make([]byte, chunkBytes))
		failed <- errors.Join(err, s.CloseWrite())
	}()
	got := sha256.New()
	n, readErr := io.CopyBuffer(struct{ io.Writer }{got}, struct{ io.Reader }{s}, make([]byte, chunkBytes))
	if readErr != nil {
		return "", readErr
	}
	if err := <-failed; err != nil {
		return "", err
	}
	if n != int64(count) || !bytes.Equal(sent.Sum(nil), got.Sum(nil)) {
		return "", fmt.Errorf("sent %d bytes, got %d back, or other ones", count, n)
	}
	return hex.EncodeToString(got.Sum(nil)), nil
}

func (d *dialled) echo(ctx context.Context, count int) (answer, error) {
	start := time.Now()
	sum, err := d.exchange(ctx, count)
	return answer{"sha256": sum, "seconds": time.Since(start).Seconds()}, err
}

func (d *dialled) streams(ctx context.Context, total, concurrent int) (answer, error) {
	start := time.Now()
	var group sync.WaitGroup
	tickets := make(chan struct{}, total)
	for range total {
		tickets <- struct{}{}
	}
	close(tickets)
	failures := make(chan error, total)
	for range concurrent {
		group.Go(func() {
			for range tickets {
				if _, err := d.exchange(ctx, streamBytes); err != nil {
					failures <- err
				}
			}
		})
	}
	group.Wait()
	close(failures)
	result := answer{"failed": len(failures), "seconds": time.Since(start).Seconds()}
	return result, <-failures
}

func (d *dialled) half(ctx context.Context) error {
	s, err := d.open(ctx, halfProtocol)
	if err != nil {
		return err
	}
	defer s.Reset()
	data := make([]byte, halfBytes)
	rand.Read(data)
	if _, err := s.Write(data); err != nil {
		return err
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	got, err := io.ReadAll(s)
	if err != nil {
		return err
	}
	if want := sha256.Sum256(data); string(got) != hex.EncodeToString(want[:]) {
		return fmt.Errorf("wrong hash after the half-close: %q", got)
	}
	return nil
}

func (d *dialled) reset(ctx context.Context) (answer, error) {
	s, err := d.open(ctx, resetProtocol)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(s, "now\n"); err != nil {
		return nil, err
	}
	_, err = bufio.NewReader(s).ReadByte()
	if !errors.Is(err, network.ErrReset) {
		return nil, fmt.Errorf("expected a reset, got %v", err)
	}
	result := answer{"code": nil}
	var reset *network.StreamError
	if errors.As(err, &reset) && reset.Remote {
		result["code"] = reset.ErrorCode
	}
	_, err = d.exchange(ctx, streamBytes) // the connection must not have suffered
	return result, err
}

func (d *dialled) idle(ctx context.Context, quiet time.Duration) (answer, error) {
	closed := make(chan struct{})
	d.host.Network().Notify(&network.NotifyBundle{
		DisconnectedF: func(network.Network, network.Conn) { close(closed) },
	})
	start := time.Now()
	select {
	case <-closed:
		return answer{"seconds": time.Since(start).Seconds()}, errors.New("connection lost while idle")
	case <-time.After(quiet):
		return d.ping(ctx, 1)
	}
}

func (d *dialled) perf(ctx context.Context, up, down uint64) (answer, error) {
	s, err := d.open(ctx, perfProtocol)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	start := time.Now()
	if err := binary.Write(s, binary.BigEndian, down); err != nil {
		return nil, err
	}
	if err := sendZeros(s, up); err != nil {
		return nil, err
	}
	if err := s.CloseWrite(); err != nil {
		return nil, err
	}
	var first [1]byte
	n := uint64(0)
	if down > 0 {
		if _, err := io.ReadFull(s, first[:]); err != nil {
			return nil, err
		}
		n = 1
	}
	uploaded := time.Now()
	rest, err := discard(s)
	if err != nil {
		return nil, err
	}
	if n+rest != down {
		return nil, fmt.Errorf("asked for %d bytes, got %d", down, n+rest)
	}
	return answer{"upSeconds": uploaded.Sub(start).Seconds(), "downSeconds": time.Since(uploaded).Seconds()}, nil
}

// wrongID succeeds when the dial fails for the id's sake.
func (p *program) wrongID(ctx context.Context, address string) (answer, error) {
	d, err := p.dial(ctx, address)
	if err == nil {
		d.host.Close()
		return nil, errors.New("connected to a peer with another id")
	}
	if !strings.Contains(err.Error(), "peer id mismatch") {
		return nil, err
	}
	return answer{"refusal": err.Error()}, nil
}

// simultaneous dials from the listening host, which the other side is told to dial at the same moment.
func (p *program) simultaneous(ctx context.Context, address string) (answer, error) {
	target, err := peer.AddrInfoFromString(address)
	if err != nil {
		return nil, err
	}
	if err := p.listener.Connect(ctx, *target); err != nil {
		return nil, err
	}
	result, err := (&dialled{p.listener, nil, target.ID}).ping(ctx, 1)
	if err == nil {
		result["connections"] = len(p.listener.Network().ConnsToPeer(target.ID))
	}
	return result, err
}
