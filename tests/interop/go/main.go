// A go-libp2p peer for the interoperation tests.  Command line, protocols and answers: ../README.md.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	tls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"go.uber.org/fx"
)

const (
	commandTimeout = 60 * time.Second
	learnedTimeout = 10 * time.Second
	dialTimeout    = 60 * time.Second
	learnedMax     = 64 // what is kept of all that identify tells a program under load
)

// answer is one line of output: what a command found out.
type answer map[string]any

// program is this process: its listening host, how to make dialling hosts like it, and what its
// listening host has learned of others through identify.
type program struct {
	keyType  string
	security string
	listener host.Host

	mu      sync.Mutex
	news    *sync.Cond
	learned []event.EvtPeerIdentificationCompleted // the latest

	output sync.Mutex
}

func newKey(keyType string) (crypto.PrivKey, error) {
	types := map[string]int{
		"ed25519": crypto.Ed25519, "rsa": crypto.RSA, "secp256k1": crypto.Secp256k1, "ecdsa": crypto.ECDSA,
	}
	number, known := types[keyType]
	if !known {
		return nil, fmt.Errorf("unknown key type %q", keyType)
	}
	key, _, err := crypto.GenerateKeyPairWithReader(number, 2048, rand.Reader)
	return key, err
}

func agent() string {
	info, _ := debug.ReadBuildInfo()
	for _, dep := range info.Deps {
		if dep.Path == "github.com/libp2p/go-libp2p" {
			return "go-libp2p/" + strings.TrimPrefix(dep.Version, "v")
		}
	}
	return "go-libp2p/unknown"
}

// newHost makes a host with a fresh identity; go's default limits are lifted, for they would count all
// of a test's connections against the one address that they come from.
// `watch`, if any, gets the resource manager before the host does.
func (p *program) newHost(watch func(network.ResourceManager) network.ResourceManager, more ...libp2p.Option) (
	host.Host, error) {
	key, err := newKey(p.keyType)
	if err != nil {
		return nil, err
	}
	limits, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(rcmgr.InfiniteLimits), rcmgr.WithMetricsDisabled())
	if err != nil {
		return nil, err
	}
	if watch != nil {
		limits = watch(limits)
	}
	options := []libp2p.Option{
		libp2p.Identity(key), libp2p.UserAgent(agent()),
		libp2p.Transport(tcp.NewTCPTransport, tcp.WithConnectionTimeout(dialTimeout)),
		libp2p.ResourceManager(limits), libp2p.ConnectionManager(connmgr.NullConnMgr{}),
		libp2p.DisableRelay(), libp2p.DisableMetrics(),
	}
	for _, name := range strings.Split(p.security, ",") {
		switch name {
		case "noise":
			options = append(options, libp2p.Security(noise.ID, noise.New))
		case "tls":
			options = append(options, libp2p.Security(tls.ID, tls.New))
		case "plaintext":
			options = append(options, libp2p.NoSecurity)
		default:
			return nil, fmt.Errorf("unknown security %q", name)
		}
	}
	return libp2p.New(append(options, more...)...)
}

// patientAccepts: when thousands dial at once, the last of them are not served within the usual 15 s.
var patientAccepts = libp2p.WithFxOption(fx.Supply([]upgrader.Option{upgrader.WithAcceptTimeout(dialTimeout)}))

// describe turns what identify told us into an answer.
func describe(e event.EvtPeerIdentificationCompleted) answer {
	addresses := []string{}
	for _, a := range e.ListenAddrs {
		addresses = append(addresses, a.String())
	}
	observed, record := "", "none"
	if e.ObservedAddr != nil {
		observed = e.ObservedAddr.String()
	}
	if e.SignedPeerRecord != nil {
		record = "invalid"
		payload, err := e.SignedPeerRecord.Record()
		signer, idErr := peer.IDFromPublicKey(e.SignedPeerRecord.PublicKey)
		r, isPeerRecord := payload.(*peer.PeerRecord)
		if err == nil && idErr == nil && isPeerRecord && signer == e.Peer && r.PeerID == e.Peer {
			record = "valid"
		}
	}
	state := e.Conn.ConnState()
	return answer{
		"remoteId": e.Peer.String(), "protocols": e.Protocols, "agent": e.AgentVersion,
		"protocolVersion": e.ProtocolVersion, "listenAddrs": addresses, "observedAddr": observed,
		"localAddr": e.Conn.LocalMultiaddr().String(), "signedPeerRecord": record,
		"security": state.Security, "earlyMuxer": state.UsedEarlyMuxerNegotiation,
	}
}

// watch keeps what the listening host learns.
func (p *program) watch() error {
	events, err := p.listener.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted))
	if err != nil {
		return err
	}
	go func() {
		for e := range events.Out() {
			found := e.(event.EvtPeerIdentificationCompleted)
			p.mu.Lock()
			if len(p.learned) == learnedMax {
				p.learned = append(p.learned[:0], p.learned[1:]...)
			}
			p.learned = append(p.learned, found)
			p.news.Broadcast()
			p.mu.Unlock()
		}
	}()
	return nil
}

// waitLearned answers what the listening host learned of a peer, and waits for it a while.
func (p *program) waitLearned(id peer.ID) (answer, error) {
	late := false
	timer := time.AfterFunc(learnedTimeout, func() {
		p.mu.Lock()
		late = true
		p.news.Broadcast()
		p.mu.Unlock()
	})
	defer timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for _, found := range slices.Backward(p.learned) {
			if found.Peer == id {
				return describe(found), nil
			}
		}
		if late {
			return nil, errors.New("no identify from this peer")
		}
		p.news.Wait()
	}
}

// dialled is a connection that a fresh host of ours made.
type dialled struct {
	host host.Host
	conn network.Conn
	peer peer.ID
}

func (p *program) dial(ctx context.Context, address string) (*dialled, error) {
	target, err := peer.AddrInfoFromString(address)
	if err != nil {
		return nil, err
	}
	h, err := p.newHost(nil, libp2p.NoListenAddrs)
	if err != nil {
		return nil, err
	}
	if err := h.Connect(ctx, *target); err != nil {
		h.Close()
		return nil, err
	}
	conns := h.Network().ConnsToPeer(target.ID)
	if len(conns) == 0 {
		h.Close()
		return nil, errors.New("connection closed at once")
	}
	return &dialled{h, conns[0], target.ID}, nil
}

func (p *program) print(line answer) {
	text, _ := json.Marshal(line)
	p.output.Lock()
	defer p.output.Unlock()
	fmt.Println(string(text))
}

func main() {
	flags := flag.NewFlagSet("listen", flag.ExitOnError)
	keyType := flags.String("key", "ed25519", "ed25519, rsa, secp256k1 or ecdsa")
	listenIP := flags.String("host", "127.0.0.1", "the address to listen on")
	security := flags.String("security", "noise", "in the dialler's order: noise, tls, plaintext")
	if len(os.Args) < 2 || os.Args[1] != "listen" {
		fmt.Fprintln(os.Stderr, "usage: peer listen --key TYPE [--security LIST] [--host IP]")
		os.Exit(2)
	}
	flags.Parse(os.Args[2:])
	p := &program{keyType: *keyType, security: *security}
	p.news = sync.NewCond(&p.mu)
	var err error
	if p.listener, err = p.newHost(nil, libp2p.ListenAddrStrings("/ip4/"+*listenIP+"/tcp/0"), patientAccepts); err == nil {
		err = p.watch()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peer:", err)
		os.Exit(1)
	}
	serve(p.listener)
	for _, a := range p.listener.Addrs() {
		fmt.Printf("%s/p2p/%s\n", a, p.listener.ID())
	}
	fmt.Println("ready")

	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if len(words) < 2 {
			continue
		}
		go func() {
			result, err := p.run(words[0], words[1], words[2:])
			if result == nil {
				result = answer{}
			}
			result["id"], result["case"], result["ok"] = words[0], words[1], err == nil
			if err != nil {
				result["error"] = err.Error()
			}
			p.print(result)
		}()
	}
	p.listener.Close()
}
