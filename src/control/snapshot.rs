//! Telemetry over a restart: a snapshot of every device's newest values, and the fold of the
//! journal from there on.
//!
//! One thread. At the start it gives the snapshot back, then folds what came behind it; nobody
//! waits for that, and what trackers send meanwhile is newer and stays. From then on nothing is
//! folded twice: each [`SNAPSHOT_BYTES`] of journal it writes what devices hold, so that a start
//! folds at most about so much. Folding an entry again changes nothing, since a value is replaced
//! only by a newer one.
//!
//! The position that a snapshot names is the durable one of before it was begun. Every entry up to
//! there is in it: whoever appends an entry of a device holds that device's window of duplicates
//! until telemetry has taken the entry in, and each device is looked at under its window.
//!
//! It refuses to lose values for want of a snapshot: a damaged one is said, and the journal is
//! folded from its first entry. The values of devices that are gone are not kept.
//!
//! # Order on disk
//!
//! All that was appended while it was made is durable; snapshot (temporary name, sync, rename, sync
//! of the folder); then the journal is told that it needs segments only from there on. A crash in
//! between keeps segments longer than needed.

use crate::ids::{Clock, DeviceId, Position};
use crate::journal::{Deletion, EntryRef, Journal};
use crate::registry::{DeviceHandle, Registry};
use crate::segment::checked::{CheckedReader, CheckedWriter, Form};
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The name of the snapshot in the journal's folder.
pub const SNAPSHOT: &str = "telemetry.snapshot";
/// How its file begins.
pub const SNAPSHOT_FORM: Form = Form {
    magic: *b"TGTELE",
    version: 1,
};
/// A snapshot is written behind so many bytes of journal: what a start folds at most.
pub const SNAPSHOT_BYTES: u64 = 256 * 1024 * 1024;

/// How often it is looked whether a snapshot is due.
const PULSE: Duration = Duration::from_secs(1);
/// How long a snapshot waits for its last values to be durable, and the pause between two looks.
const DURABLE_WAIT: Duration = Duration::from_secs(10);
const DURABLE_PAUSE: Duration = Duration::from_millis(1);
/// Entries that are folded between two looks whether to stop.
const ENTRIES_TOGETHER: usize = 4096;

/// The thread; it ends with [`TelemetryKeeper::stop`] or when it is dropped.
pub struct TelemetryKeeper {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    journal: Journal,
    registry: Arc<Registry>,
    clock: Arc<dyn Clock>,
    snapshot_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    /// The last entry of the journal when this began is folded.
    caught_up: bool,
}

impl TelemetryKeeper {
    /// Starts it. `snapshot_bytes`: see [`SNAPSHOT_BYTES`].
    pub fn start(
        journal: Journal,
        registry: Arc<Registry>,
        clock: Arc<dyn Clock>,
        snapshot_bytes: u64,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            journal,
            registry,
            clock,
            snapshot_bytes,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("telemetry-keeper".to_owned())
            .spawn(move || of_thread.run())?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Waits until everything that was in the journal at the start is folded.
    pub fn caught_up(&self) {
        let mut state = self.shared.state();
        while !state.caught_up && !state.stopping {
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends it with a last snapshot, if it had caught up. Blocks.
    pub fn stop(&self) {
        self.shared.state().stopping = true;
        self.shared.changed.notify_all();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the keeper of telemetry was stopped by a bug");
        }
    }
}

impl Drop for TelemetryKeeper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let kept = match self.load() {
            Ok(kept) => kept.unwrap_or(Position::ZERO),
            Err(error) => {
                tracing::error!(
                    %error,
                    file = SNAPSHOT,
                    "no snapshot of telemetry: the whole journal is folded, and the values of \
                     devices that are older than it are not there"
                );
                Position::ZERO
            }
        };
        self.journal.telemetry_kept(kept);
        let written = self.journal.stats().bytes();
        let folded = match self.fold(kept) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(%error, "telemetry is not what it could be: the journal is unreadable");
                return;
            }
        };
        self.state().caught_up = true;
        self.changed.notify_all();
        self.keep(kept, written.saturating_sub(folded));
    }

    /// Writes snapshots until it is stopped. `kept`: the position of the last one; `written`: how
    /// much the journal had written then.
    fn keep(&self, mut kept: Position, mut written: u64) {
        loop {
            let stopping = {
                let state = self.state();
                state.stopping || {
                    let (state, _) = self
                        .changed
                        .wait_timeout(state, PULSE)
                        .unwrap_or_else(PoisonError::into_inner);
                    state.stopping
                }
            };
            let erased = self.forget_erased();
            let now = self.journal.stats().bytes();
            let durable = self.journal.durable();
            let due = stopping
                || !erased.is_empty()
                || now.saturating_sub(written) >= self.snapshot_bytes;
            if due && (durable > kept || !erased.is_empty()) {
                match self.store(durable) {
                    Ok(()) => {
                        self.journal.telemetry_kept(durable);
                        (kept, written) = (durable, now);
                        self.tell_erased(&erased);
                    }
                    Err(error) => tracing::error!(%error, "no snapshot of telemetry is written"),
                }
            }
            if stopping {
                return;
            }
        }
    }

    /// Forgets the values of the devices that are erased: those that no snapshot is without yet.
    fn forget_erased(&self) -> Vec<Deletion> {
        let mut erased = self.journal.erasing();
        erased.retain(|one| !one.telemetry_forgotten);
        for one in &erased {
            if let Some(device) = self.registry.device(one.device) {
                // who appends lets it go when telemetry has what was appended
                let _window = device.recent();
                device.telemetry().forget(|_| true);
            }
        }
        erased
    }

    /// A snapshot is without them: the journal may erase on.
    fn tell_erased(&self, erased: &[Deletion]) {
        for one in erased {
            if let Err(error) = self.journal.telemetry_forgot(one) {
                tracing::error!(%error, device = %one.device, "an erasure is not done; it is tried again");
            }
        }
    }

    /// Folds what is durable behind `kept`, and says how many bytes that is; `None`: it was told to
    /// stop meanwhile.
    fn fold(&self, kept: Position) -> io::Result<Option<u64>> {
        let mut follow = self.journal.follow(kept);
        let mut bytes = 0;
        loop {
            let more = follow.visit(ENTRIES_TOGETHER, &mut |position, entry| {
                let EntryRef::Frame(frame) = entry else {
                    return;
                };
                for part in frame.parts() {
                    let Some(device) = self.registry.device(part.device) else {
                        continue;
                    };
                    let now_ms = self.clock.now_ms();
                    let mut telemetry = device.telemetry();
                    for record in part.records() {
                        telemetry.update(record, position, now_ms);
                    }
                }
            })?;
            bytes += more;
            if self.state().stopping {
                return Ok(None);
            }
            if more == 0 {
                return Ok(Some(bytes));
            }
        }
    }

    /// Gives the snapshot back: the position up to which it is one.
    fn load(&self) -> io::Result<Option<Position>> {
        let path = self.journal.dir().join(SNAPSHOT);
        let files = self.journal.files().as_ref();
        let Some(mut reader) = CheckedReader::open(files, &path, SNAPSHOT_FORM.magic)? else {
            return Ok(None);
        };
        let bad = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        if reader.version() != SNAPSHOT_FORM.version {
            return Err(bad("a newer version wrote it"));
        }
        let position = Position::from_raw(reader.number());
        if position > self.journal.durable() {
            return Err(bad("it is of a longer journal"));
        }
        while let Some(block) = reader.next_block()? {
            let mut rest = block.as_slice();
            while let Some((head, after)) = rest.split_first_chunk::<20>() {
                let number = |at: usize| {
                    u64::from_le_bytes(*head[at..].first_chunk().expect("inside the head"))
                };
                let length = u32::from_le_bytes(*head[16..].first_chunk().expect("inside"));
                let (record, after) = after
                    .split_at_checked(length as usize)
                    .ok_or_else(|| bad("a record is cut off"))?;
                if let Some(device) = self.registry.device(DeviceId(number(0))) {
                    let at = Position::from_raw(number(8));
                    device.telemetry().update(record, at, self.clock.now_ms());
                }
                rest = after;
            }
        }
        Ok(Some(position))
    }

    /// Writes what devices hold now, which is every entry up to `position` and perhaps later ones.
    fn store(&self, position: Position) -> io::Result<()> {
        let files = self.journal.files().as_ref();
        let mut writer = CheckedWriter::begin(
            files,
            self.journal.dir(),
            SNAPSHOT,
            SNAPSHOT_FORM,
            position.raw(),
        )?;
        let mut piece = Vec::new();
        for device in self.registry.devices() {
            piece.clear();
            encode(&device, &mut piece)?;
            writer.push(&piece)?;
        }
        self.wait_durable()?;
        writer.finish()
    }

    /// Waits for all that was appended until now: no value outlives a crash that its message does not.
    fn wait_durable(&self) -> io::Result<()> {
        let appended = self.journal.appended();
        let until = Instant::now() + DURABLE_WAIT;
        while self.journal.durable() < appended {
            let never = self.journal.failed().is_some() || self.journal.is_stalled();
            if never || Instant::now() > until {
                return Err(io::Error::other("the journal does not go on"));
            }
            std::thread::sleep(DURABLE_PAUSE);
        }
        Ok(())
    }
}

/// Appends what a device holds to `piece`.
fn encode(device: &DeviceHandle, piece: &mut Vec<u8>) -> io::Result<()> {
    // who appends lets it go when telemetry has what was appended
    let _window = device.recent();
    for (at, record) in device.telemetry().encoded() {
        piece.extend_from_slice(&device.id.0.to_le_bytes());
        piece.extend_from_slice(&at.raw().to_le_bytes());
        let length = u32::try_from(record.len()).map_err(io::Error::other)?;
        piece.extend_from_slice(&length.to_le_bytes());
        piece.extend_from_slice(record);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Tree;
    use crate::ids::{AccountId, ChannelId, ConnectionId, Epoch, Ident, ManualClock};
    use crate::journal::{Batch, FrameMeta, FrameWriter, MemoryLedger, Options, PartMeta};
    use crate::registry::items::{AccountItem, DeviceItem};
    use crate::segment::OsFiles;
    use serde_json::json;
    use std::path::Path;

    const T0_US: i64 = 1_764_000_000_000_000;

    fn registry() -> Arc<Registry> {
        let registry = Registry::new(Arc::new(Tree::new()));
        let stamp = json!({"revision": 1, "created_us": 0, "updated_us": 0});
        let account: AccountItem = serde_json::from_value(json!({
            "id": 1, "owner_id": 0, "name": "m", "enabled": true, "stamp": stamp,
        }))
        .unwrap();
        registry.put_account(account).unwrap();
        for id in [1, 2] {
            let device: DeviceItem = serde_json::from_value(json!({
                "id": id, "cid": 1, "name": "d", "enabled": true, "protocol": 1,
                "device_type_id": 0, "ident": format!("{id}"), "stamp": stamp,
            }))
            .unwrap();
            registry.put_device(device).unwrap();
        }
        Arc::new(registry)
    }

    /// A journal that gives nothing of its newest part to telemetry: only the keeper does.
    fn open(dir: &Path, registry: &Registry) -> (Journal, Arc<dyn Clock>) {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(T0_US));
        let journal = Journal::open(
            dir,
            Options {
                segment_bytes: 16 * 1024,
                ..Options::default()
            },
            Arc::clone(registry.tree()),
            Box::new(MemoryLedger::default()),
            Arc::clone(&clock),
            Arc::new(OsFiles),
            &mut |_, _| {},
        )
        .unwrap();
        (journal, clock)
    }

    /// Parameter `id` has `value` at that time: as the driver does it.
    fn append(
        journal: &Journal,
        registry: &Registry,
        device: u64,
        at_ms: i64,
        id: u16,
        value: i64,
    ) {
        let record = record(at_ms, id, value);
        let handle = registry.device(DeviceId(device)).unwrap();
        let _window = handle.recent();
        let position = append_record(journal, device, &record);
        handle.telemetry().update(&record, position, T0_US / 1000);
    }

    fn record(at_ms: i64, id: u16, value: i64) -> Vec<u8> {
        let varint = |out: &mut Vec<u8>, mut value: u64| {
            while value >= 0x80 {
                out.push(value.to_le_bytes()[0] | 0x80);
                value >>= 7;
            }
            out.push(value.to_le_bytes()[0]);
        };
        let zigzag = |value: i64| (value << 1 ^ value >> 63).cast_unsigned();
        let mut record = vec![0];
        varint(&mut record, zigzag(at_ms));
        varint(&mut record, u64::from(id) << 2);
        record.push(2);
        varint(&mut record, zigzag(value));
        record
    }

    /// Durable when it comes back.
    fn append_record(journal: &Journal, device: u64, record: &[u8]) -> Position {
        let ident = Ident::new("1").unwrap();
        let mut batch = Batch::new();
        let mut frame = FrameWriter::begin(
            &mut batch,
            &FrameMeta {
                at_us: T0_US,
                connection: ConnectionId(1),
                channel: ChannelId(1),
                protocol: 1,
                decoder_version: 1,
                peer: "192.0.2.1:1".parse().unwrap(),
                bytes_in: 100,
            },
        );
        frame.part(&PartMeta {
            ident: &ident,
            device: DeviceId(device),
            account: AccountId(1),
            epoch: Epoch(0),
        });
        frame.record(record);
        frame.finish(1);
        let permit = journal.try_permit(batch.len()).unwrap();
        let last = journal.append(permit, &mut batch);
        while journal.durable() < last {
            std::thread::yield_now();
        }
        last
    }

    fn shown(registry: &Registry, device: u64) -> Vec<(i64, String)> {
        let handle = registry.device(DeviceId(device)).unwrap();
        let telemetry = handle.telemetry();
        telemetry
            .values()
            .map(|newest| (newest.at_ms, format!("{:?} {:?}", newest.key, newest.value)))
            .collect()
    }

    #[test]
    fn telemetry_behind_a_restart_is_what_it_was_and_only_what_came_later_is_folded() {
        let dir = tempfile::tempdir().unwrap();
        let before = {
            let registry = registry();
            let (journal, clock) = open(dir.path(), &registry);
            let keeper =
                TelemetryKeeper::start(journal.clone(), Arc::clone(&registry), clock, 10_000)
                    .unwrap();
            for step in 0..200 {
                append(&journal, &registry, 1, T0_US / 1000 + step, 1, step);
            }
            append(&journal, &registry, 2, T0_US / 1000 - 9, 7, 77);
            append(&journal, &registry, 2, T0_US / 1000 - 99, 7, 66);
            keeper.stop();
            // behind the last snapshot
            append(&journal, &registry, 1, T0_US / 1000 + 500, 2, 5);
            [1, 2].map(|device| shown(&registry, device))
        };
        assert_eq!(before[1].len(), 1, "an older value replaces none");
        assert_eq!(before[1][0].0, T0_US / 1000 - 9);

        let snapshot = dir.path().join(SNAPSHOT);
        let whole = std::fs::read(&snapshot).unwrap();
        let again = || {
            let registry = registry();
            let (journal, clock) = open(dir.path(), &registry);
            let keeper =
                TelemetryKeeper::start(journal.clone(), Arc::clone(&registry), clock, 10_000)
                    .unwrap();
            keeper.caught_up();
            let found = [1, 2].map(|device| shown(&registry, device));
            // its last snapshot is undone below
            keeper.stop();
            found
        };
        let after = again();
        assert_eq!(after[1], before[1]);
        assert_eq!(after[0].len(), 2, "{:?}", after[0]);
        assert_eq!(after[0][0].0, T0_US / 1000 + 500);

        // a damaged snapshot costs time, not values
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        std::fs::write(&snapshot, damaged).unwrap();
        assert_eq!(again(), after);
        // and none at all
        std::fs::remove_file(&snapshot).unwrap();
        assert_eq!(again(), after);
        // the position says from where the journal is folded
        std::fs::write(&snapshot, whole).unwrap();
        let reader = CheckedReader::open(&OsFiles, &snapshot, SNAPSHOT_FORM.magic)
            .unwrap()
            .unwrap();
        assert_eq!(Position::from_raw(reader.number()).sequence(), 202);
    }

    #[test]
    fn a_snapshot_waits_for_who_has_appended_and_not_yet_told_telemetry() {
        let dir = tempfile::tempdir().unwrap();
        {
            let registry = registry();
            let (journal, clock) = open(dir.path(), &registry);
            let keeper =
                TelemetryKeeper::start(journal.clone(), Arc::clone(&registry), clock, 1 << 30)
                    .unwrap();
            keeper.caught_up();
            let device = registry.device(DeviceId(1)).unwrap();
            let window = device.recent();
            let record = record(T0_US / 1000, 5, 50);
            let position = append_record(&journal, 1, &record);
            std::thread::scope(|scope| {
                let stopping = scope.spawn(|| keeper.stop());
                std::thread::sleep(Duration::from_millis(50));
                assert!(!stopping.is_finished(), "the entry is durable");
                device.telemetry().update(&record, position, T0_US / 1000);
                drop(window);
            });
        }
        let registry = registry();
        let (journal, clock) = open(dir.path(), &registry);
        let keeper =
            TelemetryKeeper::start(journal.clone(), Arc::clone(&registry), clock, 1 << 30).unwrap();
        keeper.caught_up();
        assert_eq!(shown(&registry, 1).len(), 1);
    }

    #[test]
    fn an_erased_device_is_in_no_snapshot_and_behind_no_restart() {
        let dir = tempfile::tempdir().unwrap();
        let file = || std::fs::read(dir.path().join(SNAPSHOT)).unwrap_or_default();
        {
            let registry = registry();
            let (journal, clock) = open(dir.path(), &registry);
            append(&journal, &registry, 1, T0_US / 1000, 5, 50);
            append(&journal, &registry, 2, T0_US / 1000, 5, 60);
            let start = || {
                let (journal, registry) = (journal.clone(), Arc::clone(&registry));
                let clock = Arc::clone(&clock);
                TelemetryKeeper::start(journal, registry, clock, 1 << 30).unwrap()
            };
            let keeper = start();
            keeper.caught_up();
            keeper.stop();
            let before = file().len();
            assert!(before > 0);
            let keeper = start();
            keeper.caught_up();
            journal.erase(DeviceId(1)).unwrap();
            let until = Instant::now() + Duration::from_secs(20);
            while !journal.erasing()[0].telemetry_forgotten {
                assert!(Instant::now() < until, "it is never forgotten");
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!(file().len() < before, "the snapshot is without it");
            assert_eq!(shown(&registry, 1).len(), 0);
            assert_eq!(shown(&registry, 2).len(), 1);
            keeper.stop();
        }
        let registry = registry();
        let (journal, clock) = open(dir.path(), &registry);
        let keeper =
            TelemetryKeeper::start(journal.clone(), Arc::clone(&registry), clock, 1 << 30).unwrap();
        keeper.caught_up();
        assert_eq!(shown(&registry, 1).len(), 0);
        assert_eq!(shown(&registry, 2).len(), 1);
        assert_eq!(journal.erasing().len(), 1, "its messages are still there");
    }
}
