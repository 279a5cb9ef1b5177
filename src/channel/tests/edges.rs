//! At the edges: what changes while a frame is on its way, what is behind the frame that ends a
//! connection, and where one minute meets the next.

use tokio::io::AsyncWriteExt;

use super::harness::*;
use super::{FIX, IDENT};
use crate::account::{Caps, Cost, Dimension, Policy, Rules};
use crate::ids::{ChannelId, Clock as _, DeviceId, minute_of};
use crate::journal::Range;
use crate::registry::items::ChannelItem;
use crate::router::CloseCode;

#[test]
fn frames_behind_the_one_that_ends_the_connection_are_counted_as_refused() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.limit(LEAF, Dimension::ChannelMessages, 2);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        let frames = [packet(&[at(1), at(2), at(3)]), packet(&[at(4)])].concat();
        tracker.send(&frames).await;
        tracker.expect(&taken(0)).await;
        tracker.expect_end().await;
        gateway.advance_ms(1_000).await;
        gateway
            .until("counted", || {
                gateway.account(LEAF).posted().refused_bytes == frames.len() as u64
            })
            .await;
    });
}

/// Heartbeats of an Eelink tracker in one frame: each is answered by itself.
fn heartbeats(ident: &str, numbers: &[u8]) -> Vec<u8> {
    let nibble = |digit: u8| digit - b'0';
    let digits = format!("0{ident}");
    let pairs = digits.as_bytes().chunks(2);
    let mut content: Vec<u8> = pairs
        .map(|pair| nibble(pair[0]) << 4 | nibble(pair[1]))
        .collect();
    for number in numbers {
        content.extend([0x67, 0x67, 3, 0, 4, 0, *number, 0, 1]);
    }
    let sum = content.iter().fold(0u16, |sum, byte| {
        sum.rotate_left(1).wrapping_add(u16::from(*byte))
    });
    let length = u16::try_from(content.len() + 2).unwrap();
    [
        b"EL",
        &length.to_be_bytes(),
        &sum.to_be_bytes(),
        &content[..],
    ]
    .concat()
}

#[test]
fn of_a_refused_frame_with_several_answers_none_is_an_ack() {
    let eelink = ChannelId(15);
    let gateway = Gateway::new();
    let channel = channel(eelink, "eelink");
    gateway.deps.registry.put_channel(channel).unwrap();
    gateway.register(100, LEAF, "eelink", IDENT);
    gateway.limit(LEAF, Dimension::ChannelMessages, 3);
    gateway.run(async |gateway| {
        // nobody's
        let mut stranger = gateway.connect(eelink);
        stranger
            .send(&heartbeats("356307042441999", &[1, 2, 3]))
            .await;
        stranger.expect_silence().await;
        // more than fits, though some of it would
        let mut tracker = gateway.connect(eelink);
        tracker.send(&heartbeats(IDENT, &[1, 2])).await;
        let mut answers = 0;
        while answers < 42 {
            answers += tracker.one_read().await.len();
        }
        tracker.send(&heartbeats(IDENT, &[3, 4, 5, 6])).await;
        tracker.expect_end().await;
        assert_eq!(gateway.messages(LEAF), 2);
    });
}

#[test]
fn who_hangs_up_while_the_journal_has_no_room_is_let_go_if_it_sends_again() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.register(101, LEAF, "h02", "7000000001");
    gateway.run(async |gateway| {
        let mut tracker = gateway.connect_tcp(TELTONIKA).await;
        tracker.write_all(&login(IDENT)).await.unwrap();
        let mut without_acks = gateway.connect_tcp(H02).await;
        gateway
            .until("admitted", || gateway.deps.router.count() == 2)
            .await;
        let journal = &gateway.deps.journal;
        gateway.worker.hand_in(gateway.worker.now_us(), true);
        gateway.until("empty", || journal.queue_bytes() == 0).await;
        let all = journal
            .try_permit(crate::journal::QUEUE_BYTES_MAX)
            .expect("the whole queue");
        tracker.write_all(&packet(&[at(1)])).await.unwrap();
        without_acks.write_all(FIX).await.unwrap();
        tokio::time::sleep(SILENCE).await;
        drop((tracker, without_acks));
        gateway.advance_ms(1_200).await;
        gateway.until("closed", || gateway.closed() == [2]).await;
        // nobody sends again what has no acks: it waits
        drop(all);
        gateway
            .until("stored", || gateway.messages(LEAF) == 1)
            .await;
    });
}

#[test]
fn what_is_stored_already_is_not_thrown_away() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    let frame = i64::try_from(packet(&[at(1)]).len()).unwrap();
    let rules = Rules {
        // the login, one frame and its ack, and half a frame
        caps: Caps::default().with(Dimension::ChannelTraffic, 18 + frame + 4 + frame / 2),
        policy: Policy::Drop,
        ..Rules::default()
    };
    gateway.rule(LEAF, rules);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        // its ack was lost on the way, it thinks
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        tracker.send(&packet(&[at(2)])).await;
        tracker.expect(&taken(1)).await;
        let totals = gateway.account(MASTER).posted();
        assert_eq!((totals.messages, totals.dropped_messages), (1, 1));
    });
}

#[test]
fn an_entry_is_of_the_minute_that_paid_for_it() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        // another thread is in the next minute already
        let next = minute_of(gateway.clock.now_us()) + 1;
        let cost = Cost {
            bytes: 1,
            messages: 0,
        };
        gateway.account(MIDDLE).charge(next, cost).unwrap();
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        let mut stored = gateway
            .deps
            .journal
            .read_channel(TELTONIKA, Range::default());
        let at_us = stored.next().unwrap().unwrap().at_us;
        assert_eq!(minute_of(at_us), next);
        let messages = |minute| {
            let account = gateway.account(LEAF);
            account.admitted(Dimension::ChannelMessages, minute)
        };
        assert_eq!(messages(next), 1);
    });
}

#[test]
fn a_flood_of_logins_stops_nobody_who_is_in() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.register(101, LEAF, "teltonika", "356307042441014");
    let rules = Rules {
        caps: Caps::default().with(Dimension::ChannelConnections, 1),
        blocking_duration_s: 60,
        ..Rules::default()
    };
    gateway.rule(MIDDLE, rules);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        let mut other = gateway.connect(TELTONIKA);
        other.send(&login("356307042441014")).await;
        gateway.until_parked(1).await;
        let stops = &Dimension::OF_LOGINS;
        let now_us = gateway.clock.now_us();
        assert!(gateway.account(LEAF).blocked_for(stops, now_us).is_some());
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        other.expect_silence().await;
    });
}

#[test]
fn no_login_slips_in_while_its_channel_changes() {
    // a channel of its own keeps the branch from the master's
    const OWN: ChannelId = ChannelId(20);
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        for round in 0..400u32 {
            let mut tracker = gateway.connect(TELTONIKA);
            tracker.send(&login(IDENT)).await;
            let (registry, router) = (&gateway.deps.registry, &gateway.deps.router);
            let count = router.count();
            let (registry, router) = (registry.clone(), router.clone());
            let change = std::thread::spawn(move || {
                for _ in 0..round * 50 {
                    std::hint::spin_loop();
                }
                let own = ChannelItem {
                    cid: MIDDLE,
                    ..channel(OWN, "teltonika")
                };
                registry.put_channel(own).unwrap();
                router.close_device(DeviceId(100), CloseCode::DeviceChanged)
            });
            // the login is judged meanwhile
            while !change.is_finished() {
                tokio::task::yield_now().await;
            }
            change.join().unwrap();
            let carried = || {
                let facts = gateway.deps.router.connections(|_| true);
                facts.iter().any(|facts| !facts.carries.is_empty())
            };
            gateway.until("let go", || !carried()).await;
            assert!(gateway.deps.router.count() <= count);
            drop(tracker);
            // one that was refused waits, because it has come back soon
            gateway.advance_ms(61_000).await;
            gateway
                .until("gone", || gateway.deps.router.count() == 0)
                .await;
            gateway.deps.registry.remove_channel(OWN);
        }
    });
}

#[test]
fn a_listener_that_nobody_has_closed_ends_with_its_channel() {
    let (deps, _clock, _files, _events, _dir) = deps(crate::channel::Bounds::default());
    let channels = crate::channel::Channels::start(1, deps.clone()).unwrap();
    let item = channel(TELTONIKA, "teltonika");
    let to = channels.open(&item).unwrap();
    let disabled = ChannelItem {
        enabled: false,
        ..item
    };
    deps.registry.put_channel(disabled).unwrap();
    let mut last = std::net::TcpStream::connect(to).unwrap();
    let mut rest = Vec::new();
    // a reset says the same as an end
    drop(std::io::Read::read_to_end(&mut last, &mut rest));
    assert_eq!(deps.router.count(), 0);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while std::net::TcpStream::connect(to).is_ok() {
        assert!(std::time::Instant::now() < until, "it listens on");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}
