//! Who is let in, and what becomes of whom nobody has registered.

use super::harness::*;
use super::{FIX, IDENT};
use crate::account::Dimension;
use crate::channel::events::Happened;
use crate::registry::items::{ChannelItem, UnknownPolicy};

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
