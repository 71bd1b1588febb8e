//! Tells workers when their units are due.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{io::unix::AsyncFd, sync::Notify, task::JoinHandle};

/// Unit number i*n+index is that of worker `index` of n.  Dropping it ends the ticks.
pub struct Pacer {
    schedule: Arc<Schedule>,
    ticks: JoinHandle<()>,
}

struct Schedule {
    start: Instant,
    rate: f64,
    ready: Vec<Notify>, // look at the clock
}

/// One worker's view.
pub struct Pace {
    schedule: Arc<Schedule>,
    next: usize,
}

impl Pacer {
    pub fn new(rate: f64, workers: usize) -> io::Result<Pacer> {
        let ready = (0..workers).map(|_| Notify::new()).collect();
        let schedule = Arc::new(Schedule { start: Instant::now(), rate, ready });
        let ticks = tokio::spawn(tick(Timer::new()?, schedule.clone()));
        Ok(Pacer { schedule, ticks })
    }

    pub fn worker(&self, index: usize) -> Pace {
        Pace { schedule: self.schedule.clone(), next: index }
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.ticks.abort();
    }
}

impl Schedule {
    fn due(&self, unit: usize) -> Instant {
        self.start + Duration::from_secs_f64(unit as f64 / self.rate)
    }
}

impl Pace {
    /// Returns when the next unit is due, and the moment at which it was.
    pub async fn wait(&mut self) -> Instant {
        let workers = self.schedule.ready.len();
        let due = self.schedule.due(self.next);
        while Instant::now() < due {
            self.schedule.ready[self.next % workers].notified().await;
        }
        self.next += workers;
        due
    }
}

async fn tick(timer: Timer, schedule: Arc<Schedule>) {
    for unit in 0.. {
        let due = schedule.due(unit);
        loop {
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                break;
            }
            if timer.sleep(wait).await.is_err() {
                return;
            }
        }
        schedule.ready[unit % schedule.ready.len()].notify_one();
    }
}

/// A timerfd, because the runtime's own timers count in milliseconds.
struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    fn new() -> io::Result<Timer> {
        // SAFETY: the descriptor is new, nobody else's, and stays the same for as long as it is registered.
        unsafe {
            let fd = libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_NONBLOCK | libc::TFD_CLOEXEC);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Timer(AsyncFd::register(OwnedFd::from_raw_fd(fd))?))
        }
    }

    async fn sleep(&self, time: Duration) -> io::Result<()> {
        let fd = self.0.as_raw_fd();
        let none = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let value = libc::timespec { tv_sec: time.as_secs() as _, tv_nsec: time.subsec_nanos() as _ };
        let once = libc::itimerspec { it_interval: none, it_value: value };
        // SAFETY: `once` is valid, and no old value is asked for.
        if unsafe { libc::timerfd_settime(fd, 0, &once, std::ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut guard = self.0.readable().await?;
        let mut expirations = [0u8; 8];
        // SAFETY: the buffer is as long as it says.
        unsafe { libc::read(fd, expirations.as_mut_ptr().cast(), expirations.len()) };
        guard.clear_ready();
        Ok(())
    }
}
