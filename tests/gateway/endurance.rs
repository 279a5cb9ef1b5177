//! What befalls a data directory in its life: kills under every policy, a clock that is set back, a
//! disk that takes no more writes, the loss of the machine.

use crate::crash::{Sender, assert_stored, ident, number_of};
use crate::harness::{
    Gateway, Heard, LONG, Setup, TOLLGATE, Tracker, audit, command, now_ms, now_us, until,
};
use crate::image::Dice;
use crate::statements::write_days;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const TRACKERS: usize = 4;

/// Waits until so many more records are acked.
fn acked_more(senders: &[Sender], records: usize) {
    let count = || -> usize { senders.iter().map(|one| one.acked().len()).sum() };
    let before = count();
    until("more is acked", || count() >= before + records);
}

/// `TOLLGATE_KILL_ROUNDS` and `TOLLGATE_KILL_SEED` change what is tried.
#[test]
fn what_a_policy_throws_away_is_counted_over_kills_and_the_rest_is_stored_once() {
    let rounds = number_of("TOLLGATE_KILL_ROUNDS", 4);
    let seed = number_of("TOLLGATE_KILL_SEED", 1);
    let mut dice = Dice(seed);
    let setup = Setup::new();
    let mut gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    let (mut stored_all, mut gone_all) = (0, 0);
    for round in 0..usize::try_from(rounds).expect("few") {
        // of its own in each round: while it is blocked nobody new is let in
        let limit = json!({ "name": "small", "channel_messages": 60, "policy": "drop" });
        let limit = gateway.make(master, "/platform/limits", &limit);
        let child = json!({ "name": format!("child {round}"), "limit_id": limit });
        let child = gateway.make(master, "/platform/subaccounts", &child);
        let of_round = round * TRACKERS..(round + 1) * TRACKERS;
        let devices: Vec<u64> = of_round
            .clone()
            .map(|one| gateway.device(child, &ident(one)))
            .collect();
        let senders: Vec<Sender> = of_round.map(|one| Sender::start(one, at, seed)).collect();
        acked_more(&senders, 100);
        std::thread::sleep(Duration::from_millis(dice.below(200) as u64));
        gateway.kill_minus_9();
        let acked: Vec<Vec<i64>> = senders.into_iter().map(Sender::end).collect();
        gateway = setup.start();
        let (mut stored_now, mut gone) = (0, 0);
        for (device, acked) in devices.iter().zip(&acked) {
            let stored = gateway.stored(*device);
            let once: BTreeSet<i64> = stored.iter().copied().collect();
            assert_eq!(once.len(), stored.len(), "stored twice");
            stored_now += stored.len() as u64;
            gone += acked.iter().filter(|time| !once.contains(time)).count() as u64;
        }
        let totals = gateway.account(child)["counters"]["totals"].clone();
        let total = |name: &str| totals[name].as_u64().expect("a number");
        assert_eq!(total("messages"), stored_now);
        assert!(
            total("dropped_messages") >= gone,
            "{gone} acked and not stored: {totals}"
        );
        gateway.audit();
        stored_all += stored_now;
        gone_all += gone;
    }
    assert!(
        gone_all > 0 && stored_all > 0,
        "{gone_all} dropped, {stored_all} stored"
    );
}

#[test]
fn a_clock_that_is_set_back_over_a_restart_puts_nothing_before_what_is_stored() {
    let setup = Setup::new();
    let gateway = setup.start();
    let (master, channel, at) = gateway.master_and_channel();
    let device = gateway.device(master, &ident(0));
    let begin_ms = now_ms() - 60_000;
    let send = |from: i64| {
        let mut tracker = Tracker::of(&ident(0), at);
        for record in from..from + 3 {
            assert_eq!(tracker.send(&[begin_ms + record]), Heard::Count(1));
        }
    };
    send(0);
    gateway.stop();
    // as a clock wrote it that was a day ahead, and has been set since
    write_days(&setup.data(), &[(master, device, -1)]);
    let ahead_s = now_us() as f64 / 1e6 + 80_000.0;
    for round in 1..3 {
        let gateway = setup.start();
        let said = gateway.said();
        assert!(
            said.contains("a later time than this machine's clock"),
            "{said}"
        );
        let ahead = gateway.metric("tollgate_clock_ahead_seconds");
        assert!(ahead > 80_000.0, "{ahead}");
        send(round * 3);
        let path = format!("/gw/channels/{channel}/messages");
        let (status, answer) = gateway.call(0, "GET", &path, &Value::Null);
        assert_eq!(status, 200, "{answer}");
        let received: Vec<f64> = answer["result"]
            .as_array()
            .expect("rows")
            .iter()
            .map(|row| row["server.timestamp"].as_f64().expect("a time"))
            .collect();
        assert!(received.is_sorted(), "{received:?}");
        let behind = received.iter().filter(|at| **at > ahead_s).count();
        let sent = usize::try_from(round * 3).expect("small");
        assert!(behind >= sent, "{received:?}");
        // its own times are its own, and it is found by them
        let range = gateway.stored_from(device, begin_ms - 1000);
        let own = range.iter().filter(|time| **time < begin_ms + 1000).count();
        assert_eq!(own, 3 + sent);
        let totals = gateway.account(master)["counters"]["totals"]["messages"].clone();
        assert_eq!(totals, json!(4 + sent));
        gateway.audit();
        gateway.kill_minus_9();
    }
    let gateway = setup.start();
    assert_eq!(gateway.stored(device).len(), 10);
    gateway.audit();
}

/// Does what a process does to files say that the file system is read-only, as long as it lives?
struct ReadOnly(std::process::Child);

impl ReadOnly {
    /// `None`: nothing can be traced here.
    #[expect(clippy::print_stderr, reason = "it says why it tries nothing")]
    fn of(gateway: &Gateway) -> Option<Self> {
        const CALLS: &str = "pwrite64,pwritev,ftruncate,fallocate,rename,renameat,renameat2,unlink,\
                             unlinkat,fsync,fdatasync,sync_file_range";
        let strace = Command::new("strace")
            .args(["-f", "-qq", "-o", "/dev/null", "-p"])
            .arg(gateway.id().to_string())
            .args(["-e", &format!("trace={CALLS}")])
            .args(["-e", &format!("inject={CALLS}:error=EROFS")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut strace = match strace {
            Ok(strace) => strace,
            Err(error) => {
                eprintln!("skipped: it needs strace: {error}");
                return None;
            }
        };
        let end = Instant::now() + LONG;
        while !gateway.is_traced() {
            if strace.try_wait().is_ok_and(|ended| ended.is_some()) || Instant::now() > end {
                eprintln!("skipped: it needs the right to trace a process");
                drop(strace.kill());
                drop(strace.wait());
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self(strace))
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        // on SIGTERM it lets go of what it traces
        let pid = i32::try_from(self.0.id()).ok();
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            let told = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            told.unwrap_or_default();
        }
        drop(self.0.wait());
    }
}

#[test]
fn a_data_directory_that_turns_read_only_ends_acking_and_loses_nothing() {
    let setup = Setup::new();
    let gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    let device = gateway.device(master, &ident(0));
    let mut tracker = Tracker::of(&ident(0), at);
    let begin_ms = now_ms() - 3_600_000;
    let mut acked = Vec::new();
    let mut next = begin_ms;
    let mut is_acked = |tracker: &mut Tracker, acked: &mut Vec<i64>, within| {
        next += 1;
        tracker.say(&crate::harness::frame(&[next]));
        let heard = tracker.hear(within) == Heard::Count(1);
        acked.extend(heard.then_some(next));
        heard
    };
    for _ in 0..20 {
        assert!(is_acked(&mut tracker, &mut acked, LONG));
    }
    let Some(read_only) = ReadOnly::of(&gateway) else {
        return;
    };
    // behind one that was not heard of, an ack would be of nobody knows what
    let short = Duration::from_secs(2);
    let mut goes_on = true;
    until("it is not ready any more", || {
        goes_on = goes_on && is_acked(&mut tracker, &mut acked, short);
        gateway.call(0, "GET", "/health/ready", &Value::Null).0 != 200
    });
    while matches!(tracker.hear(Duration::from_millis(100)), Heard::Count(_)) {}
    assert!(
        !is_acked(&mut tracker, &mut acked, short),
        "acked behind it"
    );
    // reads go on, a change of an item is refused
    assert_stored(&acked, &gateway.stored(device));
    let child = json!({ "name": "never" });
    let (status, answer) = gateway.call(master, "POST", "/platform/subaccounts", &child);
    assert!(status >= 500, "{status} {answer}");
    drop(read_only);
    // for good in this process
    assert_ne!(gateway.call(0, "GET", "/health/ready", &Value::Null).0, 200);
    assert!(!gateway.said().contains("panicked"), "{}", gateway.said());
    gateway.kill_minus_9();
    let gateway = setup.start();
    assert_stored(&acked, &gateway.stored(device));
    let path = "/platform/subaccounts/all?fields=name";
    let (_, answer) = gateway.call(0, "GET", path, &Value::Null);
    assert!(!answer.to_string().contains("never"), "{answer}");
    let mut tracker = Tracker::of(&ident(0), at);
    assert_eq!(tracker.send(&[now_ms()]), Heard::Count(1));
    gateway.audit();
}

#[test]
fn a_backup_under_load_brings_everything_back_that_was_acked_before_it() {
    let setup = Setup::new().with("[journal]\nsegment = \"1 MiB\"\n");
    let gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    let devices: Vec<u64> = (0..TRACKERS)
        .map(|one| gateway.device(master, &ident(one)))
        .collect();
    let senders: Vec<Sender> = (0..TRACKERS).map(|one| Sender::start(one, at, 1)).collect();
    acked_more(&senders, 200);
    let backup = tempfile::tempdir().expect("a folder");
    let to = backup.path().to_str().expect("plain");
    let take = || {
        let output = command(&["backup", to, "--data"], &setup.data(), &[]);
        assert!(output.status.success(), "{output:?}");
    };
    take();
    acked_more(&senders, 200);
    // one that breaks off at its end, for want of space say, leaves the one before as it was
    let more = gateway.device(master, &ident(TRACKERS));
    until("it is logged", || {
        let logs = format!("/gw/devices/{more}/logs");
        let (_, answer) = gateway.call(0, "GET", &logs, &Value::Null);
        answer["result"]
            .as_array()
            .is_some_and(|rows| !rows.is_empty())
    });
    let in_its_way = backup.path().join("backup.list.tmp");
    std::fs::create_dir(&in_its_way).expect("a folder");
    let output = command(&["backup", to, "--data"], &setup.data(), &[]);
    assert!(!output.status.success(), "{output:?}");
    std::fs::remove_dir(&in_its_way).expect("it is empty");
    let elsewhere = tempfile::tempdir().expect("a folder");
    let first = elsewhere.path().join("data");
    let output = command(&["restore", to, "--data"], &first, &[]);
    assert!(output.status.success(), "{output:?}");
    let verified = command(&["verify", "--data"], &first, &[]);
    assert!(verified.status.success(), "{verified:?}");
    // again into the same folder: what is new
    let before: Vec<Vec<i64>> = senders.iter().map(Sender::acked).collect();
    take();
    acked_more(&senders, 100);
    gateway.kill_minus_9();
    std::fs::remove_dir_all(setup.data()).expect("it was there");

    let restored = Command::new(TOLLGATE)
        .args(["restore", to, "--data"])
        .arg(setup.data())
        .output()
        .expect("it runs");
    assert!(restored.status.success(), "{restored:?}");
    let verified = command(&["verify", "--data"], &setup.data(), &[]);
    assert!(verified.status.success(), "{verified:?}");
    audit(&setup.data());

    // the trackers call again by themselves: what they have not seen an ack for comes once more
    let gateway = setup.start();
    acked_more(&senders, 200);
    let ended = |acked: Vec<Vec<i64>>| {
        for (device, acked) in devices.iter().zip(acked) {
            assert_stored(&acked, &gateway.stored(*device));
        }
    };
    ended(before);
    let after: Vec<Vec<i64>> = senders.into_iter().map(Sender::end).collect();
    // of what came behind the restore nothing is missing
    ended(
        after
            .into_iter()
            .map(|acked| acked[acked.len().saturating_sub(20)..].to_vec())
            .collect(),
    );
    gateway.audit();
    let verified = command(&["verify", "--data"], &setup.data(), &[]);
    assert!(verified.status.success(), "{verified:?}");
}
