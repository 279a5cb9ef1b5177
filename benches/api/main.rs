//! What calls of the API cost, as ratios of one run: reads beside the same server's route that does
//! nothing, a list of 100,000 devices beside one of 100, a thousand devices in one POST beside one
//! device in a durable POST, the metrics page of 1,000 accounts and 500 channels, and the check of a
//! token.
//!
//! The gateway is that of `tests/api`: real store, journal and routers, served over loopback.
//!
//! ```text
//! cargo bench --bench api
//! ```

#![expect(clippy::print_stdout, reason = "a bench speaks to a person")]

mod client;
#[path = "../../tests/api/counted.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod counted;
#[path = "../../tests/api/harness.rs"]
#[expect(dead_code, reason = "the tests use more of it")]
mod harness;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use clap::Parser;
use client::{Asking, ask, first_byte};
use harness::Gateway;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Devices of one POST.
const BATCH: usize = 1000;

#[derive(Debug, Clone, Parser)]
struct Args {
    /// Devices of the long list
    #[arg(long, default_value_t = 100_000)]
    devices: usize,
    /// Slices of each route
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// Length of a slice in ms
    #[arg(long, default_value_t = 300)]
    slice_ms: u64,
    /// A short run that only shows that everything works (`cargo bench -- --test`)
    #[arg(long)]
    test: bool,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let mut args = Args::parse();
    if args.test {
        (args.devices, args.rounds, args.slice_ms) = (2000, 1, 50);
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let gateway = Gateway::new();
    let (at, key) = runtime.block_on(open(&gateway));
    let asking = Asking { at, key: &key };
    posts(&asking, &args);
    reads(&asking, &args);
    lists(&asking, &args);
    runtime.block_on(accounts(&gateway, &args));
    scrape(&asking, &args);
    runtime.block_on(checks(&gateway, &args));
}

/// Serves the gateway's routes; a Master token.
async fn open(gateway: &Gateway) -> (SocketAddr, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let at = listener.local_addr().expect("an address");
    let service = gateway
        .network
        .clone()
        .into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(listener, service).await.expect("served") });
    let master = gateway.account(0, "Master").await;
    let key = gateway.token(master, json!({ "type": 1 })).await;
    (at, key)
}

fn bodies(from: usize, count: usize) -> String {
    let devices = (from..from + count).map(|n| harness::device(&format!("35{n:013}")));
    devices.collect::<Value>().to_string()
}

/// Single durable POSTs between POSTs of a thousand; leaves `args.devices` behind.
fn posts(asking: &Asking<'_>, args: &Args) {
    let (mut single, mut singles) = (Duration::ZERO, 0_u32);
    let (mut batch, mut batches) = (Duration::ZERO, 0_u32);
    let mut made = 0;
    while made < args.devices {
        let count = BATCH.min(args.devices - made);
        let body = bodies(made, count);
        batch += ask(asking, "POST", "/gw/devices?fields=id", &body).took;
        (made, batches) = (made + count, batches + 1);
        for n in 0..5 {
            let one = bodies(1_000_000 + made * 10 + n, 1);
            let answer = ask(asking, "POST", "/gw/devices?fields=id", &one);
            single += answer.took;
            singles += 1;
            let row: Value = serde_json::from_slice(&answer.body).expect("JSON");
            let id = row["result"][0]["id"].as_u64().expect("an id");
            ask(asking, "DELETE", &format!("/gw/devices/{id}"), "");
        }
    }
    let each = batch / batches / u32::try_from(BATCH.min(args.devices)).expect("few");
    let one = single / singles;
    println!(
        "POST of {BATCH} devices: {each:?} a device, POST of one: {one:?}: 1/{:.1} (goal 1/20)",
        one.as_secs_f64() / each.as_secs_f64()
    );
}

/// Reads of one device, in alternating slices with the route that does nothing.
fn reads(asking: &Asking<'_>, args: &Args) {
    let mut message = json!({ "timestamp": 1_700_000_000 });
    for n in 0..20 {
        message[format!("din.{n}")] = json!(n % 2 == 0);
    }
    message["position.latitude"] = json!(52.1);
    message["position.longitude"] = json!(23.7);
    let body = json!([message]).to_string();
    ask(asking, "POST", "/gw/devices/1/messages", &body);
    let paths = [
        "/health/live",
        "/gw/devices/1",
        "/gw/devices/1/telemetry/all",
        "/gw/devices/1/telemetry/position",
    ];
    let slice = Duration::from_millis(args.slice_ms);
    let mut counts = [0_u64; 4];
    for _ in 0..args.rounds {
        for (count, path) in counts.iter_mut().zip(paths) {
            *count += client::calls_within(asking, path, slice);
        }
    }
    for (count, path) in counts.iter().zip(paths) {
        let per_s = *count as f64 / (args.rounds as f64 * slice.as_secs_f64());
        println!(
            "GET {path}: {per_s:.0} a second, {:.2} of {} (goal 0.5)",
            *count as f64 / counts[0] as f64,
            paths[0]
        );
    }
}

/// The memory that this process holds, in bytes.
fn memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a status");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.expect("RssAnon") * 1024
}

/// All devices as a list: how memory grows, and when the first byte is there.
fn lists(asking: &Asking<'_>, args: &Args) {
    let ids: Vec<String> = (1..=100).map(|id| id.to_string()).collect();
    let short = format!("/gw/devices/{}", ids.join(","));
    let (mut few, mut all, mut bytes) = (Duration::MAX, Duration::MAX, 0);
    let before = memory_bytes();
    let mut most = before;
    for _ in 0..args.rounds.clamp(1, 5) {
        few = few.min(first_byte(asking, &short, &mut |_| {}));
        let mut seen = 0;
        all = all.min(first_byte(asking, "/gw/devices/all", &mut |count| {
            // now and then, so that looking does not make the reader slow
            if (seen + count) >> 20 != seen >> 20 {
                most = most.max(memory_bytes());
            }
            seen += count;
        }));
        bytes = seen;
    }
    println!(
        "list of {} devices ({bytes} bytes): memory grows by {:.1} MB (goal 16), first byte after \
         {all:?}, of 100 devices after {few:?}: {:.1} ms later (goal 20)",
        args.devices,
        (most - before) as f64 / 1e6,
        (all.as_secs_f64() - few.as_secs_f64()) * 1e3
    );
}

/// What a full metrics page is made of.
async fn accounts(gateway: &Gateway, args: &Args) {
    gateway
        .many_accounts(if args.test { 50 } else { 1000 })
        .await;
    gateway.count_for_channels(if args.test { 20 } else { 500 });
}

/// The metrics page over loopback.
fn scrape(asking: &Asking<'_>, args: &Args) {
    // without a token, as Prometheus on the same machine asks
    let asking = Asking {
        at: asking.at,
        key: "",
    };
    let mut took: Vec<Duration> = Vec::new();
    let mut page = Vec::new();
    for _ in 0..args.rounds {
        let answer = ask(&asking, "GET", "/metrics", "");
        took.push(answer.took);
        page = answer.body;
    }
    took.sort_unstable();
    let series = page
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty() && !line.starts_with(b"#"));
    println!(
        "scrape of {} series ({} bytes) beside {} devices: median {:?}, longest {:?} (goal 200 ms)",
        series.count(),
        page.len(),
        args.devices,
        took[took.len() / 2],
        took[took.len() - 1]
    );
}

/// A check of a token and its list, among 10,000 tokens.
async fn checks(gateway: &Gateway, args: &Args) {
    let tokens = if args.test { 100 } else { 10_000 };
    let acl = json!({ "type": 2, "acl": [
        { "uri": "gw/channels", "methods": ["GET"] },
        { "uri": "gw/devices", "methods": ["GET", "PUT"], "ids": [1, 2, 3],
          "submodules": [{ "name": "telemetry", "methods": ["GET"] }] },
    ] });
    let bodies = Value::from(vec![json!({ "access": acl }); tokens]);
    gateway.operator(1, "POST /platform/tokens", bodies).await;
    let key = gateway.token(1, acl).await;
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("FlespiToken {key}")).expect("a header");
    headers.insert(header::AUTHORIZATION, value);
    let checks = if args.test { 1000 } else { 1_000_000_u32 };
    let begun = Instant::now();
    for _ in 0..checks {
        let lets = gateway.state.lets(
            &headers,
            None,
            ("gw/devices", Some("telemetry")),
            &Method::GET,
        );
        assert!(std::hint::black_box(lets));
    }
    println!(
        "check of a token and its list: {:?} (goal 1 us)",
        begun.elapsed() / checks
    );
}
