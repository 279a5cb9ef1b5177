//! What durable messages cost, as a share of what the disk allows: batches of 1,024 messages of
//! 200 bytes through the journal (encoded, checked, indexed, posted to the account tree), beside
//! the same number of bytes appended to a plain file with one write and one fdatasync.
//!
//! Both sides run in one process in alternating slices on the same file system; the row is the
//! median of the slices' ratios, so that a neighbour's load falls on both. `TOLLGATE_BENCH_DIR`
//! names a folder on the disk in question; without it a temporary one is taken.
//!
//! `cargo bench --bench journal`; with `--test`, or without `--bench`, a smoke run that measures
//! nothing.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tollgate::account::Tree;
use tollgate::ids::{AccountId, ChannelId, ConnectionId, DeviceId, Epoch, Ident, SystemClock};
use tollgate::journal::{Batch, FrameMeta, FrameWriter, Journal, MemoryLedger, Options, PartMeta};
use tollgate::segment::OsFiles;

const MESSAGES: usize = 1024;
const MESSAGE_BYTES: usize = 200;
/// Messages of a frame, as a tracker with a buffer sends them.
const MESSAGES_A_FRAME: usize = 8;
const DEVICES: u64 = 20_000;
/// The least share that is asked for.
const AT_LEAST: f64 = 0.6;

fn encode(batch: &mut Batch, ident: &Ident, next: &mut i64) {
    for _ in 0..MESSAGES / MESSAGES_A_FRAME {
        let at_us = 1_764_000_000_000_000 + *next;
        let meta = FrameMeta {
            at_us,
            connection: ConnectionId(1),
            channel: ChannelId(1),
            protocol: 1,
            decoder_version: 1,
            peer: ([192, 0, 2, 1], 1).into(),
            bytes_in: 1700,
        };
        let mut frame = FrameWriter::begin(batch, &meta);
        frame.part(&PartMeta {
            ident,
            device: DeviceId(1 + next.cast_unsigned() % DEVICES),
            account: AccountId(2),
            epoch: Epoch(0),
        });
        for _ in 0..MESSAGES_A_FRAME {
            let mut record = [0x55; MESSAGE_BYTES];
            let mut head = Vec::with_capacity(16);
            head.push(0);
            protocols::record::write_varint(&mut head, protocols::record::zigzag(at_us / 1000));
            record[..head.len()].copy_from_slice(&head);
            frame.record(&record);
            *next += 1;
        }
        frame.finish(4);
    }
}

/// Seconds of so many batches through the journal, and the bytes of one.
fn ours(journal: &Journal, batches: usize, next: &mut i64) -> (f64, usize) {
    let ident = Ident::new("352093081452251").expect("an ident");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let mut batch = Batch::new();
    let mut bytes = 0;
    let begun = Instant::now();
    runtime.block_on(async {
        for _ in 0..batches {
            encode(&mut batch, &ident, next);
            bytes = batch.len();
            journal.commit(&mut batch).await.expect("it is durable");
        }
    });
    (begun.elapsed().as_secs_f64(), bytes)
}

/// Seconds of so many plain appends of as many bytes.
fn raw(file: &mut File, batches: usize, bytes: &[u8]) -> f64 {
    let begun = Instant::now();
    for _ in 0..batches {
        file.write_all(bytes).expect("space");
        file.sync_data().expect("a disk");
    }
    begun.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    let measured = asked("--bench") && !asked("--test");
    let (rounds, batches) = if measured { (21, 100) } else { (1, 2) };
    let temporary = tempfile::tempdir().expect("a folder");
    let named = std::env::var_os("TOLLGATE_BENCH_DIR");
    let base = named.as_deref().map_or(temporary.path(), Path::new);
    let dir = tempfile::tempdir_in(base).expect("a folder there");
    let tree = Arc::new(Tree::new());
    for (id, parent) in [(1, 0), (2, 1)] {
        tree.insert(AccountId(id), AccountId(parent))
            .expect("a small tree");
    }
    let journal = Journal::open(
        &dir.path().join("journal"),
        Options {
            // a bench on a small disk measures all the same
            free_bytes_min: 0,
            checkpoint: Duration::from_millis(500),
            ..Options::default()
        },
        tree,
        Box::new(MemoryLedger::default()),
        Arc::new(SystemClock::default()),
        Arc::new(OsFiles),
        &mut |_, _| {},
    )
    .expect("it opens");
    let mut next = 0;
    let (_, bytes) = ours(&journal, 1, &mut next);
    let plain = vec![0x55; bytes];
    let (mut ratios, mut rates) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let path = dir.path().join(format!("plain-{round}"));
        let mut file = File::create(&path).expect("a file");
        let beside = raw(&mut file, batches, &plain);
        drop(file);
        std::fs::remove_file(&path).expect("there");
        let (of_journal, _) = ours(&journal, batches, &mut next);
        ratios.push(beside / of_journal);
        rates.push((batches * MESSAGES) as f64 / of_journal);
    }
    println!(
        "journal: batches of {MESSAGES} messages of {MESSAGE_BYTES} bytes, {}",
        if measured {
            format!("medians of {rounds} slices")
        } else {
            "a smoke run: the numbers mean nothing".to_owned()
        }
    );
    println!(
        "{:.0} durable messages/s, {:.2} of raw append + fdatasync (at least {AT_LEAST} is asked)",
        median(rates),
        median(ratios)
    );
}
