//! What a limit refuses: parked, thrown away, or closed.

use super::IDENT;
use super::harness::*;
use crate::account::{Caps, Dimension, Policy, Rules};
use crate::channel::bounds::Bounds;
use crate::channel::events::Happened;

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
fn an_account_over_its_storage_is_held_until_a_count_finds_room() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        // as the journal's count of storage does it
        let over = gateway.account(MIDDLE);
        let until_us = gateway.deps.clock.now_us() + 3_600_000_000;
        over.block(Dimension::DeviceStorage, until_us);
        tracker.send(&packet(&[at(2)])).await;
        gateway.until_parked(1).await;
        tracker.expect_silence().await;
        assert_eq!(gateway.messages(LEAF), 1);
        over.block(Dimension::DeviceStorage, 0);
        gateway.advance_ms(2_000).await;
        tracker.expect(&taken(1)).await;
        assert_eq!(gateway.messages(LEAF), 2);
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
fn under_the_policy_drop_who_comes_in_a_block_is_let_in_and_his_messages_are_thrown_away() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.register(101, LEAF, "teltonika", "356307042441014");
    let rules = Rules {
        caps: Caps::default().with(Dimension::ChannelMessages, 1),
        policy: Policy::Drop,
        ..Rules::default()
    };
    gateway.rule(MIDDLE, rules);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        tracker.send(&packet(&[at(2)])).await;
        tracker.expect(&taken(1)).await;
        let mut other = gateway.logged_in("356307042441014").await;
        other.send(&packet(&[at(3)])).await;
        other.expect(&taken(1)).await;
        let totals = gateway.account(MASTER).posted();
        assert_eq!((totals.messages, totals.dropped_messages), (1, 2));
        // a connection cannot be thrown away: for that there is no place
        gateway.register(102, LEAF, "teltonika", "356307042441015");
        let rules = Rules {
            caps: Caps::default().with(Dimension::ChannelConnections, 2),
            policy: Policy::Drop,
            ..Rules::default()
        };
        gateway.rule(MIDDLE, rules);
        let mut third = gateway.connect(TELTONIKA);
        third.send(&login("356307042441015")).await;
        gateway.until_parked(1).await;
        third.expect_silence().await;
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
