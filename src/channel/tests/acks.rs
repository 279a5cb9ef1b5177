//! Answers and what they stand for: nothing is acked before it is durable.

use std::time::Duration;

use super::IDENT;
use super::harness::*;
use crate::account::Dimension;
use crate::channel::bounds::Bounds;

#[test]
fn a_login_is_answered_at_once_and_records_only_when_they_are_durable() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        gateway.files.hold();
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(1), at(2)])).await;
        tracker.expect_silence().await;
        assert_eq!(gateway.messages(MASTER), 0);
        gateway.files.let_go();
        tracker.expect(&taken(2)).await;
        // what was acked is posted, at every level
        for account in [LEAF, MIDDLE, MASTER] {
            assert_eq!(gateway.messages(account), 2, "{account}");
        }
        assert_eq!(gateway.messages(SIBLING), 0);
    });
}

#[test]
fn after_a_failed_write_nothing_is_acked_any_more() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        gateway.files.hold();
        tracker.send(&packet(&[at(2)])).await;
        tracker.expect_silence().await;
        gateway.files.fail();
        gateway.files.let_go();
        // the refusal may leave, the ack may not
        tracker.expect(&taken(0)).await;
        tracker.send(&packet(&[at(3)])).await;
        tracker.expect_silence().await;
        assert_eq!(gateway.messages(MASTER), 1);
    });
}

#[test]
fn pipelined_frames_of_one_read_are_answered_by_one_write() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        gateway.files.hold();
        let mut bytes = Vec::new();
        for second in 0..20 {
            bytes.extend_from_slice(&packet(&[at(second * 2), at(second * 2 + 1)]));
        }
        tracker.send(&bytes).await;
        tracker.expect_silence().await;
        gateway.files.let_go();
        assert_eq!(tracker.one_read().await, taken(2).repeat(20));
        assert_eq!(gateway.messages(LEAF), 40);
        assert_eq!(gateway.account(LEAF).posted().frames, 20);
    });
}

#[test]
fn a_full_journal_queue_stops_the_reading_and_loses_nothing() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        gateway.worker.hand_in(gateway.worker.now_us(), true);
        let journal = &gateway.deps.journal;
        gateway.until("empty", || journal.queue_bytes() == 0).await;
        let all = journal
            .try_permit(crate::journal::QUEUE_BYTES_MAX)
            .expect("the whole queue");
        tracker.send(&packet(&[at(1)])).await;
        tracker.send(&packet(&[at(2)])).await;
        tracker.expect_silence().await;
        drop(all);
        tracker.expect(&taken(1).repeat(2)).await;
        assert_eq!(gateway.messages(LEAF), 2);
    });
}

/// Sends what it has in windows, breaks off in the middle, comes back and sends again what was not
/// acked: like a tracker with a flash buffer. Gives back how many of its records were acked.
fn flash_tracker(at_addr: std::net::SocketAddr, ident: &str, records: i64) -> i64 {
    use std::io::{Read, Write};
    const WINDOW: i64 = 7;
    let mut acked = 0;
    let mut round = 0;
    while acked < records {
        let mut stream = std::net::TcpStream::connect(at_addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(&login(ident)).unwrap();
        stream.read_exact(&mut [0]).unwrap();
        round += 1;
        // every other time it leaves without waiting for the answers to its last window
        let until = if round % 2 == 1 {
            acked + 3 * WINDOW
        } else {
            records
        };
        while acked < records.min(until) {
            let last = (acked + WINDOW).min(records);
            let window: Vec<u8> = (acked..last).flat_map(|n| packet(&[at(n)])).collect();
            stream.write_all(&window).unwrap();
            if last >= until && until < records {
                break;
            }
            for _ in acked..last {
                let mut ack = [0; 4];
                stream.read_exact(&mut ack).unwrap();
                assert_eq!(ack, taken(1));
            }
            acked = last;
        }
    }
    acked
}

#[test]
fn trackers_that_break_off_and_send_again_lose_nothing_and_nothing_is_stored_twice() {
    const TRACKERS: u64 = 12;
    const RECORDS: i64 = 150;
    let (deps, _clock, _files, _events, _dir) = deps(Bounds::default());
    let ident = |number: u64| (356_307_042_441_000 + number).to_string();
    for number in 0..TRACKERS {
        let account = if number % 2 == 0 { LEAF } else { SIBLING };
        let item = device(100 + number, account, "teltonika", &ident(number));
        deps.registry.put_device(item).unwrap();
    }
    let channels = crate::channel::Channels::start(2, deps.clone()).unwrap();
    let at_addr = channels.open(&channel(TELTONIKA, "teltonika")).unwrap();
    let acked: i64 = std::thread::scope(|scope| {
        let trackers: Vec<_> = (0..TRACKERS)
            .map(|number| scope.spawn(move || flash_tracker(at_addr, &ident(number), RECORDS)))
            .collect();
        trackers.into_iter().map(|t| t.join().unwrap()).sum()
    });
    let sent = TRACKERS * RECORDS.unsigned_abs();
    assert_eq!(acked.unsigned_abs(), sent);
    drop(channels);
    deps.journal.shutdown();
    let posted = |id| deps.registry.tree().account(id).unwrap().posted();
    assert_eq!(posted(MASTER).messages, sent);
    assert!(posted(MASTER).duplicates > 0, "nothing was sent again");
    for totals in [posted(LEAF), posted(SIBLING)] {
        assert_eq!(totals.messages, sent / 2);
    }
    // a parent's use is its children's sum, to the byte
    let sum = posted(LEAF) + posted(SIBLING);
    assert_eq!(posted(MASTER), sum);
    // and the live counters are what was posted
    let master = deps.registry.tree().account(MASTER).unwrap();
    let minute = crate::ids::minute_of(deps.clock.now_us());
    let reading = master.reading(Dimension::ChannelTraffic, minute);
    assert_eq!(reading.used, sum.bytes_in + sum.bytes_out);
    assert_eq!(reading.usage, sum.usage_bytes);
}
