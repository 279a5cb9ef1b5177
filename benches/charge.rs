//! What a charge costs, as a multiple of plain `fetch_add` on the same five levels.
//!
//! Two threads, trees of 1/10/100/1,000/100,000 accounts. Both sides run in one process in
//! alternating slices; each row is the median of the slices' ratios, so that a neighbour's load
//! falls on both sides. `hot`: both threads charge one leaf. `spread`: random leaves of all.
//! `batch`: sixteen frames are charged by their sum, as the driver does with what one read brought.
//!
//! `cargo bench --bench charge`; with `--test`, or without `--bench`, a smoke run that measures nothing.
#![expect(clippy::print_stdout, reason = "a bench prints its table")]

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tollgate::account::{Account, Cost, Dimension, LEVELS_MAX, Rules, Tree};
use tollgate::ids::AccountId;

const THREADS: usize = 2;
/// Accounts of each level.
const WIDTHS: [usize; LEVELS_MAX] = [1, 10, 100, 1_000, 100_000];
const BATCH: u64 = 16;
const COST: Cost = Cost {
    bytes: 100,
    messages: 1,
};

/// How much one run does.
struct Extent {
    rounds: usize,
    frames: u64,
}

/// The other side: two counters a level, sixteen bytes an account, nothing asked.
#[derive(Default)]
struct Plain {
    bytes: AtomicU64,
    messages: AtomicU64,
}

struct Sides {
    plain: Vec<Plain>,
    /// Where each leaf's chain is in `plain`, master first.
    paths: Vec<[u32; LEVELS_MAX]>,
    leaves: Vec<Account>,
}

fn grow() -> Sides {
    let tree = Tree::new();
    let mut paths: Vec<[u32; LEVELS_MAX]> = Vec::new();
    let mut leaves = Vec::new();
    let mut next = 0_u32;
    for (level, width) in WIDTHS.into_iter().enumerate() {
        let above = std::mem::take(&mut paths);
        leaves.clear();
        for index in 0..width {
            let mut path = [0; LEVELS_MAX];
            let mut parent = AccountId::NONE;
            if level > 0 {
                path = above[index % above.len()];
                parent = AccountId(u64::from(path[level - 1]) + 1);
            }
            path[level] = next;
            paths.push(path);
            next += 1;
            let id = AccountId(u64::from(next));
            let account = tree.insert(id, parent).expect("a new id below a known one");
            // every level has caps to be tested, none is met
            let mut rules = Rules::default();
            rules.caps.set(Dimension::ChannelTraffic, 1 << 37);
            rules.caps.set(Dimension::ChannelMessages, 1 << 31);
            tree.set_rules(id, rules).expect("it is there");
            leaves.push(account);
        }
    }
    Sides {
        plain: (0..next).map(|_| Plain::default()).collect(),
        paths,
        leaves,
    }
}

/// Cheap, and the same leaves for both sides.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let high = u128::from(self.0) * bound as u128;
        usize::try_from(high >> 64).expect("it is below the bound")
    }
}

fn plain(sides: &Sides, leaf: usize) {
    for index in sides.paths[leaf] {
        let account = &sides.plain[index as usize];
        account.bytes.fetch_add(COST.bytes, Ordering::Relaxed);
        account.messages.fetch_add(COST.messages, Ordering::Relaxed);
    }
}

fn charged(sides: &Sides, leaf: usize, minute: u32, frames: u64) {
    let cost = Cost {
        bytes: COST.bytes * frames,
        messages: COST.messages * frames,
    };
    let admitted = sides.leaves[leaf].charge(minute, cost);
    assert!(black_box(admitted).is_ok(), "no cap is met");
}

/// Runs `frame` on all threads at once; gives nanoseconds per call.
fn slice(calls: u64, leaves: usize, frame: impl Fn(usize) + Sync) -> f64 {
    let barrier = Barrier::new(THREADS);
    let longest = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|thread| {
                let (barrier, frame) = (&barrier, &frame);
                scope.spawn(move || {
                    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (thread + 1));
                    barrier.wait();
                    let start = Instant::now();
                    for _ in 0..calls {
                        frame(random.below(leaves));
                    }
                    start.elapsed()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a slice does not panic"))
            .max()
            .unwrap_or(Duration::ZERO)
    });
    longest.as_nanos() as f64 / calls as f64
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

fn main() {
    let measured =
        std::env::args().any(|arg| arg == "--bench") && std::env::args().all(|arg| arg != "--test");
    let extent = if measured {
        Extent {
            rounds: 25,
            frames: 200_000,
        }
    } else {
        Extent {
            rounds: 1,
            frames: 320,
        }
    };
    let sides = grow();
    println!(
        "charge: five levels, {THREADS} threads, {}",
        if measured {
            format!("medians of {} slices", extent.rounds)
        } else {
            "a smoke run: the numbers mean nothing".to_owned()
        }
    );
    println!(
        "{:<16}{:>12}{:>12}{:>9}{:>9}",
        "", "plain ns", "charge ns", "ratio", "at most"
    );
    // each slice has a minute of its own, so that no cap is ever met
    let mut minute = 1;
    for (name, leaves, batch, at_most) in [
        ("hot", 1, 1, 3.5),
        ("spread", sides.leaves.len(), 1, 3.0),
        ("hot, batch", 1, BATCH, 0.3),
        ("spread, batch", sides.leaves.len(), BATCH, 0.3),
    ] {
        let (mut plains, mut charges, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..extent.rounds {
            minute += 1;
            let beside = slice(extent.frames, leaves, |leaf| plain(&sides, leaf));
            let ours = slice(extent.frames / batch, leaves, |leaf| {
                charged(&sides, leaf, minute, batch);
            }) / batch as f64;
            plains.push(beside);
            charges.push(ours);
            ratios.push(ours / beside);
        }
        println!(
            "{name:<16}{:>12.1}{:>12.1}{:>9.2}{at_most:>9.1}",
            median(plains),
            median(charges),
            median(ratios)
        );
    }
}
