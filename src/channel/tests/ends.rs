//! How connections end.

use super::IDENT;
use super::harness::*;
use crate::account::Dimension;
use crate::ids::DeviceId;
use crate::router::CloseCode;

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
