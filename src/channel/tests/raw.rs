//! Raw traffic of connections: what is asked for, from the first byte to how it ended.

use super::IDENT;
use super::harness::*;
use crate::ids::AccountId;
use crate::raw::{Direction, Ended, Packet, Query};
use crate::registry::items::{ChannelItem, DeviceItem};

impl Gateway {
    fn raw_traffic(&self) -> Vec<Packet> {
        let query = Query {
            from_us: i64::MIN,
            to_us: i64::MAX,
            wanted: &|_| true,
            seen: &|_| true,
        };
        let read = self.deps.raw.read(&query, 1000, usize::MAX, false);
        read.expect("readable")
    }

    fn keep_packets_of(&self, id: u64, keep_packets: bool) {
        let item = DeviceItem {
            keep_packets,
            ..device(id, LEAF, "teltonika", IDENT)
        };
        self.deps.registry.put_device(item).unwrap();
    }
}

fn directions(packets: &[Packet]) -> Vec<(u32, Direction)> {
    packets
        .iter()
        .map(|packet| (packet.index, packet.direction))
        .collect()
}

#[test]
fn of_a_device_that_asks_every_byte_is_kept_both_ways() {
    use Direction::{Connect, Disconnect, Received, Sent};
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.keep_packets_of(100, true);
    gateway.run(async |gateway| {
        let mut tracker = gateway.connect(TELTONIKA);
        let name = login(IDENT);
        // the login comes in two reads: the first of them names nobody yet
        tracker.send(&name[..9]).await;
        tokio::time::sleep(SILENCE).await;
        tracker.send(&name[9..]).await;
        tracker.expect(&[1]).await;
        let frame = packet(&[at(1)]);
        tracker.send(&frame).await;
        tracker.expect(&taken(1)).await;
        drop(tracker);
        gateway.until("closed", || gateway.closed() == [2]).await;
        let kept = gateway.raw_traffic();
        assert_eq!(
            directions(&kept),
            [
                (0, Connect),
                (1, Received),
                (2, Received),
                (3, Sent),
                (4, Received),
                (5, Sent),
                (6, Disconnect),
            ]
        );
        let bytes = |of: Direction| {
            let of = kept.iter().filter(|packet| packet.direction == of);
            of.flat_map(|packet| packet.bytes.clone())
                .collect::<Vec<u8>>()
        };
        assert_eq!(bytes(Received), [name, frame].concat());
        assert_eq!(bytes(Sent), [vec![1], taken(1).to_vec()].concat());
        assert_eq!(kept[6].ended, Some((2, Ended::ByTracker)));
        assert!(kept.iter().all(|packet| packet.account == LEAF));
        assert_eq!(kept[5].ident, IDENT);
    });
}

#[test]
fn what_nobody_asks_for_is_not_kept_and_a_device_may_ask_while_it_is_connected() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        assert!(gateway.raw_traffic().is_empty());
        gateway.keep_packets_of(100, true);
        tracker.send(&packet(&[at(2)])).await;
        tracker.expect(&taken(1)).await;
        let kept = gateway.raw_traffic();
        // number 1 is what was not asked for
        let numbers: Vec<u32> = kept.iter().map(|packet| packet.index).collect();
        assert_eq!(numbers, [0, 2, 3]);
        assert_eq!(kept[1].bytes, packet(&[at(2)]));
        gateway.keep_packets_of(100, false);
        tracker.send(&packet(&[at(3)])).await;
        tracker.expect(&taken(1)).await;
        assert_eq!(gateway.raw_traffic().len(), kept.len());
    });
}

#[test]
fn of_a_channel_that_asks_strangers_are_kept_for_its_owner() {
    let gateway = Gateway::new();
    let item = ChannelItem {
        keep_packets: true,
        ..channel(TELTONIKA, "teltonika")
    };
    gateway.deps.registry.put_channel(item).unwrap();
    gateway.run(async |gateway| {
        let mut tracker = gateway.connect(TELTONIKA);
        tracker.send(&login(IDENT)).await;
        tracker.expect(&[0]).await;
        let kept = gateway.raw_traffic();
        assert_eq!(kept.len(), 3);
        assert_eq!(kept[1].ident, IDENT);
        assert!(!kept[1].device.is_some());
        let owner: Vec<AccountId> = kept.iter().map(|packet| packet.account).collect();
        assert_eq!(owner, [MASTER; 3]);
    });
}
