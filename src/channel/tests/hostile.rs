//! What trackers do to each other and to the gateway: several idents on one connection, storms,
//! flapping, dripping, fragments without an end.

use super::IDENT;
use super::harness::*;
use crate::account::Dimension;
use crate::channel::bounds::{Bounds, FRAGMENT_BYTES_MAX};
use crate::channel::events::{ConnectionEvent, Happened};
use crate::ids::{Clock as _, DeviceId};
use crate::registry::items::{ChannelItem, Takeover, UnknownPolicy};
use protocols::kit::checksum;

/// A frame of Ruptela with one record, which names its tracker: several share a connection.
pub(super) fn ruptela(imei: u64, at_s: u32) -> Vec<u8> {
    let mut body = imei.to_be_bytes().to_vec();
    // records; none left in the tracker, one here
    body.extend_from_slice(&[1, 0, 1]);
    body.extend_from_slice(&at_s.to_be_bytes());
    // extension of the time, priority, position, altitude, course, satellites, speed, dilution, event
    body.extend_from_slice(&[0, 0]);
    body.extend_from_slice(&253_000_000i32.to_be_bytes());
    body.extend_from_slice(&546_000_000i32.to_be_bytes());
    body.extend_from_slice(&[0, 100, 0, 90, 9, 0, 50, 7, 0]);
    // no elements of 1, 2, 4 and 8 bytes
    body.extend_from_slice(&[0; 4]);
    let mut bytes = u16::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    let crc = checksum::crc16_kermit(&body);
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

/// Ruptela's answer to records.
pub(super) fn ruptela_ack(taken: u8) -> Vec<u8> {
    let mut bytes = vec![0, 2, 0x64, taken];
    let crc = checksum::crc16_kermit(&[0x64, taken]);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

pub(super) const FIRST: u64 = 356_307_042_441_001;
pub(super) const SECOND: u64 = 356_307_042_441_002;
pub(super) const AT_S: u32 = 1_795_500_000;

pub(super) fn ruptela_gateway(bounds: Bounds) -> Gateway {
    let gateway = Gateway::with(bounds);
    let item = channel(RUPTELA, "ruptela");
    gateway.deps.registry.put_channel(item).unwrap();
    gateway.register(100, LEAF, "ruptela", &FIRST.to_string());
    gateway.register(101, SIBLING, "ruptela", &SECOND.to_string());
    gateway
}

#[test]
fn several_idents_of_one_connection_are_each_their_own_account_s() {
    let gateway = ruptela_gateway(Bounds::default());
    gateway.run(async |gateway| {
        let mut bridge = gateway.connect(RUPTELA);
        let both = [ruptela(FIRST, AT_S), ruptela(SECOND, AT_S)].concat();
        bridge.send(&both).await;
        bridge
            .expect(&[ruptela_ack(1), ruptela_ack(1)].concat())
            .await;
        assert_eq!((gateway.messages(LEAF), gateway.messages(SIBLING)), (1, 1));
        // one that nobody has registered is refused; the others go on
        bridge.send(&ruptela(FIRST + 10, AT_S)).await;
        bridge.expect(&ruptela_ack(0)).await;
        bridge.send(&ruptela(FIRST, AT_S + 1)).await;
        bridge.expect(&ruptela_ack(1)).await;
        let facts = gateway.deps.router.connections(|_| true);
        let carried: Vec<_> = facts[0].carries.iter().map(|c| c.device).collect();
        assert_eq!(carried, [DeviceId(100), DeviceId(101)]);
        let connections = Dimension::ChannelConnections;
        assert_eq!(gateway.account(MASTER).admitted(connections, 0), 2);
        drop(bridge);
        gateway
            .until("gone", || gateway.deps.router.count() == 0)
            .await;
        assert_eq!(gateway.account(MASTER).admitted(connections, 0), 0);
    });
}

#[test]
fn a_takeover_of_one_ident_leaves_the_others_of_its_connection_alone() {
    let gateway = ruptela_gateway(Bounds::default());
    gateway.run(async |gateway| {
        let mut bridge = gateway.connect(RUPTELA);
        let both = [ruptela(FIRST, AT_S), ruptela(SECOND, AT_S)].concat();
        bridge.send(&both).await;
        bridge
            .expect(&[ruptela_ack(1), ruptela_ack(1)].concat())
            .await;
        let mut own = gateway.connect(RUPTELA);
        own.send(&ruptela(FIRST, AT_S + 1)).await;
        own.expect(&ruptela_ack(1)).await;
        gateway
            .until("evicted", || {
                let facts = gateway.deps.router.connections(|_| true);
                facts.len() == 2 && facts.iter().all(|facts| facts.carries.len() == 1)
            })
            .await;
        bridge.send(&ruptela(SECOND, AT_S + 1)).await;
        bridge.expect(&ruptela_ack(1)).await;
        assert_eq!(gateway.closed(), [0; 0]);
        // whoever speaks last has the ident; the connection that has no other is closed
        bridge.send(&ruptela(FIRST, AT_S + 2)).await;
        bridge.expect(&ruptela_ack(1)).await;
        own.expect_end().await;
        gateway.until("closed", || gateway.closed() == [12]).await;
    });
}

#[test]
fn a_refused_login_that_comes_straight_back_waits_unread_for_its_turn() {
    let gateway = Gateway::new();
    gateway.run(async |gateway| {
        let mut first = gateway.connect(TELTONIKA);
        first.send(&login(IDENT)).await;
        first.expect(&[0]).await;
        // on the same connection it may be told with every frame
        first.send(&packet(&[at(1)])).await;
        first.expect(&taken(0)).await;
        drop(first);
        let mut second = gateway.connect(TELTONIKA);
        second.send(&login(IDENT)).await;
        gateway.until_parked(1).await;
        second.expect_silence().await;
        let mut other = gateway.connect(TELTONIKA);
        other.send(&login("356307042441099")).await;
        other.expect(&[0]).await;
        gateway.advance_ms(10_100).await;
        second.expect(&[0]).await;
        // a registration admits what waits at once
        let mut third = gateway.connect(TELTONIKA);
        third.send(&login(IDENT)).await;
        gateway.until_parked(1).await;
        gateway.register(100, LEAF, "teltonika", IDENT);
        gateway.deps.router.wake_parked();
        third.expect(&[1]).await;
    });
}

#[test]
fn a_storm_of_refused_logins_is_answered_once_in_its_time_and_closed_without_a_word() {
    let gateway = Gateway::new();
    let item = ChannelItem {
        unknown: UnknownPolicy::Close,
        ..channel(TELTONIKA, "teltonika")
    };
    gateway.deps.registry.put_channel(item).unwrap();
    gateway.run(async |gateway| {
        let mut storm: Vec<_> = (0..50).map(|_| gateway.connect(TELTONIKA)).collect();
        for tracker in &mut storm {
            tracker.send(&login(IDENT)).await;
        }
        gateway.until_parked(49).await;
        let mut answered = 0;
        // to the identify deadline, in steps below the budget's
        for _ in 0..14 {
            gateway.advance_ms(5_000).await;
            tokio::time::sleep(SILENCE / 10).await;
        }
        for mut tracker in storm {
            answered += tracker.rest().await.len();
        }
        assert!((6..=8).contains(&answered), "{answered}");
        gateway
            .until("closed", || gateway.closed().len() == 50)
            .await;
        assert!(gateway.closed().iter().all(|code| *code == 14));
        assert_eq!(
            gateway
                .worker
                .room
                .parked_bytes
                .load(std::sync::atomic::Ordering::Relaxed),
            0
        );
    });
}

#[test]
fn a_device_that_changes_hands_too_often_is_slowed_and_told_of() {
    let gateway = Gateway::with(Bounds {
        takeovers_max: 3,
        ..Bounds::default()
    });
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut present = gateway.logged_in(IDENT).await;
        for _ in 0..3 {
            let next = gateway.logged_in(IDENT).await;
            present.expect_end().await;
            present = next;
        }
        let mut waiting = gateway.connect(TELTONIKA);
        waiting.send(&login(IDENT)).await;
        gateway.until_parked(1).await;
        let flaps = gateway.told(|what| match what {
            Happened::Flaps { takeovers, .. } => Some(*takeovers),
            _ => None,
        });
        assert_eq!(flaps, [3]);
        // the device is served where it is
        present.send(&packet(&[at(1)])).await;
        present.expect(&taken(1)).await;
        waiting.expect_silence().await;
        // and by the next as soon as that one is gone, or the minute is over
        let mut late = gateway.connect(TELTONIKA);
        late.send(&login(IDENT)).await;
        gateway.until_parked(2).await;
        drop(present);
        gateway
            .until("gone", || gateway.deps.router.count() == 2)
            .await;
        gateway.advance_ms(1_100).await;
        gateway.until_parked(1).await;
        gateway.advance_ms(60_000).await;
        gateway.until_parked(0).await;
        let metrics = gateway.deps.metrics.render();
        assert!(metrics.contains("tollgate_ident_flaps_total 1"));
        drop((waiting, late));
    });
}

/// The times at which it was told that connections contend for a device.
fn alarms_us(gateway: &Gateway) -> Vec<i64> {
    let events = gateway.events.all();
    let of = |event: &ConnectionEvent| {
        matches!(event.what, Happened::Flaps { .. }).then_some(event.at_us)
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn ten_thousand_attempts_to_take_a_kept_ident_over_leave_its_owner_alone() {
    let attempts = trial_size("TOLLGATE_TAKEOVERS", 10_000);
    let gateway = Gateway::new();
    let device = gateway.register(100, LEAF, "teltonika", IDENT);
    let item = ChannelItem {
        takeover: Takeover::Keep,
        ..channel(TELTONIKA, "teltonika")
    };
    gateway.deps.registry.put_channel(item).unwrap();
    gateway.run(async |gateway| {
        let mut owner = gateway.logged_in(IDENT).await;
        let owner_id = device.present();
        let bound = usize::try_from(Bounds::default().takeovers_max).unwrap();
        let mut acked = 0;
        for attempt in 0..attempts {
            if attempt == bound {
                assert_eq!(alarms_us(gateway), [0; 0]);
            }
            let mut thief = gateway.connect(TELTONIKA);
            thief.send(&login(IDENT)).await;
            drop(thief);
            if attempt % 100 == 0 {
                acked += 1;
                owner.send(&packet(&[at(acked)])).await;
                owner.expect(&taken(1)).await;
                gateway.advance_ms(1_000).await;
            } else {
                tokio::task::yield_now().await;
            }
            assert_eq!(device.present(), owner_id, "attempt {attempt}");
        }
        let carry = gateway.deps.router.connections(|f| !f.carries.is_empty());
        assert_eq!(carry.len(), 1);
        assert_eq!(gateway.messages(LEAF), u64::try_from(acked).unwrap());
        // once a minute at most, the first within a second of the attempt that was one too many
        let alarms = alarms_us(gateway);
        let first_us = NOON_US + 1_000_000;
        assert!((first_us..first_us + 1_000_000).contains(&alarms[0]));
        assert!(alarms.len() <= 1 + attempts / 100 / 60, "{alarms:?}");
        owner.send(&packet(&[at(acked + 1)])).await;
        owner.expect(&taken(1)).await;
    });
}

#[test]
fn of_many_attempts_to_take_an_ident_over_the_newest_wins_so_often_a_minute_and_the_rest_wait() {
    let attempts = trial_size("TOLLGATE_TAKEOVERS", 1_000);
    let gateway = Gateway::new();
    let device = gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut present = gateway.logged_in(IDENT).await;
        let mut present_id = device.present();
        let bound = usize::try_from(Bounds::default().takeovers_max).unwrap();
        let mut taken_over = 0;
        let mut waiting = Vec::new();
        for attempt in 0..attempts {
            let mut next = gateway.connect(TELTONIKA);
            next.send(&login(IDENT)).await;
            let parked = gateway.deps.router.parked_count();
            gateway
                .until("it has it, or waits", || {
                    device.present() != present_id || gateway.deps.router.parked_count() > parked
                })
                .await;
            if device.present() == present_id {
                waiting.push(next);
            } else {
                next.expect(&[1]).await;
                present.expect_end().await;
                present = next;
                present_id = device.present();
                taken_over += 1;
            }
            // who has it is served, and nobody else has
            present
                .send(&packet(&[at(i64::try_from(attempt).unwrap())]))
                .await;
            present.expect(&taken(1)).await;
            assert_eq!(device.present(), present_id, "attempt {attempt}");
            if attempt + 1 == bound {
                assert_eq!((taken_over, alarms_us(gateway).len()), (bound, 0));
            }
            if attempt == bound {
                assert_eq!(alarms_us(gateway), [gateway.clock.now_us()]);
            }
        }
        let carry = gateway.deps.router.connections(|f| !f.carries.is_empty());
        assert_eq!((carry.len(), carry[0].id), (1, present_id));
        // the clock has stood still: it was one window
        assert_eq!(taken_over, bound.min(attempts));
        assert_eq!(gateway.messages(LEAF), u64::try_from(attempts).unwrap());
        assert_eq!(waiting.len(), attempts - taken_over);
        drop(waiting);
    });
}

#[test]
fn on_a_shared_connection_an_ident_that_is_refused_does_not_end_the_others() {
    let gateway = ruptela_gateway(Bounds::default());
    let item = ChannelItem {
        takeover: Takeover::Keep,
        ..channel(RUPTELA, "ruptela")
    };
    gateway.deps.registry.put_channel(item).unwrap();
    gateway.run(async |gateway| {
        let mut own = gateway.connect(RUPTELA);
        own.send(&ruptela(FIRST, AT_S)).await;
        own.expect(&ruptela_ack(1)).await;
        let mut bridge = gateway.connect(RUPTELA);
        bridge.send(&ruptela(SECOND, AT_S)).await;
        bridge.expect(&ruptela_ack(1)).await;
        // it has a connection of its own, which keeps it
        bridge.send(&ruptela(FIRST, AT_S + 1)).await;
        bridge.expect(&ruptela_ack(0)).await;
        bridge.send(&ruptela(SECOND, AT_S + 1)).await;
        bridge.expect(&ruptela_ack(1)).await;
        // or it may not be served at all
        let mut disabled = device(100, LEAF, "ruptela", &FIRST.to_string());
        disabled.enabled = false;
        gateway.deps.registry.put_device(disabled).unwrap();
        bridge.send(&ruptela(FIRST, AT_S + 2)).await;
        bridge.expect(&ruptela_ack(0)).await;
        bridge.send(&ruptela(SECOND, AT_S + 2)).await;
        bridge.expect(&ruptela_ack(1)).await;
        assert_eq!(gateway.closed(), [0; 0]);
        drop(own);
    });
}

#[test]
fn a_frame_that_drips_is_closed_and_a_slow_one_is_not() {
    let gateway = Gateway::with(Bounds {
        frame_ms: 30_000,
        ..Bounds::default()
    });
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.register(101, LEAF, "teltonika", "356307042441014");
    gateway.run(async |gateway| {
        let frame = packet(&(0..100).map(at).collect::<Vec<_>>());
        let mut drips = gateway.logged_in(IDENT).await;
        let mut slow = gateway.logged_in("356307042441014").await;
        let mut sent = 0;
        let mut dripped = 0;
        while sent < frame.len() {
            if dripped < 30 {
                drips.send(&frame[dripped..=dripped]).await;
                dripped += 1;
            }
            // 80 bytes a second, for more than the time that every frame has
            let to = (sent + 80).min(frame.len());
            slow.send(&frame[sent..to]).await;
            sent = to;
            gateway.until("read", || true).await;
            gateway.advance_ms(1_000).await;
        }
        slow.expect(&taken(100)).await;
        drips.expect_end().await;
        assert_eq!(gateway.closed(), [17]);
        // between frames nobody hurries
        gateway.advance_ms(120_000).await;
        slow.send(&packet(&[at(200)])).await;
        slow.expect(&taken(1)).await;
    });
}

#[test]
fn a_device_registered_with_settings_comes_back_to_be_read_by_them() {
    let gateway = Gateway::new();
    gateway.run(async |gateway| {
        let model = protocols::find("teltonika").unwrap().info.models[0].name;
        let (plain, read_otherwise) = ("356307042441001", "356307042441002");
        let mut trackers = Vec::new();
        for ident in [plain, read_otherwise] {
            let mut tracker = gateway.connect(TELTONIKA);
            tracker.send(&login(ident)).await;
            tracker.expect(&[0]).await;
            trackers.push(tracker);
        }
        gateway.register(100, LEAF, "teltonika", plain);
        let mut item = device(101, LEAF, "teltonika", read_otherwise);
        item.settings.model = Some(model.into());
        gateway.deps.registry.put_device(item).unwrap();
        trackers[0].send(&packet(&[at(1)])).await;
        trackers[0].expect(&taken(1)).await;
        trackers[1].send(&packet(&[at(1)])).await;
        trackers[1].expect_end().await;
        gateway.until("closed", || gateway.closed() == [15]).await;
        assert_eq!(gateway.messages(LEAF), 1);
        gateway.logged_in(read_otherwise).await;
    });
}

/// A frame of GT06, in its long form if it must be.
pub(super) fn gt06(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len() + 5;
    let (mark, mut body) = match u8::try_from(length) {
        Ok(length) => (0x78, vec![length]),
        Err(_) => (0x79, u16::try_from(length).unwrap().to_be_bytes().to_vec()),
    };
    body.push(kind);
    body.extend_from_slice(content);
    body.extend_from_slice(&[0, 1]);
    let crc = checksum::crc16_x25(&body);
    let mut bytes = vec![mark, mark];
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes.extend_from_slice(b"\r\n");
    bytes
}

#[test]
fn fragments_that_never_become_a_message_have_a_bound_per_device() {
    const PART: u32 = 1024;
    let gateway = Gateway::new();
    gateway
        .deps
        .registry
        .put_channel(channel(GT06, "gt06"))
        .unwrap();
    let device = gateway.register(100, LEAF, "gt06", "356307042441001");
    gateway.run(async |gateway| {
        let mut kept = 0;
        let mut tracker = gateway.connect(GT06);
        tracker
            .send(&gt06(1, &[3, 0x56, 0x30, 0x70, 0x42, 0x44, 0x10, 1]))
            .await;
        tracker.one_read().await;
        let mut ended = false;
        while !ended {
            // a photo of 32 KiB is announced and given up before its end, again and again
            let mut announced = vec![26, 11, 24, 10, 0, 0];
            announced.extend_from_slice(&[0; 12]);
            announced.extend_from_slice(&(32 * PART).to_be_bytes());
            announced.extend_from_slice(&7u32.to_be_bytes());
            tracker.send(&gt06(0x35, &announced)).await;
            assert!(!tracker.one_read().await.is_empty());
            for part in 0..31u32 {
                let mut content = 7u32.to_be_bytes().to_vec();
                content.extend_from_slice(&(part * PART).to_be_bytes());
                content.extend_from_slice(&1024u16.to_be_bytes());
                content.extend_from_slice(&[0xab; 1024]);
                tracker.send(&gt06(0x36, &content)).await;
                if tracker.one_read().await.is_empty() {
                    ended = true;
                    break;
                }
                kept += 1024;
            }
        }
        drop(tracker);
        assert_eq!(kept, FRAGMENT_BYTES_MAX);
        assert_eq!(device.recent().fragment_bytes, kept);
        gateway.until("closed", || gateway.closed() == [13]).await;
        // a message makes room for more
        let mut tracker = gateway.connect(GT06);
        tracker
            .send(&gt06(1, &[3, 0x56, 0x30, 0x70, 0x42, 0x44, 0x10, 1]))
            .await;
        tracker.one_read().await;
        tracker.send(&gt06(0x13, &[0, 4, 3, 0, 1])).await;
        gateway
            .until("stored", || gateway.messages(LEAF) == 1)
            .await;
        assert_eq!(device.recent().fragment_bytes, 0);
    });
}

#[test]
fn first_bytes_that_decide_nothing_have_a_bound() {
    let gateway = Gateway::new();
    let mut item = channel(TELTONIKA, "teltonika");
    item.protocols = protocols::PROTOCOLS.iter().map(|row| row.number).collect();
    item.protocols.sort_unstable();
    gateway.deps.registry.remove_channel(H02);
    gateway.deps.registry.remove_channel(WIALON);
    gateway.deps.registry.put_channel(item).unwrap();
    gateway.run(async |gateway| {
        // begins like a frame of Wialon and never ends its line
        let mut endless = gateway.connect(TELTONIKA);
        endless.send(b"#").await;
        endless.expect_silence().await;
        gateway.advance_ms(60_200).await;
        endless.expect_end().await;
        gateway.until("closed", || gateway.closed() == [17]).await;
    });
}

#[test]
fn a_listed_proxy_says_who_has_called_it_and_must() {
    use std::io::{Read, Write};
    let (mut deps, _clock, _files, _events, _dir) = deps(Bounds::default());
    deps.proxies = ["127.0.0.1".parse().unwrap()].into();
    let item = ChannelItem {
        allow: vec!["10.0.0.0/8".to_owned()],
        ..channel(TELTONIKA, "teltonika")
    };
    deps.registry.put_channel(item.clone()).unwrap();
    let tracker = device(100, LEAF, "teltonika", IDENT);
    deps.registry.put_device(tracker).unwrap();
    let channels = crate::channel::Channels::start(1, deps.clone()).unwrap();
    let at_addr = channels.open(&item).unwrap();
    let call = |header: &[u8]| {
        let mut stream = std::net::TcpStream::connect(at_addr).unwrap();
        stream.write_all(&[header, &login(IDENT)].concat()).unwrap();
        let mut answer = Vec::new();
        // a reset says as much as an end: what was sent was not read
        let read = stream.read(&mut [0; 1]).unwrap_or(0);
        answer.resize(read, 1);
        (stream, answer)
    };
    let (_open, answer) = call(b"PROXY TCP4 10.1.2.3 10.0.0.1 40000 5005\r\n");
    assert_eq!(answer, [1]);
    let facts = deps.router.connections(|_| true);
    assert_eq!(facts[0].peer, "10.1.2.3:40000".parse().unwrap());
    // not allowed, and not introduced at all
    assert_eq!(
        call(b"PROXY TCP4 192.0.2.1 10.0.0.1 40000 5005\r\n").1,
        [0; 0]
    );
    assert_eq!(call(b"").1, [0; 0]);
    drop(channels);
    let page = deps.metrics.render();
    for bound in ["allow", "proxy"] {
        let line = format!("tollgate_connections_refused_total{{bound=\"{bound}\"}} 1");
        assert!(page.contains(&line), "{line}");
    }
}
