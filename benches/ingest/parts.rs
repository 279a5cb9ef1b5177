//! Parts of a frame's way alone, in this process: what the goals divide by, and what no server shows
//! by itself. CPU time of the thread that does it.

use std::cell::Cell;
use std::hint::black_box;
use std::io;
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use metrics::{Key, Label, Level, Metadata, Recorder as _};
use metrics_exporter_prometheus::PrometheusBuilder;
use protocols::{Env, Event, Output, Session, Unregistered};
use rustix::time::{ClockId, clock_gettime};
use tollgate::account::{Account, Cost, Dimension, LEVELS_MAX, Rules, Tree};
use tollgate::ids::{AccountId, ChannelId, ConnectionId, DeviceId, Epoch, Ident};
use tollgate::journal::{Batch, FrameMeta, FrameWriter, PartMeta};
use tollgate::metrics::{LocalBuckets, Metrics, Page, SECONDS, Source, names};
use tollgate::segment::{Options, OsFiles, SegmentLog};

use crate::frames::frame;
use crate::generator::ident;
use crate::table::Figure;

/// Series of a scrape.
const SERIES: u64 = 10_000;

/// CPU time of this thread, in ns.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// ns of CPU that a call takes, over about `slice`.
fn each(slice: Duration, mut call: impl FnMut()) -> f64 {
    let (begun, cpu) = (Instant::now(), cpu_ns());
    let mut calls = 0u64;
    while begun.elapsed() < slice {
        for _ in 0..16 {
            call();
        }
        calls += 16;
    }
    (cpu_ns() - cpu) / calls as f64
}

fn session() -> io::Result<Box<dyn Session>> {
    let protocol = protocols::find("teltonika")
        .ok_or_else(|| io::Error::other("no decoder of Teltonika's frames"))?;
    let mut session = (protocol.open)();
    let mut out = Output::default();
    let env = Env {
        now_ms: 0,
        lookup: &mut Unregistered,
        out: &mut out,
    };
    session
        .begin_as(&ident(0), env)
        .map_err(|_| io::Error::other("no ident"))?;
    Ok(session)
}

/// us of decoding one frame of `window` that come together.
pub(crate) fn decode(window: usize, rounds: usize, slice: Duration) -> io::Result<Figure> {
    let mut session = session()?;
    let mut bytes = Vec::new();
    for index in 0..window {
        let time_ms = 1_760_000_000_000 + i64::try_from(index).unwrap_or(0);
        bytes.extend_from_slice(&frame(time_ms, 1));
    }
    let mut out = Output::default();
    let mut all = || {
        out.clear();
        let mut rest = black_box(&bytes[..]);
        while !rest.is_empty() {
            let env = Env {
                now_ms: 1_795_490_000_000,
                lookup: &mut Unregistered,
                out: &mut out,
            };
            let fed = session.feed(rest, false, env);
            rest = rest.get(fed.consumed..).unwrap_or_default();
            assert!(fed.consumed > 0, "frames are read");
        }
    };
    let rounds = (0..rounds).map(|_| each(slice, &mut all) / 1e3 / window as f64);
    Ok(Figure::of(rounds.collect::<Vec<_>>()))
}

/// us of appending one frame's entry to a log of segments on the disk, durably, in batches of so many.
pub(crate) fn append(batch_of: usize, rounds: usize, slice: Duration) -> io::Result<Figure> {
    let mut session = session()?;
    let mut out = Output::default();
    let env = Env {
        now_ms: 1_795_490_000_000,
        lookup: &mut Unregistered,
        out: &mut out,
    };
    session.feed(&frame(1_760_000_000_000, 1), false, env);
    let record = out.events.iter().find_map(|event| match event {
        Event::Message { range, .. } => out.bytes.get(range.clone()),
        _ => None,
    });
    let record = record.ok_or_else(|| io::Error::other("no record"))?;
    let dir = tempfile::tempdir()?;
    let options = Options {
        segment_bytes: 64 << 20,
        node: 0,
    };
    let (mut log, _) =
        SegmentLog::open(Arc::new(OsFiles), dir.path(), options).map_err(io::Error::other)?;
    let ident = Ident::new(&ident(0)).map_err(|_| io::Error::other("no ident"))?;
    let mut batch = Batch::new();
    let mut measured = Vec::new();
    for _ in 0..rounds {
        let (begun, mut cpu, mut entries) = (Instant::now(), 0.0, 0usize);
        while begun.elapsed() < slice || entries == 0 {
            batch.clear();
            for at_us in 0..batch_of {
                let meta = FrameMeta {
                    at_us: 1_795_490_000_000_000 + i64::try_from(at_us).unwrap_or(0),
                    connection: ConnectionId(1),
                    channel: ChannelId(1),
                    protocol: 1,
                    decoder_version: 1,
                    peer: ([127, 0, 0, 1], 1).into(),
                    bytes_in: 120,
                };
                let mut writer = FrameWriter::begin(&mut batch, &meta);
                writer.part(&PartMeta {
                    ident: &ident,
                    device: DeviceId(1),
                    account: AccountId(5),
                    epoch: Epoch(0),
                });
                writer.record(record);
                writer.finish(4);
            }
            let before = cpu_ns();
            log.append(&mut batch).map_err(io::Error::other)?;
            log.keep_spare()?;
            cpu += cpu_ns() - before;
            entries += batch_of;
        }
        measured.push(cpu / 1e3 / entries as f64);
    }
    // the segments of a long run are nobody's
    drop(log);
    Ok(Figure::of(measured))
}

/// ns of a charge of one hot chain of five accounts with a limit at each level, two threads at it.
pub(crate) fn charge(rounds: usize, slice: Duration) -> Figure {
    let tree = Tree::new();
    let mut parent = AccountId::NONE;
    let mut leaf = None;
    for level in 1..=LEVELS_MAX as u64 {
        let id = AccountId(level);
        leaf = tree.insert(id, parent).ok();
        let mut rules = Rules::default();
        rules.caps.set(Dimension::ChannelTraffic, 1 << 37);
        rules.caps.set(Dimension::ChannelMessages, 1 << 31);
        tree.set_rules(id, rules).ok();
        parent = id;
    }
    let leaf: Account = leaf.expect("five accounts, each below the other");
    let cost = Cost {
        bytes: 120,
        messages: 1,
    };
    let mut minute = 1;
    let rounds: Vec<f64> = (0..rounds)
        .map(|_| {
            minute += 1;
            let barrier = Barrier::new(2);
            std::thread::scope(|scope| {
                let threads = [0, 1].map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        each(slice, || {
                            assert!(black_box(leaf.charge(minute, cost)).is_ok());
                        })
                    })
                });
                let costs = threads.map(|thread| thread.join().unwrap_or(f64::NAN));
                costs.iter().sum::<f64>() / 2.0
            })
        })
        .collect();
    Figure::of(rounds)
}

/// ns that counting a frame takes: five sums of its thread's and the histogram of ack latency, handed
/// in to the shared ones ten times a second, which at 10,000 frames a second is every thousandth.
pub(crate) fn counting(rounds: usize, slice: Duration) -> Figure {
    let metrics = Metrics::new();
    let shared = [
        &names::FRAMES,
        &names::MESSAGES,
        &names::RECEIVED_BYTES,
        &names::SENT_BYTES,
        &names::ACKS,
    ]
    .map(|metric| metrics.counter(metric, &["1"]));
    let sums = [const { Cell::new(0u64) }; 5];
    let mut latency = LocalBuckets::new(SECONDS);
    let mut frames = 0u64;
    let frame = || {
        for (sum, by) in sums.iter().zip([1, 1, 120, 4, 1]) {
            let sum: &Cell<u64> = black_box(sum);
            sum.set(sum.get().wrapping_add(by));
        }
        frames += 1;
        latency.count(black_box(0.001 + (frames % 64) as f64 * 1e-5));
        if frames.is_multiple_of(1000) {
            for (sum, counter) in sums.iter().zip(&shared) {
                counter.increment(sum.take());
            }
            metrics.ack_latency().take_in(&mut latency);
        }
    };
    let mut frame = frame;
    let rounds: Vec<f64> = (0..rounds).map(|_| each(slice, &mut frame)).collect();
    Figure::of(rounds)
}

/// What many accounts have counted already, as the gateway's own source writes it.
struct Counted;

impl Source for Counted {
    fn write(&self, page: &mut Page) {
        page.begin(&names::FRAMES);
        for series in 0..SERIES {
            page.sample(&names::FRAMES, &[&series], series * 1000);
        }
    }
}

/// CPU of a scrape of 10,000 series that are counted already, divided by the recorder's own of as many.
pub(crate) fn scrape(rounds: usize) -> Figure {
    let metrics = Metrics::new();
    let base = Metrics::new();
    metrics.add_source(Arc::new(Counted));
    let recorder = PrometheusBuilder::new().build_recorder();
    let metadata = Metadata::new("tollgate", Level::INFO, None);
    for series in 0..SERIES {
        let labels = vec![Label::new("channel", series.to_string())];
        let key = Key::from_parts("tollgate_frames_total", labels);
        recorder
            .register_counter(&key, &metadata)
            .increment(series * 1000);
    }
    let handle = recorder.handle();
    let cpu_of = |render: &dyn Fn() -> String| {
        let before = cpu_ns();
        black_box(render());
        cpu_ns() - before
    };
    let rounds = (0..rounds).map(|_| {
        let ours = cpu_of(&|| metrics.render()) - cpu_of(&|| base.render());
        ours / cpu_of(&|| handle.render())
    });
    Figure::of(rounds.collect::<Vec<_>>())
}
