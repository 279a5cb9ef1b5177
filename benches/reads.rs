//! What a read costs, and a start, with much kept: the last 1,000 messages of a device, and 1,000 in
//! the middle of what it has, out of 10 million of 20,000 devices over five days; first from segments
//! alone, then from archives and segments. And the time from a start behind a kill to the first
//! durable entry.
//!
//! A process of its own writes the messages, through the journal, and is killed by itself behind
//! the last ack; then the clock runs. The page cache is warm. `TOLLGATE_BENCH_DIR` names a folder
//! on the disk in question (5 GB are needed); without it a temporary one is taken.
//!
//! `cargo bench --bench reads`; with `--test`, or without `--bench`, a smoke run that measures
//! nothing.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tollgate::account::Tree;
use tollgate::ids::{
    AccountId, ChannelId, Clock as _, ConnectionId, DeviceId, Epoch, Ident, ManualClock,
};
use tollgate::journal::{
    Batch, FrameMeta, FrameWriter, Journal, Lifetimes, Options, PartMeta, Range,
};
use tollgate::segment::OsFiles;
use tollgate::store::SledLedger;

/// In the environment of the process that writes: where, and how much.
const WRITES: &str = "TOLLGATE_BENCH_READS_WRITES";
const T0_US: i64 = 1_764_028_800_000_000;
const DAY_US: i64 = 86_400_000_000;
const DAYS: i64 = 5;
const MESSAGES_A_FRAME: i64 = 4;
const RECORD_BYTES: usize = 160;
/// One device in so many sends ten times as much as the others.
const BUSY: u64 = 100;
/// Messages that a read asks for.
const ASKED: usize = 1000;
/// The most that a read may take, and a start.
const READ_MOST: Duration = Duration::from_millis(5);
const START_MOST: Duration = Duration::from_secs(2);

/// Devices keep their messages for a year, the channel its buffer for a month.
struct Kept;

impl Lifetimes for Kept {
    fn channel(&self, _: ChannelId) -> Option<(AccountId, u32)> {
        Some((AccountId(1), 31 * 86_400))
    }

    fn device(&self, _: DeviceId) -> Option<(AccountId, u32)> {
        Some((AccountId(2), 366 * 86_400))
    }
}

#[derive(Clone, Copy)]
struct Size {
    messages: i64,
    devices: u64,
    segment_bytes: u64,
    reads: u64,
}

impl Size {
    const fn of(measured: bool) -> Self {
        if measured {
            Self {
                messages: 10_000_000,
                devices: 20_000,
                segment_bytes: 64 * 1024 * 1024,
                reads: 200,
            }
        } else {
            Self {
                messages: 20_000,
                devices: 100,
                segment_bytes: 256 * 1024,
                reads: 2,
            }
        }
    }
}

fn open(dir: &Path, size: Size, now_us: i64) -> (Journal, Arc<ManualClock>) {
    let tree = Arc::new(Tree::new());
    for (id, parent) in [(1, 0), (2, 1)] {
        tree.insert(AccountId(id), AccountId(parent))
            .expect("a small tree");
    }
    let clock = Arc::new(ManualClock::new(now_us));
    let journal = Journal::open(
        &dir.join("journal"),
        Options {
            segment_bytes: size.segment_bytes,
            free_bytes_min: 0,
            settle: Duration::from_millis(50),
            settle_share: 100,
            ..Options::default()
        },
        tree,
        Box::new(SledLedger::open(dir).expect("a ledger")),
        Arc::clone(&clock) as _,
        Arc::new(OsFiles),
        &mut |_, _| {},
    )
    .expect("it opens");
    (journal, clock)
}

fn frame(batch: &mut Batch, device: u64, at_us: i64) {
    let ident = Ident::new(&format!("35209308{device:07}")).expect("an ident");
    let meta = FrameMeta {
        at_us,
        connection: ConnectionId(device),
        channel: ChannelId(1),
        protocol: 1,
        decoder_version: 1,
        peer: ([192, 0, 2, 1], 1).into(),
        bytes_in: 800,
    };
    let mut frame = FrameWriter::begin(batch, &meta);
    frame.part(&PartMeta {
        ident: &ident,
        device: DeviceId(device),
        account: AccountId(2),
        epoch: Epoch(0),
    });
    for nth in 0..MESSAGES_A_FRAME {
        let mut record = Vec::with_capacity(RECORD_BYTES);
        record.push(0);
        let time = protocols::record::zigzag(at_us / 1000 + nth);
        protocols::record::write_varint(&mut record, time);
        // what no compression makes nothing of
        let mut noise = at_us.cast_unsigned() ^ nth.cast_unsigned();
        while record.len() < RECORD_BYTES {
            noise = noise
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            record.push(0x40 | noise.to_be_bytes()[0] & 0x0f);
        }
        frame.record(&record);
    }
    frame.finish(4);
}

/// The process that writes, and is killed.
fn write(dir: &Path, size: Size) -> ! {
    let (journal, clock) = open(dir, size, T0_US);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let frames = size.messages / MESSAGES_A_FRAME;
    let step_us = DAYS * DAY_US / frames;
    let mut batch = Batch::new();
    let busy = size.devices / BUSY;
    runtime.block_on(async {
        for nth in 0..frames {
            let number = nth.cast_unsigned();
            let device = if number % 10 == 0 {
                1 + number / 10 % busy
            } else {
                1 + busy + number % (size.devices - busy)
            };
            let at_us = T0_US + nth * step_us;
            frame(&mut batch, device, at_us);
            if batch.count() >= 256 || nth + 1 == frames {
                clock.at_least(at_us);
                journal.commit(&mut batch).await.expect("it is durable");
            }
        }
    });
    std::process::abort();
}

/// Median and worst of reads of busy devices.
fn reads(journal: &Journal, size: Size, range: Range) -> (Duration, Duration) {
    let busy = size.devices / BUSY;
    let mut took = Vec::new();
    for nth in 0..size.reads {
        let device = DeviceId(1 + nth * 7919 % busy);
        let begun = Instant::now();
        let count = journal.read_device(device, range).flatten().count();
        took.push(begun.elapsed());
        assert_eq!(count, range.count, "device {device} has them");
    }
    took.sort_unstable();
    (took[took.len() / 2], took[took.len() - 1])
}

fn both(journal: &Journal, size: Size, what: &str) {
    let count = ASKED.min(usize::try_from(size.messages / 1000).expect("small"));
    let last = Range {
        count,
        reverse: true,
        ..Range::default()
    };
    let middle = Range {
        from: (T0_US + DAYS * DAY_US / 2) / 1000,
        count,
        ..Range::default()
    };
    for (name, range) in [("last", last), ("in the middle", middle)] {
        let (median, worst) = reads(journal, size, range);
        println!(
            "{count} messages of a device, {name}, from {what}: {:.2} ms, worst {:.2} ms (at most {} is asked)",
            median.as_secs_f64() * 1e3,
            worst.as_secs_f64() * 1e3,
            READ_MOST.as_millis()
        );
    }
}

/// Seconds from nothing to the first durable entry.
fn start(dir: &Path, size: Size, what: &str) -> (Journal, Arc<ManualClock>) {
    let begun = Instant::now();
    let now_us = T0_US + DAYS * DAY_US;
    let (journal, clock) = open(dir, size, now_us);
    let opened = begun.elapsed();
    let mut batch = Batch::new();
    frame(&mut batch, 1, now_us);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let durable = runtime.block_on(journal.commit(&mut batch));
    assert!(durable.is_some());
    println!(
        "start {what}: open {:.3} s, first durable entry {:.3} s (at most {} is asked)",
        opened.as_secs_f64(),
        begun.elapsed().as_secs_f64(),
        START_MOST.as_secs()
    );
    (journal, clock)
}

fn main() {
    if let Some(dir) = std::env::var_os(WRITES) {
        let measured = std::env::args().any(|argument| argument == "full");
        write(&PathBuf::from(dir), Size::of(measured));
    }
    let arguments: Vec<String> = std::env::args().collect();
    let asked = |name: &str| arguments.iter().any(|argument| argument == name);
    let measured = asked("--bench") && !asked("--test");
    let size = Size::of(measured);
    let temporary = tempfile::tempdir().expect("a folder");
    let named = std::env::var_os("TOLLGATE_BENCH_DIR");
    let base = named.as_deref().map_or(temporary.path(), Path::new);
    let dir = tempfile::tempdir_in(base).expect("a folder there");
    let status = std::process::Command::new(std::env::current_exe().expect("known"))
        .arg(if measured { "full" } else { "smoke" })
        .env(WRITES, dir.path())
        .stderr(std::process::Stdio::null())
        .status()
        .expect("it runs");
    assert!(!status.success(), "it was killed");
    println!(
        "reads: {} messages of {} devices in {DAYS} days{}",
        size.messages,
        size.devices,
        if measured {
            ""
        } else {
            ", a smoke run: the numbers mean nothing"
        }
    );
    let (journal, _) = start(dir.path(), size, "behind a kill");
    both(&journal, size, "segments");
    journal.keep_for(Arc::new(Kept));
    let begun = Instant::now();
    let days = usize::try_from(DAYS).expect("few");
    loop {
        let segments = journal.catalog().segments();
        let sealed = segments.iter().filter(|segment| segment.is_sealed());
        let last = sealed.map(|segment| segment.next() - 1).max().unwrap_or(0);
        let view = journal.archives().view();
        if view.settled >= last && view.archives.len() <= days + 1 {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let view = journal.archives().view();
    let bytes: u64 = view.archives.iter().map(|one| one.length()).sum();
    let segments = journal.catalog().segments();
    let in_segments: u64 = segments.iter().map(|segment| segment.end()).sum();
    println!(
        "settled in {:.1} s at full speed: {} archives of {} MiB beside {} MiB of segments",
        begun.elapsed().as_secs_f64(),
        view.archives.len(),
        bytes >> 20,
        in_segments >> 20
    );
    both(&journal, size, "archives and segments");
    journal.shutdown();
    drop(journal);
    drop(start(dir.path(), size, "with archives"));
}
