//! What decoding costs: every protocol on its own corpus frames, and Teltonika codec 8 Extended
//! beside the crate nom-teltonika, which reads the same frames into plain structs.
//!
//! ```text
//! cargo bench --bench decode
//! ```
//!
//! The two readers of Teltonika take turns in slices of one run; the ratio is the figure to quote.
//! Ours goes further: it converts units, looks each element up in a table of names, and writes
//! records in the form that is stored.

#![expect(clippy::print_stdout, reason = "a bench speaks to a person")]

#[path = "ingest/frames.rs"]
mod frames;

use nom_teltonika::decoder::take_frame;
use nom_teltonika::protocol::{FrameView, IoValueView};
use protocols::{Env, Event, Output, PROTOCOLS, Protocol, Session, Unregistered};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 15;
const SLICE: Duration = Duration::from_millis(60);
const NOW_MS: i64 = 1_795_490_000_000;

fn main() {
    let test = std::env::args().any(|argument| argument == "--test");
    let (rounds, slice) = if test {
        (1, Duration::from_millis(2))
    } else {
        (ROUNDS, SLICE)
    };
    teltonika(rounds, slice);
    every_protocol(slice / 4);
}

/// A record as a reader of the crate would keep it.
#[expect(dead_code, reason = "what counts is that it is filled")]
struct Plain {
    time_ms: u64,
    longitude: i32,
    latitude: i32,
    altitude: u16,
    angle: u16,
    satellites: u8,
    speed: u16,
    first_element: usize,
}

fn teltonika(rounds: usize, slice: Duration) {
    println!(
        "Teltonika codec 8 Extended, 14 elements a record, checksum checked (ns a record, medians)"
    );
    println!(
        "{:>8} {:>12} {:>14} {:>8}",
        "records", "tollgate", "nom-teltonika", "ratio"
    );
    for records in [1u8, 6, 12] {
        let frame = frames::frame(1_760_000_000_000, records);
        let mut session = logged_in(protocols::find("teltonika").expect("it is in the table"));
        let mut out = Output::default();
        let mut ours = |_: u64| {
            out.clear();
            let env = Env {
                now_ms: NOW_MS,
                lookup: &mut Unregistered,
                out: &mut out,
            };
            black_box(session.feed(black_box(&frame), false, env));
            assert!(out.events.len() > usize::from(records), "the frame is read");
        };
        let (mut plain, mut elements) = (Vec::new(), Vec::new());
        let mut theirs = |_: u64| {
            plain.clear();
            elements.clear();
            let mut input = black_box(&frame[..]);
            let Ok(FrameView::Avl(packet)) = take_frame(&mut input) else {
                panic!("the frame is one of records");
            };
            for record in packet.records() {
                let gps = record.gps();
                plain.push(Plain {
                    time_ms: record.timestamp().into(),
                    longitude: gps.longitude_raw,
                    latitude: gps.latitude_raw,
                    altitude: gps.altitude_meters,
                    angle: gps.angle_degrees,
                    satellites: gps.satellites,
                    speed: gps.speed_kph,
                    first_element: elements.len(),
                });
                for element in record.io_elements() {
                    let value = match element.value() {
                        IoValueView::U8(value) => u64::from(value),
                        IoValueView::U16(value) => u64::from(value),
                        IoValueView::U32(value) => u64::from(value),
                        IoValueView::U64(value) => value,
                        IoValueView::Bytes(bytes) => bytes.len() as u64,
                    };
                    elements.push((u16::from(element.id()), value));
                }
            }
            black_box((&plain, &elements));
        };
        let mut pairs = Vec::new();
        for _ in 0..rounds {
            let mine = each(slice, &mut ours) / f64::from(records);
            let its = each(slice, &mut theirs) / f64::from(records);
            pairs.push((mine, its, mine / its));
        }
        let median = |pick: fn(&(f64, f64, f64)) -> f64| {
            let mut values: Vec<f64> = pairs.iter().map(pick).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        println!(
            "{records:>8} {:>12.0} {:>14.0} {:>8.2}",
            median(|pair| pair.0),
            median(|pair| pair.1),
            median(|pair| pair.2)
        );
    }
}

/// Every protocol on the vectors of its corpus that decode to messages.
fn every_protocol(slice: Duration) {
    println!("\nevery protocol on its own corpus (ns, one frame at a time in a warm session)");
    println!(
        "{:<14} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10}",
        "protocol", "frames", "median", "p90", "dearest", "a record", "dearest"
    );
    for protocol in PROTOCOLS {
        let costs: Vec<Cost> = corpus(protocol.info.name)
            .iter()
            .filter_map(|frame| cost(protocol, frame, slice / 10))
            .collect();
        let frames = sorted(costs.iter().map(|cost| cost.ns));
        let records = sorted(costs.iter().map(|cost| cost.ns / cost.records));
        println!(
            "{:<14} {:>8} {:>10} {:>10} {:>10} {:>10} {:>10}",
            protocol.info.name,
            costs.len(),
            share(&frames, 50),
            share(&frames, 90),
            share(&frames, 100),
            share(&records, 50),
            share(&records, 100),
        );
    }
}

fn sorted(costs: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut costs: Vec<f64> = costs.collect();
    costs.sort_by(f64::total_cmp);
    costs
}

/// Below this is so much of a hundred.
fn share(sorted: &[f64], share: usize) -> String {
    let at = (sorted.len() * share / 100).min(sorted.len().saturating_sub(1));
    sorted
        .get(at)
        .map_or("-".to_owned(), |ns| format!("{ns:.0}"))
}

/// What a frame costs.
struct Cost {
    ns: f64,
    records: f64,
}

/// What the frame costs, if messages come of it.
fn cost(protocol: &Protocol, frame: &[u8], slice: Duration) -> Option<Cost> {
    let mut session = logged_in(protocol);
    let mut out = Output::default();
    let mut read = |_: u64| {
        out.clear();
        let env = Env {
            now_ms: NOW_MS,
            lookup: &mut Unregistered,
            out: &mut out,
        };
        black_box(session.feed(black_box(frame), true, env));
    };
    read(0);
    let ns = each(slice, &mut read);
    let events = out.events.iter();
    let records = events.filter(|event| matches!(event, Event::Message { .. }));
    let records = records.count();
    (records > 0).then_some(Cost {
        ns,
        records: records as f64,
    })
}

fn logged_in(protocol: &Protocol) -> Box<dyn Session> {
    let mut session = (protocol.open)();
    let mut out = Output::default();
    let env = Env {
        now_ms: NOW_MS,
        lookup: &mut Unregistered,
        out: &mut out,
    };
    session
        .begin_as("123456789012345", env)
        .expect("an ident of digits");
    session
}

/// Nanoseconds that a call takes, over about `slice`.
fn each(slice: Duration, call: &mut dyn FnMut(u64)) -> f64 {
    let begun = Instant::now();
    let mut calls = 0u64;
    while begun.elapsed() < slice {
        for _ in 0..16 {
            call(calls);
            calls += 1;
        }
    }
    begun.elapsed().as_nanos() as f64 / calls as f64
}

/// The bytes of a protocol's corpus.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let path = format!(
        "{}/fixtures/{name}/_corpus.jsonl",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let bytes = |line: &str| {
        let vector: serde_json::Value = serde_json::from_str(line).ok()?;
        protocols::kit::hex::decode(vector.get("hex")?.as_str()?)
    };
    text.lines().filter_map(bytes).collect()
}
