//! A file system that says EIO, "no space" or "read-only" at any call, now and then takes its time, and
//! is then cut off: nothing acked is lost, nothing is acked behind the first error of a segment in use, and
//! counters are what the recount says.

use crate::cuts::{
    Run, Seed, check, check_aged, cut_from, encode, lifetimes, load, number_from, open, start_with,
};
use crate::disk::{Errno, Fault, Recorder};
use crate::image::Dice;
use crate::kills::kill;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tollgate::ids::Position;
use tollgate::journal::Batch;

/// So many of the first calls of a run may be the one that fails.
const CALLS: usize = 400;
/// So many of the first calls of its ledger, when only those are counted.
const LEDGER_CALLS: usize = 40;
/// How long an answer is waited for: a journal without space gives none.
const PATIENCE: Duration = Duration::from_millis(40);
/// How long what heals may take.
const HEALS: Duration = Duration::from_secs(10);

/// What was acked while calls failed.
struct Told {
    acks: Vec<(usize, Position)>,
    /// The first answer was that there will be none any more.
    failed: bool,
}

/// Appends batches until one is not answered, whatever the disk does meanwhile.
fn load_on(run: &Run, batches: usize, next: &mut i64, dice: &mut Dice) -> Told {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut watermark = run.journal.subscribe();
    let mut acks = Vec::new();
    for _ in 0..batches {
        let mut batch = Batch::new();
        encode(&mut batch, next, dice);
        let now = runtime.block_on(async {
            let permit = run.journal.permit(batch.len());
            let permit = tokio::time::timeout(PATIENCE, permit).await.ok()?;
            let last = permit.map(|permit| run.journal.append(permit, &mut batch))?;
            let reached = watermark.wait_for(|now| now.durable >= last || now.failed);
            let now = *tokio::time::timeout(PATIENCE, reached)
                .await
                .ok()?
                .expect("the journal lives");
            Some((now, last))
        });
        match now {
            Some((now, last)) if now.durable >= last => {
                acks.push((run.disk.now(), last));
                run.journal.telemetry_kept(last);
            }
            _ => break,
        }
    }
    let failed = run.journal.failed().is_some();
    Told { acks, failed }
}

/// Behind the first failure nothing becomes durable, however well the disk behaves again.
fn assert_final(run: &Run, next: &mut i64, dice: &mut Dice) {
    let before = run.journal.durable();
    assert!(run.journal.try_permit(1).is_none(), "room behind a failure");
    let told = load_on(run, 1, next, dice);
    assert!(told.acks.is_empty(), "acked behind a failure");
    assert_eq!(run.journal.durable(), before);
}

/// Of a journal that has not failed: it goes on by itself once the disk behaves.
fn assert_heals(run: &Run) {
    let end = Instant::now() + HEALS;
    while run.journal.durable() < run.journal.appended() || run.journal.is_stalled() {
        assert!(Instant::now() < end, "it does not heal");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn errors_at_any_call_lose_nothing_and_end_acking() {
    let runs = number_from("TOLLGATE_POWERCUT_RUNS", 150);
    let first = number_from("TOLLGATE_POWERCUT_SEED", 1);
    let (mut failed, mut healed, mut refused) = (0, 0, 0);
    for seed in first..first + runs {
        let mut dice = Dice(seed ^ 0xfa17);
        let mut said = Seed(seed, "first load".to_owned());
        let mut next = 0;
        // in every third run segments go as soon as they may
        let aging = dice.below(3) == 0;
        let check = if aging { check_aged } else { check };
        let run = start_with(&BTreeMap::new(), &[], aging);
        let acks = load(&run, 8, &mut next, &mut dice);
        run.journal.shutdown();
        let (image, checkpoints, acked, what) =
            cut_from(&run.disk, run.opened, &acks, Position::ZERO, &mut dice);
        said.1 = what;

        let disk = Recorder::with(&image);
        let laid = disk.now();
        let only_ledger = dice.below(4) == 0;
        let fault = Fault {
            errno: [Errno::Eio, Errno::Enospc, Errno::Erofs][dice.below(3)],
            at: dice.below(if only_ledger { LEDGER_CALLS } else { CALLS }),
            calls: [1, 3, 20, usize::MAX][dice.below(4)],
            torn: dice.next().to_le_bytes()[0],
            only_ledger,
        };
        let delays = dice.coin().then(|| dice.clone());
        disk.misbehave(Some(fault), delays);
        said.1 = format!("{}, then {fault:?}", said.1);
        let mut acks = Vec::new();
        match open(disk.clone(), &checkpoints, lifetimes(aging)) {
            Err(error) => {
                refused += 1;
                let text = error.to_string();
                assert!(
                    text.contains('/') || text.contains("ledger"),
                    "it does not say where: {text}"
                );
            }
            Ok(run) => {
                // what an open journal shows is as good as acked
                acks.push((run.opened, run.journal.durable()));
                let mut from = run.journal.durable().sequence();
                next = run.messages();
                let told = load_on(&run, 20, &mut next, &mut dice);
                for (_, position) in &told.acks {
                    assert!(position.sequence() > from, "acked twice");
                    from = position.sequence();
                }
                acks.extend(told.acks);
                run.disk.misbehave(None, None);
                if told.failed || run.journal.failed().is_some() {
                    failed += 1;
                    assert_final(&run, &mut next, &mut dice);
                } else {
                    healed += 1;
                    assert_heals(&run);
                }
                let audit = run.journal.audit().expect("the disk behaves again");
                assert_eq!(audit.differences, []);
                run.journal.shutdown();
            }
        }
        disk.misbehave(None, None);
        let (mut disk, mut laid, mut acked) = (disk, laid, acked);
        // every second time another process goes on with what the page cache shows, before the power goes
        if dice.coin() {
            let (again, now, what) = kill(&disk, laid, &acks, acked, lifetimes(aging), &mut dice);
            said.1 = format!("{}, then {what}", said.1);
            let mut next = check(&again, now);
            acks = vec![(again.opened, again.journal.durable())];
            acks.extend(load(&again, 2, &mut next, &mut dice));
            again.journal.shutdown();
            (disk, laid, acked) = (again.disk.clone(), again.laid, now);
        }
        let (image, checkpoints, acked, what) = cut_from(&disk, laid, &acks, acked, &mut dice);
        said.1 = format!("{}, then {what}", said.1);
        let again = start_with(&image, &checkpoints, aging);
        let mut next = check(&again, acked);
        load(&again, 2, &mut next, &mut dice);
        check(&again, again.journal.durable());
    }
    if runs >= 100 {
        let seen = [failed, healed, refused];
        assert!(
            seen.iter().all(|count| *count > 0),
            "not all kinds: {seen:?}"
        );
    }
}
