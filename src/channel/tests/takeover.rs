//! A device on a newer connection: what becomes of the older one.

use super::harness::*;
use super::{FIX, IDENT};

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

#[test]
fn a_replaced_connection_that_goes_on_sending_ends_within_its_reads() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "h02", "7000000001");
    gateway.run(async |gateway| {
        let mut first = gateway.connect(H02);
        first.send(&fixes(0..1)).await;
        gateway
            .until("stored", || gateway.messages(LEAF) == 1)
            .await;
        let flood = tokio::task::spawn_local(async move {
            let heartbeat =
                b"*HQ,7000000001,V1,105759,A,3757.3392,S,14503.7022,E,0,1,280122,FF#\r\n";
            while first.try_send(&heartbeat.repeat(100)).await {}
        });
        let mut second = gateway.connect(H02);
        second.send(&fixes(1000..1001)).await;
        gateway.until("closed", || gateway.closed() == [12]).await;
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
    gateway.limit(LEAF, crate::account::Dimension::ChannelMessages, 2);
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
