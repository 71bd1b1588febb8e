//! A behaviour that hands out plain streams: inbound ones to `serve`, outbound ones to whoever holds the
//! connection's `Opener`.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
};

use libp2p::{
    Multiaddr, PeerId, Stream, StreamProtocol,
    core::{Endpoint, transport::PortUse, upgrade::UpgradeInfo},
    core::{InboundUpgrade, OutboundUpgrade},
    swarm::{
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
        NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
        handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
    },
};
use tokio::sync::{mpsc, oneshot};

use crate::{Result, serve};

type Reply = oneshot::Sender<Result<Stream>>;

/// Opens streams on one connection; closed when the connection is.
#[derive(Clone, Debug)]
pub struct Opener(mpsc::UnboundedSender<(StreamProtocol, Reply)>);

impl Opener {
    pub async fn open(&self, protocol: StreamProtocol) -> Result<Stream> {
        let (reply, stream) = oneshot::channel();
        self.0.send((protocol, reply)).map_err(|_| "connection closed")?;
        stream.await.map_err(|_| "connection closed")?
    }

    pub async fn closed(&self) {
        self.0.closed().await
    }

    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

/// A new connection, and the way to open streams on it.
#[derive(Clone, Debug)]
pub struct Connection {
    pub id: ConnectionId,
    pub peer: PeerId,
    pub opener: Opener,
}

pub struct Behaviour {
    offered: Vec<StreamProtocol>,
    made: VecDeque<Connection>,
}

impl Behaviour {
    pub fn new(offered: Vec<StreamProtocol>) -> Self {
        Self { offered, made: VecDeque::new() }
    }

    fn handler(&mut self, id: ConnectionId, peer: PeerId) -> Handler {
        let (sender, requests) = mpsc::unbounded_channel();
        self.made.push_back(Connection { id, peer, opener: Opener(sender) });
        Handler { offered: self.offered.clone(), requests }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Connection;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> std::result::Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(id, peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> std::result::Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(id, peer))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Connection, THandlerInEvent<Self>>> {
        // No waker to keep: `made` only grows while the swarm itself is being polled.
        match self.made.pop_front() {
            Some(connection) => Poll::Ready(ToSwarm::GenerateEvent(connection)),
            None => Poll::Pending,
        }
    }
}

pub struct Handler {
    offered: Vec<StreamProtocol>,
    requests: mpsc::UnboundedReceiver<(StreamProtocol, Reply)>,
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = Offer;
    type OutboundProtocol = Offer;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(Offer(self.offered.clone()), ())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionHandlerEvent<Offer, Reply, Infallible>> {
        match self.requests.poll_recv(cx) {
            Poll::Ready(Some((protocol, reply))) => {
                let protocol = SubstreamProtocol::new(Offer(vec![protocol]), reply);
                Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
            }
            _ => Poll::Pending,
        }
    }

    fn on_behaviour_event(&mut self, event: Infallible) {
        match event {}
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<Offer, Offer, (), Reply>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                ..
            }) => {
                tokio::spawn(serve::serve(stream, protocol));
            }
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound { protocol, info }) => {
                let _ = info.send(Ok(protocol.0));
            }
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let _ = info.send(Err(error.into()));
            }
            _ => {}
        }
    }
}

/// Negotiates one of these protocols and passes the stream on as it is.
pub struct Offer(Vec<StreamProtocol>);

impl UpgradeInfo for Offer {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.clone().into_iter()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<std::result::Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Offer {
    type Output = (Stream, StreamProtocol);
    type Error = Infallible;
    type Future = Ready<std::result::Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, protocol: StreamProtocol) -> Self::Future {
        ready(Ok((stream, protocol)))
    }
}
