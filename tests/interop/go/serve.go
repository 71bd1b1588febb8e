package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"sync"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

const (
	echoProtocol  = protocol.ID("/echo/1.0.0")
	perfProtocol  = protocol.ID("/perf/1.0.0")
	halfProtocol  = protocol.ID("/half/1.0.0")
	resetProtocol = protocol.ID("/reset/1.0.0")

	resetCode  = network.StreamErrorCode(4242)
	chunkBytes = 64 << 10
	bulkBytes  = 256 << 10 // of a write; the muxer sends frames of a little less than 64 KiB
)

// handle serves a protocol, and ends each stream in order, or resets it after an error.
func handle(h host.Host, id protocol.ID, serve func(network.Stream) error) {
	h.SetStreamHandler(id, func(s network.Stream) {
		if err := serve(s); err != nil {
			s.Reset()
			return
		}
		s.Close()
	})
}

// serve offers the four protocols of the tests; ping and identify are the host's own.
func serve(h host.Host) {
	handle(h, echoProtocol, serveEcho)
	handle(h, perfProtocol, servePerf)
	handle(h, halfProtocol, func(s network.Stream) error {
		hash := sha256.New()
		if _, err := io.Copy(hash, s); err != nil {
			return err
		}
		_, err := io.WriteString(s, hex.EncodeToString(hash.Sum(nil)))
		return err
	})
	h.SetStreamHandler(resetProtocol, func(s network.Stream) {
		bufio.NewReader(s).ReadString('\n')
		s.ResetWithError(resetCode)
	})
}

var chunks = sync.Pool{New: func() any { return new([chunkBytes]byte) }}

func serveEcho(s network.Stream) error {
	chunk := chunks.Get().(*[chunkBytes]byte)
	defer chunks.Put(chunk)
	// The wrapper hides the stream's other methods, so that io.CopyBuffer uses the large buffer.
	_, err := io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{s}, chunk[:])
	return err
}

// servePerf: a big-endian count of bytes to send, then the upload up to its end, then those bytes.
func servePerf(s network.Stream) error {
	var head [8]byte
	if _, err := io.ReadFull(s, head[:]); err != nil {
		return err
	}
	if _, err := discard(s); err != nil {
		return err
	}
	return sendZeros(s, binary.BigEndian.Uint64(head[:]))
}

func discard(s network.Stream) (uint64, error) {
	buffer := make([]byte, bulkBytes)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{s}, buffer)
	return uint64(n), err
}

func sendZeros(s network.Stream, bytes uint64) error {
	buffer := make([]byte, bulkBytes)
	for bytes > 0 {
		n, err := s.Write(buffer[:min(bytes, bulkBytes)])
		if err != nil {
			return err
		}
		bytes -= uint64(n)
	}
	return nil
}
