//! The commands `about` and `load`, from their arguments to their answer.  The works: load_works.rs.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use crate::{Program, Result, load_works, node::Node, pace::Pace, raise_descriptor_limit};

const SECONDS_MAX: f64 = 1e6;
const SPARE_FILES: u64 = 64; // descriptors beside those of the connections
const MUXER_STREAMS_MAX: usize = 500; // the library's muxer takes 512 a connection, and ping has two
const SAMPLES_MIN: usize = 1 << 10; // room of a lane
const SAMPLES_MAX: usize = 1 << 20; // room of all lanes

pub struct Settings {
    pub connections: usize,
    pub streams: usize,
    pub parallel: usize,
    pub inflight: usize,
    pub size: usize,
    pub direction: String,
    pub rate: f64,
    pub load: bool,
    pub distinct: bool,
    warm: Duration,
    seconds: Duration,
}

/// The keys that each work takes, and whether its units have a latency.
const WORKS: [(&str, &str, bool); 8] = [
    ("bulk", "warm seconds connections streams direction", false),
    ("handshake", "warm seconds parallel distinct", true),
    ("rtt", "warm seconds rate load", true),
    ("rr", "warm seconds connections size rate", true),
    ("streams", "warm seconds inflight size", true),
    ("idle", "warm seconds connections", false),
    ("storm", "connections", true),
    ("fanout", "warm seconds connections size", true),
];

impl Settings {
    fn new(work: &str) -> Settings {
        Settings {
            connections: 1,
            streams: 1,
            parallel: 1,
            inflight: 1,
            size: if work == "rr" { 32 } else { 1024 },
            direction: "up".into(),
            rate: 0.0,
            load: false,
            distinct: false,
            warm: Duration::from_secs(1),
            seconds: Duration::from_secs(5),
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let number = value.parse::<f64>().ok().filter(|n| n.is_finite() && *n >= 0.0);
        let count =
            value.parse::<u32>().ok().filter(|n| *n >= 1 && *n <= i32::MAX as u32).map(|n| n as usize);
        let time = number.filter(|n| *n <= SECONDS_MAX).map(Duration::from_secs_f64);
        let positive = time.filter(|t| !t.is_zero());
        let wrong = || format!("{key} takes no {value:?}");
        match key {
            "connections" => self.connections = count.ok_or_else(wrong)?,
            "streams" => self.streams = count.ok_or_else(wrong)?,
            "parallel" => self.parallel = count.ok_or_else(wrong)?,
            "inflight" => self.inflight = count.ok_or_else(wrong)?,
            "size" => self.size = count.ok_or_else(wrong)?,
            "rate" => self.rate = number.filter(|n| *n <= 1e9).ok_or_else(wrong)?,
            "warm" => self.warm = time.ok_or_else(wrong)?,
            "seconds" => self.seconds = positive.ok_or_else(wrong)?,
            "direction" if ["up", "down", "both"].contains(&value) => self.direction = value.into(),
            "load" if ["0", "1"].contains(&value) => self.load = value == "1",
            "distinct" if ["0", "1"].contains(&value) => self.distinct = value == "1",
            _ => return Err(wrong().into()),
        }
        Ok(())
    }

    /// What this program or library cannot do.
    fn check_limits(&self) -> Result<()> {
        let needed = self.connections.max(self.parallel) as u64 + SPARE_FILES;
        let limit = raise_descriptor_limit();
        if needed > limit {
            return Err(format!("cannot: {needed} descriptors are needed, the limit is {limit}").into());
        }
        let streams = self.inflight.max(self.streams * if self.direction == "both" { 2 } else { 1 });
        if streams > MUXER_STREAMS_MAX {
            let limit = "512 streams a connection, some of them for ping and identify";
            return Err(format!("cannot: rust-libp2p's yamux takes {limit}").into());
        }
        Ok(())
    }
}

/// What one worker counts.
#[derive(Default)]
pub struct Lane {
    pub units: u64,
    pub failed: u64,
    pub times: Vec<Duration>,
}

/// What workers know of the load that they carry.
#[derive(Clone)]
pub struct Phase {
    measuring: Arc<AtomicBool>, // between `begin` and `end`
    over: Arc<AtomicBool>,
    failure: mpsc::Sender<String>,
}

impl Phase {
    pub fn measuring(&self) -> bool {
        self.measuring.load(Ordering::Relaxed)
    }

    pub fn over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Takes down that something which the work needs is gone for good: before `begin` that ends the load.
    pub fn lost(&self, error: impl ToString) {
        let _ = self.failure.try_send(error.to_string());
    }
}

/// Whoever works until it is over.  It may be dropped wherever it waits, and looks at the phase where it may not wait.
pub trait Worker: Send + 'static {
    fn work(&mut self, lane: &mut Lane) -> impl Future<Output = ()> + Send;
}

/// What can be done over and over.
pub trait Unit: Send + 'static {
    fn once(&mut self) -> impl Future<Output = Result<()>> + Send;

    /// What is to be done before each, and takes none of its time.
    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    /// Whether there is still something to do it on.
    fn alive(&self) -> bool;
}

/// Does units one after the other: the next one as soon as the last is done, or when it is due.
pub struct Repeat<U> {
    pub unit: U,
    pub pace: Option<Pace>,
    pub phase: Phase,
}

impl<U: Unit> Worker for Repeat<U> {
    async fn work(&mut self, lane: &mut Lane) {
        while !self.phase.over() {
            let prepared = self.unit.prepare();
            let start = match &mut self.pace {
                Some(pace) => pace.wait().await,
                None => Instant::now(),
            };
            let done = match prepared {
                Ok(()) => self.unit.once().await,
                Err(error) => Err(error),
            };
            let now = Instant::now();
            if self.phase.measuring() {
                match done {
                    Ok(()) => {
                        lane.units += 1;
                        lane.times.push(now - start);
                    }
                    Err(_) => lane.failed += 1,
                }
            }
            if let Err(error) = done
                && !self.unit.alive()
            {
                self.phase.lost(error);
                if self.pace.is_none() {
                    return;
                }
            }
        }
    }
}

/// One such command while it runs.
pub struct Load {
    tag: String,
    pub settings: Settings,
    pub phase: Phase,
    failure: mpsc::Receiver<String>,
    workers: JoinSet<Lane>,
    running: Vec<oneshot::Sender<Infallible>>, // dropping these ends workers where they wait
    pub nodes: Vec<Node>,
    pub lanes: Vec<Lane>,
    pub result: Value,
}

pub fn about() -> Value {
    let version = include_str!("../Cargo.toml").split("libp2p = { version = \"=").nth(1);
    json!({
        "implementation": "rust-libp2p",
        "version": version.and_then(|rest| rest.split('"').next()).unwrap_or("unknown"),
        "workers": tokio::runtime::Handle::current().metrics().num_workers(),
        "waiting": "sleep",
    })
}

/// The settings of a work, and whether its units have a latency.
fn parse(work: &str, pairs: &[&str]) -> Result<(Settings, bool)> {
    let Some(&(_, keys, timed)) = WORKS.iter().find(|(name, ..)| *name == work) else {
        return Err(format!("no work {work:?}").into());
    };
    let mut settings = Settings::new(work);
    for pair in pairs {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !keys.split(' ').any(|known| known == key) {
            return Err(format!("{work} takes no key {key:?}").into());
        }
        settings.set(key, value)?;
    }
    settings.check_limits()?;
    Ok((settings, timed))
}

pub async fn run(program: &Program, tag: &str, work: &str, address: &str, pairs: &[&str]) -> Result<Value> {
    let (settings, timed) = parse(work, pairs)?;
    let (failed, failure) = mpsc::channel(1);
    let mut load = Load {
        tag: tag.into(),
        settings,
        phase: Phase { measuring: Arc::default(), over: Arc::default(), failure: failed },
        failure,
        workers: JoinSet::new(),
        running: Vec::new(),
        nodes: Vec::new(),
        lanes: Vec::new(),
        result: json!({}),
    };
    let done = load_works::work(program, &mut load, work, address).await;
    load.end().await;
    done.map(|()| load.count(timed))
}

impl Load {
    pub fn print(&self, event: &str) {
        println!("{}", json!({"id": self.tag, "event": event}));
    }

    /// Starts one of `count` workers, whose units have latencies if `timed`.
    pub fn start(&mut self, mut worker: impl Worker, count: usize, timed: bool) {
        let samples = if timed { SAMPLES_MIN.max(SAMPLES_MAX / count) } else { 0 };
        let (running, ended) = oneshot::channel();
        self.running.push(running);
        self.workers.spawn(async move {
            let mut lane = Lane { times: Vec::with_capacity(samples), ..Lane::default() };
            tokio::select! {
                biased;
                () = worker.work(&mut lane) => {}
                _ = ended => {}
            }
            lane // the worker is dropped now, and with it its streams, which resets them
        });
    }

    /// Warms up, then lets the workers count between `begin` and `end`.
    pub async fn measure(&mut self) -> Result<()> {
        tokio::select! {
            error = self.failure.recv() => return Err(error.unwrap_or_default().into()),
            () = tokio::time::sleep(self.settings.warm) => {}
        }
        self.print("begin");
        let begin = Instant::now();
        self.phase.measuring.store(true, Ordering::Relaxed);
        tokio::time::sleep(self.settings.seconds).await;
        self.phase.measuring.store(false, Ordering::Relaxed);
        self.result["seconds"] = begin.elapsed().as_secs_f64().into();
        self.print("end");
        Ok(())
    }

    /// Ends the workers and closes the nodes.
    async fn end(&mut self) {
        self.phase.over.store(true, Ordering::Relaxed);
        self.running.clear();
        while let Some(lane) = self.workers.join_next().await {
            match lane {
                Ok(lane) => self.lanes.push(lane),
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        }
        join_all(self.nodes.drain(..).map(Node::close)).await;
    }

    /// Adds up what the lanes have counted.
    fn count(mut self, timed: bool) -> Value {
        self.result["units"] = self.lanes.iter().map(|lane| lane.units).sum::<u64>().into();
        self.result["failed"] = self.lanes.iter().map(|lane| lane.failed).sum::<u64>().into();
        if timed {
            let mut times: Vec<Duration> = self.lanes.into_iter().flat_map(|lane| lane.times).collect();
            times.sort_unstable();
            let ranks = [("p50Us", 500), ("p90Us", 900), ("p99Us", 990), ("p999Us", 999), ("maxUs", 1000)];
            for (name, permille) in ranks {
                // The least value that so many of them do not exceed.
                let rank = (permille * times.len()).div_ceil(1000);
                let value = rank.checked_sub(1).map(|index| times[index].as_nanos() as f64 / 1e3);
                self.result[name] = value.into();
            }
        }
        self.result
    }
}
