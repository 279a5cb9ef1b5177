//! Hold, don't lose: trackers with a flash whose account is blocked for half an hour.
//!
//! `TOLLGATE_HELD` is how many trackers there are; the clock is the test's, so the half hour takes
//! as long as the work in it.

use std::time::{Duration, Instant};

use super::harness::*;
use crate::account::Dimension;
use crate::ids::{AccountId, Clock as _, DeviceId};
use crate::journal::Range;

const STEP_MS: i64 = 10_000;
const BLOCKED_STEPS: i64 = 30 * 60_000 / STEP_MS;
/// Records of a packet, at most.
const PACKET: usize = 10;
/// How long the worker has for a step, really.
const STEP: Duration = Duration::from_millis(3);
const LONG: Duration = Duration::from_mins(1);

/// A tracker that keeps each record until it is acked.
struct Flash {
    ident: String,
    device: DeviceId,
    line: Option<Tracker>,
    admitted: bool,
    /// Records of the packet that waits for its ack.
    sent: usize,
    kept: Vec<i64>,
    recorded: Vec<i64>,
}

impl Flash {
    fn new(gateway: &Gateway, number: u64, account: AccountId) -> Self {
        let ident = format!("3563{number:011}");
        gateway.register(number, account, "teltonika", &ident);
        Self {
            ident,
            device: DeviceId(number),
            line: None,
            admitted: false,
            sent: 0,
            kept: Vec::new(),
            recorded: Vec::new(),
        }
    }

    fn record(&mut self, at_ms: i64) {
        self.kept.push(at_ms);
        self.recorded.push(at_ms);
    }

    /// Hears what there is and says what it has to say.
    async fn step(&mut self, gateway: &Gateway) {
        if self.line.is_none() {
            let mut line = gateway.connect(TELTONIKA);
            line.try_send(&login(&self.ident)).await;
            self.line = Some(line);
            self.admitted = false;
            self.sent = 0;
        }
        let Some(line) = &mut self.line else {
            return;
        };
        match line.heard().await {
            None => {}
            Some(bytes) if !self.admitted && bytes == [1] => self.admitted = true,
            Some(bytes) if self.sent > 0 && bytes == taken(u32::try_from(self.sent).unwrap()) => {
                self.kept.drain(..self.sent);
                self.sent = 0;
            }
            // refused, or hung up on: another time
            Some(_) => {
                self.line = None;
                return;
            }
        }
        if self.admitted && self.sent == 0 && !self.kept.is_empty() {
            self.sent = self.kept.len().min(PACKET);
            line.try_send(&packet(&self.kept[..self.sent])).await;
        }
    }

    fn assert_stored(&self, gateway: &Gateway) {
        let journal = &gateway.deps.journal;
        let stored: Vec<i64> = journal
            .read_device(self.device, Range::default())
            .map(|message| message.unwrap().timestamp_ms())
            .collect();
        assert_eq!(stored, self.recorded, "{}", self.ident);
    }
}

/// Ten seconds pass for everybody; every minute has a record.
async fn pass(gateway: &Gateway, step: i64, flashes: &mut [Flash]) {
    gateway.advance_ms(STEP_MS).await;
    if step % (60_000 / STEP_MS) == 0 {
        let now_ms = gateway.clock.now_ms();
        for flash in &mut *flashes {
            flash.record(now_ms);
        }
    }
    for flash in &mut *flashes {
        flash.step(gateway).await;
    }
    tokio::time::sleep(STEP).await;
    for flash in flashes {
        flash.step(gateway).await;
    }
}

/// Goes on until nobody keeps anything any more.
async fn drained(gateway: &Gateway, flashes: &mut [Flash]) {
    let end = Instant::now() + LONG;
    while flashes.iter().any(|flash| !flash.kept.is_empty()) {
        assert!(Instant::now() < end, "they keep what nobody takes");
        // no minute's record among them
        pass(gateway, 1, flashes).await;
    }
}

#[test]
fn trackers_of_a_blocked_account_keep_everything_and_it_is_all_taken_once_afterwards() {
    let text = std::env::var("TOLLGATE_HELD").ok();
    let count: u64 = text.and_then(|text| text.parse().ok()).unwrap_or(60);
    let gateway = Gateway::new();
    let mut held: Vec<Flash> = (0..count)
        .map(|one| Flash::new(&gateway, 1_000 + one, LEAF))
        .collect();
    let mut beside: Vec<Flash> = (0..count.div_ceil(4))
        .map(|one| Flash::new(&gateway, 9_000 + one, SIBLING))
        .collect();
    gateway.run(async |gateway| {
        for step in 0..18 {
            pass(gateway, step, &mut held).await;
            pass(gateway, step, &mut beside).await;
        }
        drained(gateway, &mut held).await;
        let before = gateway.account(LEAF).posted();
        assert!(before.messages > 0);

        let until_us = gateway.clock.now_us() + 2 * BLOCKED_STEPS * STEP_MS * 1_000;
        gateway
            .account(LEAF)
            .block(Dimension::ChannelMessages, until_us);
        for step in 0..BLOCKED_STEPS {
            pass(gateway, step, &mut held).await;
            pass(gateway, step, &mut beside).await;
            let now = gateway.account(LEAF).posted();
            assert_eq!(now.messages, before.messages, "stored while blocked");
            assert_eq!(now.bytes_in, before.bytes_in, "charged while blocked");
            // its sibling's trackers do not notice
            let behind = beside.iter().map(|flash| flash.kept.len()).max();
            assert!(behind <= Some(2 * PACKET), "{behind:?} records kept");
        }
        assert!(held.iter().all(|flash| flash.kept.len() >= 30), "kept");
        let refused = || gateway.account(LEAF).posted().refused_bytes;
        gateway
            .until("attempts are counted", || refused() > 0)
            .await;
        gateway.account(LEAF).block(Dimension::ChannelMessages, 0);
        gateway.deps.router.wake_parked();
        drained(gateway, &mut held).await;
        drained(gateway, &mut beside).await;
        for flash in held.iter().chain(&beside) {
            flash.assert_stored(gateway);
        }
        let taken: usize = held.iter().map(|flash| flash.recorded.len()).sum();
        assert_eq!(gateway.messages(LEAF), taken as u64);
        let audit = gateway.deps.journal.audit().unwrap();
        assert_eq!(audit.differences, []);
    });
}
