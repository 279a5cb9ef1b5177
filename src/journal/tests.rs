//! The journal as its users see it.

use super::*;
use crate::ids::{ChannelId, ConnectionId, DeviceId, Epoch, Ident, ManualClock, minute_of};
use crate::segment::OsFiles;
use protocols::record;

pub(super) const T0_US: i64 = 1_764_000_000_000_000;

pub(super) fn record_at(timestamp_ms: i64, tail: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    record::write_varint(&mut out, record::zigzag(timestamp_ms));
    out.extend_from_slice(tail);
    out
}

/// master 1 <- 2 <- 3, and 1 <- 4
pub(super) fn tree() -> Arc<Tree> {
    let tree = Tree::new();
    for (id, parent) in [(1, 0), (2, 1), (3, 2), (4, 1)] {
        tree.insert(AccountId(id), AccountId(parent))
            .expect("a small tree");
    }
    Arc::new(tree)
}

pub(super) fn quick() -> Options {
    Options {
        segment_bytes: 16 * 1024,
        checkpoint: Duration::from_millis(5),
        statistics_flush: Duration::from_millis(5),
        retry: Duration::from_millis(5),
        ..Options::default()
    }
}

pub(super) struct Opened {
    pub(super) journal: Journal,
    pub(super) tree: Arc<Tree>,
    pub(super) replayed: Vec<Position>,
}

pub(super) fn open_with(
    dir: &Path,
    options: Options,
    ledger: &MemoryLedger,
    files: Arc<dyn Files>,
) -> Result<Opened, OpenError> {
    let tree = tree();
    let mut replayed = Vec::new();
    let journal = Journal::open(
        dir,
        options,
        Arc::clone(&tree),
        Box::new(ledger.clone()),
        Arc::new(ManualClock::new(T0_US)),
        files,
        &mut |position, _| replayed.push(position),
    )?;
    Ok(Opened {
        journal,
        tree,
        replayed,
    })
}

pub(super) fn open(dir: &Path, ledger: &MemoryLedger) -> Opened {
    open_with(dir, quick(), ledger, Arc::new(OsFiles)).expect("opens")
}

pub(super) fn frame(batch: &mut Batch, at_us: i64, parts: &[(u64, u64, &[i64])], bytes_in: u32) {
    let meta = FrameMeta {
        at_us,
        connection: ConnectionId(5),
        channel: ChannelId(7),
        protocol: 1,
        decoder_version: 1,
        peer: "192.0.2.1:4242".parse().expect("an address"),
        bytes_in,
    };
    let mut writer = FrameWriter::begin(batch, &meta);
    for (device, account, times_ms) in parts {
        let ident = Ident::new(&format!("ident{device}")).expect("an ident");
        writer.part(&PartMeta {
            ident: &ident,
            device: DeviceId(*device),
            account: AccountId(*account),
            epoch: Epoch(1),
        });
        for &time_ms in *times_ms {
            writer.record(&record_at(time_ms, &[]));
        }
    }
    writer.finish(4);
}

pub(super) fn append(journal: &Journal, batch: &mut Batch) -> Position {
    let permit = journal.try_permit(batch.len()).expect("room");
    journal.append(permit, batch)
}

pub(super) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
        .block_on(future)
}

pub(super) fn wait_for(journal: &Journal, position: Position) -> Watermark {
    let reached = block_on(journal.reached(position));
    let now = *journal.subscribe().borrow();
    assert_eq!(reached, now.durable >= position);
    now
}

pub(super) fn totals(tree: &Tree, id: u64) -> Totals {
    tree.account(AccountId(id)).expect("inserted").posted()
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart_with_its_charge() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let before = {
        let opened = open(dir.path(), &ledger);
        let mut last = Position::ZERO;
        for step in 0..300 {
            let mut batch = Batch::new();
            let at = T0_US + step * 1000;
            frame(&mut batch, at, &[(1, 3, &[at / 1000, at / 1000 + 1])], 100);
            frame(
                &mut batch,
                at + 1,
                &[(1, 3, &[at / 1000]), (2, 4, &[at / 1000])],
                31,
            );
            last = append(&opened.journal, &mut batch);
            assert!(batch.is_empty());
            if step % 20 == 0 {
                wait_for(&opened.journal, last);
            }
        }
        assert_eq!(last.sequence(), 600);
        assert_eq!(wait_for(&opened.journal, last).durable, last);
        assert!(opened.journal.stats().segments() > 2);
        [1, 2, 3, 4].map(|id| totals(&opened.tree, id))
    };
    assert_eq!(before[0].messages, 300 * 4);
    assert_eq!(
        before[0].bytes_in,
        300 * 131,
        "the master pays each byte once"
    );
    assert_eq!(before[0].frames, 600);
    assert_eq!(before[0], before[1] + before[3], "a parent is its children");
    assert_eq!(before[1], before[2]);

    let again = open(dir.path(), &ledger);
    assert_eq!([1, 2, 3, 4].map(|id| totals(&again.tree, id)), before);
    assert_eq!(again.journal.durable().sequence(), 600);
    assert_eq!(again.replayed.len(), 600);
    drop(again);

    let afresh = open(dir.path(), &MemoryLedger::default());
    assert_eq!(
        [1, 2, 3, 4].map(|id| totals(&afresh.tree, id)),
        before,
        "the journal alone gives the same numbers"
    );
}

pub(super) fn times(messages: impl Iterator<Item = io::Result<StoredMessage>>) -> Vec<i64> {
    messages
        .map(|message| message.expect("readable").timestamp_ms())
        .collect()
}

/// One entry of each kind that costs something.
pub(super) fn one_of_each(batch: &mut Batch, at_us: i64) {
    frame(
        batch,
        at_us,
        &[(1, 3, &[1, 2]), (2, 4, &[3]), (3, 2, &[])],
        101,
    );
    let ident = Ident::new("i").expect("an ident");
    let deltas = Totals {
        usage_bytes: 300,
        api_calls: 1,
        connections: 1 << 40,
        ..Totals::default()
    };
    let peer = "[2001:db8::1]:9".parse().expect("an address");
    let closed = ConnectionWas::Closed {
        code: -5,
        messages: 1,
        received: 2,
        sent: 3,
        duration_us: 4,
    };
    for note in [
        Note::Usage {
            at_us,
            account: AccountId(3),
            deltas: &deltas,
        },
        Note::Connection {
            at_us,
            connection: ConnectionId(1),
            channel: ChannelId(7),
            peer,
            ident: Some(&ident),
            device: DeviceId(1),
            account: AccountId(2),
            was: ConnectionWas::Opened,
        },
        Note::Connection {
            at_us,
            connection: ConnectionId(1),
            channel: ChannelId(7),
            peer,
            ident: None,
            device: DeviceId::NONE,
            account: AccountId::NONE,
            was: closed,
        },
        Note::Part {
            at_us,
            connection: ConnectionId(1),
            channel: ChannelId(7),
            ident: &ident,
            device: DeviceId(1),
            account: AccountId(3),
            bytes: b"fragment",
            bytes_in: 9,
        },
        Note::Dropped {
            at_us,
            channel: ChannelId(7),
            ident: &ident,
            device: DeviceId(1),
            account: AccountId(4),
            bytes_in: 11,
            bytes_out: 2,
            messages: 3,
            dimension: 1,
            level: 2,
        },
        Note::Blocked {
            at_us,
            account: AccountId(4),
            dimension: 1,
            until_us: at_us + 60_000_000,
        },
        Note::Cut {
            at_us,
            device: DeviceId(1),
            from: AccountId(3),
            to: AccountId::NONE,
            epoch: Epoch(2),
        },
    ] {
        note.write(batch);
    }
}

#[test]
fn the_recount_agrees_to_the_byte_and_finds_one_byte_that_is_off() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let opened = open(dir.path(), &ledger);
    let mut last = Position::ZERO;
    for step in 0..200 {
        let mut batch = Batch::new();
        one_of_each(&mut batch, T0_US + step * 7_000_000);
        last = append(&opened.journal, &mut batch);
        if step % 20 == 0 {
            wait_for(&opened.journal, last);
        }
    }
    wait_for(&opened.journal, last);
    let audit = opened.journal.audit().expect("readable");
    assert_eq!(audit.differences, []);
    assert_eq!(audit.entries, last.sequence());
    assert_eq!(audit.accounts[&AccountId(1)].bytes_in, 200 * (101 + 9));
    assert_eq!(audit.accounts[&AccountId(1)].dropped_bytes, 200 * 13);

    let account = opened.tree.account(AccountId(3)).expect("inserted");
    account.post(&Totals {
        bytes_in: 1,
        ..Totals::default()
    });
    let audit = opened.journal.audit().expect("readable");
    assert_eq!(audit.differences.len(), 1);
    assert_eq!(audit.differences[0].account, AccountId(3));
    assert_eq!(audit.differences[0].field, "bytes_in");
}

#[test]
fn statistics_are_the_same_before_and_behind_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let read = |journal: &Journal, period| {
        journal
            .statistics(AccountId(2), period, 0, i64::MAX)
            .expect("readable")
    };
    let before = {
        let opened = open(dir.path(), &ledger);
        let mut last = Position::ZERO;
        for step in 0..300 {
            let mut batch = Batch::new();
            frame(&mut batch, T0_US + step * 20_000_000, &[(1, 3, &[1])], 10);
            last = append(&opened.journal, &mut batch);
            if step % 10 == 0 {
                wait_for(&opened.journal, last);
            }
        }
        wait_for(&opened.journal, last);
        Period::ALL.map(|period| read(&opened.journal, period))
    };
    let again = open(dir.path(), &ledger);
    assert_eq!(
        Period::ALL.map(|period| read(&again.journal, period)),
        before
    );
    let [minutes, hours, _, months] = &before;
    assert_eq!(minutes.len(), 100);
    assert!(minutes.iter().all(|(_, totals)| totals.messages == 3));
    assert!((2..4).contains(&hours.len()));
    let sum: u64 = months.iter().map(|(_, totals)| totals.bytes_in).sum();
    assert_eq!(sum, 3000);
}

#[test]
fn a_start_counts_again_what_the_running_minute_had_admitted() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let opened = open(dir.path(), &ledger);
    let mut batch = Batch::new();
    frame(&mut batch, T0_US - 60_000_000, &[(1, 3, &[1])], 1000);
    frame(&mut batch, T0_US, &[(1, 3, &[1, 2])], 100);
    let last = append(&opened.journal, &mut batch);
    wait_for(&opened.journal, last);
    drop(opened);
    let again = open(dir.path(), &ledger);
    let master = again.tree.account(AccountId(1)).expect("inserted");
    let minute = minute_of(T0_US);
    assert_eq!(master.admitted(Dimension::ChannelTraffic, minute), 104);
    assert_eq!(master.admitted(Dimension::ChannelMessages, minute), 2);
}

pub(super) fn one_message(journal: &Journal, step: i64) -> Position {
    let mut batch = Batch::new();
    frame(&mut batch, T0_US + step, &[(1, 3, &[step])], 10);
    append(journal, &mut batch)
}

#[test]
fn the_queue_is_bounded_and_shutdown_drains_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let opened = open(dir.path(), &ledger);
    let journal = opened.journal.clone();
    let all = journal
        .try_permit(QUEUE_BYTES_MAX * 2)
        .expect("the whole queue");
    assert_eq!(all.bytes(), QUEUE_BYTES_MAX);
    assert!(journal.try_permit(1).is_none());
    drop(all);
    let mut last = Position::ZERO;
    for step in 0..500 {
        last = one_message(&journal, step);
    }
    let late = journal.try_permit(1000).expect("room");
    journal.shutdown();
    assert_eq!(journal.durable(), last);
    let mut batch = Batch::new();
    frame(&mut batch, T0_US, &[(1, 3, &[1])], 10);
    let never = journal.append(late, &mut batch);
    assert!(!block_on(journal.reached(never)), "nobody waits for ever");
    assert_eq!(journal.durable(), last);
    assert_eq!(journal.checkpointed(), last);
    assert!(journal.try_permit(1).is_none());
    assert!(block_on(journal.permit(1)).is_none());
}

#[test]
fn a_journal_that_ends_before_its_ledger_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let opened = open(dir.path(), &ledger);
    let last = one_message(&opened.journal, 0);
    wait_for(&opened.journal, last);
    drop(opened);
    let other = tempfile::tempdir().expect("a folder");
    let refused = open_with(other.path(), quick(), &ledger, Arc::new(OsFiles))
        .err()
        .expect("entries are missing");
    assert!(matches!(refused, OpenError::Behind { .. }));
    assert!(refused.to_string().contains("journal files are missing"));
}

#[test]
fn a_block_survives_a_restart_until_it_ends() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let opened = open(dir.path(), &ledger);
    let mut batch = Batch::new();
    for (account, until_us) in [(2, T0_US + 60_000_000), (4, T0_US + 60_000_000), (4, 0)] {
        Note::Blocked {
            at_us: T0_US,
            account: AccountId(account),
            dimension: Dimension::ChannelTraffic.number(),
            until_us,
        }
        .write(&mut batch);
    }
    let last = append(&opened.journal, &mut batch);
    wait_for(&opened.journal, last);
    drop(opened);
    let again = open(dir.path(), &ledger);
    let blocked = |id| {
        let account = again.tree.account(AccountId(id)).expect("inserted");
        account.blocked(T0_US).map(|blocked| blocked.until_us)
    };
    assert_eq!(blocked(2), Some(T0_US + 60_000_000));
    assert_eq!(blocked(4), None);
}

#[test]
fn a_month_begins_on_its_first_day() {
    // 2026-02-28T23:59:59Z and one second later
    assert_eq!(Period::Month.start_s(1_772_323_199), 1_769_904_000);
    assert_eq!(Period::Month.start_s(1_772_323_200), 1_772_323_200);
    assert_eq!(Period::Day.start_s(1_772_323_199), 1_772_236_800);
    assert_eq!(Period::Hour.start_s(-1), -3600);
}

#[test]
fn many_writers_get_places_of_their_own_and_none_is_lost() {
    const WRITERS: i64 = 8;
    const EACH: i64 = 150;
    let dir = tempfile::tempdir().expect("a folder");
    let opened = open(dir.path(), &MemoryLedger::default());
    let positions = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let journal = opened.journal.clone();
                scope.spawn(move || {
                    let mut positions = Vec::new();
                    for step in 0..EACH {
                        let mut batch = Batch::new();
                        let time = writer * EACH + step;
                        frame(&mut batch, T0_US + time, &[(1, 3, &[time])], 10);
                        let last = block_on(journal.commit(&mut batch)).expect("durable");
                        assert!(journal.durable() >= last && journal.appended() >= last);
                        positions.push((time, last));
                    }
                    positions
                })
            })
            .collect();
        let mut all = Vec::new();
        for writer in writers {
            all.extend(writer.join().expect("no assertion failed in it"));
        }
        all
    });
    let read: Vec<_> = opened
        .journal
        .read_device(DeviceId(1), Range::default())
        .map(|message| message.map(|message| (message.timestamp_ms(), message.position)))
        .collect::<io::Result<_>>()
        .expect("readable");
    assert_eq!(read, positions, "each at the place its writer was told");
    assert_eq!(
        totals(&opened.tree, 1).frames,
        (WRITERS * EACH).cast_unsigned()
    );
    let commits = opened.journal.stats().commit_us.count();
    assert!(commits <= (WRITERS * EACH).cast_unsigned());
    assert_eq!(
        opened.journal.stats().entries(),
        (WRITERS * EACH).cast_unsigned()
    );
}

#[test]
fn what_the_writer_was_not_told_of_waits_until_it_is_told_and_goes_as_one_group() {
    let dir = tempfile::tempdir().expect("a folder");
    let ledger = MemoryLedger::default();
    let Opened { journal, .. } = open(dir.path(), &ledger);
    let untold = |at_us| {
        let mut batch = Batch::new();
        frame(&mut batch, at_us, &[(1, 3, &[1])], 100);
        let permit = journal.try_permit(batch.len()).expect("room");
        journal.append_untold(permit, &mut batch)
    };
    for step in 0..9 {
        untold(T0_US + step);
    }
    let last = untold(T0_US + 9);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(journal.stats().group_entries.count(), 0);
    journal.tell();
    wait_for(&journal, last);
    assert_eq!(journal.stats().group_entries.count(), 1);

    // whoever tells tells of all
    let first = untold(T0_US + 10);
    one_message(&journal, 11);
    wait_for(&journal, first);
    assert_eq!(journal.stats().group_entries.count(), 2);

    // so much does not wait for it
    let mut last = untold(T0_US + 20);
    let early = last;
    for step in 0..5000 {
        last = untold(T0_US + 21 + step);
    }
    wait_for(&journal, early);

    // and none is forgotten at the end
    journal.shutdown();
    assert_eq!(journal.durable(), last);
}

#[test]
fn who_waits_for_room_gets_it_when_the_queue_has_some() {
    let dir = tempfile::tempdir().expect("a folder");
    let opened = open(dir.path(), &MemoryLedger::default());
    let journal = &opened.journal;
    let all = journal
        .try_permit(QUEUE_BYTES_MAX)
        .expect("the whole queue");
    block_on(async {
        let short = Duration::from_millis(5);
        let waiting = tokio::time::timeout(short, journal.permit(100)).await;
        assert!(waiting.is_err(), "there is no room yet");
        let mut batch = Batch::new();
        frame(&mut batch, T0_US, &[(1, 3, &[1])], 10);
        let last = journal.append(all, &mut batch);
        let permit = journal.permit(100).await.expect("room behind the commit");
        assert!(journal.durable() >= last);
        assert_eq!(permit.bytes(), 100);
    });
    assert_eq!(journal.queue_bytes(), 0, "what is not used is given back");
}
