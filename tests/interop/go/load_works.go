package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
)

const (
	atOnceBytes  = 64 << 10 // what fits into every window, so that nobody need read meanwhile
	endlessBytes = 1 << 50
)

// loadNode is a node that dials.
type loadNode struct {
	host host.Host
	conn network.Conn
	sent chan struct{} // the other side has been told who we are
}

// patientDials: a storm takes longer than dials to a local address usually may.
var patientDials = libp2p.SwarmOpts(swarm.WithDialTimeout(dialTimeout), swarm.WithDialTimeoutLocal(dialTimeout))

// makeNodes makes nodes that listen nowhere, several at a time.
func (l *load) makeNodes(count int) error {
	l.nodes = make([]*loadNode, count)
	return atATime(setupDials, count, func(i int) (err error) {
		l.nodes[i], err = l.makeNode()
		return err
	})
}

func (l *load) makeNode() (*loadNode, error) {
	sent := make(chan struct{}, 1)
	watch := func(inner network.ResourceManager) network.ResourceManager { return &identifyWatch{inner, sent} }
	h, err := l.program.newHost(watch, libp2p.NoListenAddrs, patientDials)
	if err != nil {
		return nil, err
	}
	handle(h, echoProtocol, serveEcho)
	return &loadNode{host: h, sent: sent}, nil
}

func (l *load) closeNodes() {
	atATime(setupDials, len(l.nodes), func(i int) error {
		if l.nodes[i] == nil {
			return nil
		}
		for _, conn := range l.nodes[i].host.Network().Conns() {
			for _, s := range conn.GetStreams() {
				s.Reset()
			}
		}
		return l.nodes[i].host.Close()
	})
}

// connect makes nodes and connects them all.
func (l *load) connect(count int) error {
	if err := l.makeNodes(count); err != nil {
		return err
	}
	return l.connectNodes()
}

func (l *load) connectNodes() error {
	ctx, cancel := context.WithTimeout(l.ctx, setupTimeout)
	defer cancel()
	return atATime(setupDials, len(l.nodes), func(i int) error { return l.nodes[i].connect(ctx, l.target) })
}

// connect also waits until the other side is identified.
func (n *loadNode) connect(ctx context.Context, target peer.AddrInfo) error {
	if err := n.host.Connect(ctx, target); err != nil {
		return err
	}
	conns := n.host.Network().ConnsToPeer(target.ID)
	if len(conns) == 0 {
		return errors.New("connection closed at once")
	}
	n.conn = conns[0]
	if known, err := n.host.Peerstore().GetProtocols(target.ID); err != nil || len(known) == 0 {
		return errors.New("the other side was not identified")
	}
	return nil
}

func (n *loadNode) alive() bool {
	return !n.conn.IsClosed()
}

func (l *load) open(h host.Host, to peer.ID, id protocol.ID) (network.Stream, error) {
	return h.NewStream(network.WithNoDial(l.ctx, "load"), to, id)
}

// atATime calls work(0) to work(count-1), at most `limit` of them at a time, and returns an error if there was one.
func atATime(limit, count int, work func(i int) error) error {
	var group sync.WaitGroup
	var once sync.Once
	var failure error
	next := make(chan int)
	for range min(limit, count) {
		group.Go(func() {
			for i := range next {
				if err := work(i); err != nil {
					once.Do(func() { failure = err })
				}
			}
		})
	}
	for i := range count {
		next <- i
	}
	close(next)
	group.Wait()
	return failure
}

// exchanger sends bytes and reads as many back, over and over on one stream.
type exchanger struct {
	open    func() (network.Stream, error)
	stream  network.Stream
	out, in []byte
}

func newExchanger(size int, open func() (network.Stream, error)) *exchanger {
	return &exchanger{open: open, out: make([]byte, size), in: make([]byte, size)}
}

func (e *exchanger) exchange() (err error) {
	if e.stream == nil {
		if e.stream, err = e.open(); err != nil {
			e.stream = nil
			return err
		}
	}
	if err = thereAndBack(e.stream, e.out, e.in); err != nil {
		e.stream.Reset()
		e.stream = nil
	}
	return err
}

func thereAndBack(s network.Stream, out, in []byte) error {
	if len(out) <= atOnceBytes {
		if _, err := s.Write(out); err != nil {
			return err
		}
		_, err := io.ReadFull(s, in)
		return err
	}
	written := make(chan error, 1)
	go func() {
		_, err := s.Write(out)
		written <- err
	}()
	if _, err := io.ReadFull(s, in); err != nil {
		return err
	}
	return <-written
}

// bulk: the lanes count bytes.
func (l *load) bulk() error {
	if err := l.connect(l.connections); err != nil {
		return err
	}
	ways := []func(network.Stream, *lane) error{l.upload, l.download}
	switch l.direction {
	case "up":
		ways = ways[:1]
	case "down":
		ways = ways[1:]
	}
	lanes := make([]*lane, l.connections*l.streams*len(ways))
	for i := range lanes {
		lanes[i] = new(lane)
		node, way := l.nodes[i%l.connections], ways[i/l.connections%len(ways)]
		l.workers.Go(func() { l.transfer(node, way, lanes[i]) })
	}
	l.lanes = append(l.lanes, lanes...)
	return l.measure()
}

// transfer moves bytes on one stream until the load is over.  A stream that fails earlier is missing from then on, and
// so counts whenever that was.
func (l *load) transfer(node *loadNode, way func(network.Stream, *lane) error, counted *lane) {
	s, err := l.open(node.host, l.target.ID, perfProtocol)
	if err == nil {
		err = way(s, counted)
	}
	if !l.over.Load() {
		counted.failed++
		l.lost(err)
	}
}

func (l *load) upload(s network.Stream, counted *lane) error {
	buffer := make([]byte, bulkBytes)
	if _, err := s.Write(buffer[:8]); err != nil { // nothing shall come back
		return err
	}
	for {
		n, err := s.Write(buffer)
		if l.measuring.Load() {
			counted.units += int64(n)
		}
		if err != nil {
			return err
		}
	}
}

func (l *load) download(s network.Stream, counted *lane) error {
	buffer := make([]byte, bulkBytes)
	binary.BigEndian.PutUint64(buffer, endlessBytes)
	if _, err := s.Write(buffer[:8]); err != nil {
		return err
	}
	if err := s.CloseWrite(); err != nil {
		return err
	}
	for {
		n, err := s.Read(buffer)
		if l.measuring.Load() {
			counted.units += int64(n)
		}
		if err != nil {
			return err
		}
	}
}

// exchanges: on one stream of each connection, back to back or at a rate.
func (l *load) exchanges(id protocol.ID) error {
	var pace *pacer
	if l.rate > 0 {
		var err error
		if pace, err = newPacer(l.rate, len(l.nodes)); err != nil {
			return err
		}
		defer pace.stop()
	}
	for i, counted := range l.newLanes(len(l.nodes)) {
		node := l.nodes[i]
		e := newExchanger(l.size, func() (network.Stream, error) { return l.open(node.host, l.target.ID, id) })
		l.workers.Go(func() { l.repeat(counted, pace, i, nil, e.exchange, node.alive) })
	}
	return l.measure()
}

func (l *load) roundTrips() error {
	if err := l.connect(1); err != nil {
		return err
	}
	if l.load {
		background := func(s network.Stream, _ *lane) error { return l.upload(s, new(lane)) } // bytes are no units here
		counted := l.newLanes(1)[0]
		l.workers.Go(func() { l.transfer(l.nodes[0], background, counted) })
	}
	l.size = pingBytes
	return l.exchanges(ping.ID)
}

func (l *load) requests() error {
	if err := l.connect(l.connections); err != nil {
		return err
	}
	return l.exchanges(echoProtocol)
}

func (l *load) shortStreams() error {
	if err := l.connect(1); err != nil {
		return err
	}
	node := l.nodes[0]
	for _, counted := range l.newLanes(l.inflight) {
		out, in := make([]byte, l.size), make([]byte, l.size)
		l.workers.Go(func() {
			l.repeat(counted, nil, 0, nil, func() error { return l.shortStream(node, out, in) }, node.alive)
		})
	}
	return l.measure()
}

func (l *load) shortStream(node *loadNode, out, in []byte) error {
	s, err := l.open(node.host, l.target.ID, echoProtocol)
	if err != nil {
		return err
	}
	if err := exchangeAndEnd(s, out, in); err != nil {
		s.Reset()
		return err
	}
	return s.Close()
}

func exchangeAndEnd(s network.Stream, out, in []byte) error {
	written := make(chan error, 1)
	write := func() {
		_, err := s.Write(out)
		if err == nil {
			err = s.CloseWrite()
		}
		written <- err
	}
	if len(out) <= atOnceBytes {
		write()
	} else {
		go write()
	}
	if _, err := io.ReadFull(s, in); err != nil {
		return err
	}
	if n, err := s.Read(in); n != 0 || err != io.EOF {
		return errors.New("the echo does not end where it should")
	}
	return <-written
}

// idle: the lane counts connections.
func (l *load) idle() error {
	if err := l.makeNodes(l.connections); err != nil {
		return err
	}
	start := time.Now()
	if err := l.connectNodes(); err != nil {
		return err
	}
	l.result["setupSeconds"] = time.Since(start).Seconds()
	if err := l.measure(); err != nil {
		return err
	}
	counted := l.newLanes(1)[0]
	for _, node := range l.nodes {
		if node.alive() {
			counted.units++
		} else {
			counted.failed++
		}
	}
	return nil
}

func (l *load) storm() error {
	if err := l.makeNodes(l.connections); err != nil {
		return err
	}
	lanes := make([]lane, len(l.nodes))
	start := make(chan struct{})
	var begin time.Time
	for i, node := range l.nodes {
		l.lanes = append(l.lanes, &lanes[i])
		node.host.Peerstore().AddAddrs(l.target.ID, l.target.Addrs, peerstore.PermanentAddrTTL)
		l.workers.Go(func() {
			<-start
			conn, err := node.host.Network().DialPeer(l.ctx, l.target.ID)
			if err != nil {
				lanes[i].failed = 1
				return
			}
			node.conn = conn
			lanes[i].units = 1
			lanes[i].times = []time.Duration{time.Since(begin)}
		})
	}
	l.print("begin")
	begin = time.Now()
	close(start)
	l.workers.Wait()
	l.result["seconds"] = time.Since(begin).Seconds()
	l.print("end")
	return nil
}

// handshaker is a node that connects, identifies and is identified, pings and disconnects.
type handshaker struct {
	*load
	node       *loadNode
	identified event.Subscription
	gone       chan struct{}
}

func (l *load) newHandshaker(node *loadNode) (*handshaker, error) {
	kinds := []any{new(event.EvtPeerIdentificationCompleted), new(event.EvtPeerIdentificationFailed)}
	identified, err := node.host.EventBus().Subscribe(kinds)
	if err != nil {
		return nil, err
	}
	h := &handshaker{l, node, identified, make(chan struct{}, 1)}
	node.host.Network().Notify(&network.NotifyBundle{
		DisconnectedF: func(network.Network, network.Conn) { signal(h.gone) },
	})
	return h, nil
}

func (l *load) handshakes() error {
	always := func() bool { return true }
	if l.distinct {
		for _, counted := range l.newLanes(l.parallel) {
			l.workers.Go(func() {
				var h *handshaker
				defer func() { h.close() }()
				prepare := func() (err error) {
					h.close()
					h, err = l.freshHandshaker()
					return err
				}
				l.repeat(counted, nil, 0, prepare, func() error { return h.handshake() }, always)
			})
		}
		return l.measure()
	}
	if err := l.makeNodes(l.parallel); err != nil {
		return err
	}
	for i, counted := range l.newLanes(l.parallel) {
		h, err := l.newHandshaker(l.nodes[i])
		if err != nil {
			return err
		}
		l.workers.Go(func() { l.repeat(counted, nil, 0, nil, h.handshake, always) })
	}
	return l.measure()
}

func (l *load) freshHandshaker() (*handshaker, error) {
	node, err := l.makeNode()
	if err != nil {
		return nil, err
	}
	h, err := l.newHandshaker(node)
	if err != nil {
		node.host.Close()
	}
	return h, err
}

func (h *handshaker) close() {
	if h != nil {
		h.identified.Close()
		h.node.host.Close()
	}
}

func (h *handshaker) handshake() error {
	forget(h.gone, h.node.sent)
	ctx, cancel := context.WithTimeout(h.ctx, commandTimeout)
	defer cancel()
	err := h.node.connect(ctx, h.target)
	if err == nil {
		err = h.greet(ctx, h.node, h.identified.Out())
	}
	if err != nil {
		h.giveUp(h.node)
		return err
	}
	h.node.conn.Close()
	select {
	case <-h.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// giveUp leaves no trace of a handshake that failed.
func (l *load) giveUp(node *loadNode) {
	network_ := node.host.Network()
	network_.ClosePeer(l.target.ID)
	network_.(*swarm.Swarm).Backoff().Clear(l.target.ID) // or the next ones would not even try
}

// greet: identify both ways, and a ping.
func (l *load) greet(ctx context.Context, node *loadNode, identified <-chan any) error {
	for done := false; !done; {
		select {
		case e := <-identified:
			if failed, is := e.(event.EvtPeerIdentificationFailed); is {
				return failed.Reason
			}
			done = e.(event.EvtPeerIdentificationCompleted).Conn == node.conn
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	select {
	case <-node.sent:
	case <-ctx.Done():
		return ctx.Err()
	}
	s, err := l.open(node.host, l.target.ID, ping.ID)
	if err != nil {
		return err
	}
	var out, in [pingBytes]byte
	if err := thereAndBack(s, out[:], in[:]); err != nil {
		s.Reset()
		return err
	}
	return s.Close()
}

// identifyWatch tells when our answer to an identify request of the other side is on its way: its stream is done.
type identifyWatch struct {
	network.ResourceManager
	sent chan struct{}
}

func (w *identifyWatch) OpenStream(p peer.ID, way network.Direction) (network.StreamManagementScope, error) {
	scope, err := w.ResourceManager.OpenStream(p, way)
	if err != nil || way != network.DirInbound {
		return scope, err
	}
	return &identifyScope{StreamManagementScope: scope, sent: w.sent}, nil
}

type identifyScope struct {
	network.StreamManagementScope
	sent     chan struct{}
	identify bool
}

func (s *identifyScope) SetProtocol(id protocol.ID) error {
	s.identify = id == identify.ID
	return s.StreamManagementScope.SetProtocol(id)
}

func (s *identifyScope) Done() {
	s.StreamManagementScope.Done()
	if s.identify {
		signal(s.sent)
	}
}

func signal(to chan<- struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

func forget(signals ...<-chan struct{}) {
	for _, signal := range signals {
		select {
		case <-signal:
		default:
		}
	}
}

// fanout: the listening node writes to all its peers, reads all the echoes, and begins again.
func (l *load) fanout() error {
	peers, err := l.waitPeers()
	if err != nil {
		return err
	}
	lanes := l.newLanes(1 + len(peers))
	fans := make([]*fan, len(peers))
	for i, id := range peers {
		fans[i] = &fan{peer: id, start: make(chan struct{}, 1), counted: lanes[1+i]}
		fans[i].exchanger = newExchanger(l.size, func() (network.Stream, error) {
			s, err := l.open(l.program.listener, id, echoProtocol)
			if err == nil {
				context.AfterFunc(l.ctx, func() { s.Reset() })
			}
			return s, err
		})
	}
	l.workers.Go(func() { l.rounds(fans, lanes[0]) })
	return l.measure()
}

// fan is one of the peers of the rounds.
type fan struct {
	*exchanger
	peer    peer.ID
	start   chan struct{}
	counted *lane
	gone    bool
}

func (l *load) rounds(fans []*fan, counted *lane) {
	var round sync.WaitGroup
	for _, f := range fans {
		defer close(f.start)
		l.workers.Go(func() {
			for range f.start {
				l.send(f)
				round.Done()
			}
		})
	}
	start := time.Now()
	for !l.over.Load() && len(fans) > 0 {
		round.Add(len(fans))
		for _, f := range fans {
			f.start <- struct{}{}
		}
		round.Wait()
		now := time.Now()
		if l.measuring.Load() {
			counted.times = append(counted.times, now.Sub(start))
		}
		start = now
		fans = slices.DeleteFunc(fans, func(f *fan) bool { return f.gone })
	}
}

// send sends one message of a round.
func (l *load) send(f *fan) {
	err := f.exchange()
	measuring := l.measuring.Load()
	switch {
	case err == nil && measuring:
		f.counted.units++
	case err != nil && measuring:
		f.counted.failed++
	}
	if err != nil && l.program.listener.Network().Connectedness(f.peer) != network.Connected {
		f.gone = true
		l.lost(err)
	}
}

// waitPeers returns so many peers of the listening node, when they are there and known to serve echo.
func (l *load) waitPeers() ([]peer.ID, error) {
	h := l.program.listener
	for late := time.Now().Add(setupTimeout); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		peers := h.Network().Peers()
		if len(peers) < l.connections {
			continue
		}
		peers = slices.DeleteFunc(peers, func(id peer.ID) bool {
			found, err := h.Peerstore().SupportsProtocols(id, echoProtocol)
			return err != nil || len(found) == 0
		})
		if len(peers) >= l.connections {
			return peers[:l.connections], nil
		}
	}
	return nil, errors.New("not so many peers are connected")
}
