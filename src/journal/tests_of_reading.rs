//! Messages as readers and followers see them.

use super::tests::*;
use super::*;
use crate::ids::{ChannelId, DeviceId};

#[test]
fn late_records_are_read_in_their_place_from_sidecars_and_from_memory() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let opened = open(dir.path(), &ledger);
    let journal = &opened.journal;
    let mut expected = Vec::new();
    for step in 0..2000i64 {
        let mut batch = Batch::new();
        // every seventh comes from the day before, some come with equal times
        let late = if step % 7 == 0 { 86_400_000 } else { 0 };
        let time = T0_US / 1000 + step / 3 * 10 - late;
        frame(
            &mut batch,
            T0_US + step,
            &[(1, 3, &[time]), (2, 4, &[time])],
            10,
        );
        let last = append(journal, &mut batch);
        expected.push((time, last));
        if step % 50 == 0 {
            wait_for(journal, last);
        }
    }
    expected.sort_unstable();
    wait_for(journal, Position::new(0, 2000));
    let check = |journal: &Journal| {
        let read = |range| -> Vec<_> {
            journal
                .read_device(DeviceId(1), range)
                .map(|message| message.map(|message| (message.timestamp_ms(), message.position)))
                .collect::<io::Result<_>>()
                .expect("readable")
        };
        assert_eq!(read(Range::default()), expected);
        let mut reversed = expected.clone();
        reversed.reverse();
        let last = Range {
            count: 1500,
            reverse: true,
            ..Range::default()
        };
        assert_eq!(read(last), reversed[..1500]);
        let middle = Range {
            from: expected[300].0,
            to: expected[900].0,
            ..Range::default()
        };
        let inside: Vec<_> = expected
            .iter()
            .copied()
            .filter(|(time, _)| (middle.from..=middle.to).contains(time))
            .collect();
        assert_eq!(read(middle), inside);
        assert!(
            read(Range {
                from: 5,
                to: 4,
                ..Range::default()
            })
            .is_empty()
        );
        assert_eq!(
            journal.read_device(DeviceId(9), Range::default()).count(),
            0
        );

        let of_channel: Vec<_> = journal
            .read_channel(
                ChannelId(7),
                Range {
                    from: T0_US + 100,
                    to: T0_US + 1600,
                    ..Range::default()
                },
            )
            .map(|message| message.map(|message| (message.at_us, message.index)))
            .collect::<io::Result<_>>()
            .expect("readable");
        let each: Vec<_> = (100..=1600)
            .flat_map(|step| [(T0_US + step, 0), (T0_US + step, 1)])
            .collect();
        assert_eq!(of_channel, each);
    };
    check(journal);
    let sealed = journal.catalog().segments().len() - 1;
    assert!(sealed > 3);
    while journal.stats().sidecars() < sealed as u64 {
        std::thread::sleep(Duration::from_millis(2));
    }
    check(journal);
    drop(opened);

    let again = open(dir.path(), &ledger);
    check(&again.journal);
    // a damaged sidecar is made again
    drop(again);
    for name in std::fs::read_dir(dir.path()).expect("there") {
        let path = name.expect("there").path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            let mut bytes = std::fs::read(&path).expect("there");
            // the first row, behind the header
            bytes[45] ^= 1;
            std::fs::write(&path, bytes).expect("writable");
        }
    }
    let again = open(dir.path(), &ledger);
    check(&again.journal);
    assert!(again.journal.stats().read_errors() > 0);
}

#[test]
fn a_follower_sees_each_message_once_and_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let opened = open(dir.path(), &MemoryLedger::default());
    let mut follow = opened.journal.follow(Position::new(0, 3));
    let mut seen = Vec::new();
    for step in 0..500i64 {
        let mut batch = Batch::new();
        frame(
            &mut batch,
            T0_US + step,
            &[(1, 3, &[step]), (2, 4, &[-step])],
            10,
        );
        let last = append(&opened.journal, &mut batch);
        if step % 40 == 0 {
            wait_for(&opened.journal, last);
            let read = follow.read(7, &mut |_, device, _| device == DeviceId(1));
            seen.extend(read.expect("readable"));
        }
    }
    wait_for(&opened.journal, Position::new(0, 500));
    while follow.is_behind() {
        let read = follow.read(100, &mut |_, device, _| device == DeviceId(1));
        seen.extend(read.expect("readable"));
    }
    let expected: Vec<_> = (3..500).collect();
    assert_eq!(times(seen.into_iter().map(Ok)), expected);
    assert_eq!(follow.position(), Position::new(0, 501));
}

#[test]
fn a_message_reads_as_an_object_of_flespis_names() {
    let dir = tempfile::tempdir().expect("a folder");
    let opened = open(dir.path(), &MemoryLedger::default());
    let mut batch = Batch::new();
    frame(
        &mut batch,
        T0_US + 500_000,
        &[(12, 3, &[1_764_000_000_250])],
        10,
    );
    let last = append(&opened.journal, &mut batch);
    wait_for(&opened.journal, last);
    let message = opened
        .journal
        .read_device(DeviceId(12), Range::default())
        .next()
        .expect("one")
        .expect("readable");
    let names = DeviceNames {
        name: "van",
        type_id: 3,
    };
    assert_eq!(
        serde_json::Value::from(message.json(Some(names))),
        serde_json::json!({
            "timestamp": 1_764_000_000.25,
            "ident": "ident12",
            "server.timestamp": 1_764_000_000.5,
            "channel.id": 7,
            "protocol.id": 1,
            "decoder.version": 1,
            "peer": "192.0.2.1:4242",
            "device.id": 12,
            "device.name": "van",
            "device.type.id": 3,
        })
    );
}
