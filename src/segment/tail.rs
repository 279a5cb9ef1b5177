//! Reads a folder of segments as another process writes it: what has come since the last look, in
//! order, without a lock and without a word to the writer.
//!
//! It sees what the file system shows, which may not be durable yet: it is for who looks on, never
//! for who answers. An entry that is not whole is one that is being written: it is looked at again.

use super::catalog::{first_of, name_of};
use super::files::{FileOps, Files};
use super::format::{self, Entry, HEADER_BYTES, Header, KIND_FOOTER, read_entry};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much is read at once.
const READ_BYTES: usize = 1024 * 1024;

/// No entry is longer: it bounds what a damaged length can ask for.
const MOST_BYTES: usize = 64 * 1024 * 1024;

/// Where one who looks on has come to.
pub struct Tail {
    files: Arc<dyn Files>,
    dir: PathBuf,
    at: Option<At>,
}

struct At {
    first: u64,
    offset: u64,
    next: u64,
}

impl Tail {
    /// Begins with what comes from now on: what is there already is not shown.
    pub fn of_new(files: Arc<dyn Files>, dir: &Path) -> io::Result<Self> {
        let mut tail = Self {
            files,
            dir: dir.to_owned(),
            at: None,
        };
        if let Some(newest) = tail.segments()?.last() {
            tail.at = Some(At::of(*newest));
            tail.poll(&mut |_| {})?;
        }
        Ok(tail)
    }

    /// Shows what has come since.
    pub fn poll(&mut self, take: &mut dyn FnMut(&Entry<'_>)) -> io::Result<()> {
        loop {
            let segments = self.segments()?;
            // listed before it is read: what comes behind a newer one's making is in that one
            let newer = segments
                .iter()
                .copied()
                .find(|first| self.at.as_ref().is_none_or(|at| *first > at.first));
            if let Some(at) = &mut self.at {
                // anew each time: a start puts a copy in the place of the last one
                match self.files.open(&self.dir.join(name_of(at.first))) {
                    Ok(file) => at.read(file.as_ref(), take)?,
                    // retention took it meanwhile
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
            match newer {
                Some(newer) => self.at = Some(At::of(newer)),
                None => return Ok(()),
            }
        }
    }

    fn segments(&self) -> io::Result<Vec<u64>> {
        let listed = match self.files.list(&self.dir) {
            // the gateway has not made it yet
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            listed => listed?,
        };
        let mut all: Vec<u64> = listed.iter().filter_map(|name| first_of(name)).collect();
        all.sort_unstable();
        Ok(all)
    }
}

impl At {
    const fn of(first: u64) -> Self {
        Self {
            first,
            offset: HEADER_BYTES as u64,
            next: first,
        }
    }

    /// Reads as far as there is something whole.
    fn read(&mut self, file: &dyn FileOps, take: &mut dyn FnMut(&Entry<'_>)) -> io::Result<()> {
        let mut head = [0; HEADER_BYTES];
        let read = file.read_at(&mut head, 0)?;
        let header = head.get(..read).map(Header::decode);
        let Some(Ok(header)) = header else {
            // it is being made
            return Ok(());
        };
        let seed = header.seed();
        let mut want = READ_BYTES;
        let mut buffer = vec![0; want];
        loop {
            if buffer.len() != want {
                buffer = vec![0; want];
            }
            let read = file.read_at(&mut buffer, self.offset)?;
            let bytes = buffer.get(..read).unwrap_or_default();
            let mut at = 0;
            while let Some(entry) = read_entry(seed, bytes.get(at..).unwrap_or_default()) {
                if entry.kind == KIND_FOOTER || entry.sequence != self.next {
                    break;
                }
                take(&entry);
                at += entry.bytes();
                self.next += 1;
            }
            self.offset += at as u64;
            if read < want {
                return Ok(());
            }
            if at == 0 {
                let length = format::u32_at(bytes, 0) as usize;
                let whole = format::ENTRY_HEAD_BYTES.saturating_add(length);
                // one that is longer than what was read, or the end of what is written
                if whole <= want || whole > MOST_BYTES {
                    return Ok(());
                }
                want = whole;
            } else {
                want = READ_BYTES;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Batch, Options, OsFiles, SegmentLog};
    use super::*;

    const OPTIONS: Options = Options {
        segment_bytes: 8192,
        node: 0,
    };

    fn append(log: &mut SegmentLog, contents: &[Vec<u8>]) {
        let mut batch = Batch::new();
        for content in contents {
            batch.push(1, 1, |out| out.extend_from_slice(content));
        }
        log.append(&mut batch).expect("there is space");
    }

    fn seen(tail: &mut Tail) -> Vec<usize> {
        let mut lengths = Vec::new();
        tail.poll(&mut |entry| lengths.push(entry.content.len()))
            .expect("readable");
        lengths
    }

    #[test]
    fn what_comes_is_shown_once_in_order_over_segments_and_restarts() {
        let dir = tempfile::tempdir().expect("a folder");
        let open = || {
            SegmentLog::open(Arc::new(OsFiles), dir.path(), OPTIONS)
                .expect("opens")
                .0
        };
        let mut log = open();
        append(&mut log, &[vec![1; 10], vec![1; 20]]);
        let mut tail = Tail::of_new(Arc::new(OsFiles), dir.path()).expect("readable");
        assert_eq!(seen(&mut tail), [0usize; 0]);
        append(&mut log, &[vec![2; 30]]);
        assert_eq!(seen(&mut tail), [30]);
        assert_eq!(seen(&mut tail), [0usize; 0]);
        // several segments between two looks
        let lengths: Vec<usize> = (0..60).map(|n| 500 + n).collect();
        for length in &lengths {
            append(&mut log, &[vec![3; *length]]);
        }
        assert!(log.catalog().segments().len() > 3);
        assert_eq!(seen(&mut tail), lengths);
        // longer than what is read at once
        append(&mut log, &[vec![4; 3 * READ_BYTES], vec![4; 7]]);
        assert_eq!(seen(&mut tail), [3 * READ_BYTES, 7]);
        // a start copies the last segment
        drop(log);
        let mut log = open();
        append(&mut log, &[vec![5; 40]]);
        assert_eq!(seen(&mut tail), [40]);
    }

    #[test]
    fn a_folder_that_is_made_later_is_read_from_its_beginning() {
        let dir = tempfile::tempdir().expect("a folder");
        let later = dir.path().join("later");
        std::fs::create_dir(&later).expect("made");
        let mut tail = Tail::of_new(Arc::new(OsFiles), &later).expect("readable");
        assert_eq!(seen(&mut tail), [0usize; 0]);
        let (mut log, _) = SegmentLog::open(Arc::new(OsFiles), &later, OPTIONS).expect("opens");
        append(&mut log, &[vec![1; 10]]);
        assert_eq!(seen(&mut tail), [10]);
    }
}
