//! A file system in memory that records what is done to it, and fails as it is told to.

use crate::image::{Dice, Inode, Op, rename, write};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tollgate::journal::Checkpoint;
use tollgate::segment::{FileOps, Files};

pub(crate) const DIR: &str = "/journal";

#[derive(Debug, Default)]
pub(crate) struct Disk {
    names: BTreeMap<PathBuf, Inode>,
    folders: BTreeSet<PathBuf>,
    contents: Vec<Vec<u8>>,
    pub(crate) ops: Vec<Op>,
    /// Since which operation it is on the disk, and whether that is certain.
    pub(crate) checkpoints: Vec<(usize, Checkpoint, bool)>,
    fault: Option<Fault>,
    delays: Option<Dice>,
    calls: usize,
}

/// What the file system says instead of doing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errno {
    /// Any call may say it.
    Eio,
    /// Only calls that want space say it.
    Enospc,
    /// Every call that changes something says it: the file system has turned read-only.
    Erofs,
}

/// Calls that fail.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    pub(crate) errno: Errno,
    /// The first call that fails, from now on.
    pub(crate) at: usize,
    /// How many calls fail from there on.
    pub(crate) calls: usize,
    /// So much of a write that fails is written all the same, in 256ths.
    pub(crate) torn: u8,
    /// Only calls of the ledger are counted and fail.
    pub(crate) only_ledger: bool,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// It wants space.
    Space,
    /// It changes something and wants none.
    Change,
    /// Whatever else a file does.
    Other,
    /// The ledger's.
    Ledger,
}

/// The recording file system; clones are the same one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Disk>>);

struct RecordedFile {
    disk: Recorder,
    inode: Inode,
}

impl Recorder {
    /// A disk that holds an image, durably.
    pub(crate) fn with(image: &BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let recorder = Self::default();
        for (path, content) in image {
            let file = recorder.create(path).expect("in memory");
            file.write_at(content, 0).expect("in memory");
            file.sync_data().expect("in memory");
        }
        let dirs: BTreeSet<_> = image.keys().filter_map(|path| path.parent()).collect();
        for dir in dirs {
            recorder.sync_dir(dir).expect("in memory");
            recorder.disk().folders.insert(dir.to_owned());
        }
        recorder
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().expect("no test panics while it holds it")
    }

    /// What the next process finds when this one is killed at or behind the operation `from`: files as
    /// the page cache has them, whatever of it is on the disk, and every checkpoint that was stored. Also
    /// says where.
    pub(crate) fn killed(&self, from: usize, dice: &mut Dice) -> (Self, Vec<Checkpoint>, usize) {
        let disk = self.disk();
        let mut at = from + dice.below(disk.ops.len() - from + 1);
        // between a change of names or a sync and what follows it little is ever done: every second kill
        // is there
        let turns = (from..disk.ops.len()).filter(|at| {
            matches!(
                disk.ops[*at],
                Op::Folder(_) | Op::Rename(..) | Op::Unlink(_) | Op::Sync(_) | Op::FailedSync(_)
            )
        });
        let turns: Vec<usize> = turns.collect();
        if !turns.is_empty() && dice.coin() {
            at = turns[dice.below(turns.len())] + dice.below(2);
        }
        let mut left = Disk::default();
        left.ops.extend_from_slice(&disk.ops[..at]);
        // a write that was under way may have come to the page cache in part
        if let Some(Op::Write(inode, to, bytes)) = disk.ops.get(at) {
            let torn = bytes[..dice.below(bytes.len() + 1)].to_vec();
            left.ops.push(Op::Write(*inode, *to, torn));
        }
        for op in &left.ops {
            if let Op::Folder(path) = op {
                left.folders.insert(path.clone());
                continue;
            }
            rename(op, &mut left.names);
            match op {
                Op::Create(_, inode) => left.contents.resize(inode + 1, Vec::new()),
                Op::Write(inode, to, bytes) => write(&mut left.contents[*inode], *to, bytes),
                Op::Length(inode, length) => left.contents[*inode].resize(*length, 0),
                _ => {}
            }
        }
        let of_files = left.names.keys().filter_map(|path| path.parent());
        left.folders.extend(of_files.map(Path::to_owned));
        let stored = disk.checkpoints.iter().filter(|(stored, ..)| *stored <= at);
        let checkpoints = stored.map(|(_, checkpoint, _)| checkpoint.clone());
        let checkpoints = checkpoints.collect();
        drop(disk);
        (Self(Arc::new(Mutex::new(left))), checkpoints, at)
    }

    /// Has any file these bytes?
    pub(crate) fn has(&self, needle: &[u8]) -> bool {
        let disk = self.disk();
        let mut contents = disk.names.values().map(|inode| &disk.contents[*inode]);
        contents.any(|content| content.windows(needle.len()).any(|at| at == needle))
    }

    pub(crate) fn now(&self) -> usize {
        self.disk().ops.len()
    }

    /// Which calls fail from now on, and whether each takes its time.
    pub(crate) fn misbehave(&self, fault: Option<Fault>, delays: Option<Dice>) {
        let mut disk = self.disk();
        disk.calls = 0;
        disk.fault = fault;
        disk.delays = delays;
    }

    /// Counts a call; the error that it shall give.
    pub(crate) fn call(&self, what: Call) -> io::Result<MutexGuard<'_, Disk>> {
        let wait_us = self.disk().delays.as_mut().map_or(0, |dice| {
            if dice.below(8) == 0 {
                dice.below(2000)
            } else {
                0
            }
        });
        if wait_us > 0 {
            std::thread::sleep(Duration::from_micros(wait_us as u64));
        }
        let mut disk = self.disk();
        if disk.fault.is_some_and(|fault| fault.only_ledger) && what != Call::Ledger {
            return Ok(disk);
        }
        let call = disk.calls;
        disk.calls += 1;
        match disk.fault {
            Some(fault) if (fault.at..fault.at.saturating_add(fault.calls)).contains(&call) => {
                match fault.errno {
                    Errno::Eio => Err(io::Error::from_raw_os_error(5)),
                    Errno::Enospc if matches!(what, Call::Space | Call::Ledger) => {
                        Err(io::Error::from_raw_os_error(28))
                    }
                    Errno::Erofs if what != Call::Other => Err(io::Error::from_raw_os_error(30)),
                    Errno::Enospc | Errno::Erofs => Ok(disk),
                }
            }
            _ => Ok(disk),
        }
    }
}

impl Files for Recorder {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileOps>> {
        let mut disk = self.call(Call::Space)?;
        let inode = disk.contents.len();
        disk.contents.push(Vec::new());
        disk.names.insert(path.to_owned(), inode);
        disk.ops.push(Op::Create(path.to_owned(), inode));
        Ok(Box::new(RecordedFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FileOps>> {
        let disk = self.call(Call::Other)?;
        let inode = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(RecordedFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.call(Call::Space)?;
        let inode = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.to_owned(), inode);
        disk.ops.push(Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.call(Call::Change)?;
        disk.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        disk.ops.push(Op::Unlink(path.to_owned()));
        Ok(())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.call(Call::Space)?;
        disk.folders.insert(dir.to_owned());
        disk.ops.push(Op::Folder(dir.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let op = Op::SyncDir(dir.to_owned());
        self.call(Call::Other)?.ops.push(op);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.call(Call::Other)?;
        if !disk.folders.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let names = disk.names.keys();
        let names = names.filter(|path| path.parent() == Some(dir));
        let names = names.filter_map(|path| path.file_name());
        Ok(names
            .map(|name| name.to_string_lossy().into_owned())
            .collect())
    }

    fn free_space(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        Ok(Some(Box::new(())))
    }
}

impl FileOps for RecordedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let disk = self.disk.call(Call::Other)?;
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let rest = disk.contents[self.inode].get(at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let (mut disk, bytes, result) = match self.disk.call(Call::Space) {
            Ok(disk) => (disk, bytes, Ok(())),
            Err(error) => {
                let disk = self.disk.disk();
                let torn = disk.fault.map_or(0, |fault| usize::from(fault.torn));
                (disk, &bytes[..bytes.len() * torn / 256], Err(error))
            }
        };
        write(&mut disk.contents[self.inode], at, bytes);
        disk.ops.push(Op::Write(self.inode, at, bytes.to_vec()));
        result
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut disk = self.disk.call(Call::Space)?;
        let length = length.max(disk.contents[self.inode].len());
        disk.contents[self.inode].resize(length, 0);
        disk.ops.push(Op::Length(self.inode, length));
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut disk = self.disk.call(Call::Change)?;
        disk.contents[self.inode].resize(length, 0);
        disk.ops.push(Op::Length(self.inode, length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let (mut disk, op, result) = match self.disk.call(Call::Other) {
            Ok(disk) => (disk, Op::Sync(self.inode), Ok(())),
            Err(error) => (self.disk.disk(), Op::FailedSync(self.inode), Err(error)),
        };
        disk.ops.push(op);
        result
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.call(Call::Other)?.contents[self.inode].len() as u64)
    }
}
