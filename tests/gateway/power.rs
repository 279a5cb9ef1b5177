//! Power cuts of the whole process: strace records what it does to its data directory, sled's files
//! among them, and from the record the images are built that a disk may hold when the power goes.
//!
//! Each image is started, and has everything that was answered before the cut: acked records once,
//! items that the API said were made, counters that the recount finds right. It needs strace; where
//! there is none the test says so and tries nothing.
//!
//! `TOLLGATE_IMAGES` and `TOLLGATE_IMAGES_SEED` change what is tried.

use crate::crash::{Sender, assert_stored, number_of};
use crate::harness::{Gateway, LONG, Setup, TOLLGATE, now_us, traced};
use crate::image::{Dice, Left, Op, PAGE, image, rename};
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long trackers send while it is recorded.
const LOAD: Duration = Duration::from_millis(1500);
const TRACKERS: usize = 3;

/// What strace has to say, in the order in which it happened.
struct Record {
    ops: Vec<Op>,
    /// When each began, unix us.
    at_us: Vec<i64>,
}

/// A string as strace prints it: every byte as `\x41`.
fn bytes_of(text: &str) -> Vec<u8> {
    text.split("\\x")
        .skip(1)
        .map(|hex| u8::from_str_radix(&hex[..2], 16).expect("hexadecimal"))
        .collect()
}

fn path_of(text: &str) -> PathBuf {
    PathBuf::from(String::from_utf8(bytes_of(text)).expect("a path"))
}

/// The path in `3<\x2f...>`.
fn descriptor(text: &str) -> Option<PathBuf> {
    let (_, path) = text.split_once('<')?;
    path.split_once('>').map(|(path, _)| path_of(path))
}

/// The strings in quotes.
fn quoted(text: &str) -> Vec<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

/// The last number of the arguments.
fn last_number(arguments: &str) -> usize {
    let last = arguments.rsplit([',', '|']).next().unwrap_or_default();
    last.trim().parse().expect("a number")
}

/// Makes operations of calls.
struct Parser {
    dir: PathBuf,
    names: BTreeMap<PathBuf, usize>,
    /// Where the next plain write of a file goes.
    places: BTreeMap<usize, usize>,
    record: Record,
}

impl Parser {
    fn push(&mut self, at_us: i64, op: Op) {
        self.record.ops.push(op);
        self.record.at_us.push(at_us);
    }

    /// The file behind a descriptor, if it is one of the data directory.
    fn file(&self, arguments: &str) -> Option<usize> {
        let path = descriptor(arguments)?;
        self.names.get(&path).copied()
    }

    fn call(&mut self, at_us: i64, name: &str, arguments: &str, failed: bool) {
        let ours = |path: &Path| path.starts_with(&self.dir);
        match name {
            "openat" if !failed => {
                let Some(path) = quoted(arguments).first().map(|path| path_of(path)) else {
                    return;
                };
                if !ours(&path) || !arguments.contains("O_CREAT") {
                    return;
                }
                if let Some(inode) = self.names.get(&path).copied() {
                    if arguments.contains("O_TRUNC") {
                        self.places.insert(inode, 0);
                        self.push(at_us, Op::Length(inode, 0));
                    }
                } else {
                    let inode = self.record.ops.len();
                    self.names.insert(path.clone(), inode);
                    self.push(at_us, Op::Create(path, inode));
                }
            }
            "mkdir" | "mkdirat" if !failed => {
                let path = path_of(quoted(arguments).first().expect("a path"));
                if ours(&path) && path != self.dir {
                    self.push(at_us, Op::Folder(path));
                }
            }
            "rename" | "renameat" | "renameat2" if !failed => {
                let paths: Vec<_> = quoted(arguments).into_iter().map(path_of).collect();
                let [from, to] = paths.as_slice() else {
                    panic!("{name}: {arguments}");
                };
                if arguments.contains("RENAME_EXCHANGE") {
                    let op = Op::Exchange(from.clone(), to.clone());
                    rename(&op, &mut self.names);
                    self.push(at_us, op);
                    return;
                }
                if let Some(inode) = self.names.remove(from) {
                    self.names.insert(to.clone(), inode);
                    self.push(at_us, Op::Rename(from.clone(), to.clone()));
                }
            }
            "unlink" | "unlinkat" if !failed => {
                let name = path_of(quoted(arguments).first().expect("a path"));
                // of a folder that is removed with what is in it
                let path = descriptor(arguments).unwrap_or_default().join(name);
                if self.names.remove(&path).is_some() {
                    self.push(at_us, Op::Unlink(path));
                }
            }
            "pwrite64" | "write" => {
                let Some(inode) = self.file(arguments) else {
                    return;
                };
                let bytes = bytes_of(quoted(arguments).first().expect("bytes"));
                let place = self.places.entry(inode).or_default();
                let at = if name == "write" {
                    *place += bytes.len();
                    *place - bytes.len()
                } else {
                    last_number(arguments)
                };
                self.push(at_us, Op::Write(inode, at, bytes));
            }
            "ftruncate" | "fallocate" if !failed => {
                if let Some(inode) = self.file(arguments) {
                    self.push(at_us, Op::Length(inode, last_number(arguments)));
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(inode) = self.file(arguments) {
                    let sync = if failed { Op::FailedSync } else { Op::Sync };
                    self.push(at_us, sync(inode));
                } else if let Some(dir) = descriptor(arguments)
                    && ours(&dir)
                {
                    self.push(at_us, Op::SyncDir(dir));
                }
            }
            _ => {}
        }
    }
}

/// Reads what strace wrote of a directory that is empty or holds `files`, durably. A call counts
/// where it began; of a sync that is the least it can do.
fn read(log: &str, dir: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) -> Record {
    let mut parser = Parser {
        dir: dir.to_owned(),
        names: BTreeMap::new(),
        places: BTreeMap::new(),
        record: Record {
            ops: Vec::new(),
            at_us: Vec::new(),
        },
    };
    for (path, content) in files {
        let inode = parser.record.ops.len();
        parser.names.insert(path.clone(), inode);
        let parent = path.parent().expect("it has one").to_owned();
        let write = Op::Write(inode, 0, content.clone());
        let create = Op::Create(path.clone(), inode);
        for op in [create, write, Op::Sync(inode), Op::SyncDir(parent)] {
            parser.push(0, op);
        }
    }
    for line in log.lines() {
        // a short process id has more than one space behind it
        let Some((_, told)) = line.split_once(' ') else {
            continue;
        };
        let Some((at, call)) = told.trim_start().split_once(' ') else {
            continue;
        };
        let Some((name, rest)) = call.trim_start().split_once('(') else {
            continue;
        };
        let (seconds, micros) = at.split_once('.').expect("a time");
        let at_us: i64 = format!("{seconds}{micros}").parse().expect("a time");
        let (arguments, answer) = match rest.split_once(" <unfinished") {
            Some((arguments, _)) => (arguments, ""),
            None => rest.rsplit_once(") = ").unwrap_or((rest, "")),
        };
        parser.call(at_us, name, arguments, answer.starts_with('-'));
    }
    parser.record
}

/// Lays an image down; what is zero stays a hole.
fn lay_down(image: &BTreeMap<PathBuf, Vec<u8>>, from: &Path, to: &Path) {
    for (path, content) in image {
        let path = to.join(path.strip_prefix(from).expect("it is in the directory"));
        let parent = path.parent().expect("it has one");
        std::fs::create_dir_all(parent).expect("a folder");
        let file = std::fs::File::create(&path).expect("a file");
        file.set_len(content.len() as u64).expect("space");
        for (index, page) in content.chunks(PAGE).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                file.write_all_at(page, (index * PAGE) as u64)
                    .expect("space");
            }
        }
    }
}

/// What was answered, and when.
#[derive(Default)]
struct Answered {
    devices: Vec<(i64, u64)>,
    /// Of each tracker its device and what was acked.
    acked: Vec<(u64, Vec<(i64, i64)>)>,
}

/// The operations that made a file durable.
fn syncs_of(record: &Record, path: &Path) -> Vec<usize> {
    let made = record.ops.iter().find_map(|op| match op {
        Op::Create(made, inode) if made == path => Some(*inode),
        _ => None,
    });
    let numbered = record.ops.iter().enumerate();
    numbered
        .filter(|(_, op)| matches!(op, Op::Sync(inode) if Some(*inode) == made))
        .map(|(at, _)| at)
        .collect()
}

/// Lets a gateway run from its first start on, and records it.
fn recorded(setup: &Setup, log: &Path) -> (Record, Answered) {
    let gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    let mut answered = Answered::default();
    let make = |ident: &str, answered: &mut Answered| {
        let device = gateway.device(master, ident);
        answered.devices.push((now_us(), device));
        device
    };
    let idents: Vec<String> = (0..TRACKERS).map(crate::crash::ident).collect();
    let devices: Vec<u64> = idents
        .iter()
        .map(|ident| make(ident, &mut answered))
        .collect();
    let senders: Vec<Sender> = (0..TRACKERS).map(|one| Sender::start(one, at, 1)).collect();
    let until = Instant::now() + LOAD;
    for more in 0.. {
        if Instant::now() >= until {
            break;
        }
        make(&format!("3577{more:011}"), &mut answered);
        std::thread::sleep(Duration::from_millis(20));
    }
    gateway.kill_minus_9();
    let acked = senders.into_iter().map(Sender::end_with_times);
    answered.acked = devices.into_iter().zip(acked).collect();
    let text = ended(log, "+++ killed by SIGKILL +++");
    (read(&text, &setup.data(), &BTreeMap::new()), answered)
}

/// What strace wrote: it ends behind what it traced.
fn ended(log: &Path, with: &str) -> String {
    let end = Instant::now() + LONG;
    loop {
        let text = std::fs::read_to_string(log).expect("strace wrote it");
        if text.trim_end().ends_with(with) {
            return text;
        }
        assert!(Instant::now() < end, "strace does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Everything in a directory.
fn files_of(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = entry.path();
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            files.extend(files_of(&path));
        } else if kind.is_file() {
            files.insert(path.clone(), std::fs::read(&path).expect("readable"));
        }
    }
    files
}

/// Can a process be traced here?
#[expect(clippy::print_stderr, reason = "it says why it tries nothing")]
fn traces() -> bool {
    let traces = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !traces {
        eprintln!("skipped: it needs strace, and the right to trace a process");
    }
    traces
}

/// What was answered before the cut is there, once, and every counter is right.
fn check(gateway: &Gateway, answered: &Answered, cut_us: i64) {
    let listed = |path: &str| {
        let (status, answer) = gateway.call(0, "GET", path, &Value::Null);
        assert_eq!(status, 200, "{answer}");
        answer["result"].as_array().expect("rows").clone()
    };
    let rows = listed("/gw/devices/all?fields=id");
    let there: Vec<u64> = rows.iter().filter_map(|row| row["id"].as_u64()).collect();
    for (made_us, device) in &answered.devices {
        assert!(
            *made_us >= cut_us || there.contains(device),
            "device {device} was made and is gone"
        );
    }
    for (device, acked) in &answered.acked {
        if there.contains(device) {
            let before = acked.iter().filter(|(acked_us, _)| *acked_us < cut_us);
            let acked: Vec<i64> = before.map(|(_, time)| *time).collect();
            assert_stored(&acked, &gateway.stored(*device));
        }
    }
    gateway.audit();
}

/// Says which image it was.
struct Said(u64, String);

impl Drop for Said {
    #[expect(clippy::print_stderr, reason = "a failing test says what it tried")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("TOLLGATE_IMAGES_SEED={}: {}", self.0, self.1);
        }
    }
}

#[test]
fn every_image_of_the_process_opens_with_all_that_was_answered() {
    if !traces() {
        return;
    }
    let images = number_of("TOLLGATE_IMAGES", 10);
    let seed = number_of("TOLLGATE_IMAGES_SEED", 1);
    let log = tempfile::NamedTempFile::new().expect("a file");
    let mut setup = Setup::new().with("[journal]\nsegment = \"1 MiB\"\ncheckpoint = \"100ms\"\n");
    setup.trace = Some(log.path().to_owned());
    let (record, answered) = recorded(&setup, log.path());
    assert!(answered.acked.iter().all(|(_, acked)| !acked.is_empty()));
    setup.trace = None;
    let mut dice = Dice(seed);
    let mut said = Said(seed, String::new());
    // a checkpoint is two syncs among thousands of operations: half of the cuts are behind one
    let ledger = setup.data().join("ledger.sled/db");
    let checkpoints = syncs_of(&record, &ledger);
    assert!(checkpoints.len() > 2, "no checkpoint was recorded");
    for nth in 0..images {
        let at = if nth % 2 == 0 {
            dice.below(record.ops.len() + 1)
        } else {
            checkpoints[dice.below(checkpoints.len())] + 1
        };
        let left = Left::ALL[dice.below(Left::ALL.len())];
        said.1 = format!(
            "cut before operation {at} of {}, {left:?}",
            record.ops.len()
        );
        let cut_us = record.at_us.get(at).copied().unwrap_or(i64::MAX);
        let image = image(&record.ops[..at], left, &mut dice);
        let again = setup.elsewhere();
        lay_down(&image, &setup.data(), &again.data());
        let gateway = again.start();
        check(&gateway, &answered, cut_us);
        gateway.kill_minus_9();
    }
}

#[test]
fn a_power_cut_in_a_compaction_leaves_the_old_items_or_the_new_ones() {
    if !traces() {
        return;
    }
    let images = number_of("TOLLGATE_IMAGES", 10);
    let seed = number_of("TOLLGATE_IMAGES_SEED", 1);
    let setup = Setup::new().with("[journal]\nsegment = \"1 MiB\"\n");
    let gateway = setup.start();
    let (master, ..) = gateway.master_and_channel();
    for device in 0..20 {
        gateway.device(master, &crate::crash::ident(device));
    }
    let all = |gateway: &Gateway| {
        let (status, answer) = gateway.call(0, "GET", "/gw/devices/all", &Value::Null);
        assert_eq!(status, 200, "{answer}");
        answer["result"].clone()
    };
    let items = all(&gateway);
    gateway.stop();
    let log = tempfile::NamedTempFile::new().expect("a file");
    let before = files_of(&setup.data());
    let compacted = traced(log.path())
        .arg(TOLLGATE)
        .args(["compact", "--data"])
        .arg(setup.data())
        .output()
        .expect("it runs");
    assert!(compacted.status.success(), "{compacted:?}");
    let record = read(
        &ended(log.path(), "+++ exited with 0 +++"),
        &setup.data(),
        &before,
    );
    let laid = before.len() * 4;
    assert!(
        record.ops.iter().any(|op| matches!(op, Op::Exchange(..))),
        "no database took the other's place"
    );
    let mut dice = Dice(seed);
    let mut said = Said(seed, String::new());
    for _ in 0..images {
        let at = laid + dice.below(record.ops.len() + 1 - laid);
        let left = Left::ALL[dice.below(Left::ALL.len())];
        said.1 = format!("compaction cut before operation {at}, {left:?}");
        let image = image(&record.ops[..at], left, &mut dice);
        let again = setup.elsewhere();
        lay_down(&image, &setup.data(), &again.data());
        let gateway = again.start();
        assert_eq!(all(&gateway), items);
        gateway.audit();
        gateway.kill_minus_9();
    }
}
