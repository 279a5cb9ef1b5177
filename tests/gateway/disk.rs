//! The disk of the data directory is really full. It needs a small file system, so it runs on request;
//! `.ci/run disk` makes one where it may:
//!
//! ```text
//! mount -t tmpfs -o size=80m tmpfs /mnt/small
//! TOLLGATE_SMALL_DISK=/mnt/small cargo test --test gateway disk -- --ignored
//! ```

use crate::harness::{Gateway, Heard, LONG, Setup, Tracker, command, frame, now_ms, until};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const ANN: &str = "356600000000701";
/// Below what is left free to checkpoints, so that nothing is admitted.
const LEFT_BYTES: u64 = 10 << 20;

/// Takes what is free but for `left_bytes`.
fn fill(disk: &Path, left_bytes: u64) -> PathBuf {
    let path = disk.join("ballast");
    let mut ballast = std::fs::File::create(&path).expect("a file");
    let piece = vec![1; 64 * 1024];
    let free = || {
        let found = rustix::fs::statvfs(disk).expect("a file system");
        found.f_bavail * found.f_frsize
    };
    while free() > left_bytes && ballast.write_all(&piece).is_ok() {}
    path
}

fn health(gateway: &Gateway) -> (u16, String) {
    let (status, answer) = gateway.call(0, "GET", "/gw/devices/all/doctor", &Value::Null);
    assert_eq!(status, 200, "it answers: {answer}");
    let output = command(&["health", "--data"], &gateway.data, &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (u16::from(output.status.success()), said)
}

#[test]
#[ignore = "needs TOLLGATE_SMALL_DISK, a folder on a file system of 80 MiB"]
fn a_full_disk_is_told_everywhere_keeps_what_was_acked_and_heals() {
    let disk = PathBuf::from(
        std::env::var("TOLLGATE_SMALL_DISK").expect("TOLLGATE_SMALL_DISK names a folder"),
    );
    let mut setup = Setup::new().with("[journal]\nsegment = \"1 MiB\"\n");
    setup.dir = Arc::new(tempfile::tempdir_in(&disk).expect("a folder on it"));
    let gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    let device = gateway.device(master, ANN);
    let mut tracker = Tracker::of(ANN, at);
    let begin_ms = now_ms() - 60_000;
    assert_eq!(tracker.send(&[begin_ms]), Heard::Count(1));

    let ballast = fill(&disk, LEFT_BYTES);
    until("it stalls", || {
        gateway.metric("tollgate_journal_stalled") > 0.5
    });
    tracker.say(&frame(&[begin_ms + 1]));
    assert_eq!(tracker.hear(Duration::from_secs(2)), Heard::Nothing);
    let (well, said) = health(&gateway);
    assert_eq!(well, 0, "{said}");
    assert!(said.contains("waits for disk space"), "{said}");
    let doctor = command(&["doctor", "--data"], &gateway.data, &[ANN]);
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(told.contains("disk_stopped: "), "{told}");
    assert!(
        gateway.said().contains("nothing is admitted"),
        "{}",
        gateway.said()
    );
    // what is stored is read all the same
    assert_eq!(gateway.stored(device), [begin_ms]);

    std::fs::remove_file(&ballast).expect("it is there");
    // it goes on by itself, with what the tracker has said meanwhile
    assert_eq!(tracker.hear(LONG), Heard::Count(1));
    until("it is well", || health(&gateway).0 == 1);
    assert_eq!(gateway.stored(device), [begin_ms, begin_ms + 1]);
    gateway.audit();
    gateway.stop();

    let ballast = fill(&disk, 0);
    let Err((status, said)) = setup.try_start() else {
        panic!("it starts on a disk without a byte");
    };
    assert_eq!(status.code(), Some(74), "{said}");
    assert!(
        said.contains("No space left") && said.contains("make room"),
        "{said}"
    );
    std::fs::remove_file(&ballast).expect("it is there");
    let gateway = setup.start();
    assert_eq!(gateway.stored(device), [begin_ms, begin_ms + 1]);
    gateway.audit();
    gateway.stop();
}
