//! The works of `load`.

use std::time::{Duration, Instant};

use futures::{
    AsyncReadExt, AsyncWriteExt, FutureExt, StreamExt, TryStreamExt,
    future::try_join,
    stream::{self, FuturesUnordered},
};
use libp2p::{
    Stream, StreamProtocol, Swarm, identify, ping,
    swarm::{ConnectionId, SwarmEvent},
};

use crate::{
    Options, Program, Result,
    load::{Lane, Load, Phase, Repeat, Unit, Worker},
    node::{Behaviour, BehaviourEvent, Node, PING_INTERVAL, dial_options, new_swarm, parse},
    pace::Pacer,
    serve::{ECHO, PERF},
    streams::{Connection, Opener},
};

const SETUP_TIME_MAX: Duration = Duration::from_secs(300);
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(60);
const SETUP_DIALS: usize = 64; // at a time
const AT_ONCE_BYTES: usize = 64 << 10; // what fits into every window, so that nobody need read meanwhile
const BULK_BYTES: usize = 256 << 10;
const PING_BYTES: usize = 32;
const ENDLESS_BYTES: u64 = 1 << 50;

pub async fn work(program: &Program, load: &mut Load, work: &str, address: &str) -> Result<()> {
    if work == "fanout" {
        return if address == "-" {
            fanout(program, load).await
        } else {
            Err("fanout takes - for an address".into())
        };
    }
    parse(address)?;
    match work {
        "bulk" => bulk(program, load, address).await,
        "handshake" => handshakes(program, load, address).await,
        "rtt" => round_trips(program, load, address).await,
        "rr" => requests(program, load, address).await,
        "streams" => short_streams(program, load, address).await,
        "idle" => idle(program, load, address).await,
        _ => storm(program, load, address).await,
    }
}

fn make_nodes(program: &Program, load: &mut Load, count: usize, ping_interval: Duration) -> Result<()> {
    for _ in 0..count {
        load.nodes.push(Node::start(new_swarm(&program.options, vec![ECHO], ping_interval)?));
    }
    Ok(())
}

/// Connects all nodes, several at a time.
async fn connect(load: &Load, address: &str) -> Result<Vec<Connection>> {
    let connecting: Vec<_> = load.nodes.iter().map(|node| connect_one(node, address)).collect();
    let all = stream::iter(connecting).buffered(SETUP_DIALS).try_collect();
    tokio::time::timeout(SETUP_TIME_MAX, all).await.map_err(|_| "connecting took too long")?
}

/// Also waits until the other side is identified.
async fn connect_one(node: &Node, address: &str) -> Result<Connection> {
    let connection = node.dial(address).await?;
    tokio::select! {
        found = node.identified(connection.peer) => found?,
        () = connection.opener.closed() => return Err("connection lost before identify".into()),
    }
    Ok(connection)
}

async fn connect_new(
    program: &Program,
    load: &mut Load,
    count: usize,
    address: &str,
) -> Result<Vec<Connection>> {
    make_nodes(program, load, count, PING_INTERVAL)?;
    connect(load, address).await
}

/// Sends bytes and reads as many back, over and over on one stream.
struct Exchanger {
    opener: Opener,
    protocol: StreamProtocol,
    stream: Option<Stream>,
    output: Vec<u8>,
    input: Vec<u8>,
}

impl Exchanger {
    fn new(connection: &Connection, protocol: StreamProtocol, size: usize) -> Exchanger {
        let (output, input) = (vec![0; size], vec![0; size]);
        Exchanger { opener: connection.opener.clone(), protocol, stream: None, output, input }
    }
}

impl Unit for Exchanger {
    async fn once(&mut self) -> Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.opener.open(self.protocol.clone()).await?,
        };
        there_and_back(&mut stream, &self.output, &mut self.input).await?;
        self.stream = Some(stream); // one that failed is reset
        Ok(())
    }

    fn alive(&self) -> bool {
        !self.opener.is_closed()
    }
}

async fn there_and_back(stream: &mut Stream, output: &[u8], input: &mut [u8]) -> Result<()> {
    if output.len() <= AT_ONCE_BYTES {
        stream.write_all(output).await?;
        stream.flush().await?;
        stream.read_exact(input).await?;
    } else {
        let (mut reader, mut writer) = stream.split();
        let write = async {
            writer.write_all(output).await?;
            writer.flush().await
        };
        try_join(write, reader.read_exact(input)).await?;
    }
    Ok(())
}

/// A new stream for each unit.
struct ShortStream {
    opener: Opener,
    output: Vec<u8>,
    input: Vec<u8>,
}

impl Unit for ShortStream {
    async fn once(&mut self) -> Result<()> {
        let mut stream = self.opener.open(ECHO).await?;
        if self.output.len() <= AT_ONCE_BYTES {
            stream.write_all(&self.output).await?;
            stream.close().await?; // our side only
            stream.read_exact(&mut self.input).await?;
        } else {
            let (mut reader, mut writer) = (&mut stream).split();
            let write = async {
                writer.write_all(&self.output).await?;
                writer.close().await
            };
            try_join(write, reader.read_exact(&mut self.input)).await?;
        }
        match stream.read(&mut self.input).await? {
            0 => Ok(()),
            _ => Err("the echo does not end where it should".into()),
        }
    }

    fn alive(&self) -> bool {
        !self.opener.is_closed()
    }
}

/// Moves bytes on one stream, and counts them.
struct Transfer {
    opener: Opener,
    down: bool,
    counts: bool,
    phase: Phase,
}

impl Transfer {
    async fn up(&self, lane: &mut Lane) -> Result<()> {
        let mut stream = self.opener.open(PERF).await?;
        let buffer = vec![0; BULK_BYTES];
        stream.write_all(&buffer[..8]).await?; // nothing shall come back
        while !self.phase.over() {
            let n = stream.write(&buffer).await?;
            self.count(lane, n);
        }
        Ok(())
    }

    async fn down(&self, lane: &mut Lane) -> Result<()> {
        let mut stream = self.opener.open(PERF).await?;
        stream.write_all(&ENDLESS_BYTES.to_be_bytes()).await?;
        stream.close().await?; // our side only
        let mut buffer = vec![0; BULK_BYTES];
        while !self.phase.over() {
            match stream.read(&mut buffer).await? {
                0 => return Err("the download ended".into()),
                n => self.count(lane, n),
            }
        }
        Ok(())
    }

    fn count(&self, lane: &mut Lane, bytes: usize) {
        if self.counts && self.phase.measuring() {
            lane.units += bytes as u64;
        }
    }
}

impl Worker for Transfer {
    /// A stream that fails is missing from then on, and so counts whenever that was.
    async fn work(&mut self, lane: &mut Lane) {
        let done = if self.down { self.down(lane).await } else { self.up(lane).await };
        if let Err(error) = done {
            lane.failed += 1;
            self.phase.lost(error);
        }
    }
}

/// The lanes count bytes.
async fn bulk(program: &Program, load: &mut Load, address: &str) -> Result<()> {
    let connections = connect_new(program, load, load.settings.connections, address).await?;
    let ways: &[bool] = match load.settings.direction.as_str() {
        "up" => &[false],
        "down" => &[true],
        _ => &[false, true],
    };
    for connection in &connections {
        for _ in 0..load.settings.streams {
            for &down in ways {
                let opener = connection.opener.clone();
                load.start(Transfer { opener, down, counts: true, phase: load.phase.clone() }, 1, false);
            }
        }
    }
    load.measure().await
}

/// On one stream of each connection, back to back or at a rate.
async fn exchanges(
    load: &mut Load,
    connections: &[Connection],
    protocol: StreamProtocol,
    size: usize,
) -> Result<()> {
    let rate = load.settings.rate;
    let pacer = if rate > 0.0 { Some(Pacer::new(rate, connections.len())?) } else { None };
    for (index, connection) in connections.iter().enumerate() {
        let unit = Exchanger::new(connection, protocol.clone(), size);
        let pace = pacer.as_ref().map(|pacer| pacer.worker(index));
        load.start(Repeat { unit, pace, phase: load.phase.clone() }, connections.len(), true);
    }
    load.measure().await
}

/// The library's own ping keeps a stream of its own, and its listening side serves one at a time: so that one does its
/// first ping before ours begins, and no other.
async fn round_trips(program: &Program, load: &mut Load, address: &str) -> Result<()> {
    make_nodes(program, load, 1, Duration::from_secs(86400))?;
    let connections = connect(load, address).await?;
    tokio::select! {
        pinged = load.nodes[0].pings(connections[0].id, 1) => { pinged?; }
        () = connections[0].opener.closed() => return Err("connection lost before the first ping".into()),
    }
    if load.settings.load {
        let opener = connections[0].opener.clone();
        load.start(Transfer { opener, down: false, counts: false, phase: load.phase.clone() }, 1, false);
    }
    exchanges(load, &connections, ping::PROTOCOL_NAME, PING_BYTES).await
}

async fn requests(program: &Program, load: &mut Load, address: &str) -> Result<()> {
    let connections = connect_new(program, load, load.settings.connections, address).await?;
    exchanges(load, &connections, ECHO, load.settings.size).await
}

async fn short_streams(program: &Program, load: &mut Load, address: &str) -> Result<()> {
    let connections = connect_new(program, load, 1, address).await?;
    let (inflight, size) = (load.settings.inflight, load.settings.size);
    for _ in 0..inflight {
        let opener = connections[0].opener.clone();
        let unit = ShortStream { opener, output: vec![0; size], input: vec![0; size] };
        load.start(Repeat { unit, pace: None, phase: load.phase.clone() }, inflight, true);
    }
    load.measure().await
}

/// The lane counts connections.
async fn idle(program: &Program, load: &mut Load, address: &str) -> Result<()> {
    make_nodes(program, load, load.settings.connections, PING_INTERVAL)?;
    let start = Instant::now();
    let connections = connect(load, address).await?;
    load.result["setupSeconds"] = start.elapsed().as_secs_f64().into();
    load.measure().await?;
    let lost = connections.iter().filter(|connection| connection.opener.is_closed()).count() as u64;
    load.lanes.push(Lane { units: connections.len() as u64 - lost, failed: lost, ..Lane::default() });
    Ok(())
}

async fn storm(program: &Program, load: &mut Load, address: &str) -> Result<()> {
    make_nodes(program, load, load.settings.connections, PING_INTERVAL)?;
    load.print("begin");
    let begin = Instant::now();
    let dials = load.nodes.iter().map(|node| node.dial(address).map(|done| (done, begin.elapsed())));
    let dials: Vec<_> = dials.collect::<FuturesUnordered<_>>().collect().await;
    load.result["seconds"] = begin.elapsed().as_secs_f64().into();
    load.print("end");
    let mut lane = Lane::default();
    for (connected, time) in dials {
        match connected {
            Ok(_) => {
                lane.units += 1;
                lane.times.push(time);
            }
            Err(_) => lane.failed += 1,
        }
    }
    load.lanes.push(lane);
    Ok(())
}

/// A node that connects, identifies and is identified, pings and disconnects.
struct Handshaker {
    swarm: Swarm<Behaviour>,
    address: String,
    distinct: Option<Options>, // of the nodes that take its place
}

/// The library does the one ping by itself.
fn new_handshaking(options: &Options) -> Result<Swarm<Behaviour>> {
    new_swarm(options, vec![ECHO], PING_INTERVAL)
}

async fn handshakes(program: &Program, load: &mut Load, address: &str) -> Result<()> {
    for _ in 0..load.settings.parallel {
        let swarm = new_handshaking(&program.options)?;
        let distinct = load.settings.distinct.then(|| program.options.clone());
        let unit = Handshaker { swarm, address: address.into(), distinct };
        let worker = Repeat { unit, pace: None, phase: load.phase.clone() };
        load.start(worker, load.settings.parallel, true);
    }
    load.measure().await
}

impl Unit for Handshaker {
    fn prepare(&mut self) -> Result<()> {
        if let Some(options) = &self.distinct {
            self.swarm = new_handshaking(options)?;
        }
        Ok(())
    }

    async fn once(&mut self) -> Result<()> {
        let options = dial_options(&self.address)?;
        let id = options.connection_id();
        self.swarm.dial(options)?;
        let done = match tokio::time::timeout(HANDSHAKE_TIME_MAX, self.greet(id)).await {
            Ok(done) => done,
            Err(_) => Err("timed out".into()),
        };
        if self.swarm.close_connection(id) {
            tokio::time::timeout(HANDSHAKE_TIME_MAX, self.closed(id)).await?;
        }
        done
    }

    fn alive(&self) -> bool {
        true
    }
}

impl Handshaker {
    /// Identify both ways, and a ping.
    async fn greet(&mut self, id: ConnectionId) -> Result<()> {
        let (mut received, mut sent, mut pinged) = (false, false, false);
        while !(received && sent && pinged) {
            match self.swarm.select_next_some().await {
                SwarmEvent::OutgoingConnectionError { connection_id, error, .. } if connection_id == id => {
                    return Err(error.into());
                }
                SwarmEvent::ConnectionClosed { connection_id, .. } if connection_id == id => {
                    return Err("connection lost".into());
                }
                SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => match event {
                    identify::Event::Received { connection_id, .. } => received |= connection_id == id,
                    identify::Event::Sent { connection_id, .. } => sent |= connection_id == id,
                    identify::Event::Error { connection_id, error, .. } if connection_id == id => {
                        return Err(error.into());
                    }
                    _ => {}
                },
                SwarmEvent::Behaviour(BehaviourEvent::Ping(event)) if event.connection == id => {
                    event.result?;
                    pinged = true;
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn closed(&mut self, id: ConnectionId) {
        loop {
            if let SwarmEvent::ConnectionClosed { connection_id, .. } = self.swarm.select_next_some().await
                && connection_id == id
            {
                return;
            }
        }
    }
}

/// The listening node writes to all its peers, reads all the echoes, and begins again.
struct Rounds {
    exchangers: Vec<Exchanger>,
    phase: Phase,
}

impl Worker for Rounds {
    async fn work(&mut self, lane: &mut Lane) {
        let mut start = Instant::now();
        while !self.phase.over() && !self.exchangers.is_empty() {
            let mut round: FuturesUnordered<_> = self.exchangers.iter_mut().map(Unit::once).collect();
            let mut failure = None;
            while let Some(done) = round.next().await {
                match done {
                    Ok(()) if self.phase.measuring() => lane.units += 1,
                    Ok(()) => {}
                    Err(error) => {
                        lane.failed += u64::from(self.phase.measuring());
                        failure = Some(error);
                    }
                }
            }
            drop(round);
            let now = Instant::now();
            if self.phase.measuring() {
                lane.times.push(now - start);
            }
            start = now;
            if let Some(error) = failure {
                let peers = self.exchangers.len();
                self.exchangers.retain(Unit::alive);
                if self.exchangers.len() < peers {
                    self.phase.lost(error);
                }
            }
        }
    }
}

async fn fanout(program: &Program, load: &mut Load) -> Result<()> {
    let wanted = load.settings.connections;
    let since = Instant::now();
    let peers = loop {
        let peers = program.listener.peers().await?;
        if peers.len() >= wanted {
            break peers;
        }
        if since.elapsed() > SETUP_TIME_MAX {
            return Err("not so many peers are connected".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let exchangers =
        peers.iter().take(wanted).map(|peer| Exchanger::new(peer, ECHO, load.settings.size)).collect();
    load.start(Rounds { exchangers, phase: load.phase.clone() }, 1, true);
    load.measure().await
}
