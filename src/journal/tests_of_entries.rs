//! Entries read back as they were written, and never panic.

use super::tests::*;
use super::*;
use crate::ids::{ChannelId, ConnectionId, DeviceId, Epoch, Ident};

/// The entries of a batch as they are read.
fn entries_of(batch: &Batch) -> Vec<EntryRef<'_>> {
    batch
        .contents()
        .map(|(kind, version, content)| {
            EntryRef::read(kind, version, content).expect("what was written")
        })
        .collect()
}

#[test]
fn an_entry_reads_back_as_it_was_written() {
    let mut batch = Batch::new();
    one_of_each(&mut batch, T0_US);
    let entries = entries_of(&batch);
    assert_eq!(entries.len(), 8);
    assert!(entries.iter().all(|entry| entry.at_us() == T0_US));
    let EntryRef::Frame(read) = &entries[0] else {
        panic!("a frame was written first")
    };
    assert_eq!((read.meta.bytes_in, read.bytes_out), (101, 4));
    assert_eq!(read.meta.connection, ConnectionId(5));
    assert_eq!(read.meta.peer.port(), 4242);
    let parts: Vec<_> = read.parts().collect();
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[1].ident, "ident2");
    assert_eq!(parts[1].account, AccountId(4));
    assert_eq!(
        parts[0].records().collect::<Vec<_>>(),
        [record_at(1, &[]), record_at(2, &[])]
    );
    assert_eq!((parts[0].messages, parts[2].messages), (2, 0));
    assert!(matches!(
        &entries[1],
        EntryRef::Usage { deltas, .. } if deltas.usage_bytes == 300 && deltas.connections == 1 << 40
    ));
    assert!(matches!(
        &entries[3],
        EntryRef::Connection {
            ident: "",
            was: ConnectionWas::Closed {
                code: -5,
                messages: 1,
                received: 2,
                sent: 3,
                duration_us: 4
            },
            ..
        }
    ));
    assert!(matches!(
        &entries[4],
        EntryRef::Part {
            bytes: b"fragment",
            bytes_in: 9,
            ident: "i",
            ..
        }
    ));
}

#[test]
fn a_frame_that_is_given_up_leaves_nothing() {
    let mut batch = Batch::new();
    frame(&mut batch, T0_US, &[(1, 3, &[1])], 10);
    let before = batch.len();
    let meta = FrameMeta {
        at_us: T0_US,
        connection: ConnectionId(1),
        channel: ChannelId(1),
        protocol: 1,
        decoder_version: 1,
        peer: "192.0.2.1:1".parse().expect("an address"),
        bytes_in: 5,
    };
    let ident = Ident::new("x").expect("an ident");
    let mut writer = FrameWriter::begin(&mut batch, &meta);
    writer.part(&PartMeta {
        ident: &ident,
        device: DeviceId(1),
        account: AccountId(3),
        epoch: Epoch(0),
    });
    writer.record(&record_at(1, &[]));
    writer.duplicate();
    drop(writer);
    assert_eq!((batch.len(), batch.count()), (before, 1));
    frame(&mut batch, T0_US, &[(1, 3, &[2])], 11);
    assert_eq!(entries_of(&batch).len(), 2);
}

#[test]
fn cut_or_changed_entries_never_panic() {
    let mut batch = Batch::new();
    one_of_each(&mut batch, T0_US);
    let look = |kind: u8, content: &[u8]| {
        if let Some(EntryRef::Frame(frame)) = EntryRef::read(kind, 1, content) {
            for part in frame.parts() {
                assert!(part.records().count() <= content.len());
            }
        }
    };
    for (kind, version, content) in batch.contents() {
        assert_eq!(EntryRef::read(kind, version + 1, content), None);
        for cut in 0..content.len() {
            look(kind, &content[..cut]);
            for bit in 0..8 {
                let mut changed = content.to_vec();
                changed[cut] ^= 1 << bit;
                look(kind, &changed);
            }
        }
    }
}
