//! Bytes become frames, however they are cut, and what is no frame.

use super::harness::*;
use super::{FIX, IDENT};

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
fn an_idle_connection_is_small() {
    // the runtime adds 104 bytes, and what of that lies at a multiple of 128 is a block of the
    // allocator only if it is a power of two
    let bytes = size_of::<crate::channel::connection::Connection<tokio::net::TcpStream>>();
    assert!(bytes <= 256 - 104, "{bytes}");
    let bytes = size_of::<crate::channel::connection::Talk>();
    assert!(bytes <= 128, "{bytes}");
}
