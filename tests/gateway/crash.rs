//! Ends: by signal 9 in the middle of the load, and in order.

use crate::harness::{
    Gateway, Heard, LONG, Setup, Tracker, audit, call, command, frame, now_ms, now_us,
};
use crate::image::Dice;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const TRACKERS: usize = 8;
const RECORDS: i64 = 4;
/// How long a start may be left alone before it is killed, at most.
const START_MS: usize = 600;
/// How long the load may go on before it is killed, at most.
const LOAD_MS: usize = 500;

pub(crate) fn ident(index: usize) -> String {
    format!("3566{index:011}")
}

/// A number of the environment.
pub(crate) fn number_of(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Says how to repeat what fails.
struct Seed(u64);

impl Drop for Seed {
    #[expect(clippy::print_stderr, reason = "a failing test says how to repeat it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("TOLLGATE_KILL_SEED={}", self.0);
        }
    }
}

/// A tracker with a flash: it sends each frame until it is acked, whoever answers, and now and then
/// it has not seen the ack of the one before.
pub(crate) struct Sender {
    stop: Arc<AtomicBool>,
    /// When an ack came, unix us, and the time of a record of it, unix ms.
    acked: Arc<Mutex<Vec<(i64, i64)>>>,
    thread: JoinHandle<()>,
}

impl Sender {
    pub(crate) fn start(index: usize, at: SocketAddr, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acked = Arc::new(Mutex::new(Vec::new()));
        let (ended, told) = (Arc::clone(&stop), Arc::clone(&acked));
        let begin_ms = now_ms() - 3_600_000;
        let times_of = move |frame: i64| -> Vec<i64> {
            let first_ms = begin_ms + frame * RECORDS;
            (0..RECORDS).map(|record| first_ms + record).collect()
        };
        let thread = std::thread::spawn(move || {
            let mut dice = Dice(seed ^ index as u64);
            let mut next = 0;
            while !ended.load(Ordering::Relaxed) {
                let Ok(mut tracker) = Tracker::call(at) else {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                };
                if !tracker.log_in(&ident(index)).unwrap_or(false) {
                    continue;
                }
                if next > 0 && dice.below(2) == 0 {
                    // as if its ack had been lost with the connection
                    if tracker.send(&times_of(next - 1)) != Heard::Count(4) {
                        continue;
                    }
                }
                while !ended.load(Ordering::Relaxed) {
                    let times = times_of(next);
                    if tracker.send(&times) != Heard::Count(4) {
                        break;
                    }
                    let acked_us = now_us();
                    let times = times.into_iter().map(|time| (acked_us, time));
                    told.lock().expect("no panic").extend(times);
                    next += 1;
                }
            }
        });
        Self {
            stop,
            acked,
            thread,
        }
    }

    /// The times of the records acked until now.
    pub(crate) fn acked(&self) -> Vec<i64> {
        let acked = self.acked.lock().expect("no panic");
        acked.iter().map(|(_, time)| *time).collect()
    }

    pub(crate) fn end(self) -> Vec<i64> {
        let acked = self.end_with_times();
        acked.into_iter().map(|(_, time)| time).collect()
    }

    /// Ends it; when each record was acked, and its own time.
    pub(crate) fn end_with_times(self) -> Vec<(i64, i64)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("it ends");
        std::mem::take(&mut *self.acked.lock().expect("no panic"))
    }
}

/// Waits until so many more records are acked.
fn load(senders: &[Sender], records: usize) {
    let acks = || -> usize {
        let counts = senders.iter().map(|one| one.acked().len());
        counts.sum()
    };
    let (before, end) = (acks(), Instant::now() + LONG);
    while acks() < before + records {
        assert!(Instant::now() < end, "no acks any more");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An operator who moves devices and changes limits while the trackers send, until the gateway is
/// gone. What was answered must be there behind the next start; what was not may be.
struct Operator {
    data: PathBuf,
    dice: Dice,
    accounts: [u64; 2],
    devices: Vec<u64>,
    limit: u64,
    /// Of each device the account it may be in: one, and another one while that is not known.
    owners: Vec<(u64, Option<u64>)>,
}

impl Operator {
    /// Goes on until it is told to end, or nobody answers any more.
    fn work(&mut self, end: &AtomicBool) {
        while !end.load(Ordering::Relaxed) && self.step() {}
    }

    fn put(&self, path: &str, body: &Value) -> Option<u16> {
        let answer = call(&self.data, 0, "PUT", path, body).ok();
        answer.map(|(status, _)| status)
    }

    fn step(&mut self) -> bool {
        if self.dice.below(3) == 0 {
            let cap = [40, 4000, -1][self.dice.below(3)];
            let path = format!("/platform/limits/{}", self.limit);
            return self
                .put(&path, &json!({ "channel_messages": cap }))
                .is_some();
        }
        let index = self.dice.below(self.devices.len());
        let to = self.accounts[self.dice.below(2)];
        self.owners[index].1 = Some(to);
        let path = format!("/gw/devices/{}/cid", self.devices[index]);
        let status = self.put(&path, &json!({ "cid": to }));
        if status == Some(200) {
            self.owners[index] = (to, None);
        }
        status.is_some()
    }

    /// Everything that was answered is there; what was not is known from now on.
    fn check(&mut self, gateway: &Gateway) {
        for (device, owner) in self.devices.iter().zip(&mut self.owners) {
            let path = format!("/gw/devices/{device}?fields=cid");
            let cid = gateway.row(0, "GET", &path, &Value::Null)["cid"]
                .as_u64()
                .expect("an account");
            let may = [Some(owner.0), owner.1];
            assert!(
                may.contains(&Some(cid)),
                "device {device}: {cid} of {may:?}"
            );
            *owner = (cid, None);
        }
    }
}

/// Every record acked is there, none twice.
#[track_caller]
pub(crate) fn assert_stored(acked: &[i64], stored: &[i64]) {
    let lost: Vec<_> = acked
        .iter()
        .filter(|time| stored.binary_search(time).is_err())
        .collect();
    assert!(lost.is_empty(), "acked and lost: {lost:?}");
    assert!(
        stored.windows(2).all(|pair| pair[0] < pair[1]),
        "stored twice"
    );
}

/// `TOLLGATE_KILL_ROUNDS` and `TOLLGATE_KILL_SEED` change what is tried.
#[test]
fn what_was_acked_survives_kills_at_any_moment() {
    let rounds = number_of("TOLLGATE_KILL_ROUNDS", 20);
    let seed = number_of("TOLLGATE_KILL_SEED", 1);
    let _said = Seed(seed);
    let mut dice = Dice(seed);
    let setup = Setup::new();
    let mut gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    let limit = json!({ "name": "changing", "channel_messages": -1 });
    let limit = gateway.make(master, "/platform/limits", &limit);
    let accounts = ["one", "two"].map(|name| {
        let child = json!({ "name": name, "limit_id": limit });
        gateway.make(master, "/platform/subaccounts", &child)
    });
    let devices: Vec<u64> = (0..TRACKERS)
        .map(|one| gateway.device(accounts[one % 2], &ident(one)))
        .collect();
    let mut operator = Operator {
        data: setup.data(),
        dice: Dice(seed.wrapping_add(1)),
        accounts,
        owners: (0..TRACKERS).map(|one| (accounts[one % 2], None)).collect(),
        devices: devices.clone(),
        limit,
    };
    let senders: Vec<Sender> = (0..TRACKERS)
        .map(|one| Sender::start(one, at, seed))
        .collect();
    let mut checked_ms = vec![0; TRACKERS];
    for _ in 0..rounds {
        // the kill falls wherever load, moves and limits happen to be
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| operator.work(&over));
            std::thread::sleep(Duration::from_millis(dice.below(LOAD_MS) as u64));
            gateway.kill_minus_9();
            over.store(true, Ordering::Relaxed);
        });
        for _ in 0..dice.below(3) {
            // in the start, in the recovery of a start that was killed
            let (starting, _) = setup.spawn();
            std::thread::sleep(Duration::from_millis(dice.below(START_MS) as u64));
            starting.kill_minus_9();
        }
        let acked: Vec<Vec<i64>> = senders.iter().map(Sender::acked).collect();
        gateway = setup.start();
        operator.check(&gateway);
        for ((device, acked), checked_ms) in devices.iter().zip(acked).zip(&mut checked_ms) {
            let new = acked.partition_point(|time| time < checked_ms);
            assert_stored(&acked[new..], &gateway.stored_from(*device, *checked_ms));
            *checked_ms = acked.last().copied().unwrap_or(0);
        }
        gateway.audit();
    }
    operator.put(
        &format!("/platform/limits/{limit}"),
        &json!({ "channel_messages": -1 }),
    );
    load(&senders, 80);
    let acked: Vec<Vec<i64>> = senders.into_iter().map(Sender::end).collect();
    let mut total = 0;
    for (device, acked) in devices.iter().zip(&acked) {
        let stored = gateway.stored(*device);
        assert_stored(acked, &stored);
        total += stored.len();
    }
    let counted = |account| gateway.account(account)["counters"]["totals"]["messages"].as_u64();
    let of_children = accounts.map(|account| counted(account).expect("a number"));
    assert_eq!(counted(master), Some(total as u64));
    assert_eq!(of_children.iter().sum::<u64>(), total as u64);
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
    let sender = Sender::start(0, at, 1);
    let mut quiet = Tracker::of(&ident(1), at);
    load(std::slice::from_ref(&sender), 200);
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
