use super::*;
use crate::contract::{Time, fields};

#[test]
fn a_record_reads_back_as_it_was_written() {
    let mut out = Vec::new();
    let head = write_head(&mut out, Time::Device(1_680_554_705_123));
    let inner = [Value::Int(-3), Value::Text("x")];
    write_field(
        &mut out,
        head,
        fields::POSITION_LATITUDE.into(),
        Value::Float(54.5),
    );
    write_field(&mut out, head, (fields::DIN_N, 3).into(), Value::Bool(true));
    write_field(
        &mut out,
        head,
        Key::Wire {
            space: 1,
            id: 70_000,
        },
        Value::Bytes(&[1, 2]),
    );
    write_field(&mut out, head, Key::Name("p1"), Value::List(&inner));
    write_field(
        &mut out,
        head,
        fields::ENGINE_RPM.into(),
        Value::Float(f64::NAN),
    );
    let record = Record::read(&out).expect("what was written");
    assert_eq!(record.time, Time::Device(1_680_554_705_123));
    let read: Vec<_> = record.fields().collect();
    assert_eq!(read.len(), 4);
    assert_eq!(
        read[0],
        (fields::POSITION_LATITUDE.into(), Datum::Float(54.5))
    );
    assert_eq!(read[1], ((fields::DIN_N, 3).into(), Datum::Bool(true)));
    assert_eq!(
        read[2],
        (
            Key::Wire {
                space: 1,
                id: 70_000
            },
            Datum::Bytes(&[1, 2])
        )
    );
    let Datum::List(items) = read[3].1.clone() else {
        panic!("a list was written")
    };
    assert_eq!(
        items.collect::<Vec<_>>(),
        [Datum::Int(-3), Datum::Text("x")]
    );
}

#[test]
fn the_longest_keys_and_numbers_read_back() {
    let keys = [
        Key::Known(ParamId(u16::MAX), Instance::MAX),
        Key::Wire {
            space: u8::MAX,
            id: u32::MAX,
        },
    ];
    let values = [
        (Value::Int(i64::MIN), Datum::Int(i64::MIN)),
        (Value::Int(i64::MAX >> 8), Datum::Int(i64::MAX >> 8)),
        (Value::Float(f64::MAX), Datum::Float(f64::MAX)),
        (Value::Bool(true), Datum::Bool(true)),
        (Value::Text("end"), Datum::Text("end")),
    ];
    let pairs = || {
        keys.iter().flat_map(|key| {
            values
                .iter()
                .map(move |(value, datum)| (*key, *value, datum))
        })
    };
    let bytes = compose(
        Time::Device(i64::MIN),
        pairs().map(|(key, value, _)| (key, value)),
    );
    let record = Record::read(&bytes).expect("what was written");
    assert_eq!(record.timestamp_ms(), i64::MIN);
    let read: Vec<_> = record.fields().collect();
    let written: Vec<_> = pairs()
        .map(|(key, _, datum)| (key, datum.clone()))
        .collect();
    assert_eq!(read, written);
}

#[test]
fn the_content_hash_leaves_out_serial_numbers() {
    let hash = |serial: i64, speed: i64| {
        let mut out = Vec::new();
        let head = write_head(&mut out, Time::Device(5));
        write_field(
            &mut out,
            head,
            fields::FRAME_SEQNUM.into(),
            Value::Int(serial),
        );
        write_field(
            &mut out,
            head,
            fields::POSITION_SPEED.into(),
            Value::Int(speed),
        );
        Record::read(&out).expect("what was written").content_hash()
    };
    assert_eq!(hash(1, 60), hash(2, 60));
    assert_ne!(hash(1, 60), hash(1, 61));
}

/// A varint as its definition says it.
fn in_groups(mut value: u64) -> Vec<u8> {
    let mut groups = Vec::new();
    while value > 0x7f {
        groups.push(0x80 | (value & 0x7f) as u8);
        value >>= 7;
    }
    groups.push(u8::try_from(value).expect("seven bits"));
    groups
}

#[test]
fn varints_and_zigzag_cover_the_ends_of_their_range() {
    let powers = (0..64).map(|bit| 1u64 << bit);
    for value in powers.flat_map(|power| [power - 1, power, power | 1, !power]) {
        let mut out = Vec::new();
        write_varint(&mut out, value);
        assert_eq!(out, in_groups(value), "{value}");
        assert_eq!(read_varint(&out), Some((value, &[][..])));
        assert_eq!(read_varint(&out[..out.len() - 1]), None);
    }
    for value in [0, -1, 1, i64::MIN, i64::MAX] {
        assert_eq!(unzigzag(zigzag(value)), value);
    }
}

#[test]
fn a_varint_is_skipped_where_it_is_read() {
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    // of every length up to one more than the longest, with what lies behind and without
    for length in 1..=11 {
        for _ in 0..2_000 {
            let mut bytes: Vec<u8> = (0..length)
                .map(|_| 0x80 | next().to_le_bytes()[0])
                .collect();
            *bytes.last_mut().expect("at least one") &= if next() % 8 == 0 { 0xff } else { 0x01 };
            bytes.extend((0..next() % 9).map(|_| next().to_le_bytes()[0]));
            let read = read_varint(&bytes).map(|(_, rest)| rest);
            assert_eq!(varint::skip_varint(&bytes), read, "{bytes:02x?}");
        }
    }
}

#[test]
fn cut_or_changed_bytes_never_panic() {
    let mut out = Vec::new();
    let head = write_head(&mut out, Time::Device(5));
    write_field(
        &mut out,
        head,
        Key::Name("abc"),
        Value::List(&[Value::Text("tt")]),
    );
    for cut in 0..out.len() {
        let read = Record::read(&out[..cut]).map(|record| record.fields().count());
        assert!(read.is_none_or(|fields| fields == 0));
        for bit in 0..8 {
            let mut changed = out.clone();
            changed[cut] ^= 1 << bit;
            if let Some(record) = Record::read(&changed) {
                assert!(record.fields().count() <= 8);
            }
        }
    }
}
