//! What was done to files, and the images that a power cut at any point of it may leave.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub(crate) const PAGE: usize = 4096;

/// A file that has no name of its own.
pub(crate) type Inode = usize;

/// What stands for a folder among the names.
const FOLDER: Inode = usize::MAX;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create(PathBuf, Inode),
    /// A folder is made.
    Folder(PathBuf),
    Write(Inode, usize, Vec<u8>),
    Length(Inode, usize),
    Sync(Inode),
    /// A sync that failed: what it should have brought to the disk may be lost for good, and the
    /// next sync does not say so.
    FailedSync(Inode),
    Rename(PathBuf, PathBuf),
    /// Two folders exchange their names.
    Exchange(PathBuf, PathBuf),
    Unlink(PathBuf),
    SyncDir(PathBuf),
}

pub(crate) fn write(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
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
    /// Ordered, and of the first write that is missing some bytes are there.
    Torn,
    /// Pages as they come, names in their order.
    Random,
    /// Pages and names as they come: nobody promises an order of names either.
    Scattered,
}

impl Left {
    pub(crate) const ALL: [Self; 5] = [
        Self::None,
        Self::Ordered,
        Self::Torn,
        Self::Random,
        Self::Scattered,
    ];
}

/// splitmix64: the same everywhere.
#[derive(Debug, Clone)]
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
    // as the process saw them, and what each rename moved
    let mut seen: BTreeMap<PathBuf, Inode> = BTreeMap::new();
    let mut moved: BTreeMap<usize, Inode> = BTreeMap::new();
    for (at, op) in ops.iter().enumerate() {
        if let Op::Rename(from, _) = op
            && let Some(inode) = seen.get(from)
        {
            moved.insert(at, *inode);
        }
        rename(op, &mut seen);
        match op {
            Op::Write(..) | Op::Length(..) => data.push((at, op)),
            Op::Create(..) | Op::Folder(_) | Op::Rename(..) | Op::Exchange(..) | Op::Unlink(..) => {
                renames.push((at, op));
            }
            Op::Sync(inode) => data.retain(|(_, op)| {
                let of_it = inode_of(op) == Some(*inode);
                if of_it {
                    apply(op, &mut contents, None);
                }
                !of_it
            }),
            // the pages count as clean now, whether they came to the disk or not
            Op::FailedSync(inode) => data.retain(|(_, op)| {
                let of_it = inode_of(op) == Some(*inode);
                if of_it {
                    apply(op, &mut contents, Some(dice));
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
        Left::Ordered | Left::Torn => dice.below(ops.len() + 1),
        Left::Random | Left::Scattered => usize::MAX,
    };
    let mut whole = true;
    for (at, op) in data {
        match left {
            Left::Random | Left::Scattered => apply(op, &mut contents, Some(dice)),
            _ if at < until => apply(op, &mut contents, None),
            Left::Torn if std::mem::take(&mut whole) => {
                if let Op::Write(inode, at, bytes) = op {
                    let torn = &bytes[..dice.below(bytes.len() + 1)];
                    write(contents.entry(*inode).or_default(), *at, torn);
                }
            }
            _ => {}
        }
    }
    let names_until = match left {
        Left::Random => dice.below(ops.len() + 1),
        _ => until,
    };
    for (at, op) in renames {
        match (left, op) {
            (Left::Scattered, _) if dice.coin() => {}
            // the name that it has now is that file's, also where its first one never came
            (Left::Scattered, Op::Rename(from, to)) => {
                names.remove(from);
                names.extend(moved.get(&at).map(|inode| (to.clone(), *inode)));
            }
            _ if at < names_until => rename(op, &mut names),
            _ => {}
        }
    }
    // what is in a folder without a name is nowhere
    let made = ops.iter().filter_map(|op| match op {
        Op::Folder(path) => Some(path.clone()),
        _ => None,
    });
    let lost: Vec<PathBuf> = made.filter(|path| !names.contains_key(path)).collect();
    names.retain(|path, inode| {
        *inode != FOLDER && !lost.iter().any(|folder| path.starts_with(folder))
    });
    names
        .into_iter()
        .map(|(path, inode)| (path, contents.remove(&inode).unwrap_or_default()))
        .collect()
}

fn dir_of(op: &Op) -> Option<&Path> {
    match op {
        Op::Create(path, _)
        | Op::Folder(path)
        | Op::Rename(path, _)
        | Op::Exchange(path, _)
        | Op::Unlink(path) => path.parent(),
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

/// Brings a change of names to pass.
pub(crate) fn rename(op: &Op, names: &mut BTreeMap<PathBuf, Inode>) {
    match op {
        Op::Exchange(one, other) => {
            let moved = |path: &Path| {
                let to = |from: &Path, to: &Path| Some(to.join(path.strip_prefix(from).ok()?));
                to(one, other).or_else(|| to(other, one))
            };
            *names = std::mem::take(names)
                .into_iter()
                .map(|(path, inode)| (moved(&path).unwrap_or(path), inode))
                .collect();
        }
        Op::Create(path, inode) => {
            names.insert(path.clone(), *inode);
        }
        Op::Folder(path) => {
            names.insert(path.clone(), FOLDER);
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
