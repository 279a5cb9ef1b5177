//! The smallest core of a charge in every order of its steps that shuttle tries: the words and the
//! walk of `src/account`, compiled here with atomics whose scheduler is a random one.
//!
//! `TOLLGATE_ORDERS` is how many orders are tried of each case. shuttle prints the schedule of a
//! failure, which `shuttle::replay` repeats.

/// What [`word`] and [`walk`] are compiled with in place of the machine's.
mod atomics {
    use shuttle::sync::Mutex;
    pub(super) use shuttle::sync::atomic::{AtomicU64, Ordering};

    /// shuttle has none of this width: each call is one step.
    #[derive(Debug)]
    pub(super) struct AtomicU128(Mutex<u128>);

    impl AtomicU128 {
        pub(super) const fn new(value: u128) -> Self {
            Self(Mutex::new(value))
        }

        pub(super) fn load(&self, _: Ordering) -> u128 {
            *self.0.lock().expect("no panic")
        }

        pub(super) fn compare_exchange_weak(
            &self,
            current: u128,
            new: u128,
            _: Ordering,
            _: Ordering,
        ) -> Result<u128, u128> {
            let mut value = self.0.lock().expect("no panic");
            if *value != current {
                return Err(*value);
            }
            *value = new;
            Ok(current)
        }
    }
}

#[expect(
    dead_code,
    reason = "the core is taken whole, the cases need a part of it"
)]
#[path = "../src/account/walk.rs"]
mod walk;
#[expect(
    dead_code,
    reason = "the core is taken whole, the cases need a part of it"
)]
#[path = "../src/account/word.rs"]
mod word;

use shuttle::sync::Arc;
use shuttle::thread;
use walk::walk;
use word::FrameWindow;

/// As the account room has it.
const NO_CAP: i64 = -1;

fn orders() -> usize {
    let text = std::env::var("TOLLGATE_ORDERS").ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(2_000)
}

/// A master, a child, and two leaves below it; every account has a cap of bytes.
struct Chain {
    windows: [FrameWindow; 4],
    caps: [i64; 4],
}

const CHILD: usize = 1;
const LEAVES: [usize; 2] = [2, 3];

impl Chain {
    fn new(caps: [i64; 4]) -> Arc<Self> {
        let windows = [const { FrameWindow::new() }; 4];
        for (window, cap) in windows.iter().zip(caps) {
            window.set_caps(cap, NO_CAP);
        }
        Arc::new(Self { windows, caps })
    }

    fn charge(&self, leaf: usize, minute: u32, bytes: u64) -> Option<u32> {
        let steps = [0, CHILD, leaf].map(|account| &self.windows[account]);
        let charged = walk(
            minute,
            &steps,
            |window, minute| window.add(minute, bytes, 1),
            |window, minute| window.undo(minute, bytes, 1),
        );
        charged.ok()
    }

    fn used(&self, account: usize, minute: u32) -> (u64, u64) {
        let used = self.windows[account].reading(minute).used;
        (used.bytes, used.messages)
    }
}

#[test]
fn no_order_overshoots_and_every_sum_is_what_was_admitted() {
    let case = || {
        let chain = Chain::new([10, 9, 6, 6]);
        let charging: Vec<_> = [
            (LEAVES[0], [4, 3]),
            (LEAVES[1], [5, 2]),
            (LEAVES[0], [2, 7]),
        ]
        .into_iter()
        .map(|(leaf, charges)| {
            let chain = Arc::clone(&chain);
            thread::spawn(move || {
                let admitted = charges
                    .into_iter()
                    .filter(|bytes| chain.charge(leaf, 7, *bytes).is_some());
                (leaf, admitted.map(|bytes| (bytes, 1)).collect::<Vec<_>>())
            })
        })
        .collect();
        let looking = {
            let chain = Arc::clone(&chain);
            thread::spawn(move || {
                for account in [3, 2, CHILD, 0] {
                    let (used, _) = chain.used(account, 7);
                    let cap = chain.caps[account].cast_unsigned();
                    assert!(used <= cap, "account {account}: {used} of {cap}");
                }
            })
        };
        let mut told = [(0, 0); 4];
        for thread in charging {
            let (leaf, admitted) = thread.join().expect("it ends");
            for (bytes, messages) in admitted {
                for account in [0, CHILD, leaf] {
                    told[account].0 += bytes;
                    told[account].1 += messages;
                }
            }
        }
        looking.join().expect("it ends");
        for (account, told) in told.into_iter().enumerate() {
            assert_eq!(chain.used(account, 7), told, "account {account}");
        }
    };
    shuttle::check_random(case, orders());
    shuttle::check_pct(case, orders(), 3);
}

#[test]
fn nothing_is_admitted_under_caps_that_are_gone() {
    let case = || {
        let chain = Chain::new([20, 20, 20, 20]);
        let charging: Vec<_> = LEAVES
            .into_iter()
            .map(|leaf| {
                let chain = Arc::clone(&chain);
                thread::spawn(move || {
                    let admitted = [3, 3, 3].map(|bytes| chain.charge(leaf, 7, bytes));
                    admitted.into_iter().flatten().count() as u64 * 3
                })
            })
            .collect();
        // lowered, raised, lowered: both slots of caps are written while charges read them
        for (account, cap) in [(CHILD, 5), (CHILD, 12), (0, 6), (CHILD, 4)] {
            let window = &chain.windows[account];
            window.set_caps(cap, NO_CAP);
            let at_once = chain.used(account, 7).0;
            for _ in 0..2 {
                let used = chain.used(account, 7).0;
                assert!(
                    used <= at_once.max(cap.cast_unsigned()),
                    "{used} under a cap of {cap}, there were {at_once}"
                );
            }
        }
        let admitted: u64 = charging
            .into_iter()
            .map(|thread| thread.join().expect("it ends"))
            .sum();
        for account in [0, CHILD] {
            assert_eq!(chain.used(account, 7).0, admitted);
        }
    };
    shuttle::check_random(case, orders());
    shuttle::check_pct(case, orders(), 3);
}

#[test]
fn a_window_that_resets_under_charges_holds_its_own_minute_only() {
    let case = || {
        let chain = Chain::new([8, 8, 8, 8]);
        let charging: Vec<_> = [
            (LEAVES[0], 7),
            (LEAVES[1], 8),
            (LEAVES[0], 8),
            (LEAVES[1], 7),
        ]
        .into_iter()
        .map(|(leaf, minute)| {
            let chain = Arc::clone(&chain);
            thread::spawn(move || (leaf, chain.charge(leaf, minute, 3)))
        })
        .collect();
        let mut told = [0; 4];
        for thread in charging {
            let (leaf, minute) = thread.join().expect("it ends");
            if minute == Some(8) {
                for account in [0, CHILD, leaf] {
                    told[account] += 3;
                }
            }
        }
        for (account, told) in told.into_iter().enumerate() {
            assert_eq!(chain.used(account, 8).0, told, "account {account}");
            assert!(told <= 8, "account {account}: {told}");
        }
    };
    shuttle::check_random(case, orders());
    shuttle::check_pct(case, orders(), 3);
}
