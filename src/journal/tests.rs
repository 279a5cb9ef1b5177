//! The journal as its users see it.

use super::*;
use crate::ids::{ChannelId, ConnectionId, DeviceId, Epoch, Ident, ManualClock};
use crate::segment::OsFiles;
use protocols::record;

const T0_US: i64 = 1_764_000_000_000_000;

pub(super) fn record_at(timestamp_ms: i64, tail: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    record::write_varint(&mut out, record::zigzag(timestamp_ms));
    out.extend_from_slice(tail);
    out
}

/// master 1 <- 2 <- 3, and 1 <- 4
pub(super) fn tree() -> Arc<Tree> {
    let tree = Tree::new();
    for (id, parent) in [(1, 0), (2, 1), (3, 2), (4, 1)] {
        tree.insert(AccountId(id), AccountId(parent))
            .expect("a small tree");
    }
    Arc::new(tree)
}

pub(super) fn quick() -> Options {
    Options {
        segment_bytes: 16 * 1024,
        checkpoint: Duration::from_millis(5),
        statistics_flush: Duration::from_millis(5),
        retry: Duration::from_millis(5),
        ..Options::default()
    }
}

pub(super) struct Opened {
    pub(super) journal: Journal,
    pub(super) tree: Arc<Tree>,
    pub(super) replayed: Vec<Position>,
}

pub(super) fn open_with(
    dir: &Path,
    options: Options,
    ledger: &MemoryLedger,
    files: Arc<dyn Files>,
) -> Result<Opened, OpenError> {
    let tree = tree();
    let mut replayed = Vec::new();
    let journal = Journal::open(
        dir,
        options,
        Arc::clone(&tree),
        Box::new(ledger.clone()),
        Arc::new(ManualClock::new(T0_US)),
        files,
        &mut |position, _| replayed.push(position),
    )?;
    Ok(Opened {
        journal,
        tree,
        replayed,
    })
}

pub(super) fn open(dir: &Path, ledger: &MemoryLedger) -> Opened {
    open_with(dir, quick(), ledger, Arc::new(OsFiles)).expect("opens")
}

pub(super) fn frame(batch: &mut Batch, at_us: i64, parts: &[(u64, u64, &[i64])], bytes_in: u32) {
    let meta = FrameMeta {
        at_us,
        connection: ConnectionId(5),
        channel: ChannelId(7),
        protocol: 1,
        decoder_version: 1,
        peer: "192.0.2.1:4242".parse().expect("an address"),
        bytes_in,
    };
    let mut writer = FrameWriter::begin(batch, &meta);
    for (device, account, times_ms) in parts {
        let ident = Ident::new(&format!("ident{device}")).expect("an ident");
        writer.part(&PartMeta {
            ident: &ident,
            device: DeviceId(*device),
            account: AccountId(*account),
            epoch: Epoch(1),
        });
        for &time_ms in *times_ms {
            writer.record(&record_at(time_ms, &[]));
        }
    }
    writer.finish(4);
}

pub(super) fn append(journal: &Journal, batch: &mut Batch) -> Position {
    let permit = journal.try_permit(batch.len()).expect("room");
    journal.append(permit, batch)
}

pub(super) fn wait_for(journal: &Journal, position: Position) -> Watermark {
    let mut watermark = journal.subscribe();
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(async {
            *watermark
                .wait_for(|now| now.durable >= position || now.failed)
                .await
                .expect("the journal lives")
        })
}

fn totals(tree: &Tree, id: u64) -> Totals {
    tree.account(AccountId(id)).expect("inserted").posted()
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart_with_its_charge() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let before = {
        let opened = open(dir.path(), &ledger);
        let mut last = Position::ZERO;
        for step in 0..300 {
            let mut batch = Batch::new();
            let at = T0_US + step * 1000;
            frame(&mut batch, at, &[(1, 3, &[at / 1000, at / 1000 + 1])], 100);
            frame(
                &mut batch,
                at + 1,
                &[(1, 3, &[at / 1000]), (2, 4, &[at / 1000])],
                31,
            );
            last = append(&opened.journal, &mut batch);
            assert!(batch.is_empty());
            if step % 20 == 0 {
                wait_for(&opened.journal, last);
            }
        }
        assert_eq!(last.sequence(), 600);
        assert_eq!(wait_for(&opened.journal, last).durable, last);
        assert!(opened.journal.stats().segments() > 2);
        [1, 2, 3, 4].map(|id| totals(&opened.tree, id))
    };
    assert_eq!(before[0].messages, 300 * 4);
    assert_eq!(
        before[0].bytes_in,
        300 * 131,
        "the master pays each byte once"
    );
    assert_eq!(before[0].frames, 600);
    assert_eq!(before[0], before[1] + before[3], "a parent is its children");
    assert_eq!(before[1], before[2]);

    let again = open(dir.path(), &ledger);
    assert_eq!([1, 2, 3, 4].map(|id| totals(&again.tree, id)), before);
    assert_eq!(again.journal.durable().sequence(), 600);
    assert_eq!(again.replayed.len(), 600);
    drop(again);

    let afresh = open(dir.path(), &MemoryLedger::default());
    assert_eq!(
        [1, 2, 3, 4].map(|id| totals(&afresh.tree, id)),
        before,
        "the journal alone gives the same numbers"
    );
}
