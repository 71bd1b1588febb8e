//! The commands.

use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt, TryStreamExt, future::try_join, stream};
use libp2p::{
    StreamProtocol,
    swarm::{ConnectionId, DialError},
};
use rand::{RngCore, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    Program, Result, load,
    node::{Node, PING_INTERVAL, parse},
    serve::{CHUNK_BYTES, ECHO, HALF, PERF, RESET, discard, hex, send_zeros},
    streams::{Connection, Opener},
};

const COMMAND_SECONDS_MAX: u64 = 60;
const LEARNED_SECONDS_MAX: u64 = 10;
const STREAM_BYTES: usize = 1 << 10;
const HALF_BYTES: usize = 100 << 10;

impl Program {
    /// Executes one command.
    pub async fn run(&self, tag: &str, case: &str, args: &[&str]) -> Result<Value> {
        match (case, args) {
            ("about", []) => return Ok(load::about()),
            ("load", [work, address, pairs @ ..]) => return load::run(self, tag, work, address, pairs).await,
            _ => {}
        }
        let seconds = match (case, args) {
            ("idle", [_, seconds]) => COMMAND_SECONDS_MAX + seconds.parse::<u64>()?,
            ("learned", _) => LEARNED_SECONDS_MAX,
            _ => COMMAND_SECONDS_MAX,
        };
        let time = Duration::from_secs(seconds);
        tokio::time::timeout(time, self.dispatch(case, args)).await.map_err(|_| "timed out")?
    }

    async fn dispatch(&self, case: &str, args: &[&str]) -> Result<Value> {
        match (case, args) {
            ("learned", [id]) => self.listener.learned(id.parse()?).await,
            ("disconnect", [id]) => self.listener.disconnect(id.parse()?).await.map(|()| json!({})),
            ("simultaneous", [address]) => self.simultaneous(address).await,
            ("identify", [address]) => self.identify(address).await,
            ("wrong-id", [address]) => self.wrong_id(address).await,
            ("ping", [_, _])
            | ("echo", [_, _])
            | ("idle", [_, _])
            | ("half", [_])
            | ("reset", [_])
            | ("streams", [_, _, _])
            | ("perf", [_, _, _]) => {
                let interval = if case == "ping" { Duration::from_millis(1) } else { PING_INTERVAL };
                let node = Node::new(&self.options, false, interval).await?;
                let Connection { id, peer, opener: connection } = node.dial(args[0]).await?;
                let numbers =
                    args[1..].iter().map(|n| n.parse()).collect::<std::result::Result<Vec<usize>, _>>()?;
                match case {
                    "ping" => ping(&node, id, numbers[0]).await,
                    "echo" => echo(&connection, numbers[0]).await,
                    "idle" => idle(&node, id, &connection, Duration::from_secs(numbers[0] as u64)).await,
                    "half" => half(&connection).await,
                    "reset" => reset(&connection).await,
                    "streams" => {
                        node.learned(peer).await?; // js gives up a connection with many streams before that
                        streams(&connection, numbers[0], numbers[1]).await
                    }
                    _ => perf(&connection, numbers[0] as u64, numbers[1] as u64).await,
                }
            }
            _ => Err(format!("no command {case:?} with {} arguments", args.len()).into()),
        }
    }

    async fn identify(&self, address: &str) -> Result<Value> {
        let node = Node::new(&self.options, false, PING_INTERVAL).await?;
        let connection = node.dial(address).await?;
        let mut found = tokio::select! {
            found = node.learned(connection.peer) => found?,
            () = connection.opener.closed() => return Err("connection lost before identify".into()),
        };
        found["localId"] = node.id.to_string().into();
        self.kept.lock().unwrap().push(node); // the other side may be asked what it learned
        Ok(found)
    }

    /// Succeeds when the dial fails for the id's sake.
    async fn wrong_id(&self, address: &str) -> Result<Value> {
        let node = Node::new(&self.options, false, PING_INTERVAL).await?;
        match node.dial(address).await {
            Ok(_) => Err("connected to a peer with another id".into()),
            Err(error) => match error.downcast_ref() {
                Some(DialError::WrongPeerId { .. }) => Ok(json!({"refusal": error.to_string()})),
                _ => Err(error),
            },
        }
    }

    /// Dials from the listening node, which the other side is told to dial at the same moment.
    async fn simultaneous(&self, address: &str) -> Result<Value> {
        let (_, peer) = parse(address)?;
        let connection = match self.listener.connections_of(peer).await?.pop() {
            Some(connection) => connection,
            None => self.listener.dial(address).await?,
        };
        let mut answer = ping(&self.listener, connection.id, 1).await?;
        answer["connections"] = self.listener.connections_of(peer).await?.len().into();
        Ok(answer)
    }
}

/// Waits for as many round trips of the library's own ping, which keeps one stream for them.
async fn ping(node: &Node, connection: ConnectionId, count: usize) -> Result<Value> {
    let mut times = node.pings(connection, count).await?;
    times.sort();
    Ok(json!({"rttUs": times[times.len() / 2].as_micros() as u64}))
}

/// Sends bytes on a new stream, and returns the SHA-256 of them if they all come back.
async fn exchange(connection: &Opener, count: usize) -> Result<String> {
    let (mut reader, mut writer) = connection.open(ECHO).await?.split();
    let send = async {
        let mut random = StdRng::from_entropy();
        let mut sent = Sha256::new();
        let mut buffer = vec![0; CHUNK_BYTES];
        let mut left = count;
        while left > 0 {
            let chunk = &mut buffer[..left.min(CHUNK_BYTES)];
            random.fill_bytes(chunk);
            sent.update(&*chunk);
            writer.write_all(chunk).await?;
            left -= chunk.len();
        }
        writer.close().await?;
        Result::Ok(sent.finalize())
    };
    let receive = async {
        let mut got = Sha256::new();
        let mut total = 0;
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            match reader.read(&mut buffer).await? {
                0 => return Result::Ok((total, got.finalize())),
                n => {
                    got.update(&buffer[..n]);
                    total += n;
                }
            }
        }
    };
    let (sent, (total, got)) = try_join(send, receive).await?;
    if total != count || sent != got {
        return Err(format!("sent {count} bytes, got {total} back, or other ones").into());
    }
    Ok(hex(&got))
}

async fn echo(connection: &Opener, count: usize) -> Result<Value> {
    let start = Instant::now();
    let sum = exchange(connection, count).await?;
    Ok(json!({"sha256": sum, "seconds": start.elapsed().as_secs_f64()}))
}

async fn streams(connection: &Opener, total: usize, concurrent: usize) -> Result<Value> {
    let start = Instant::now();
    let exchanges = stream::iter(0..total).map(|_| exchange(connection, STREAM_BYTES));
    let done: Vec<String> = exchanges.buffer_unordered(concurrent).try_collect().await?;
    Ok(json!({"failed": total - done.len(), "seconds": start.elapsed().as_secs_f64()}))
}

async fn half(connection: &Opener) -> Result<Value> {
    let mut stream = connection.open(HALF).await?;
    let mut data = vec![0; HALF_BYTES];
    rand::thread_rng().fill_bytes(&mut data);
    stream.write_all(&data).await?;
    stream.close().await?; // our side only
    let mut got = String::new();
    stream.read_to_string(&mut got).await?;
    if got != hex(&Sha256::digest(&data)) {
        return Err(format!("wrong hash after the half-close: {got:?}").into());
    }
    Ok(json!({}))
}

/// The library shows a reset as an end of the input after which writing is impossible, and no code.
async fn reset(connection: &Opener) -> Result<Value> {
    let mut stream = connection.open(StreamProtocol::from(RESET)).await?;
    stream.write_all(b"now\n").await?;
    stream.flush().await?;
    let mut byte = [0];
    if let Ok(1) = stream.read(&mut byte).await {
        return Err("expected a reset, got data".into());
    }
    if stream.write_all(b"x").await.is_ok() {
        return Err("expected a reset, got the end of the input".into());
    }
    exchange(connection, STREAM_BYTES).await?; // the connection must not have suffered
    Ok(json!({"code": null}))
}

async fn idle(node: &Node, id: ConnectionId, connection: &Opener, quiet: Duration) -> Result<Value> {
    tokio::select! {
        () = connection.closed() => Err("connection lost while idle".into()),
        () = tokio::time::sleep(quiet) => {
            let before = node.pings_now(id);
            ping(node, id, before + 1).await
        }
    }
}

async fn perf(connection: &Opener, up: u64, down: u64) -> Result<Value> {
    let mut stream = connection.open(PERF).await?;
    let start = Instant::now();
    stream.write_all(&down.to_be_bytes()).await?;
    send_zeros(&mut stream, up).await?;
    stream.close().await?;
    let mut first = [0];
    let n = stream.read(&mut first).await? as u64;
    let uploaded = Instant::now();
    let got = n + discard(&mut stream).await?;
    if got != down {
        return Err(format!("asked for {down} bytes, got {got}").into());
    }
    let up_seconds = (uploaded - start).as_secs_f64();
    Ok(json!({"upSeconds": up_seconds, "downSeconds": uploaded.elapsed().as_secs_f64()}))
}
