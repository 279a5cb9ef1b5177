//! What hangs on the handles: the window of duplicates, telemetry, stamps, presence.

use super::*;
use crate::ids::{ConnectionId, Position};
use crate::registry::{Budget, DeviceHandle, RECORDS_BEFORE_MAX, RecordKey, Telemetry};
use protocols::record::{Datum, write_varint, zigzag};
use protocols::{Key, ParamId};

fn key(n: u64) -> RecordKey {
    RecordKey {
        timestamp_ms: 1_700_000_000_000 + i64::try_from(n).unwrap(),
        content_hash: n,
    }
}

fn at(sequence: u64) -> Position {
    Position::new(0, sequence)
}

fn handles(count: u64, bytes_max: usize) -> (Arc<Budget>, Vec<Arc<DeviceHandle>>) {
    let tree = Tree::new();
    let account = tree.insert(AccountId(1), AccountId::NONE).unwrap();
    let budget = Arc::new(Budget::new(bytes_max));
    let made = (1..=count)
        .map(|id| {
            let item = Arc::new(device(id, 1, TELTONIKA, &id.to_string()));
            let state = crate::registry::DeviceState::new(item, account.clone());
            Arc::new(DeviceHandle::new(state, Arc::clone(&budget)))
        })
        .collect();
    (budget, made)
}

#[test]
fn the_last_frame_and_a_few_records_before_it_are_remembered() {
    let (budget, handles) = handles(1, usize::MAX);
    let device = &handles[0];
    let frame = |from: u64, to: u64| (from..to).map(key).collect::<Vec<_>>();
    device.remember(device.recent(), &frame(0, 100));
    device.remember(device.recent(), &frame(100, 130));
    let recent = device.recent();
    assert_eq!(recent.len(), 30 + RECORDS_BEFORE_MAX);
    assert!(recent.holds(key(129)));
    assert!(recent.holds(key(36)));
    assert!(!recent.holds(key(35)));
    let other = RecordKey {
        content_hash: 7,
        ..key(129)
    };
    assert!(!recent.holds(other), "equal time is not enough");
    let other = RecordKey {
        timestamp_ms: key(128).timestamp_ms,
        ..key(129)
    };
    assert!(!recent.holds(other), "equal content is not enough");
    drop(recent);
    assert!(budget.bytes() > 0);
    drop(handles);
    assert_eq!(budget.bytes(), 0, "a window goes with its device");
}

#[test]
fn a_second_burst_finds_the_places_of_the_first() {
    let (budget, handles) = handles(1, usize::MAX);
    let device = &handles[0];
    let read = |from: u64, count: u64| (from..from + count).map(key).collect::<Vec<_>>();
    // one record at a time: half a kilobyte
    for n in 0..200 {
        device.remember(device.recent(), &read(n, 1));
    }
    assert_eq!((device.recent().len(), budget.bytes()), (64, 512));
    device.remember(device.recent(), &read(1_000, 96));
    let first = budget.bytes();
    assert_eq!(first, 1024);
    device.remember(device.recent(), &read(2_000, 96));
    assert_eq!(budget.bytes(), first);
    assert!(device.recent().holds(key(1_095)), "some before them too");
    // a read of more is remembered whole
    device.remember(device.recent(), &read(3_000, 700));
    assert!(device.recent().holds(key(3_000)));
}

#[test]
fn a_window_shrinks_again_after_a_large_frame() {
    let (budget, handles) = handles(1, usize::MAX);
    let device = &handles[0];
    let large: Vec<_> = (0..4096).map(key).collect();
    device.remember(device.recent(), &large);
    let full = budget.bytes();
    for n in 0..4 {
        device.remember(device.recent(), &[key(10_000 + n)]);
    }
    assert!(budget.bytes() < full / 10, "{} of {full}", budget.bytes());
}

#[test]
fn all_windows_share_one_budget_and_the_one_idle_for_the_longest_goes() {
    let (budget, handles) = handles(200, 20 * 1024);
    for n in 0..10 {
        for (index, device) in handles.iter().enumerate() {
            if index >= 100 || n == 0 {
                let keys: Vec<_> = (n * 4..n * 4 + 4).map(key).collect();
                device.remember(device.recent(), &keys);
            }
        }
        assert!(budget.bytes() <= 20 * 1024, "{}", budget.bytes());
    }
    let kept = |from: usize, to: usize| {
        let some = handles[from..to].iter();
        some.filter(|device| !device.recent().is_empty()).count()
    };
    assert_eq!(kept(0, 100), 0, "those that fell silent went first");
    assert!(kept(100, 200) > 20, "{}", kept(100, 200));
}

#[test]
fn a_window_that_is_held_is_passed_by() {
    let (_, handles) = handles(2, 1);
    let held = handles[0].recent();
    handles[1].remember(handles[1].recent(), &[key(1)]);
    assert!(held.is_empty());
}

/// A record as a decoder writes it: (parameter, value) pairs.
fn record(at_ms: i64, fields: &[(u16, i64)]) -> Vec<u8> {
    let mut out = vec![0];
    write_varint(&mut out, zigzag(at_ms));
    for (id, value) in fields {
        write_varint(&mut out, u64::from(*id) << 2);
        out.push(2);
        write_varint(&mut out, zigzag(*value));
    }
    out
}

fn shown(telemetry: &Telemetry) -> Vec<(u16, i64, i64, u64)> {
    let mut values: Vec<_> = telemetry
        .values()
        .map(|newest| {
            let (Key::Known(ParamId(id), 0), Datum::Int(value)) = (newest.key, newest.value) else {
                panic!("only numbers were written")
            };
            (id, value, newest.at_ms, newest.position.sequence())
        })
        .collect();
    values.sort_unstable();
    values
}

#[test]
fn a_value_is_replaced_only_by_a_newer_one() {
    let now = 1_000_000;
    let mut telemetry = Telemetry::default();
    assert!(telemetry.update(&record(1000, &[(1, 10), (2, 20)]), at(1), now));
    assert!(telemetry.update(&record(2000, &[(1, 11), (2, 21)]), at(2), now));
    assert_eq!(shown(&telemetry), [(1, 11, 2000, 2), (2, 21, 2000, 2)]);
    // other parameters: what is not replaced stays under its own time
    assert!(telemetry.update(&record(3000, &[(2, 22), (3, 30)]), at(3), now));
    assert_eq!(
        shown(&telemetry),
        [(1, 11, 2000, 2), (2, 22, 3000, 3), (3, 30, 3000, 3)]
    );
    // a late record brings only what is still missing
    assert!(telemetry.update(&record(2500, &[(1, 12), (3, 29), (4, 40)]), at(4), now));
    assert_eq!(
        shown(&telemetry),
        [
            (1, 12, 2500, 4),
            (2, 22, 3000, 3),
            (3, 30, 3000, 3),
            (4, 40, 2500, 4)
        ]
    );
    assert!(!telemetry.update(&record(100, &[(1, 1), (4, 4)]), at(5), now));
    // of equal times the later position
    assert!(telemetry.update(&record(3000, &[(2, 23)]), at(6), now));
    assert_eq!(shown(&telemetry)[1], (2, 23, 3000, 6));
    // a day ahead is too far
    let ahead = now + crate::registry::AHEAD_MS_MAX;
    assert!(!telemetry.update(&record(ahead + 1, &[(1, 99)]), at(7), now));
    assert!(telemetry.update(&record(ahead, &[(1, 99)]), at(8), now));
    assert_eq!(telemetry.newest_ms(), Some(ahead));
    telemetry.forget(|key| key == Key::Known(ParamId(1), 0));
    assert_eq!(shown(&telemetry).len(), 3);
}

#[test]
fn telemetry_agrees_with_a_map_and_stays_in_its_bounds() {
    let mut dice = 88_172_645_463_325_252u64;
    let mut roll = |sides: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        (dice >> 20) % sides
    };
    let mut telemetry = Telemetry::default();
    let mut map = std::collections::BTreeMap::new();
    for position in 1..3000 {
        let at_ms = i64::try_from(1000 + roll(200)).unwrap();
        // often one of a few sets of parameters, as trackers send; else any
        let set = roll(6);
        let fields: Vec<(u16, i64)> = (0..40)
            .filter(|id| match set {
                0..3 => id % 3 != u16::try_from(set).unwrap(),
                _ => roll(3) > 0,
            })
            .map(|id| (id, i64::try_from(position).unwrap()))
            .collect();
        telemetry.update(&record(at_ms, &fields), at(position), 10_000);
        for (id, value) in fields {
            let entry = map.entry(id).or_insert((at_ms, position, value));
            if (entry.0, entry.1) <= (at_ms, position) {
                *entry = (at_ms, position, value);
            }
        }
        let expected: Vec<_> = map
            .iter()
            .map(|(id, (at_ms, position, value))| (*id, *value, *at_ms, *position))
            .collect();
        assert_eq!(shown(&telemetry), expected);
    }
    for n in 0..300u16 {
        let fields: Vec<_> = (0..100).map(|id| (n * 100 + id, i64::MAX)).collect();
        let at_ms = 2000 + i64::from(n);
        telemetry.update(&record(at_ms, &fields), at(4000), 10_000);
        let bytes: usize = telemetry
            .records()
            .map(|(_, record)| record.fields().rest().len())
            .sum();
        assert!(bytes <= crate::registry::BYTES_MAX);
        assert!(telemetry.values().count() <= crate::registry::PARAMS_MAX);
        assert_eq!(telemetry.newest_ms(), Some(at_ms));
    }
}

#[test]
fn stamps_of_a_channel_rise_strictly_whatever_the_clock_does() {
    let registry = registry();
    put(&registry, Item::Channel(channel(1, 1, &[TELTONIKA], true))).unwrap();
    let channel = registry.channel(ChannelId(1)).unwrap();
    channel.stamped(1000);
    let stamps: Vec<_> = [5, 2000, 2000, 1999, 3000]
        .map(|now| channel.stamp(now))
        .into();
    assert_eq!(stamps, [1001, 2000, 2001, 2002, 3000]);
    channel.opened();
    assert_eq!(channel.connections(), 1);
    channel.closed();
    assert_eq!(channel.connections(), 0);
}

#[test]
fn a_device_is_on_one_connection() {
    let (_, handles) = handles(1, usize::MAX);
    let device = &handles[0];
    let (one, two) = (ConnectionId(1), ConnectionId(2));
    assert_eq!(device.occupy(one), Ok(()));
    assert_eq!(device.occupy(one), Ok(()));
    assert_eq!(device.occupy(two), Err(one));
    assert_eq!(device.take_over(two), one);
    assert!(!device.leave(one), "it is not there any more");
    assert!(device.leave(two));
    assert!(!device.present().is_some());
}

#[test]
fn a_change_of_ident_makes_a_new_handle_and_a_move_keeps_it() {
    let registry = registry();
    put(&registry, Item::Channel(channel(1, 1, &[TELTONIKA], true))).unwrap();
    put(&registry, Item::Device(device(1, 2, TELTONIKA, "111"))).unwrap();
    let first = registry.device(DeviceId(1)).unwrap();
    first
        .telemetry()
        .update(&record(1000, &[(1, 10)]), at(1), 1000);
    put(&registry, Item::Device(device(1, 3, TELTONIKA, "111"))).unwrap();
    let moved = registry.device(DeviceId(1)).unwrap();
    assert!(Arc::ptr_eq(&first, &moved));
    assert_eq!(moved.state.load().account.id(), AccountId(3));
    put(&registry, Item::Device(device(1, 3, TELTONIKA, "222"))).unwrap();
    let renamed = registry.device(DeviceId(1)).unwrap();
    assert!(!Arc::ptr_eq(&first, &renamed));
    assert!(first.state.load().gone);
    assert_eq!(shown(&renamed.telemetry()), [(1, 10, 1000, 1)]);
    let channel = registry.channel(ChannelId(1)).unwrap();
    assert!(!registry.serves_now(&channel, &first));
    assert!(registry.serves_now(&channel, &renamed));
}

#[test]
fn a_registered_ident_is_no_longer_unknown() {
    let registry = registry();
    put(&registry, Item::Channel(channel(1, 1, &[TELTONIKA], true))).unwrap();
    let channel = registry.channel(ChannelId(1)).unwrap();
    let ident = Ident::new("111").unwrap();
    channel.unknown().note(TELTONIKA, &ident, 1, b"frame", None);
    put(&registry, Item::Device(device(1, 2, TELTONIKA, "111"))).unwrap();
    assert!(channel.unknown().is_empty());
}
