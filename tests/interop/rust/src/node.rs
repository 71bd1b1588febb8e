//! A libp2p node in a task of its own: it dials, disconnects, and keeps what identify tells it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identify,
    identity::Keypair,
    multiaddr::Protocol,
    noise, ping, plaintext,
    swarm::{
        ConnectionId, DialError, NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, yamux,
};
use rsa::pkcs8::EncodePrivateKey;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use crate::{Options, Result, serve, streams};
use streams::Connection;

pub const PING_INTERVAL: Duration = Duration::from_secs(15); // the library's default

const CONNECT_TIME_MAX: Duration = Duration::from_secs(60); // when thousands dial at once, the usual 10 s are few
const ACCEPT_BACKLOG: u32 = 4096;
const LEARNED_MAX: usize = 64; // what is kept of all that identify tells a program under load

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    streams: streams::Behaviour,
}

enum Command {
    Dial(DialOpts, oneshot::Sender<std::result::Result<Connection, DialError>>),
    ConnectionsOf(PeerId, oneshot::Sender<Vec<Connection>>),
    Peers(oneshot::Sender<Vec<Connection>>),
    Disconnect(PeerId, oneshot::Sender<()>),
}

/// Dropping it ends the node.
pub struct Node {
    pub id: PeerId,
    pub addresses: Vec<Multiaddr>,
    commands: mpsc::UnboundedSender<Command>,
    learned: watch::Receiver<VecDeque<(PeerId, identify::Info)>>,
    pinged: watch::Receiver<HashMap<ConnectionId, Vec<Duration>>>,
    driver: JoinHandle<()>,
}

fn new_key(key_type: &str) -> Result<Keypair> {
    match key_type {
        "ed25519" => Ok(Keypair::generate_ed25519()),
        "secp256k1" => Ok(Keypair::generate_secp256k1()),
        "ecdsa" => Ok(Keypair::generate_ecdsa()),
        "rsa" => {
            let key = rsa::RsaPrivateKey::new(&mut rand::rngs::OsRng, 2048)?; // libp2p only reads RSA keys
            Ok(Keypair::rsa_from_pkcs8(&mut key.to_pkcs8_der()?.to_bytes())?)
        }
        other => Err(format!("unknown key type {other:?}").into()),
    }
}

/// A node with a fresh identity, not yet driven.
pub fn new_swarm(
    options: &Options,
    offered: Vec<StreamProtocol>,
    ping_interval: Duration,
) -> Result<Swarm<Behaviour>> {
    let tcp = tcp::Config::default().listen_backlog(ACCEPT_BACKLOG);
    let version = "/interop/1.0.0".into();
    let signed = options.signed_records;
    let behaviour = move |key: &Keypair| Behaviour {
        identify: identify::Behaviour::new(match signed {
            true => identify::Config::new_with_signed_peer_record(version, key),
            false => identify::Config::new(version, key.public()),
        }),
        ping: ping::Behaviour::new(ping::Config::new().with_interval(ping_interval)),
        streams: streams::Behaviour::new(offered),
    };
    // A connection without streams would be closed after 10 s.
    let day = Duration::from_secs(86400);
    let builder = SwarmBuilder::with_existing_identity(new_key(&options.key)?).with_tokio();
    Ok(match options.security.as_str() {
        "noise" => builder
            .with_tcp(tcp, noise::Config::new, yamux::Config::default)?
            .with_behaviour(behaviour)?
            .with_swarm_config(|c| c.with_idle_connection_timeout(day))
            .with_connection_timeout(CONNECT_TIME_MAX)
            .build(),
        "plaintext" => builder
            .with_tcp(
                tcp,
                |key: &Keypair| Ok::<_, std::convert::Infallible>(plaintext::Config::new(key)),
                yamux::Config::default,
            )?
            .with_behaviour(behaviour)?
            .with_swarm_config(|c| c.with_idle_connection_timeout(day))
            .with_connection_timeout(CONNECT_TIME_MAX)
            .build(),
        other => return Err(format!("security {other:?} is not built into this peer").into()),
    })
}

impl Node {
    /// A node with a fresh identity; returns when it listens, if it shall.
    pub async fn new(options: &Options, listens: bool, ping_interval: Duration) -> Result<Node> {
        let offered =
            if listens { vec![serve::ECHO, serve::PERF, serve::HALF, serve::RESET] } else { vec![] };
        let mut swarm = new_swarm(options, offered, ping_interval)?;
        let mut addresses = Vec::new();
        if listens {
            swarm.listen_on(format!("/ip4/{}/tcp/0", options.host).parse()?)?;
            while addresses.is_empty() {
                if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                    addresses.push(address);
                }
            }
        }
        Ok(Node { addresses, ..Node::start(swarm) })
    }

    /// A node that listens nowhere.
    pub fn start(swarm: Swarm<Behaviour>) -> Node {
        let id = *swarm.local_peer_id();
        let (commands, commands_in) = mpsc::unbounded_channel();
        let (learned_out, learned) = watch::channel(VecDeque::new());
        let (pinged_out, pinged) = watch::channel(HashMap::new());
        let driver = tokio::spawn(drive(swarm, commands_in, learned_out, pinged_out));
        Node { id, addresses: Vec::new(), commands, learned, pinged, driver }
    }

    /// Ends the node, and waits for that.
    pub async fn close(self) {
        drop(self.commands);
        let _ = self.driver.await;
    }

    pub async fn dial(&self, address: &str) -> Result<Connection> {
        let options = dial_options(address)?;
        Ok(self.ask(|reply| Command::Dial(options, reply)).await??)
    }

    /// One connection of each peer.
    pub async fn peers(&self) -> Result<Vec<Connection>> {
        self.ask(Command::Peers).await
    }

    pub async fn connections_of(&self, peer: PeerId) -> Result<Vec<Connection>> {
        self.ask(|reply| Command::ConnectionsOf(peer, reply)).await
    }

    pub async fn disconnect(&self, peer: PeerId) -> Result<()> {
        self.ask(|reply| Command::Disconnect(peer, reply)).await
    }

    /// Waits for what identify tells of this peer.
    pub async fn learned(&self, peer: PeerId) -> Result<Value> {
        let mut learned = self.learned.clone();
        let about = |all: &VecDeque<_>| all.iter().position(|(who, _)| *who == peer);
        let all = learned.wait_for(|all| about(all).is_some()).await?;
        Ok(describe(peer, &all[about(&all).unwrap()].1))
    }

    pub async fn identified(&self, peer: PeerId) -> Result<()> {
        let mut learned = self.learned.clone();
        learned.wait_for(|all| all.iter().any(|(who, _)| *who == peer)).await?;
        Ok(())
    }

    /// Waits until so many pings on this connection have been answered, and returns their times.
    pub async fn pings(&self, connection: ConnectionId, count: usize) -> Result<Vec<Duration>> {
        let mut pinged = self.pinged.clone();
        let enough =
            |all: &HashMap<_, Vec<_>>| all.get(&connection).is_some_and(|times| times.len() >= count);
        Ok(pinged.wait_for(enough).await?[&connection].clone())
    }

    pub fn pings_now(&self, connection: ConnectionId) -> usize {
        self.pinged.borrow().get(&connection).map_or(0, Vec::len)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).map_err(|_| "node ended")?;
        Ok(answer.await.map_err(|_| "node ended")?)
    }
}

/// Splits an address into what is dialled and who is expected there.
pub fn parse(address: &str) -> Result<(Multiaddr, PeerId)> {
    let mut target: Multiaddr = address.parse()?;
    match target.pop() {
        Some(Protocol::P2p(peer)) => Ok((target, peer)),
        _ => Err("address without /p2p/ID".into()),
    }
}

pub fn dial_options(address: &str) -> Result<DialOpts> {
    let (target, peer) = parse(address)?;
    Ok(DialOpts::peer_id(peer).condition(PeerCondition::Always).addresses(vec![target]).build())
}

async fn drive(
    mut swarm: Swarm<Behaviour>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    learned: watch::Sender<VecDeque<(PeerId, identify::Info)>>,
    pinged: watch::Sender<HashMap<ConnectionId, Vec<Duration>>>,
) {
    let mut connections: HashMap<ConnectionId, Connection> = HashMap::new();
    let mut dials = HashMap::new();
    let mut leaving: Vec<(PeerId, oneshot::Sender<()>)> = Vec::new();
    loop {
        tokio::select! {
            command = commands.recv() => match command {
                None => return,
                Some(Command::Dial(options, reply)) => {
                    let id = options.connection_id();
                    match swarm.dial(options) {
                        Ok(()) => { dials.insert(id, reply); }
                        Err(error) => { let _ = reply.send(Err(error)); }
                    }
                }
                Some(Command::ConnectionsOf(peer, reply)) => {
                    let _ = reply.send(connections.values().filter(|c| c.peer == peer).cloned().collect());
                }
                Some(Command::Peers(reply)) => {
                    let mut seen = HashSet::new();
                    let _ = reply.send(connections.values().filter(|c| seen.insert(c.peer)).cloned().collect());
                }
                Some(Command::Disconnect(peer, reply)) => match swarm.disconnect_peer_id(peer) {
                    Ok(()) => leaving.push((peer, reply)),
                    Err(()) => { let _ = reply.send(()); }
                },
            },
            event = swarm.select_next_some() => match event {
                SwarmEvent::Behaviour(BehaviourEvent::Streams(connection)) => {
                    connections.insert(connection.id, connection.clone());
                    if let Some(reply) = dials.remove(&connection.id) {
                        let _ = reply.send(Ok(connection));
                    }
                }
                SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                    if let Some(reply) = dials.remove(&connection_id) {
                        let _ = reply.send(Err(error));
                    }
                }
                SwarmEvent::ConnectionClosed { connection_id, num_established, peer_id, .. } => {
                    connections.remove(&connection_id);
                    pinged.send_if_modified(|all| all.remove(&connection_id).is_some());
                    if num_established == 0 {
                        for (_, reply) in leaving.extract_if(.., |(peer, _)| *peer == peer_id) {
                            let _ = reply.send(());
                        }
                    }
                }
                SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                    peer_id, info, ..
                })) => {
                    learned.send_modify(|all| {
                        all.truncate(LEARNED_MAX - 1);
                        all.push_front((peer_id, info));
                    });
                }
                SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { connection, result: Ok(time), .. })) => {
                    pinged.send_modify(|all| all.entry(connection).or_default().push(time));
                }
                _ => {}
            },
        }
    }
}

/// The library drops a signed record that it cannot verify, and it only verifies a format of its own.
fn describe(peer: PeerId, info: &identify::Info) -> Value {
    json!({
        "remoteId": peer.to_string(), "agent": info.agent_version, "protocolVersion": info.protocol_version,
        "protocols": info.protocols.iter().map(|p| p.to_string()).collect::<Vec<_>>(),
        "listenAddrs": info.listen_addrs.iter().map(|a| a.to_string()).collect::<Vec<_>>(),
        "observedAddr": info.observed_addr.to_string(),
        "earlyMuxer": false, // the library has none
        "signedPeerRecord": if info.signed_peer_record.is_some() { "valid" } else { "none" },
    })
}
