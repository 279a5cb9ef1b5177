//! Ends: by signal 9 in the middle of the load, and in order.

use crate::harness::{Heard, LONG, Setup, Tracker, audit, command, frame, now_ms};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const TRACKERS: usize = 6;
const ROUNDS: u32 = 5;
const RECORDS: i64 = 4;

fn ident(index: usize) -> String {
    format!("3566{index:011}")
}

/// A tracker with a flash: it sends each frame until it is acked, whoever answers.
struct Sender {
    stop: Arc<AtomicBool>,
    acks: Arc<AtomicU64>,
    /// The times of what was acked.
    thread: JoinHandle<Vec<i64>>,
}

impl Sender {
    fn start(index: usize, at: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acks = Arc::new(AtomicU64::new(0));
        let (ended, count) = (Arc::clone(&stop), Arc::clone(&acks));
        let thread = std::thread::spawn(move || {
            let mut acked = Vec::new();
            let mut next_ms = now_ms() - 3_600_000;
            while !ended.load(Ordering::Relaxed) {
                let Ok(mut tracker) = Tracker::call(at) else {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                };
                if !tracker.log_in(&ident(index)).unwrap_or(false) {
                    continue;
                }
                while !ended.load(Ordering::Relaxed) {
                    let times: Vec<i64> = (0..RECORDS).map(|record| next_ms + record).collect();
                    if tracker.send(&times) != Heard::Count(4) {
                        break;
                    }
                    acked.extend(times);
                    count.fetch_add(1, Ordering::Relaxed);
                    next_ms += RECORDS;
                }
            }
            acked
        });
        Self { stop, acks, thread }
    }

    fn end(self) -> Vec<i64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it ends")
    }
}

fn acks(senders: &[Sender]) -> u64 {
    let counts = senders.iter().map(|one| one.acks.load(Ordering::Relaxed));
    counts.sum()
}

/// Waits until so many more frames are acked.
fn load(senders: &[Sender], frames: u64) {
    let (before, end) = (acks(senders), Instant::now() + LONG);
    while acks(senders) < before + frames {
        assert!(Instant::now() < end, "no acks any more");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn what_was_acked_survives_five_kills() {
    let setup = Setup::new();
    let mut gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    let child = serde_json::json!({ "name": "child" });
    let child = gateway.make(master, "/platform/subaccounts", &child);
    let devices: Vec<u64> = (0..TRACKERS)
        .map(|one| gateway.device(child, &ident(one)))
        .collect();
    let senders: Vec<Sender> = (0..TRACKERS).map(|one| Sender::start(one, at)).collect();
    for _ in 0..ROUNDS {
        // the kill falls wherever the load happens to be
        load(&senders, 150);
        gateway.kill_minus_9();
        gateway = setup.start();
        gateway.audit();
    }
    load(&senders, 20);
    let acked: Vec<Vec<i64>> = senders.into_iter().map(Sender::end).collect();
    let mut total = 0;
    for (device, acked) in devices.iter().zip(&acked) {
        let stored = gateway.stored(*device);
        let lost: Vec<_> = acked
            .iter()
            .filter(|time| stored.binary_search(time).is_err())
            .collect();
        assert!(lost.is_empty(), "acked and lost: {lost:?}");
        assert!(
            stored.windows(2).all(|pair| pair[0] < pair[1]),
            "stored twice"
        );
        total += stored.len();
    }
    for account in [master, child] {
        let counted = &gateway.account(account)["counters"]["totals"];
        assert_eq!(counted["messages"], total, "account {account}");
    }
    gateway.audit();
    gateway.stop();
    audit(&setup.data());
}

#[test]
fn sigterm_drains_and_ends_with_0() {
    let setup = Setup::new();
    let mut gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    let device = gateway.device(master, &ident(0));
    let idle = gateway.device(master, &ident(1));
    let sender = Sender::start(0, at);
    let mut quiet = Tracker::of(&ident(1), at);
    load(std::slice::from_ref(&sender), 50);
    // received before the signal: it is answered, or it was not received
    let begin_ms = now_ms() - 60_000;
    quiet.say(&frame(&[begin_ms]));
    gateway.send_sigterm();
    let heard = quiet.hear(LONG);
    let status = gateway.ended();
    assert_eq!(status.code(), Some(0), "{}", gateway.said());
    assert!(gateway.said().contains("stopped"), "{}", gateway.said());
    assert!(TcpStream::connect(at).is_err(), "nobody listens any more");
    let acked = sender.end();

    // nobody runs: the commands open the directory themselves
    let stored = |device: u64| {
        let of = ["--device", &device.to_string()];
        let output = command(&["messages", "--data"], &setup.data(), &of);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).lines().count()
    };
    assert!(stored(device) >= acked.len());
    if heard == Heard::Count(1) {
        assert_eq!(stored(idle), 1, "acked");
    } else {
        assert_eq!(heard, Heard::Closed);
    }
    audit(&setup.data());
}
