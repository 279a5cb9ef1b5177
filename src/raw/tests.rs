use super::*;
use crate::ids::{AccountId, ChannelId, Clock, ConnectionId, DeviceId, ManualClock};
use crate::metrics::Metrics;
use crate::segment::watched::{Call, Watched};
use crate::segment::{Files, OsFiles};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

const NOW_US: i64 = 1_795_521_600_000_000;

fn open(dir: &Path, budget_bytes: u64) -> (RawTraffic, Arc<ManualClock>, Arc<Metrics>) {
    open_on(Arc::new(OsFiles), dir, budget_bytes)
}

fn open_on(
    files: Arc<dyn Files>,
    dir: &Path,
    budget_bytes: u64,
) -> (RawTraffic, Arc<ManualClock>, Arc<Metrics>) {
    let clock = Arc::new(ManualClock::new(NOW_US));
    let metrics = Metrics::new();
    let options = Options {
        budget_bytes,
        keep_us: 86_400_000_000,
        always: false,
        node: 0,
    };
    let raw = RawTraffic::open(
        files,
        dir,
        options,
        Arc::clone(&clock) as Arc<dyn Clock>,
        &metrics,
    );
    (raw, clock, metrics)
}

fn label(connection: u64, index: u32, ident: &str, account: u64) -> Label<'_> {
    Label {
        at_us: NOW_US + i64::from(index),
        connection: ConnectionId(connection),
        channel: ChannelId(3),
        index,
        direction: Direction::Received,
        shared: false,
        protocol: 1,
        port: 20001,
        device: DeviceId(if ident.is_empty() { 0 } else { 7 }),
        account: AccountId(account),
        peer: "192.0.2.9:4711".parse().unwrap(),
        ident,
    }
}

fn read(
    raw: &RawTraffic,
    wanted: &dyn Fn(&Label<'_>) -> bool,
    seen: &dyn Fn(AccountId) -> bool,
) -> Vec<(u64, u32, Vec<u8>)> {
    let query = Query {
        from_us: i64::MIN,
        to_us: i64::MAX,
        wanted,
        seen,
    };
    let found = raw.read(&query, 1000, usize::MAX, false).expect("readable");
    let mut back = raw.read(&query, 1000, usize::MAX, true).expect("readable");
    back.reverse();
    assert!(found == back, "both ways are the same");
    found
        .into_iter()
        .map(|packet| (packet.connection.0, packet.index, packet.bytes))
        .collect()
}

#[test]
fn what_came_before_the_name_is_read_with_it_and_others_are_not_seen() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, _, _) = open(dir.path(), 4 << 20);
    raw.keep(&label(1, 1, "", 1), b"half a lo");
    raw.keep(&label(2, 1, "b", 5), b"another's");
    raw.keep(&label(1, 2, "a", 4), b"gin");
    raw.keep_end(&label(1, 3, "a", 4), 2, Ended::ByTracker);
    let all = |_: AccountId| true;
    let of_a = [
        (1, 1, b"half a lo".to_vec()),
        (1, 2, b"gin".to_vec()),
        (1, 3, Vec::new()),
    ];
    assert_eq!(read(&raw, &|label| label.ident == "a", &all), of_a);
    // at rest and back
    raw.shutdown();
    drop(raw);
    let (raw, _, _) = open(dir.path(), 4 << 20);
    let mine = |account: AccountId| account == AccountId(4);
    assert_eq!(read(&raw, &|_| true, &mine), of_a);
    assert!(read(&raw, &|label| label.ident == "b", &mine).is_empty());
    let query = Query {
        from_us: NOW_US + 3,
        to_us: NOW_US + 3,
        wanted: &|_| true,
        seen: &all,
    };
    let end = raw.read(&query, 10, usize::MAX, false).unwrap();
    assert_eq!(end[0].ended, Some((2, Ended::ByTracker)));
    assert_eq!(end[0].peer, "192.0.2.9:4711".parse().unwrap());
}

#[test]
fn what_several_accounts_share_is_only_the_channels_to_see() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, _, _) = open(dir.path(), 4 << 20);
    raw.keep(&label(1, 1, "a", 4), b"a alone");
    let both = Label {
        shared: true,
        ..label(1, 2, "", 1)
    };
    raw.keep(&both, b"a and b");
    let of_a = |label: &Label<'_>| label.ident == "a";
    let by = |id: u64| move |account: AccountId| account == AccountId(id) || id == 1;
    assert_eq!(read(&raw, &of_a, &by(4)), [(1, 1, b"a alone".to_vec())]);
    assert_eq!(read(&raw, &of_a, &by(1)).len(), 2);
}

#[test]
fn the_budget_and_the_days_hold() {
    let dir = tempfile::tempdir().unwrap();
    let budget = 4 << 20;
    let (raw, clock, _) = open(dir.path(), budget);
    let chunk = vec![7; 60_000];
    for index in 1..=300 {
        raw.keep(&label(1, index, "a", 4), &chunk);
        if index % 10 == 0 {
            raw.flush();
        }
    }
    raw.flush();
    let kept = read(&raw, &|_| true, &|_| true);
    assert!(kept.len() < 80, "{}", kept.len());
    assert_eq!(kept.last().unwrap().1, 300, "the newest stay");
    let bytes: u64 = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    // the segment that is written to is allocated in whole
    assert!(bytes <= budget + (1 << 20), "{bytes}");
    clock.advance_us(86_400_000_000 + 1_000);
    assert!(read(&raw, &|_| true, &|_| true).is_empty());
}

#[test]
fn a_queue_that_is_full_loses_the_newest_and_counts_it() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, _, metrics) = open(dir.path(), 64 << 20);
    raw.shutdown();
    raw.keep(&label(1, 1, "a", 4), b"too late");
    let page = metrics.render();
    assert!(page.contains("tollgate_raw_chunks_lost_total 1"), "{page}");
    let (raw, _, _) = open(dir.path(), 64 << 20);
    // the writer may take some of it meanwhile: nothing blocks, nothing grows beyond the bound
    for index in 1..=400 {
        raw.keep(&label(1, index, "a", 4), &vec![1; 65_536]);
    }
    raw.flush();
    let kept = read(&raw, &|_| true, &|_| true);
    assert_eq!(kept.first().unwrap().1, 1);
}

#[test]
fn a_disk_that_stands_still_delays_nobody_and_what_finds_no_room_is_lost_and_counted() {
    let dir = tempfile::tempdir().unwrap();
    let stands_still = Arc::new(AtomicBool::new(false));
    let stuck = Arc::clone(&stands_still);
    let files = Watched::by(move |call| {
        while matches!(call, Call::Write(_)) && stuck.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    });
    let (raw, _, metrics) = open_on(Arc::new(files), dir.path(), 64 << 20);
    let raw = Arc::new(raw);
    stands_still.store(true, Ordering::SeqCst);
    let (tell, told) = channel();
    let connection = {
        let raw = Arc::clone(&raw);
        std::thread::spawn(move || {
            // the queue, what the writer has taken of it at most once, and what finds no room
            for index in 1..=400 {
                raw.keep(&label(1, index, "a", 4), &vec![1; 65_536]);
            }
            tell.send(()).unwrap();
        })
    };
    let done = told.recv_timeout(Duration::from_secs(30));
    stands_still.store(false, Ordering::SeqCst);
    done.expect("a connection waits for the disk of raw traffic");
    connection.join().unwrap();
    raw.flush();
    let kept = read(&raw, &|_| true, &|_| true).len();
    assert!((1..400).contains(&kept), "{kept}");
    let lost = format!("tollgate_raw_chunks_lost_total {}", 400 - kept);
    let page = metrics.render();
    assert!(page.contains(&lost), "{lost}: {page}");
}

#[test]
fn a_folder_that_cannot_be_used_costs_the_raw_traffic_only() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, _, _) = open(dir.path(), 4 << 20);
    for index in 1..=3 {
        raw.keep(&label(1, index, "a", 4), b"kept");
        raw.flush();
    }
    drop(raw);
    let segment = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| path.extension().is_some_and(|kind| kind == "seg"))
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[0] ^= 0xff;
    std::fs::write(&segment, bytes).unwrap();
    let (raw, _, _) = open(dir.path(), 4 << 20);
    assert!(!raw.is_open());
    raw.keep(&label(1, 1, "a", 4), b"lost");
    let query = Query {
        from_us: i64::MIN,
        to_us: i64::MAX,
        wanted: &|_| true,
        seen: &|_| true,
    };
    let error = raw.read(&query, 1, 1, false).unwrap_err();
    assert!(error.to_string().contains("corrupt at byte 0"), "{error}");
    let (off, _, _) = open(dir.path(), 0);
    let error = off.read(&query, 1, 1, false).unwrap_err();
    assert!(matches!(error, ReadError::Off), "{error}");
}

/// Do these bytes stand in any file of the folder?
fn is_on_disk(dir: &Path, needle: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        bytes.windows(needle.len()).any(|at| at == needle)
    })
}

#[test]
fn an_erased_device_is_in_no_segment_and_others_and_later_chunks_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (raw, _, _) = open(dir.path(), 4 << 20);
    let of = |device, label| Label {
        device: DeviceId(device),
        ..label
    };
    raw.keep(&label(1, 1, "", 1), b"login of it");
    raw.keep(&label(1, 2, "erase-me", 4), b"its position");
    raw.keep(&of(0, label(2, 3, "erase-me", 1)), b"unregistered");
    raw.keep(&of(8, label(3, 4, "another", 4)), b"of another");
    raw.keep(&of(0, label(4, 5, "unknown", 1)), b"of nobody");
    raw.keep(&label(1, 9, "erase-me", 4), b"came later");
    let all = |raw: &RawTraffic| read(raw, &|_| true, &|_| true);
    let left = [
        (3, 4, b"of another".to_vec()),
        (4, 5, b"of nobody".to_vec()),
        (1, 9, b"came later".to_vec()),
    ];
    assert_eq!(all(&raw).len(), 6);
    assert_eq!(raw.erase(DeviceId(7), NOW_US + 8).unwrap(), 1);
    assert_eq!(all(&raw), left);
    for gone in ["login of it", "its position", "unregistered"] {
        assert!(!is_on_disk(dir.path(), gone.as_bytes()), "{gone}");
    }
    // it is kept on, and a start finds it well
    raw.keep(&label(5, 10, "erase-me", 4), b"and more");
    assert_eq!(all(&raw).len(), 4);
    drop(raw);
    let (raw, _, _) = open(dir.path(), 4 << 20);
    assert_eq!(raw.failed(), None);
    assert_eq!(all(&raw).len(), 4);
    assert_eq!(raw.erase(DeviceId(7), i64::MAX).unwrap(), 2);
    assert!(!is_on_disk(dir.path(), b"erase-me"));
    assert_eq!(all(&raw), left[..2]);
    assert_eq!(raw.erase(DeviceId(7), i64::MAX).unwrap(), 0);
    drop(raw);
    // where nothing is to be kept any more nobody knows whose it is
    let (raw, _, _) = open(dir.path(), 0);
    assert_eq!(raw.erase(DeviceId(7), i64::MAX).unwrap(), 2);
    assert!(!is_on_disk(dir.path(), b"of another"));
}
