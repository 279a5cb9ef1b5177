//! What the connections of one thread share: buffers, wheel, acks, counts.
//!
//! A worker is one current-thread runtime on a thread of its own, so all of this is plain cells. It
//! follows the journal's watermark with one task and resolves the gates of its own connections: one
//! wake across threads per group commit, never one per frame.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;

use protocols::Output;

use crate::config::Prefix;
use crate::ids::{ChannelId, Clock, ConnectionId, Position, Pulse};
use crate::journal::{Batch, Journal, Permit};
use crate::metrics::{Counter, LocalBuckets, Metrics, SECONDS, names};
use crate::raw::RawTraffic;
use crate::registry::{RecordKey, Registry};
use crate::router::{CloseCode, Router};

use super::bounds::{
    ALLOWANCES, BACKLOG_TURNS, Bounds, READ_BYTES_MAX, TOLD_PER_S_MAX, UNTOLD_US_MAX, UPKEEP_TICKS,
};
use super::events::{ConnectionEvent, EventSink};
use super::frames::Span;
use super::gate::Mark;
use super::notes::Notes;
use super::sources::Sources;
use super::storms::Storms;
use super::tally::Tally;
use super::wheel::{TICK_MS, Wheel};

/// What the room stands on.
#[derive(Clone)]
pub struct Deps {
    /// Channels and devices.
    pub registry: Arc<Registry>,
    /// Where frames become durable.
    pub journal: Journal,
    /// The live connections.
    pub router: Arc<Router>,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Raw traffic.
    pub raw: Arc<RawTraffic>,
    /// Who hears of events.
    pub events: Arc<dyn EventSink>,
    /// The bounds that an operator may set.
    pub bounds: Bounds,
    /// Machines in front of this one, which say who has called them.
    pub proxies: Arc<[Prefix]>,
    /// The folder of the channels' certificates.
    pub certificates: Option<PathBuf>,
}

/// What all workers share.
pub(super) struct Room {
    pub(super) deps: Deps,
    pub(super) connections: AtomicUsize,
    pub(super) unidentified: AtomicUsize,
    pub(super) parked_bytes: AtomicUsize,
    pub(super) sources: Arc<Sources>,
    pub(super) storms: Storms,
    next_connection: AtomicU64,
    commands: RefusalCounters,
}

/// Counters of what happens seldom.
pub(super) struct RefusalCounters {
    pub(super) takeovers: Counter,
    pub(super) flaps: Counter,
    pub(super) stalls: Counter,
    pub(super) events_lost: Counter,
    pub(super) notes_lost: Counter,
}

impl Room {
    pub(super) fn new(deps: Deps) -> Arc<Self> {
        let counter = |metric| deps.metrics.counter(metric, &[]);
        let commands = RefusalCounters {
            takeovers: counter(&names::TAKEOVERS),
            flaps: counter(&names::IDENT_FLAPS),
            stalls: counter(&names::STALLS),
            events_lost: counter(&names::EVENTS_LOST),
            notes_lost: counter(&names::CONNECTION_ENTRIES_LOST),
        };
        // microseconds since 1970: later than every id of an earlier run, which took less than one
        // per microsecond
        let first = u64::try_from(deps.clock.now_us()).unwrap_or(1).max(1);
        Arc::new(Self {
            connections: AtomicUsize::new(0),
            unidentified: AtomicUsize::new(0),
            parked_bytes: AtomicUsize::new(0),
            sources: Arc::default(),
            storms: Storms::default(),
            next_connection: AtomicU64::new(first),
            commands,
            deps,
        })
    }

    pub(super) fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn seldom(&self) -> &RefusalCounters {
        &self.commands
    }

    /// Takes of the memory for parked frames, if there is so much left.
    pub(super) fn take_parking(&self, bytes: usize) -> bool {
        let most = self.deps.bounds.parked_bytes_max;
        self.parked_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                held.checked_add(bytes).filter(|sum| *sum <= most)
            })
            .is_ok()
    }

    pub(super) fn leave_parking(&self, bytes: usize) {
        self.parked_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Names a task of this worker. One whose task is gone names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    /// Small, because every connection has it.
    index: u32,
    generation: NonZeroU32,
}

struct Slot {
    generation: NonZeroU32,
    waker: Option<Waker>,
}

/// The worker's tasks, so that wheel and acks need not own wakers (which keep a task's memory).
#[derive(Default)]
pub(super) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
    live: usize,
}

impl Tasks {
    fn insert(&mut self, waker: &Waker) -> Token {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: NonZeroU32::MIN,
                waker: None,
            });
            // more connections than that no process has
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        self.live += 1;
        let slot = self.slots.get_mut(index as usize);
        let generation = slot.map_or(NonZeroU32::MIN, |slot| {
            slot.waker = Some(waker.clone());
            slot.generation
        });
        Token { index, generation }
    }

    fn slot(&mut self, token: Token) -> Option<&mut Slot> {
        self.slots
            .get_mut(token.index as usize)
            .filter(|slot| slot.generation == token.generation)
    }

    fn remove(&mut self, token: Token) {
        if let Some(slot) = self.slot(token) {
            let next = slot.generation.checked_add(1);
            slot.generation = next.unwrap_or(NonZeroU32::MIN);
            slot.waker = None;
            self.live -= 1;
            self.free.push(token.index);
        }
    }

    fn wake(&mut self, token: Token) {
        if let Some(Some(waker)) = self.slot(token).map(|slot| &slot.waker) {
            waker.wake_by_ref();
        }
    }
}

/// What [`super::settle`] needs while it works, reused.
#[derive(Default)]
pub(super) struct Scratch {
    /// Records seen in this batch, by login.
    pub(super) seen: HashSet<(u16, i64, u64), foldhash::fast::RandomState>,
    /// Those to be remembered, by login.
    pub(super) keys: Vec<(u16, RecordKey)>,
    /// The keys of one device.
    pub(super) of_device: Vec<RecordKey>,
    /// For each frame of the batch, how many entries were written behind it.
    pub(super) entries: Vec<u32>,
}

/// What one thread's connections share.
pub(super) struct Worker {
    pub(super) room: Arc<Room>,
    buffer: RefCell<Vec<u8>>,
    pub(super) output: RefCell<Output>,
    pub(super) spans: RefCell<Vec<Span>>,
    pub(super) batch: RefCell<Batch>,
    pub(super) out: RefCell<Vec<u8>>,
    pub(super) scratch: RefCell<Scratch>,
    pub(super) notes: RefCell<Notes>,
    pub(super) latency: RefCell<LocalBuckets>,
    mark: Cell<Mark>,
    drain_until_ms: Cell<Option<i64>>,
    tasks: RefCell<Tasks>,
    wheel: RefCell<Wheel<Token>>,
    due: RefCell<Vec<Token>>,
    acks: RefCell<VecDeque<(Position, Token)>>,
    /// Since when the journal's writer was not told of what was appended, unix us.
    untold_since_us: Cell<Option<i64>>,
    teller: RefCell<Option<Waker>>,
    /// Connections that have more to read and had their turn.
    backlog: RefCell<VecDeque<Token>>,
    backlog_waker: RefCell<Option<Waker>>,
    /// Bytes read since all that were ready have had their turn.
    round_bytes: Cell<usize>,
    tallies: RefCell<BTreeMap<ChannelId, Rc<Tally>>>,
    counters: RefCell<BTreeMap<(&'static str, &'static str, &'static str), Counter>>,
    closes: RefCell<BTreeMap<CloseCode, Counter>>,
    events_lost: Cell<u64>,
    /// Told in this second of what is bounded.
    told: Cell<(i64, u32)>,
    pulse: Arc<Pulse>,
}

impl Worker {
    pub(super) fn new(room: Arc<Room>, pulse: Arc<Pulse>) -> Rc<Self> {
        let now_ms = room.deps.clock.now_ms();
        let watermark = *room.deps.journal.subscribe().borrow();
        Rc::new(Self {
            room,
            buffer: RefCell::new(vec![0; READ_BYTES_MAX]),
            output: RefCell::default(),
            spans: RefCell::default(),
            batch: RefCell::default(),
            out: RefCell::default(),
            scratch: RefCell::default(),
            notes: RefCell::default(),
            latency: RefCell::new(LocalBuckets::new(SECONDS)),
            mark: Cell::new(Mark {
                durable: watermark.durable,
                failed: watermark.failed,
            }),
            drain_until_ms: Cell::new(None),
            tasks: RefCell::default(),
            wheel: RefCell::new(Wheel::new(now_ms)),
            due: RefCell::default(),
            acks: RefCell::default(),
            untold_since_us: Cell::new(None),
            teller: RefCell::default(),
            backlog: RefCell::default(),
            backlog_waker: RefCell::default(),
            round_bytes: Cell::new(0),
            tallies: RefCell::default(),
            counters: RefCell::default(),
            closes: RefCell::default(),
            events_lost: Cell::new(0),
            told: Cell::new((0, 0)),
            pulse,
        })
    }

    pub(super) fn deps(&self) -> &Deps {
        &self.room.deps
    }

    pub(super) fn now_us(&self) -> i64 {
        self.room.deps.clock.now_us()
    }

    /// The thread's buffer for reads, to be put back. Whole even if somebody has not.
    pub(super) fn read_buffer(&self) -> Vec<u8> {
        let mut buffer = self.buffer.take();
        buffer.resize(READ_BYTES_MAX, 0);
        buffer
    }

    pub(super) fn put_back(&self, buffer: Vec<u8>) {
        self.buffer.replace(buffer);
    }

    /// How far the journal is durable, as this thread has heard.
    pub(super) fn mark(&self) -> Mark {
        self.mark.get()
    }

    /// Until when connections may send their last replies, once the gateway stops.
    pub(super) fn drain_until_ms(&self) -> Option<i64> {
        self.drain_until_ms.get()
    }

    pub(super) fn enter(&self, waker: &Waker) -> Token {
        self.tasks.borrow_mut().insert(waker)
    }

    /// Says whether the task's waker is another than before.
    pub(super) fn renew(&self, token: Token, waker: &Waker) -> bool {
        if let Some(slot) = self.tasks.borrow_mut().slot(token)
            && !slot
                .waker
                .as_ref()
                .is_some_and(|known| known.will_wake(waker))
        {
            slot.waker = Some(waker.clone());
            return true;
        }
        false
    }

    pub(super) fn leave(&self, token: Token) {
        self.tasks.borrow_mut().remove(token);
    }

    pub(super) fn live(&self) -> usize {
        self.tasks.borrow().live
    }

    /// Wakes the task once `at_ms` has come.
    pub(super) fn arm(&self, at_ms: i64, token: Token) {
        self.wheel.borrow_mut().arm(at_ms, token);
    }

    /// Appends to the journal. Its writer is told once those connections have had their turn that
    /// are ready now, and within [`UNTOLD_US_MAX`]: what comes together is synced together.
    pub(super) fn append(&self, permit: Permit, batch: &mut Batch, now_us: i64) -> Position {
        let last = self.deps().journal.append_untold(permit, batch);
        if self.untold_since_us.get().is_none() {
            self.untold_since_us.set(Some(now_us));
            match &*self.teller.borrow() {
                // it stands behind all that are ready
                Some(teller) => teller.wake_by_ref(),
                None => self.tell_journal(),
            }
        }
        last
    }

    fn tell_journal(&self) {
        if self.untold_since_us.take().is_some() {
            self.deps().journal.tell();
        }
    }

    /// Tells the journal's writer if it was not for too long.
    pub(super) fn look_at_untold(&self, now_us: i64) {
        if let Some(since_us) = self.untold_since_us.get()
            && now_us - since_us >= UNTOLD_US_MAX
        {
            self.tell_journal();
        }
    }

    /// Tells the journal's writer of what was appended, for ever.
    pub(super) async fn keep_telling(self: Rc<Self>) {
        std::future::poll_fn(|cx| {
            self.round_bytes.set(0);
            self.tell_journal();
            let mut teller = self.teller.borrow_mut();
            if !teller
                .as_ref()
                .is_some_and(|known| known.will_wake(cx.waker()))
            {
                *teller = Some(cx.waker().clone());
            }
            Poll::<()>::Pending
        })
        .await;
    }

    /// How much a connection may read in one turn: so many reads of so many bytes. When many have much
    /// it is little, so that whoever becomes ready meanwhile is not kept waiting.
    pub(super) fn allowance(&self) -> (u32, usize) {
        let round = self.round_bytes.get();
        let fits = |(most, ..): &&(usize, u32, usize)| round < *most;
        ALLOWANCES
            .iter()
            .find(fits)
            .map_or((1, READ_BYTES_MAX), |(_, reads, bytes)| (*reads, *bytes))
    }

    /// So many bytes were read in this round.
    pub(super) fn has_read(&self, bytes: usize) {
        let round = self.round_bytes.get();
        self.round_bytes.set(round.saturating_add(bytes));
    }

    /// The task goes on behind those that are ready and behind those that have waited longer.
    pub(super) fn await_turn(&self, token: Token, waker: &Waker) {
        match &*self.backlog_waker.borrow() {
            Some(keeper) => {
                let mut backlog = self.backlog.borrow_mut();
                if backlog.is_empty() {
                    keeper.wake_by_ref();
                }
                backlog.push_back(token);
            }
            None => waker.wake_by_ref(),
        }
    }

    /// Lets those with a backlog go on, a few at a time, so that whoever has just become ready has its
    /// turn in between, for ever.
    pub(super) async fn keep_turns(self: Rc<Self>) {
        std::future::poll_fn(|cx| {
            self.round_bytes.set(0);
            let mut keeper = self.backlog_waker.borrow_mut();
            if !keeper
                .as_ref()
                .is_some_and(|known| known.will_wake(cx.waker()))
            {
                *keeper = Some(cx.waker().clone());
            }
            let mut backlog = self.backlog.borrow_mut();
            let count = backlog.len().min(BACKLOG_TURNS);
            let mut tasks = self.tasks.borrow_mut();
            for token in backlog.drain(..count) {
                tasks.wake(token);
            }
            if !backlog.is_empty() {
                cx.waker().wake_by_ref();
            } else if backlog.capacity() > 4096 {
                *backlog = VecDeque::new();
            }
            Poll::<()>::Pending
        })
        .await;
    }

    /// Wakes the task once `position` is durable.
    pub(super) fn await_durable(&self, position: Position, token: Token) {
        let mut acks = self.acks.borrow_mut();
        // nearly always at the end: positions rise
        let mut at = acks.len();
        while at > 0
            && acks
                .get(at - 1)
                .is_some_and(|(before, _)| *before > position)
        {
            at -= 1;
        }
        acks.insert(at, (position, token));
    }

    /// The watermark has moved: wakes whose replies may leave.
    pub(super) fn advance(&self, mark: Mark) {
        self.mark.set(mark);
        let mut acks = self.acks.borrow_mut();
        let mut tasks = self.tasks.borrow_mut();
        while let Some((position, token)) = acks.front().copied() {
            if position > mark.durable && !mark.failed {
                return;
            }
            acks.pop_front();
            tasks.wake(token);
        }
        if acks.capacity() > 65_536 {
            *acks = VecDeque::new();
        }
    }

    /// One turn of the wheel, and what is handed in with it.
    pub(super) fn turn(&self) {
        self.pulse.beat();
        let now_us = self.now_us();
        let mut due = self.due.take();
        self.wheel
            .borrow_mut()
            .turn(now_us.div_euclid(1_000), &mut due);
        {
            let mut tasks = self.tasks.borrow_mut();
            for token in due.drain(..) {
                tasks.wake(token);
            }
        }
        self.due.replace(due);
        self.hand_in(now_us, false);
    }

    /// Hands in counts and notes; `all`: also what is not due yet.
    pub(super) fn hand_in(&self, now_us: i64, all: bool) {
        self.tell_journal();
        let mut notes = self.notes.borrow_mut();
        notes.hand_over(&self.deps().journal, now_us, all);
        let seldom = self.room.seldom();
        seldom.notes_lost.increment(std::mem::take(&mut notes.lost));
        seldom.events_lost.increment(self.events_lost.take());
        for tally in self.tallies.borrow().values() {
            tally.hand_in();
        }
        let latency = &mut self.latency.borrow_mut();
        self.deps().metrics.ack_latency().take_in(latency);
    }

    /// No more reading: every connection sends what it owes and ends.
    pub(super) fn begin_drain(&self, until_ms: i64) {
        self.drain_until_ms.set(Some(until_ms));
        for slot in &self.tasks.borrow().slots {
            if let Some(waker) = &slot.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// This worker's counts of a channel.
    pub(super) fn tally(&self, channel: ChannelId) -> Rc<Tally> {
        let mut tallies = self.tallies.borrow_mut();
        let tally = tallies
            .entry(channel)
            .or_insert_with(|| Rc::new(Tally::new(&self.deps().metrics, channel)));
        Rc::clone(tally)
    }

    /// Counts one in a metric with labels from closed sets.
    pub(super) fn count(
        &self,
        metric: &'static crate::metrics::Metric,
        first: &'static str,
        second: &'static str,
    ) {
        let mut counters = self.counters.borrow_mut();
        let counter = counters
            .entry((metric.name, first, second))
            .or_insert_with(|| {
                let both = [first, second];
                let values = both.get(..metric.labels.len()).unwrap_or(&both);
                self.deps().metrics.counter(metric, values)
            });
        counter.increment(1);
    }

    pub(super) fn count_close(&self, code: CloseCode) {
        let mut closes = self.closes.borrow_mut();
        let counter = closes.entry(code).or_insert_with(|| {
            let number = code.number().to_string();
            self.deps()
                .metrics
                .counter(&names::CONNECTIONS_CLOSED, &[&number])
        });
        counter.increment(1);
    }

    pub(super) fn tell(&self, event: ConnectionEvent) {
        if !self.deps().events.tell(event) {
            self.events_lost.set(self.events_lost.get() + 1);
        }
    }

    /// May one more of what somebody else could make arise be told? What may not is counted as lost.
    pub(super) fn may_tell(&self, now_us: i64) -> bool {
        let second = now_us.div_euclid(1_000_000);
        let (of, told) = self.told.get();
        let told = if of == second { told } else { 0 };
        self.told.set((second, told.saturating_add(1)));
        let may = told < TOLD_PER_S_MAX;
        if !may {
            self.events_lost.set(self.events_lost.get() + 1);
        }
        may
    }

    /// Turns the wheel for ever.
    pub(super) async fn keep_time(self: Rc<Self>) {
        let tick = Duration::from_millis(u64::try_from(TICK_MS).unwrap_or(100));
        let mut ticks = tokio::time::interval(tick);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            for _ in 0..UPKEEP_TICKS {
                ticks.tick().await;
                self.turn();
            }
            self.deps().metrics.run_upkeep();
        }
    }

    /// Follows the journal's watermark for as long as there is a journal.
    pub(super) async fn follow_journal(self: Rc<Self>) {
        let mut watermarks = self.deps().journal.subscribe();
        loop {
            let watermark = *watermarks.borrow_and_update();
            self.advance(Mark {
                durable: watermark.durable,
                failed: watermark.failed,
            });
            if watermarks.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    struct Flag(AtomicBool);

    impl std::task::Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_token_of_a_task_that_is_gone_wakes_nobody() {
        let mut tasks = Tasks::default();
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&flag));
        let old = tasks.insert(&waker);
        tasks.remove(old);
        tasks.remove(old);
        let new = tasks.insert(&waker);
        assert_eq!((old.index, tasks.live), (new.index, 1));
        tasks.wake(old);
        assert!(!flag.0.load(Ordering::SeqCst));
        tasks.wake(new);
        assert!(flag.0.load(Ordering::SeqCst));
    }
}
