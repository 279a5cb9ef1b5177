//! A file system in memory that records what is done to it, and the images that a power cut at any
//! point of the record may leave.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use tollgate::journal::Checkpoint;
use tollgate::segment::{FileOps, Files};

pub(crate) const PAGE: usize = 4096;
pub(crate) const DIR: &str = "/journal";

/// A file that has no name of its own.
pub(crate) type Inode = usize;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create(PathBuf, Inode),
    Write(Inode, usize, Vec<u8>),
    Length(Inode, usize),
    Sync(Inode),
    Rename(PathBuf, PathBuf),
    Unlink(PathBuf),
    SyncDir(PathBuf),
}

#[derive(Debug, Default)]
pub(crate) struct Disk {
    names: BTreeMap<PathBuf, Inode>,
    contents: Vec<Vec<u8>>,
    pub(crate) ops: Vec<Op>,
    pub(crate) checkpoints: Vec<(usize, Checkpoint)>,
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
        }
        recorder
    }

    pub(crate) fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().expect("no test panics while it holds it")
    }

    pub(crate) fn now(&self) -> usize {
        self.disk().ops.len()
    }
}

impl Files for Recorder {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileOps>> {
        let mut disk = self.disk();
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
        let disk = self.disk();
        let inode = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(RecordedFile {
            disk: self.clone(),
            inode,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let inode = disk.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        disk.names.insert(to.to_owned(), inode);
        disk.ops.push(Op::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        disk.ops.push(Op::Unlink(path.to_owned()));
        Ok(())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk().ops.push(Op::SyncDir(dir.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.disk();
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
        let disk = self.disk.disk();
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        let rest = disk.contents[self.inode].get(at..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let at = usize::try_from(offset).map_err(io::Error::other)?;
        write(&mut disk.contents[self.inode], at, bytes);
        disk.ops.push(Op::Write(self.inode, at, bytes.to_vec()));
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut disk = self.disk.disk();
        let length = length.max(disk.contents[self.inode].len());
        disk.contents[self.inode].resize(length, 0);
        disk.ops.push(Op::Length(self.inode, length));
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let mut disk = self.disk.disk();
        disk.contents[self.inode].resize(length, 0);
        disk.ops.push(Op::Length(self.inode, length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.disk().ops.push(Op::Sync(self.inode));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.disk().contents[self.inode].len() as u64)
    }
}

fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[at..end].copy_from_slice(bytes);
}
/// What is left of what was not synced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Left {
    None,
    Ordered,
    Random,
}

/// splitmix64: the same everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }

    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 0
    }
}

/// The image that a power cut before operation `cut` leaves.
pub(crate) fn image(ops: &[Op], left: Left, dice: &mut Dice) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut contents: BTreeMap<Inode, Vec<u8>> = BTreeMap::new();
    let mut names: BTreeMap<PathBuf, Inode> = BTreeMap::new();
    // by place in the record: what is in the page cache only
    let mut data: Vec<(usize, &Op)> = Vec::new();
    let mut renames: Vec<(usize, &Op)> = Vec::new();
    for (at, op) in ops.iter().enumerate() {
        match op {
            Op::Write(..) | Op::Length(..) => data.push((at, op)),
            Op::Create(..) | Op::Rename(..) | Op::Unlink(..) => renames.push((at, op)),
            Op::Sync(inode) => data.retain(|(_, op)| {
                let of_it = inode_of(op) == Some(*inode);
                if of_it {
                    apply(op, &mut contents, None);
                }
                !of_it
            }),
            // names of its own folder only
            Op::SyncDir(dir) => renames.retain(|(_, op)| {
                let of_it = dir_of(op) == Some(dir);
                if of_it {
                    rename(op, &mut names);
                }
                !of_it
            }),
        }
    }
    let until = match left {
        Left::None => 0,
        Left::Ordered => dice.below(ops.len() + 1),
        Left::Random => usize::MAX,
    };
    for (at, op) in data {
        match left {
            Left::Random => apply(op, &mut contents, Some(dice)),
            _ if at < until => apply(op, &mut contents, None),
            _ => {}
        }
    }
    // a file system with a journal of its own keeps the order of names
    let names_until = match left {
        Left::Random => dice.below(ops.len() + 1),
        _ => until,
    };
    for (at, op) in renames {
        if at < names_until {
            rename(op, &mut names);
        }
    }
    names
        .into_iter()
        .map(|(path, inode)| (path, contents.remove(&inode).unwrap_or_default()))
        .collect()
}

fn dir_of(op: &Op) -> Option<&Path> {
    match op {
        Op::Create(path, _) | Op::Rename(path, _) | Op::Unlink(path) => path.parent(),
        _ => None,
    }
}

fn inode_of(op: &Op) -> Option<Inode> {
    match op {
        Op::Write(inode, ..) | Op::Length(inode, _) => Some(*inode),
        _ => None,
    }
}

/// Brings a write to the disk, whole or by the dice's pages.
fn apply(op: &Op, contents: &mut BTreeMap<Inode, Vec<u8>>, dice: Option<&mut Dice>) {
    match op {
        Op::Write(inode, at, bytes) => {
            let content = contents.entry(*inode).or_default();
            let Some(dice) = dice else {
                write(content, *at, bytes);
                return;
            };
            let mut from = *at;
            while from < at + bytes.len() {
                let to = ((from / PAGE + 1) * PAGE).min(at + bytes.len());
                if dice.coin() {
                    write(content, from, &bytes[from - at..to - at]);
                }
                from = to;
            }
        }
        Op::Length(inode, length) if dice.is_none_or(Dice::coin) => {
            contents.entry(*inode).or_default().resize(*length, 0);
        }
        _ => {}
    }
}

fn rename(op: &Op, names: &mut BTreeMap<PathBuf, Inode>) {
    match op {
        Op::Create(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        Op::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        Op::Unlink(path) => {
            names.remove(path);
        }
        _ => {}
    }
}
