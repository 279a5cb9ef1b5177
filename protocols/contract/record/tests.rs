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

#[test]
fn varints_and_zigzag_cover_the_ends_of_their_range() {
    for value in [0, 1, 127, 128, u64::MAX / 2, u64::MAX] {
        let mut out = Vec::new();
        write_varint(&mut out, value);
        assert_eq!(read_varint(&out), Some((value, &[][..])));
        assert_eq!(read_varint(&out[..out.len() - 1]), None);
    }
    for value in [0, -1, 1, i64::MIN, i64::MAX] {
        assert_eq!(unzigzag(zigzag(value)), value);
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
