//! Opening, cutting and refusing, on real files.

use super::format::{ENTRY_HEAD_BYTES, FOOTER_BYTES, HEADER_BYTES, written};
use super::*;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const OPTIONS: Options = Options {
    segment_bytes: 4096,
    node: 3,
};
const CONTENT_BYTES: usize = 78;

fn open(dir: &Path) -> Result<(SegmentLog, Opened), OpenError> {
    SegmentLog::open(Arc::new(OsFiles), dir, OPTIONS)
}

fn batch(count: u8) -> Batch {
    let mut batch = Batch::new();
    for nth in 0..count {
        batch.push(1, 1, |out| out.extend_from_slice(&[nth; CONTENT_BYTES]));
    }
    batch
}

fn entries(log: &SegmentLog) -> io::Result<Vec<u64>> {
    let mut sequences = Vec::new();
    for segment in log.catalog().segments().iter() {
        let mut entries = segment.entries(&OsFiles, 0)?;
        while let Some((_, entry)) = entries.next()? {
            assert_eq!(entry.content.len(), CONTENT_BYTES);
            sequences.push(entry.sequence);
        }
    }
    Ok(sequences)
}

/// Two batches, of two entries and of three, in one unsealed segment.
fn two_batches(dir: &Path) -> PathBuf {
    let (mut log, _) = open(dir).expect("opens");
    log.append(&mut batch(2)).expect("there is space");
    let place = log.append(&mut batch(3)).expect("there is space");
    place.segment.path().to_owned()
}

const ENTRY_BYTES: usize = ENTRY_HEAD_BYTES + CONTENT_BYTES;

fn change(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).expect("there");
    bytes[at] ^= 0x10;
    std::fs::write(path, bytes).expect("writable");
}

#[test]
fn entries_go_on_over_segments_and_restarts() {
    let dir = tempfile::tempdir().expect("a folder");
    for round in 0..5u64 {
        let (mut log, opened) = open(dir.path()).expect("opens");
        assert_eq!(opened.cut_bytes, 0);
        assert_eq!(log.next(), round * 100 + 1);
        for _ in 0..20 {
            log.append(&mut batch(5)).expect("there is space");
            log.keep_spare().expect("there is space");
        }
        let all: Vec<_> = (1..=(round + 1) * 100).collect();
        assert_eq!(entries(&log).expect("whole"), all);
    }
    let (log, _) = open(dir.path()).expect("opens");
    let segments = log.catalog().segments();
    assert!(segments.len() > 10);
    for (index, segment) in segments.iter().enumerate() {
        let last = index == segments.len() - 1;
        assert_eq!(segment.is_sealed(), !last);
        assert_eq!(segment.header().node, OPTIONS.node);
        if !last {
            let length = std::fs::metadata(segment.path()).expect("there").len();
            assert_eq!(
                length,
                segment.end() + FOOTER_BYTES as u64,
                "cut when sealed"
            );
        }
    }
}

#[test]
fn a_batch_larger_than_a_segment_gets_one_of_its_own() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut log, _) = open(dir.path()).expect("opens");
    log.append(&mut batch(200)).expect("there is space");
    log.append(&mut batch(1)).expect("there is space");
    log.append(&mut batch(250)).expect("there is space");
    drop(log);
    let (log, _) = open(dir.path()).expect("opens");
    assert_eq!(entries(&log).expect("whole").len(), 451);
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let (log, _) = open(dir.path()).expect("opens");
    let refused = open(dir.path()).err().expect("locked");
    assert!(matches!(refused, OpenError::Locked(_)));
    assert!(refused.to_string().contains("in use by another process"));
    drop(log);
    open(dir.path()).expect("the lock goes with its holder");
}

#[test]
fn a_torn_tail_is_cut_at_every_byte_and_said() {
    for torn in 1..ENTRY_BYTES {
        let dir = tempfile::tempdir().expect("a folder");
        let path = two_batches(dir.path());
        let whole = HEADER_BYTES + 4 * ENTRY_BYTES;
        let mut bytes = std::fs::read(&path).expect("there");
        bytes[whole + torn..].fill(0);
        std::fs::write(&path, bytes).expect("writable");
        let (mut log, opened) = open(dir.path()).expect("a torn tail is no corruption");
        assert_eq!(log.next(), 5);
        assert_eq!(opened.cut_at, whole as u64);
        assert!(opened.cut_bytes > 0 && opened.cut_bytes <= torn as u64);
        log.append(&mut batch(1)).expect("there is space");
        assert_eq!(entries(&log).expect("whole"), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_bad_entry_before_a_later_batch_is_corruption_with_its_place() {
    for entry in 0..2 {
        for byte in 0..ENTRY_BYTES {
            let dir = tempfile::tempdir().expect("a folder");
            let path = two_batches(dir.path());
            let at = HEADER_BYTES + entry * ENTRY_BYTES;
            change(&path, at + byte);
            match open(dir.path()) {
                Err(OpenError::Corrupt {
                    path: file, offset, ..
                }) => {
                    assert_eq!(file, path);
                    assert_eq!(offset, at as u64);
                }
                Err(other) => panic!("byte {byte}: {other}"),
                Ok(_) => panic!("byte {byte} of entry {entry} was not noticed"),
            }
        }
    }
}

#[test]
fn a_later_batch_whose_content_ends_in_zeros_is_seen() {
    let dir = tempfile::tempdir().expect("a folder");
    let (mut log, _) = open(dir.path()).expect("opens");
    log.append(&mut batch(2)).expect("there is space");
    // an entry of zeros, and behind it nothing but what was never written
    let path = log.append(&mut batch(1)).expect("there is space").segment;
    let path = path.path().to_owned();
    drop(log);
    change(&path, HEADER_BYTES + ENTRY_HEAD_BYTES);
    assert!(matches!(open(dir.path()), Err(OpenError::Corrupt { .. })));
    let mut seen = Vec::new();
    let found = examine(&OsFiles, &path, 1, true, &mut |_, entry| {
        seen.push(entry.sequence);
    });
    let found = found.expect("it is read");
    assert_eq!((seen, found.torn_bytes), (vec![2, 3], 0));
    assert_eq!(found.damages[0].lost, (1, 1));
}

#[test]
fn what_is_written_ends_at_the_last_byte_that_is_not_zero() {
    for length in [0, 1, 4095, 4096, 4097, 10_000] {
        let mut bytes = vec![0u8; length];
        assert_eq!(written(&bytes), 0);
        for at in [0, 1, 4095, 4096, 8191, 8192, 9999] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = 1;
                assert_eq!(written(&bytes), at + 1, "of {length}");
            }
        }
    }
}

#[test]
fn a_bad_entry_before_good_ones_of_its_own_batch_is_a_torn_tail() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = two_batches(dir.path());
    // the third entry, first of the second batch: the pages behind it came first
    change(&path, HEADER_BYTES + 2 * ENTRY_BYTES + 50);
    let (log, opened) = open(dir.path()).expect("torn");
    assert_eq!(log.next(), 3);
    assert_eq!(opened.cut_bytes, 3 * ENTRY_BYTES as u64);
}

#[test]
fn what_another_segment_left_on_the_disk_never_counts() {
    let old = tempfile::tempdir().expect("a folder");
    let new = tempfile::tempdir().expect("a folder");
    let old = std::fs::read(two_batches(old.path())).expect("there");
    let path = {
        let (mut log, _) = open(new.path()).expect("opens");
        let place = log.append(&mut batch(2)).expect("there is space");
        place.segment.path().to_owned()
    };
    // the same places, lengths and numbers, but of another epoch
    let mut bytes = std::fs::read(&path).expect("there");
    let behind = HEADER_BYTES + 2 * ENTRY_BYTES;
    bytes[behind..].copy_from_slice(&old[behind..]);
    std::fs::write(&path, bytes).expect("writable");
    let (log, opened) = open(new.path()).expect("opens");
    assert_eq!(log.next(), 3);
    assert_eq!(opened.cut_bytes, 3 * ENTRY_BYTES as u64);
}

#[test]
fn a_missing_segment_and_a_damaged_header_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let paths: Vec<_> = {
        let (mut log, _) = open(dir.path()).expect("opens");
        for _ in 0..30 {
            log.append(&mut batch(5)).expect("there is space");
        }
        let segments = log.catalog().segments();
        segments
            .iter()
            .map(|segment| segment.path().to_owned())
            .collect()
    };
    change(&paths[1], 20);
    let refused = open(dir.path()).err().expect("damaged").to_string();
    assert!(refused.contains("header") && refused.contains(&*paths[1].to_string_lossy()));
    change(&paths[1], 20);
    let footer = std::fs::metadata(&paths[1]).expect("there").len() - 1;
    change(&paths[1], usize::try_from(footer).expect("small"));
    let refused = open(dir.path()).err().expect("damaged").to_string();
    assert!(refused.contains("no footer"));
    std::fs::remove_file(&paths[1]).expect("there");
    let refused = open(dir.path()).err().expect("damaged").to_string();
    assert!(refused.contains("a segment is missing"));
}

#[test]
fn temporary_files_of_a_crash_are_removed() {
    let dir = tempfile::tempdir().expect("a folder");
    two_batches(dir.path());
    let left = dir.path().join("spare.tmp");
    std::fs::write(&left, b"half").expect("writable");
    let (log, _) = open(dir.path()).expect("opens");
    assert!(!left.exists());
    assert_eq!(log.next(), 6);
}
