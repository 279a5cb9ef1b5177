//! The driver over in-memory streams, with the real registry, account tree and journal.

mod edges;
mod harness;
mod hostile;
mod takeover;
mod tls;

use std::time::Duration;

use super::bounds::Bounds;
use super::events::Happened;
use crate::account::{Caps, Dimension, Policy, Rules};
use crate::ids::{AccountId, DeviceId};
use crate::registry::items::{ChannelItem, Takeover, UnknownPolicy};
use crate::router::CloseCode;
use harness::*;

const IDENT: &str = "356307042441013";
/// A position of H02, which has no acks.
const FIX: &[u8] =
    b"*HQ,7000000001,V1,105759,A,3757.3392,S,14503.7022,E,000.00,173,280122,FF7FFBFF#\r\n";

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
fn cutting_the_stream_anywhere_changes_neither_answers_nor_messages() {
    let dialogue = |part: i64| [packet(&[at(part)]), vec![0xff], packet(&[at(part + 1)])].concat();
    let whole = [login(IDENT), dialogue(0)].concat();
    let answers = [&[1][..], &taken(1), &taken(1)].concat();
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        for cut in 0..=whole.len() {
            let (head, tail) = whole.split_at(cut);
            let mut tracker = gateway.connect(TELTONIKA);
            tracker.send(head).await;
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            tracker.send(tail).await;
            tracker.expect(&answers).await;
        }
        let mut tracker = gateway.connect(TELTONIKA);
        for byte in &whole {
            tracker.send(&[*byte]).await;
            tokio::task::yield_now().await;
        }
        tracker.expect(&answers).await;
        tracker.expect_silence().await;
        let totals = gateway.account(LEAF).posted();
        let sent = 2 * (whole.len() as u64 + 2);
        // stored once, however often it was sent
        assert_eq!((totals.messages, totals.duplicates), (2, sent - 2));
        assert_eq!(totals.frames, sent);
    });
}

#[test]
fn a_half_frame_keeps_its_bytes_and_an_idle_connection_none() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        let frame = packet(&[at(1)]);
        tracker.send(&frame[..frame.len() - 1]).await;
        tracker.expect_silence().await;
        drop(tracker);
        gateway.until("closed", || gateway.closed() == [2]).await;
        assert_eq!(gateway.messages(LEAF), 0);
    });
}

#[test]
fn garbage_closes_the_connection_and_is_counted_as_nobodys() {
    let gateway = Gateway::new();
    gateway.run(async |gateway| {
        let mut tracker = gateway.connect(TELTONIKA);
        tracker.send(&[0x55; 500]).await;
        tracker.expect_end().await;
        drop(tracker);
        gateway.until("closed", || gateway.closed() == [4]).await;
        gateway.worker.turn();
        let page = gateway.deps.metrics.render();
        assert!(
            page.contains("tollgate_unidentified_bytes_total{channel=\"10\"} 500"),
            "{page}"
        );
        assert!(page.contains("tollgate_fatals_total{protocol=\"teltonika\""));
    });
}

#[test]
fn a_frame_with_a_wrong_checksum_is_neither_stored_nor_acked() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        let mut bad = packet(&[at(1)]);
        bad[20] ^= 1;
        tracker.send(&bad).await;
        tracker.send(&packet(&[at(2)])).await;
        tracker.expect(&taken(1)).await;
        assert_eq!(gateway.messages(LEAF), 1);
        // its bytes are the device's all the same
        gateway.advance_ms(1_000).await;
        let used = bad.len() as u64 + 17 + 1;
        gateway
            .until("usage", || {
                gateway.account(LEAF).posted().usage_bytes == used
            })
            .await;
    });
}

#[test]
fn what_a_limit_refuses_is_parked_and_goes_on_when_the_limit_is_raised() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.limit(MIDDLE, Dimension::ChannelMessages, 3);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(1), at(2)])).await;
        tracker.expect(&taken(2)).await;
        let late = [packet(&[at(3), at(4)]), packet(&[at(5)])].concat();
        tracker.send(&late).await;
        gateway.until_parked(1).await;
        tracker.expect_silence().await;
        // it waits without holding room in the journal's queue that others need
        let journal = &gateway.deps.journal;
        gateway.until("empty", || journal.queue_bytes() == 0).await;
        // nothing behind the parked frame is read: the small one would fit
        assert_eq!(gateway.messages(LEAF), 2);
        gateway.limit(MIDDLE, Dimension::ChannelMessages, 5);
        tracker.expect(&[taken(2), taken(1)].concat()).await;
        gateway.until_parked(0).await;
        assert_eq!(gateway.messages(LEAF), 5);
        assert_eq!(gateway.account(LEAF).posted().refused_bytes, 0);
        let blocked = gateway.told(|what| match what {
            Happened::Blocked {
                account, dimension, ..
            } => Some((*account, *dimension)),
            _ => None,
        });
        assert_eq!(blocked, [(MIDDLE, Dimension::ChannelMessages)]);
    });
}

#[test]
fn together_too_much_is_admitted_one_by_one_as_far_as_it_fits() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.limit(LEAF, Dimension::ChannelMessages, 3);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        let five: Vec<u8> = (0..5).flat_map(|second| packet(&[at(second)])).collect();
        tracker.send(&five).await;
        tracker.expect(&taken(1).repeat(3)).await;
        tracker.expect_silence().await;
        assert_eq!(gateway.messages(LEAF), 3);
        gateway.next_minute().await;
        tracker.expect(&taken(1).repeat(2)).await;
        assert_eq!(gateway.messages(LEAF), 5);
    });
}

#[test]
fn what_is_parked_too_long_is_refused_and_the_connection_closed() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    let rules = Rules {
        caps: Caps::default().with(Dimension::ChannelMessages, 1),
        blocking_duration_s: 3600,
        park_ms_max: 5_000,
        ..Rules::default()
    };
    gateway.rule(LEAF, rules);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        tracker.send(&packet(&[at(2)])).await;
        gateway.until_parked(1).await;
        gateway.advance_ms(4_000).await;
        // another try does not begin the time anew
        gateway.deps.router.wake_parked();
        tracker.expect_silence().await;
        gateway.advance_ms(1_200).await;
        tracker.expect(&taken(0)).await;
        tracker.expect_end().await;
        drop(tracker);
        gateway.until("closed", || gateway.closed() == [21]).await;
        assert_eq!(gateway.messages(LEAF), 1);
        // a new login of a blocked account waits unanswered
        let mut again = gateway.connect(TELTONIKA);
        again.send(&login(IDENT)).await;
        again.expect_silence().await;
        gateway.until_parked(1).await;
        gateway.rule(LEAF, Rules::default());
        again.expect(&[1]).await;
    });
}

#[test]
fn a_parked_tracker_that_hangs_up_or_is_too_much_for_the_bound_leaves_nothing_behind() {
    let gateway = Gateway::with(Bounds {
        parked_bytes_max: 1,
        ..Bounds::default()
    });
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.limit(LEAF, Dimension::ChannelMessages, 1);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        tracker.send(&packet(&[at(2)])).await;
        tracker.expect(&taken(0)).await;
        tracker.expect_end().await;
        drop(tracker);
        gateway.until("closed", || gateway.closed() == [21]).await;
        let parked = &gateway.worker.room.parked_bytes;
        assert_eq!(parked.load(std::sync::atomic::Ordering::Relaxed), 0);
    });
}

#[test]
fn the_policy_drop_acks_and_throws_away_behind_a_durable_entry() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    let rules = Rules {
        caps: Caps::default().with(Dimension::ChannelMessages, 1),
        policy: Policy::Drop,
        ..Rules::default()
    };
    gateway.rule(LEAF, rules);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        gateway.files.hold();
        tracker.send(&packet(&[at(2)])).await;
        tracker.expect_silence().await;
        gateway.files.let_go();
        tracker.expect(&taken(1)).await;
        let totals = gateway.account(MASTER).posted();
        assert_eq!((totals.messages, totals.dropped_messages), (1, 1));
    });
}

#[test]
fn a_frame_that_never_fits_closes_the_connection() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.limit(LEAF, Dimension::ChannelMessages, 2);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(1), at(2), at(3)])).await;
        tracker.expect(&taken(0)).await;
        tracker.expect_end().await;
        drop(tracker);
        gateway.until("closed", || gateway.closed() == [13]).await;
        let told = gateway.told(|what| match what {
            Happened::TooLarge { asked, cap, .. } => Some((*asked, *cap)),
            _ => None,
        });
        assert_eq!(told, [(3, 2)]);
    });
}

#[test]
fn an_unknown_ident_is_remembered_and_admitted_on_its_next_frame_once_registered() {
    let gateway = Gateway::new();
    gateway.run(async |gateway| {
        let mut tracker = gateway.connect(TELTONIKA);
        tracker.send(&login(IDENT)).await;
        tracker.expect(&[0]).await;
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(0)).await;
        let channel = gateway.deps.registry.channel(TELTONIKA).unwrap();
        let unknown = channel.unknown().list();
        assert_eq!(unknown.len(), 1);
        assert_eq!((unknown[0].ident.as_str(), unknown[0].count), (IDENT, 2));
        assert_eq!(&unknown[0].frame[..], &packet(&[at(1)])[..]);
        assert!(unknown[0].record.is_some());
        gateway.register(100, LEAF, "teltonika", IDENT);
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        assert_eq!(gateway.messages(LEAF), 1);
        assert_eq!(gateway.account(LEAF).posted().refused_bytes, 0);
    });
}

#[test]
fn an_unknown_ident_of_a_protocol_without_acks_is_parked_until_it_is_registered() {
    let gateway = Gateway::new();
    gateway.run(async |gateway| {
        let mut tracker = gateway.connect(H02);
        tracker.send(FIX).await;
        gateway.until_parked(1).await;
        gateway.register(100, LEAF, "h02", "7000000001");
        gateway.deps.router.wake_parked();
        gateway
            .until("stored", || gateway.messages(LEAF) == 1)
            .await;
        gateway.until_parked(0).await;
        // one that nobody registers is closed at the identify deadline
        let mut other = gateway.connect(H02);
        let fix = String::from_utf8_lossy(FIX).replace("7000000001", "7000000002");
        other.send(fix.as_bytes()).await;
        gateway.until_parked(1).await;
        gateway.advance_ms(60_200).await;
        other.expect_end().await;
        drop(other);
        gateway.until("closed", || gateway.closed() == [14]).await;
        drop(tracker);
    });
}

#[test]
fn an_unknown_ident_is_closed_or_kept_where_its_channel_says_so() {
    let gateway = Gateway::new();
    let policy = |unknown| {
        let item = ChannelItem {
            unknown,
            ..channel(TELTONIKA, "teltonika")
        };
        gateway.deps.registry.put_channel(item).unwrap();
    };
    policy(UnknownPolicy::Close);
    let registry = std::sync::Arc::clone(&gateway.deps.registry);
    gateway.run(async |gateway| {
        let mut tracker = gateway.connect(TELTONIKA);
        tracker.send(&login(IDENT)).await;
        tracker.expect(&[0]).await;
        tracker.expect_end().await;
        drop(tracker);
        gateway.until("closed", || gateway.closed() == [14]).await;
        registry
            .put_channel(ChannelItem {
                unknown: UnknownPolicy::Store,
                ..channel(TELTONIKA, "teltonika")
            })
            .unwrap();
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        // the channel's owner pays
        assert_eq!((gateway.messages(MASTER), gateway.messages(LEAF)), (1, 0));
        // and it is kept on the channel for longer than a stranger may be
        gateway.advance_ms(60_200).await;
        tracker.send(&packet(&[at(2)])).await;
        tracker.expect(&taken(1)).await;
    });
}

#[test]
fn the_second_connection_of_a_device_closes_the_first_with_12() {
    let gateway = Gateway::new();
    let device = gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut first = gateway.logged_in(IDENT).await;
        let mut second = gateway.logged_in(IDENT).await;
        first.expect_end().await;
        gateway.until("closed", || gateway.closed() == [12]).await;
        second.send(&packet(&[at(1)])).await;
        second.expect(&taken(1)).await;
        let facts = gateway.deps.router.connections(|_| true);
        assert_eq!(facts.len(), 1);
        assert_eq!(device.present(), facts[0].id);
        assert_eq!(facts[0].carries[0].device, DeviceId(100));
        let account = gateway.account(MASTER);
        assert_eq!(account.admitted(Dimension::ChannelConnections, 0), 1);
        drop((first, second));
        gateway
            .until("gone", || gateway.deps.router.count() == 0)
            .await;
        assert!(!device.present().is_some());
        assert_eq!(account.admitted(Dimension::ChannelConnections, 0), 0);
    });
}

#[test]
fn where_the_channel_keeps_the_incumbent_the_newcomer_is_refused() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    let item = ChannelItem {
        takeover: Takeover::Keep,
        ..channel(TELTONIKA, "teltonika")
    };
    gateway.deps.registry.put_channel(item).unwrap();
    gateway.run(async |gateway| {
        let mut first = gateway.logged_in(IDENT).await;
        let mut second = gateway.connect(TELTONIKA);
        second.send(&login(IDENT)).await;
        second.expect(&[0]).await;
        second.expect_end().await;
        first.send(&packet(&[at(1)])).await;
        first.expect(&taken(1)).await;
        drop(first);
        gateway
            .until("gone", || gateway.deps.router.count() == 0)
            .await;
        gateway.logged_in(IDENT).await;
    });
}

#[test]
fn a_wrong_secret_is_told_apart_from_an_unknown_ident_and_takes_nothing_over() {
    let gateway = Gateway::new();
    let mut item = device(100, LEAF, "wialon", IDENT);
    item.settings.password = Some("right".into());
    gateway.deps.registry.put_device(item).unwrap();
    gateway.run(async |gateway| {
        let login = |ident: &str, password: &str| format!("#L#{ident};{password}\r\n");
        let mut honest = gateway.connect(WIALON);
        honest.send(login(IDENT, "right").as_bytes()).await;
        honest.expect(b"#AL#1\r\n").await;
        let mut thief = gateway.connect(WIALON);
        thief.send(login(IDENT, "wrong").as_bytes()).await;
        thief.expect(b"#AL#01\r\n").await;
        thief.expect_end().await;
        let mut stranger = gateway.connect(WIALON);
        stranger.send(login("1234", "x").as_bytes()).await;
        stranger.expect(b"#AL#0\r\n").await;
        honest.expect_silence().await;
        assert!(
            gateway
                .told(|what| matches!(what, Happened::TakenOver { .. }).then_some(()))
                .is_empty()
        );
        drop((thief, stranger, honest));
    });
}

#[test]
fn a_channel_of_several_protocols_takes_the_one_that_the_first_bytes_belong_to() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.register(101, LEAF, "h02", "7000000001");
    let mut item = channel(TELTONIKA, "teltonika");
    item.protocols.push(protocols::find("h02").unwrap().number);
    item.protocols.sort_unstable();
    gateway.deps.registry.remove_channel(H02);
    gateway.deps.registry.put_channel(item).unwrap();
    gateway.run(async |gateway| {
        let mut tracker = gateway.connect(TELTONIKA);
        for byte in login(IDENT) {
            tracker.send(&[byte]).await;
            tokio::task::yield_now().await;
        }
        tracker.expect(&[1]).await;
        let mut other = gateway.connect(TELTONIKA);
        other.send(FIX).await;
        gateway
            .until("stored", || gateway.messages(LEAF) == 1)
            .await;
        let mut neither = gateway.connect(TELTONIKA);
        neither.send(&[0x55; 100]).await;
        neither.expect_end().await;
        gateway.until("closed", || gateway.closed() == [19]).await;
    });
}

#[test]
fn what_is_parked_of_a_protocol_without_acks_outlives_the_hang_up() {
    let gateway = Gateway::new();
    gateway.register(101, LEAF, "h02", "7000000001");
    gateway.limit(LEAF, Dimension::ChannelMessages, 1);
    gateway.run(async |gateway| {
        let mut tracker = gateway.connect(H02);
        tracker.send(FIX).await;
        gateway
            .until("stored", || gateway.messages(LEAF) == 1)
            .await;
        let later = String::from_utf8_lossy(FIX).replace("105759", "105859");
        tracker.send(later.as_bytes()).await;
        gateway.until_parked(1).await;
        drop(tracker);
        gateway.advance_ms(5_000).await;
        gateway.until_parked(1).await;
        gateway.next_minute().await;
        gateway
            .until("stored", || gateway.messages(LEAF) == 2)
            .await;
        gateway.until("closed", || gateway.closed() == [2]).await;
    });
}

#[test]
fn a_disabled_account_admits_nobody() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    let tree = gateway.deps.registry.tree();
    tree.set_enabled(MIDDLE, false).unwrap();
    gateway.run(async |gateway| {
        let mut tracker = gateway.connect(TELTONIKA);
        tracker.send(&login(IDENT)).await;
        tracker.expect(&[0]).await;
        tracker.expect_end().await;
        drop(tracker);
        gateway.until("closed", || gateway.closed() == [23]).await;
    });
}

#[test]
fn a_moved_device_comes_back_and_each_record_belongs_to_one_account() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        let mut moved = device(100, SIBLING, "teltonika", IDENT);
        moved.epoch = crate::ids::Epoch(1);
        gateway.deps.registry.put_device(moved).unwrap();
        // even before control closes it, nothing more is taken on it
        tracker.send(&packet(&[at(2)])).await;
        tracker.expect_end().await;
        drop(tracker);
        gateway.until("closed", || gateway.closed() == [15]).await;
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(2)])).await;
        tracker.expect(&taken(1)).await;
        let messages = |id: AccountId| gateway.messages(id);
        assert_eq!(
            (messages(LEAF), messages(SIBLING), messages(MASTER)),
            (1, 1, 2)
        );
    });
}

#[test]
fn a_limit_on_connections_parks_the_login_until_one_is_free() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.register(101, LEAF, "teltonika", "356307042441014");
    gateway.limit(LEAF, Dimension::ChannelConnections, 1);
    gateway.run(async |gateway| {
        let first = gateway.logged_in(IDENT).await;
        let mut second = gateway.connect(TELTONIKA);
        second.send(&login("356307042441014")).await;
        second.expect_silence().await;
        drop(first);
        gateway.until("closed", || gateway.closed() == [2]).await;
        gateway.advance_ms(1_200).await;
        second.expect(&[1]).await;
    });
}

#[test]
fn a_tracker_that_comes_back_takes_its_own_place_under_a_full_limit_on_connections() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.limit(LEAF, Dimension::ChannelConnections, 1);
    gateway.run(async |gateway| {
        let mut dead = gateway.logged_in(IDENT).await;
        let mut again = gateway.connect(TELTONIKA);
        again.send(&login(IDENT)).await;
        dead.expect_end().await;
        gateway.until("closed", || gateway.closed() == [12]).await;
        gateway.advance_ms(1_200).await;
        again.expect(&[1]).await;
        again.send(&packet(&[at(1)])).await;
        again.expect(&taken(1)).await;
        let admitted = gateway
            .account(LEAF)
            .admitted(Dimension::ChannelConnections, 0);
        assert_eq!(admitted, 1);
        // of a limit that was lowered below what is there nobody's place makes room
        gateway.limit(LEAF, Dimension::ChannelConnections, 0);
        let mut third = gateway.connect(TELTONIKA);
        third.send(&login(IDENT)).await;
        gateway.until_parked(1).await;
        again.send(&packet(&[at(2)])).await;
        again.expect(&taken(1)).await;
        third.expect_silence().await;
    });
}

#[test]
fn silence_is_closed_at_its_deadline_and_a_device_that_speaks_is_not() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut silent = gateway.connect(TELTONIKA);
        let mut stranger = gateway.connect(TELTONIKA);
        stranger.send(&login("1234567")).await;
        stranger.expect(&[0]).await;
        let mut tracker = gateway.logged_in(IDENT).await;
        gateway.advance_ms(59_000).await;
        silent.expect_silence().await;
        gateway.advance_ms(1_200).await;
        silent.expect_end().await;
        stranger.expect_end().await;
        let mut codes = gateway.closed();
        codes.sort_unstable();
        assert_eq!(codes, [14, 17]);
        for second in 0..5 {
            gateway.advance_ms(400_000).await;
            tracker.send(&packet(&[at(second)])).await;
            tracker.expect(&taken(1)).await;
        }
        gateway.advance_ms(600_200).await;
        tracker.expect_end().await;
        assert_eq!(gateway.closed().last(), Some(&17));
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

#[test]
fn draining_sends_what_is_owed_and_then_ends_every_connection() {
    let gateway = Gateway::new();
    gateway.register(101, SIBLING, "teltonika", "356307042441014");
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        gateway.limit(SIBLING, Dimension::ChannelMessages, 1);
        let mut parked = gateway.logged_in("356307042441014").await;
        parked.send(&packet(&[at(1)])).await;
        parked.expect(&taken(1)).await;
        parked.send(&packet(&[at(2)])).await;
        gateway.until_parked(1).await;
        let mut tracker = gateway.logged_in(IDENT).await;
        gateway.files.hold();
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect_silence().await;
        let until_ms = gateway.deps.clock.now_ms() + 5_000;
        gateway.worker.begin_drain(until_ms);
        // what is parked is not owed anything
        parked.expect_end().await;
        tracker.expect_silence().await;
        gateway.files.let_go();
        tracker.expect(&taken(1)).await;
        tracker.expect_end().await;
        drop(tracker);
        gateway.until("closed", || gateway.closed() == [7, 7]).await;
        assert_eq!(gateway.worker.live(), 0);
    });
}

#[test]
fn the_api_closes_by_channel_and_by_device() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        let router = &gateway.deps.router;
        assert_eq!(
            router.close_device(DeviceId(7), CloseCode::DeviceChanged),
            0
        );
        assert_eq!(
            router.close_device(DeviceId(100), CloseCode::DeviceChanged),
            1
        );
        tracker.expect_end().await;
        let mut tracker = gateway.logged_in(IDENT).await;
        assert_eq!(router.close_channel(TELTONIKA, CloseCode::ByUser), 1);
        tracker.expect_end().await;
        gateway
            .until("closed", || gateway.closed() == [15, 10])
            .await;
    });
}

#[test]
fn workers_serve_channels_over_tcp_that_come_and_go_and_drain_within_their_deadline() {
    use std::io::{Read, Write};
    let (deps, _clock, _files, _events, _dir) = deps(Bounds::default());
    deps.registry
        .put_device(device(100, LEAF, "teltonika", IDENT))
        .unwrap();
    let channels = super::Channels::start(2, deps.clone()).unwrap();
    let item = channel(TELTONIKA, "teltonika");
    let at_addr = channels.open(&item).unwrap();
    assert!(matches!(channels.open(&item), Err(super::OpenError::Open)));
    let connect = || {
        let stream = std::net::TcpStream::connect(at_addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    };
    let exchange = |stream: &mut std::net::TcpStream, bytes: &[u8], answer: &[u8]| {
        stream.write_all(bytes).unwrap();
        let mut read = vec![0; answer.len()];
        stream.read_exact(&mut read).unwrap();
        assert_eq!(read, answer);
    };
    let mut first = connect();
    exchange(&mut first, &login(IDENT), &[1]);
    exchange(&mut first, &packet(&[at(1)]), &taken(1));
    // a takeover, perhaps across the workers
    for second in 2..10 {
        let mut stream = connect();
        exchange(&mut stream, &login(IDENT), &[1]);
        exchange(&mut stream, &packet(&[at(second)]), &taken(1));
        let mut rest = Vec::new();
        first.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, [0; 0]);
        first = stream;
    }
    assert_eq!(
        deps.registry
            .tree()
            .account(MASTER)
            .unwrap()
            .posted()
            .messages,
        9
    );
    assert_eq!(channels.close(TELTONIKA, CloseCode::ByUser), 1);
    let mut rest = Vec::new();
    first.read_to_end(&mut rest).unwrap();
    assert!(std::net::TcpStream::connect(at_addr).is_err());
    let item = ChannelItem {
        port: at_addr.port(),
        ..item
    };
    let at_addr = channels.open(&item).unwrap();
    let mut stream = std::net::TcpStream::connect(at_addr).unwrap();
    exchange(&mut stream, &login(IDENT), &[1]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    assert_eq!(runtime.block_on(channels.drain(Duration::from_secs(5))), 0);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, [0; 0]);
    let page = deps.metrics.render();
    for line in [
        "tollgate_messages_total{channel=\"10\"} 9",
        "tollgate_acks_total{channel=\"10\"} 9",
        "tollgate_takeovers_total 8",
        "tollgate_connections_closed_total{code=\"12\"} 8",
        "tollgate_connections_closed_total{code=\"7\"} 1",
        "tollgate_connections{channel=\"10\"} 0",
        "tollgate_connections_unidentified 0",
    ] {
        assert!(page.lines().any(|l| l == line), "{line}\n{page}");
    }
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
    let channels = super::Channels::start(2, deps.clone()).unwrap();
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

#[test]
fn a_channel_takes_only_the_addresses_that_it_allows() {
    use std::io::Read;
    let (deps, _clock, _files, _events, _dir) = deps(Bounds::default());
    let channels = super::Channels::start(1, deps.clone()).unwrap();
    let allow = |prefix: &str| {
        let item = ChannelItem {
            allow: vec![prefix.to_owned()],
            ..channel(TELTONIKA, "teltonika")
        };
        deps.registry.put_channel(item.clone()).unwrap();
        item
    };
    let at_addr = channels.open(&allow("10.0.0.0/8")).unwrap();
    let closed = || {
        let mut stream = std::net::TcpStream::connect(at_addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        stream.read(&mut [0]).is_ok_and(|read| read == 0)
    };
    assert!(closed());
    allow("127.0.0.0/8");
    assert!(!closed());
    allow("nonsense");
    assert!(closed());
    assert!(
        deps.metrics
            .render()
            .contains("tollgate_connections_refused_total{bound=\"allow\"} 2")
    );
}

#[test]
fn workers_turn_their_wheels_and_it_shows() {
    let (deps, _clock, _files, _events, _dir) = deps(Bounds::default());
    let channels = super::Channels::start(2, deps).unwrap();
    for _ in 0..10 {
        std::thread::sleep(Duration::from_millis(50));
        let silent = channels.silent_for();
        assert!(silent < Duration::from_secs(2), "{silent:?}");
    }
}

#[test]
fn an_idle_connection_is_small() {
    // two of these fit in what an idle connection may take with its runtime's share
    let bytes = size_of::<super::connection::Connection<tokio::net::TcpStream>>();
    assert!(bytes <= 512, "{bytes}");
}

#[test]
fn the_pages_of_accounts_and_journal_come_from_their_own_numbers() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    let deps = &gateway.deps;
    let tree = std::sync::Arc::clone(deps.registry.tree());
    let clock = std::sync::Arc::clone(&deps.clock);
    deps.metrics
        .add_source(std::sync::Arc::new(super::AccountSeries::new(tree, clock)));
    deps.metrics
        .add_source(std::sync::Arc::new(super::JournalSeries::new(
            deps.journal.clone(),
        )));
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        let frame = packet(&[at(1)]);
        tracker.send(&frame).await;
        tracker.expect(&taken(1)).await;
        let page = gateway.deps.metrics.render();
        for line in [
            format!(
                "tollgate_account_bytes_total{{account=\"3\",direction=\"in\"}} {}",
                frame.len()
            ),
            "tollgate_account_bytes_total{account=\"1\",direction=\"out\"} 4".to_owned(),
            "tollgate_account_messages_total{account=\"2\"} 1".to_owned(),
            "tollgate_account_admitted{account=\"3\",dimension=\"channel_messages\"} 1".to_owned(),
            "tollgate_journal_failed 0".to_owned(),
        ] {
            assert!(page.lines().any(|l| l == line), "{line}\n{page}");
        }
        if let Ok(path) = std::env::var("TOLLGATE_METRICS_PAGE") {
            std::fs::write(path, page).unwrap();
        }
    });
}
