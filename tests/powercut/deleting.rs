//! Cuts while messages are deleted and others are on their way: the deletion is there as it was answered,
//! or not at all, and no message that comes behind it is ever taken for one that was there before.

use crate::cuts::{Run, Seed, cut_from, encode, load, number_from, start_kept};
use crate::image::Dice;
use crate::settling::{Devices, turn};
use std::collections::BTreeMap;
use std::sync::Arc;
use tollgate::ids::{AccountId, DeviceId};
use tollgate::journal::{Batch, Range};

fn messages(run: &Run) -> i64 {
    let master = run.tree.account(AccountId(3));
    master.expect("it").posted().messages.cast_signed()
}

/// What is read is all from a number on, up to the newest: the number.
fn first_read(run: &Run) -> i64 {
    let read = run.journal.read_device(DeviceId(1), Range::default());
    let times = read.map(|message| message.expect("readable").timestamp_ms());
    let times: Vec<i64> = times.collect();
    let next = messages(run);
    let first = next - i64::try_from(times.len()).expect("few");
    assert!(times.into_iter().eq(first..next), "missing, twice or half");
    let audit = run.journal.audit().expect("readable");
    assert_eq!(audit.differences, []);
    first
}

#[test]
fn a_power_cut_in_a_deletion_takes_no_message_that_comes_behind_it() {
    let runs = number_from("TOLLGATE_POWERCUT_RUNS", 10);
    let first = number_from("TOLLGATE_POWERCUT_SEED", 1);
    let mut undone = 0;
    for seed in first..first + runs {
        let mut dice = Dice(seed ^ 0xde1e7e);
        let mut said = Seed(seed, "first load".to_owned());
        let start =
            |image: &_, checkpoints: &_| start_kept(image, checkpoints, Some(Arc::new(Devices)));
        let run = start(&BTreeMap::new(), &[][..]);
        let mut next = 0;
        let mut acks = load(&run, 6, &mut next, &mut dice);
        let loaded = acks.last().expect("some").1;
        let from = run.disk.now();
        // a disk that takes its time: these are on their way when it is asked for
        run.disk.misbehave(None, Some(dice.clone()));
        for _ in 0..3 {
            let mut batch = Batch::new();
            encode(&mut batch, &mut next, &mut dice);
            let permit = run.journal.try_permit(batch.len()).expect("room");
            run.journal.append(permit, &mut batch);
        }
        let up_to = run
            .journal
            .delete_messages(DeviceId(1), i64::MIN, i64::MAX)
            .expect("a disk");
        assert!(up_to >= loaded.sequence());
        // acked behind the answer: where these are there the deletion is
        let behind = load(&run, 2, &mut next, &mut dice);
        let told = behind.first().expect("some").1;
        acks.extend(behind);
        run.disk.misbehave(None, None);
        turn(&run);
        // as many as were in the entries that it names
        let deleted = first_read(&run);
        run.journal.shutdown();
        for _ in 0..12 {
            let (image, checkpoints, acked, what) =
                cut_from(&run.disk, from, &acks, loaded, &mut dice);
            said.1 = what;
            let again = start(&image, checkpoints.as_slice());
            assert!(again.journal.durable() >= acked, "acked and lost");
            let mut next = messages(&again);
            let here = first_read(&again);
            undone += u64::from(here == 0);
            assert!(here == 0 || here == deleted, "{here} of {deleted}");
            assert!(here == deleted || acked < told, "it is undone");
            // what comes now is read, whatever its numbers
            let acks = load(&again, 3, &mut next, &mut dice);
            assert_eq!(first_read(&again), here, "a later message is gone");
            turn(&again);
            assert_eq!(first_read(&again), here, "a later message is gone");
            again.journal.shutdown();
            let (image, checkpoints, acked, what) =
                cut_from(&again.disk, again.opened, &acks, acked, &mut dice);
            said.1 = format!("{}, then {what}", said.1);
            let last = start(&image, checkpoints.as_slice());
            assert!(last.journal.durable() >= acked, "acked and lost");
            assert_eq!(first_read(&last), here);
        }
    }
    assert!(undone > 0, "no cut was before it: nothing was tried");
}
