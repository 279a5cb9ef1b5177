//! A device on a newer connection: what becomes of the older one.

use super::harness::*;
use super::{FIX, IDENT};
use crate::account::Dimension;
use crate::channel::bounds::{Bounds, LAST_READS_MS};
use crate::ids::{AccountId, DeviceId};
use crate::registry::items::{ChannelItem, Takeover};

/// Positions of the device of [`FIX`], each of another second.
fn fixes(seconds: std::ops::Range<u32>) -> Vec<u8> {
    let fix = String::from_utf8_lossy(FIX);
    let at = |second: u32| {
        let (minute, second) = (second / 60, second % 60);
        fix.replace("105759", &format!("10{minute:02}{second:02}"))
    };
    seconds.map(at).collect::<String>().into_bytes()
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
fn what_a_replaced_connection_has_not_read_is_stored_where_nobody_would_send_it_again() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "h02", "7000000001");
    gateway.run(async |gateway| {
        let mut first = gateway.connect(H02);
        first.send(&fixes(0..1)).await;
        gateway
            .until("stored", || gateway.messages(LEAF) == 1)
            .await;
        // the newcomer has its turn first; the other one's bytes have come by then
        let mut second = gateway.connect(H02);
        second.send(&fixes(1000..1001)).await;
        first.send(&fixes(1..701)).await;
        first.rest().await;
        gateway.until("closed", || gateway.closed() == [12]).await;
        gateway
            .until("stored", || gateway.messages(LEAF) == 702)
            .await;
        second.send(&fixes(1001..1002)).await;
        gateway
            .until("stored", || gateway.messages(LEAF) == 703)
            .await;
        assert_eq!(gateway.deps.router.count(), 1);
        assert_eq!(gateway.account(LEAF).posted().refused_bytes, 0);
    });
}

/// Heartbeats for as long as they are taken; the answers are not read.
async fn flood(mut tracker: Tracker) {
    let heartbeat = b"*HQ,7000000001,V1,105759,A,3757.3392,S,14503.7022,E,0,1,280122,FF#\r\n";
    while tracker.try_send(&heartbeat.repeat(100)).await {}
}

async fn until_its_time_ends_it(gateway: &Gateway) {
    let closed = || {
        gateway.clock.advance_us(LAST_READS_MS * 1_000);
        gateway.worker.turn();
        gateway.closed() == [12]
    };
    gateway.until("closed", closed).await;
}

#[test]
fn a_replaced_connection_that_goes_on_sending_ends_within_its_reads_or_its_time() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "h02", "7000000001");
    gateway.run(async |gateway| {
        let mut first = gateway.connect(H02);
        first.send(&fixes(0..1)).await;
        gateway
            .until("stored", || gateway.messages(LEAF) == 1)
            .await;
        let flood = tokio::task::spawn_local(flood(first));
        let mut second = gateway.connect(H02);
        second.send(&fixes(1000..1001)).await;
        // its answers may have filled the stream before it was replaced: then its time ends it
        gateway
            .until("replaced", || gateway.messages(LEAF) == 3)
            .await;
        until_its_time_ends_it(gateway).await;
        flood.await.unwrap();
        drop(second);
    });
}

#[test]
fn a_replaced_connection_that_takes_no_answers_ends_in_its_time() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "h02", "7000000001");
    gateway.run(async |gateway| {
        let mut first = gateway.connect(H02);
        first.send(&fixes(0..1)).await;
        gateway
            .until("stored", || gateway.messages(LEAF) == 1)
            .await;
        // until nothing is taken any more
        let mut flood = tokio::task::spawn_local(flood(first));
        let stuck = tokio::time::timeout(SILENCE * 10, &mut flood).await;
        assert!(stuck.is_err(), "closed: {:?}", gateway.closed());
        let mut second = gateway.connect(H02);
        second.send(&fixes(1000..1001)).await;
        gateway
            .until("stored", || gateway.messages(LEAF) == 3)
            .await;
        until_its_time_ends_it(gateway).await;
        flood.await.unwrap();
        drop(second);
    });
}

#[test]
fn a_replaced_connection_whose_tracker_sends_again_is_not_read_any_more() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut first = gateway.logged_in(IDENT).await;
        let mut second = gateway.connect(TELTONIKA);
        second.send(&login(IDENT)).await;
        first.send(&packet(&[at(1)])).await;
        first.expect_end().await;
        second.expect(&[1]).await;
        // it is not stored, and so not charged twice when it comes again
        second.send(&packet(&[at(1)])).await;
        second.expect(&taken(1)).await;
        assert_eq!(gateway.messages(LEAF), 1);
        let bytes = gateway.account(LEAF).posted().bytes_in;
        assert_eq!(bytes, packet(&[at(1)]).len() as u64);
    });
}

#[test]
fn a_limit_that_a_replaced_connection_meets_at_last_ends_it_and_is_counted() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "h02", "7000000001");
    gateway.limit(LEAF, Dimension::ChannelMessages, 2);
    gateway.run(async |gateway| {
        let mut first = gateway.connect(H02);
        first.send(&fixes(0..1)).await;
        gateway
            .until("stored", || gateway.messages(LEAF) == 1)
            .await;
        let mut second = gateway.connect(H02);
        second.send(&fixes(1000..1001)).await;
        let unread = fixes(1..11);
        first.send(&unread).await;
        first.rest().await;
        gateway.until("closed", || gateway.closed() == [12]).await;
        // its usage is journaled within a second
        gateway.advance_ms(1_000).await;
        gateway
            .until("counted", || {
                gateway.account(LEAF).posted().refused_bytes == unread.len() as u64
            })
            .await;
        drop(second);
    });
}

#[test]
fn a_replaced_connection_for_whose_last_frames_there_is_no_memory_has_its_own_code() {
    let gateway = Gateway::with(Bounds {
        parked_bytes_max: 0,
        ..Bounds::default()
    });
    gateway.register(100, LEAF, "h02", "7000000001");
    gateway.limit(LEAF, Dimension::ChannelMessages, 2);
    gateway.run(async |gateway| {
        let mut first = gateway.connect(H02);
        first.send(&fixes(0..1)).await;
        gateway
            .until("stored", || gateway.messages(LEAF) == 1)
            .await;
        let mut second = gateway.connect(H02);
        second.send(&fixes(1000..1001)).await;
        first.send(&fixes(1..11)).await;
        first.rest().await;
        gateway.until("closed", || gateway.closed() == [12]).await;
        drop(second);
    });
}
