//! Archives on real files: what is written is read, and nothing changed passes.

use super::*;
use crate::ids::{AccountId, ChannelId, ConnectionId, DeviceId};
use crate::segment::OsFiles;
use crate::segment::watched::{Call, Watched};
use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A message that a test can own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Owned {
    device: u64,
    time_ms: i64,
    sequence: u64,
    index: u32,
    at_us: i64,
    /// 0: it was not written down.
    decoder_version: u16,
    ident: String,
    record: Vec<u8>,
}

impl Owned {
    fn of(message: &Stored<'_>) -> Self {
        Self {
            device: message.device.0,
            time_ms: message.time_ms,
            sequence: message.sequence,
            index: message.index,
            at_us: message.at_us,
            decoder_version: message.origin.decoder_version,
            ident: message.origin.ident.to_owned(),
            record: message.record.to_vec(),
        }
    }

    fn stored(&self) -> Stored<'_> {
        let peer = if self.sequence.is_multiple_of(7) {
            "[2001:db8::1]:9"
        } else {
            "192.0.2.1:4242"
        };
        Stored {
            device: DeviceId(self.device),
            time_ms: self.time_ms,
            sequence: self.sequence,
            index: self.index,
            at_us: self.at_us,
            origin: Origin {
                connection: ConnectionId(1 << 60),
                channel: ChannelId(7),
                account: AccountId(3),
                protocol: 1,
                decoder_version: self.decoder_version,
                peer: peer.parse().expect("an address"),
                ident: &self.ident,
            },
            record: &self.record,
        }
    }
}

/// Messages of some devices with many and many with few, late ones and equal times among them.
fn messages() -> Vec<Owned> {
    let mut all = Vec::new();
    for sequence in 1..6000u64 {
        let device = if sequence % 3 == 0 {
            1
        } else {
            sequence % 400 * 5
        };
        let step = i64::try_from(sequence).expect("small");
        let late = if sequence % 11 == 0 { 86_400_000 } else { 0 };
        for index in 0..=u32::from(sequence % 5 == 0) {
            let length = usize::try_from(sequence % 90).expect("small");
            all.push(Owned {
                device,
                time_ms: 1_764_000_000_000 + step / 4 * 1000 - late,
                sequence,
                index,
                at_us: 1_764_000_000_000_000 + step,
                decoder_version: u16::try_from(sequence / 40 % 3).expect("small"),
                ident: format!("{device:015}"),
                record: sequence.to_le_bytes().repeat(length / 8 + 1),
            });
        }
    }
    all.sort();
    all
}

fn write(archives: &Archives, messages: &[Owned]) -> Written {
    let mut writer = archives.begin(20_000, 2).expect("a disk");
    for message in messages {
        writer.push(&message.stored()).expect("space");
    }
    writer.finish().expect("a disk").expect("something")
}

fn open(dir: &Path) -> Archives {
    Archives::open(Arc::new(OsFiles), dir, 0, false).expect("opens")
}

fn read_device(archives: &Archives, archive: &Archive, device: u64) -> Vec<Owned> {
    let device = DeviceId(device);
    let Some(row) = archives.row(archive, device).expect("readable") else {
        return Vec::new();
    };
    let file = archive.open(&OsFiles).expect("there");
    let mut found = Vec::new();
    for block in &row.blocks {
        let block = archive.block(file.as_ref(), *block).expect("whole");
        let messages = block.messages().filter(|one| one.device == device);
        found.extend(messages.map(|one| Owned::of(&one)));
    }
    assert_eq!(found.len() as u64, row.totals.messages);
    found
}

fn scan(archive: &Arc<Archive>) -> Vec<Owned> {
    let mut scan = archive.scan(&OsFiles).expect("there");
    let mut all = Vec::new();
    while let Some(block) = scan.next_block().expect("whole") {
        all.extend(block.messages().map(|one| Owned::of(&one)));
    }
    all
}

#[test]
fn what_is_written_is_read_whole_and_by_device() {
    let dir = tempfile::tempdir().expect("a folder");
    let archives = open(dir.path());
    let all = messages();
    let written = write(&archives, &all);
    assert_eq!(written.totals().messages, all.len() as u64);
    assert_eq!(written.totals().sequence, (1, 5999));
    archives
        .commit(5999, vec![written], &BTreeSet::new())
        .expect("a disk");
    // once more from what is on the disk
    for archives in [archives, open(dir.path())] {
        let view = archives.view();
        assert_eq!(view.settled, 5999);
        let [archive] = view.archives.as_slice() else {
            panic!("one archive");
        };
        assert_eq!((archive.day(), archive.class()), (20_000, 2));
        assert_eq!(scan(archive), all);
        let devices: BTreeSet<u64> = all.iter().map(|one| one.device).collect();
        for &device in devices.iter().chain(&[2, 1_000_000]) {
            let expected: Vec<_> = all.iter().filter(|one| one.device == device).collect();
            let found = read_device(&archives, archive, device);
            assert!(found.iter().eq(expected), "device {device}");
        }
        let mut bytes = 0;
        let mut rows = 0;
        archives
            .rows(archive, &mut |row| {
                rows += 1;
                bytes += row.totals.bytes;
            })
            .expect("readable");
        assert_eq!((rows, bytes), (devices.len(), archive.totals().bytes));
        assert_eq!(archive.totals().devices, rows as u64);
        let examined = examine(&OsFiles, archive.path(), Some(archive), &mut |_| {}).expect("read");
        assert_eq!(examined.damages, []);
        assert_eq!(examined.messages, all.len() as u64);
        assert!(examined.blocks > 10, "{}", examined.blocks);
    }
}

#[test]
fn an_archive_of_version_1_is_read_it_knows_no_decoders() {
    let dir = tempfile::tempdir().expect("a folder");
    let archives = open(dir.path());
    let mut all = messages();
    for message in &mut all {
        message.decoder_version = 0;
    }
    let written = write(&archives, &all);
    archives
        .commit(5999, vec![written], &BTreeSet::new())
        .expect("a disk");
    let archive = Arc::clone(&archives.view().archives[0]);
    let mut file = std::fs::read(archive.path()).expect("there");
    assert_eq!(file[6], 2);
    file[6] = 1;
    let crc = crc32fast::hash(&file[..28]);
    file[28..32].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(archive.path(), &file).expect("writable");
    assert_eq!(scan(&open(dir.path()).view().archives[0]), all);
}

#[test]
fn every_changed_byte_is_found_near_its_place_and_every_cut() {
    let dir = tempfile::tempdir().expect("a folder");
    let archives = open(dir.path());
    let all = messages();
    let written = write(&archives, &all);
    archives
        .commit(5999, vec![written], &BTreeSet::new())
        .expect("a disk");
    let archive = Arc::clone(&archives.view().archives[0]);
    let whole = std::fs::read(archive.path()).expect("there");
    for at in (0..whole.len())
        .step_by(1511)
        .chain([9, 40, whole.len() - 1])
    {
        let mut changed = whole.clone();
        changed[at] ^= 4;
        std::fs::write(archive.path(), &changed).expect("writable");
        let found = examine(&OsFiles, archive.path(), Some(&archive), &mut |_| {}).expect("read");
        let near = found.damages.iter().any(|(offset, _)| {
            let at = at as u64;
            *offset <= at && at - offset < 40_000
        });
        assert!(near, "byte {at}: {:?}", found.damages);
        if at > 100 && at < whole.len() / 2 {
            // the others are there still
            let lost = all.len() as u64 - found.messages;
            assert!(lost < 3000, "byte {at}: {lost} lost");
        }
        std::fs::write(archive.path(), &whole[..at]).expect("writable");
        let cut = examine(&OsFiles, archive.path(), Some(&archive), &mut |_| {}).expect("read");
        assert!(!cut.damages.is_empty(), "cut at {at}");
    }
}

#[test]
fn what_the_list_does_not_name_goes_with_the_next_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let archives = open(dir.path());
    let all = messages();
    let first = write(&archives, &all[..100]);
    archives
        .commit(10, vec![first], &BTreeSet::new())
        .expect("a disk");
    // written, and never named: as a crash before the list leaves it
    drop(write(&archives, &all[100..200]));
    drop(archives.begin(20_000, 1).expect("a disk"));
    let count = || std::fs::read_dir(dir.path()).expect("there").count();
    assert_eq!(count(), 3, "one that is given up takes its file with it");
    std::fs::write(dir.path().join("020000-1-9.archive.tmp"), "cut off").expect("writable");
    drop(archives);
    let archives = open(dir.path());
    assert_eq!(count(), 2, "the archive and the list");
    let second = write(&archives, &all[100..300]);
    let number = archives.view().archives[0].number();
    archives
        .commit(20, vec![second], &BTreeSet::from([number]))
        .expect("a disk");
    assert_eq!(count(), 2, "the one that was replaced is gone");
    let path = archives.view().archives[0].path().to_owned();
    drop(archives);
    std::fs::remove_file(&path).expect("there");
    let refused = Archives::open(Arc::new(OsFiles), dir.path(), 0, false);
    assert!(matches!(refused, Err(ListError::Missing(gone)) if gone == path));
    let archives = Archives::open(Arc::new(OsFiles), dir.path(), 0, true).expect("given up");
    assert!(archives.view().archives.is_empty());

    // without the list every archive would be one that nobody knows
    let kept = write(&archives, &all[..100]);
    archives
        .commit(20, vec![kept], &BTreeSet::new())
        .expect("a disk");
    drop(archives);
    std::fs::remove_file(dir.path().join(LIST)).expect("there");
    let refused = Archives::open(Arc::new(OsFiles), dir.path(), 0, false);
    assert!(matches!(refused, Err(ListError::Missing(gone)) if gone.ends_with(LIST)));
    assert_eq!(count(), 1);
}

#[test]
fn an_archive_stays_while_a_list_that_could_not_be_synced_may_name_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let fails = Arc::new(AtomicUsize::new(0));
    let files = Watched::by({
        let fails = Arc::clone(&fails);
        move |call| match call {
            Call::SyncDir(_) => {
                let one_less = |left: usize| left.checked_sub(1);
                match fails.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
                    Ok(_) => Err(io::Error::other("on purpose")),
                    Err(_) => Ok(()),
                }
            }
            _ => Ok(()),
        }
    });
    let archives = Archives::open(Arc::new(files), dir.path(), 0, false).expect("opens");
    let written = write(&archives, &messages());
    fails.store(2, Ordering::Relaxed);
    let path = written.archive.path().to_owned();
    let refused = archives.commit(5999, vec![written], &BTreeSet::new());
    assert!(refused.is_err());
    let on_disk = || {
        listed(&OsFiles, dir.path())
            .expect("whole")
            .0
            .archives
            .len()
    };
    assert_eq!((archives.view().archives.len(), on_disk()), (0, 1));
    // of the two lists a power cut may leave either
    assert!(archives.sweep().is_err());
    assert!(path.exists());
    // the one that does not name it is there for certain: now it may go
    archives.sweep().expect("a disk");
    assert_eq!((path.exists(), on_disk()), (false, 0));
    assert_eq!(open(dir.path()).view().archives.len(), 0);
}

#[test]
fn days_and_classes_are_those_of_the_design() {
    assert_eq!(class_of(0), 0);
    assert_eq!(class_of(86_400), 0);
    assert_eq!(class_of(86_401), 1);
    assert_eq!(class_of(31_536_000), 4);
    assert_eq!(class_of(u32::MAX), 5);
    assert_eq!(day_of(-1), -1);
    assert_eq!(day_of(DAY_S * 1_000_000), 1);
}
