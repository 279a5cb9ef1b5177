//! What keeps a gateway from starting, and what it says then.

use crate::harness::{Heard, Setup, TOLLGATE, Tracker, command, now_ms};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::FileExt as _;
use std::process::Command;

const ANN: &str = "356600000000401";

#[test]
fn a_second_process_on_the_data_directory_is_refused() {
    let setup = Setup::new();
    let gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    gateway.device(master, ANN);
    let mut tracker = Tracker::of(ANN, at);
    let begin_ms = now_ms() - 60_000;
    assert_eq!(tracker.send(&[begin_ms]), Heard::Count(1));
    let Err((status, said)) = setup.try_start() else {
        panic!("two gateways on one directory");
    };
    assert_eq!(status.code(), Some(65), "{said}");
    assert!(said.contains("is in use by another process"), "{said}");
    assert!(said.contains(&*gateway.data.to_string_lossy()), "{said}");
    // the first has noticed nothing, its socket is still its own
    assert_eq!(tracker.send(&[begin_ms + 1]), Heard::Count(1));
    gateway.audit();
    gateway.stop();
}

#[test]
fn a_low_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let mut setup = Setup::new();
    setup.soft_files = Some(256);
    let gateway = setup.start();
    let (soft, hard) = gateway.file_limits();
    assert_eq!(soft, hard);
    assert_ne!(soft, "256");
    gateway.stop();
}

#[test]
fn a_port_in_use_is_told_with_its_channel() {
    let setup = Setup::new();
    let port = setup.port();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("it is free");
    let setup = setup.with(&format!(
        "[[accounts]]\nname = \"master\"\n\
         [[channels]]\nname = \"trucks\"\naccount = \"master\"\nprotocol = \"teltonika\"\nport = {port}\n"
    ));
    let Err((status, said)) = setup.try_start() else {
        panic!("two on one port");
    };
    assert_eq!(status.code(), Some(69), "{said}");
    assert!(
        said.contains("trucks") && said.contains(&port.to_string()),
        "{said}"
    );
    assert!(said.contains("hint:"), "{said}");
    drop(taken);
    // nothing of the failed start is in the way
    setup.start().stop();
}

#[test]
fn all_mistakes_of_a_file_are_told_and_nothing_is_bound() {
    let setup = Setup::new();
    let port = setup.port();
    let setup = setup.with(&format!(
        "[[accounts]]\nname = \"master\"\nlimit = \"none\"\n\
         [[channels]]\nname = \"a\"\naccount = \"mastre\"\nprotocol = \"teltonika\"\nport = {port}\n\
         [[channels]]\nname = \"b\"\naccount = \"master\"\nprotocol = \"teltonica\"\n\
         [[devices]]\nname = \"d\"\naccount = \"master\"\nprotocol = \"teltonika\"\nident = \"12\"\n\
         [bounds]\nidle = \"0s\"\n"
    ));
    let Err((status, said)) = setup.try_start() else {
        panic!("it starts all the same");
    };
    assert_eq!(status.code(), Some(64), "{said}");
    for mistake in ["mastre", "teltonica", "bounds.idle", "none"] {
        assert!(said.contains(mistake), "{mistake}: {said}");
    }
    assert!(
        said.contains("teltonika"),
        "the nearest valid value: {said}"
    );
    assert!(!said.contains("listens on"), "{said}");
    assert!(!setup.data().exists(), "not even the directory was made");
    assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
    let checked = command(&["config", "check"], &setup.config(), &[]);
    assert_eq!(checked.status.code(), Some(64), "the check says the same");
}

/// The tests may run as root, whom no mode keeps out. A file in the directory's place, and a
/// directory of the kernel's in which nobody can make a file, keep root out as well.
#[test]
fn a_data_directory_that_cannot_be_written_is_told() {
    let setup = Setup::new();
    std::fs::write(setup.data(), "a file").expect("a file");
    let Err((status, said)) = setup.try_start() else {
        panic!("it starts in a file");
    };
    assert_eq!(status.code(), Some(74), "{said}");
    assert!(said.contains(&*setup.data().to_string_lossy()), "{said}");

    let read_only = "/proc/self/fdinfo";
    let output = Command::new(TOLLGATE)
        .args(["serve", "--data", read_only, "--config"])
        .arg(setup.config())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(65 | 74)), "{output:?}");
    assert!(said.contains(read_only), "{said}");
    assert!(!said.contains("listens on"), "{said}");
}

#[test]
fn a_corrupt_journal_is_refused_with_file_and_offset() {
    let setup = Setup::new();
    let gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    let device = gateway.device(master, ANN);
    let mut tracker = Tracker::of(ANN, at);
    let begin_ms = now_ms() - 60_000;
    for index in 0..20 {
        assert_eq!(tracker.send(&[begin_ms + index]), Heard::Count(1));
    }
    gateway.kill_minus_9();
    let journal = setup.data().join("journal");
    let mut segments: Vec<_> = std::fs::read_dir(&journal)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| std::fs::read(path).is_ok_and(|bytes| contains(&bytes, ANN.as_bytes())))
        .collect();
    segments.sort();
    let segment = segments.first().expect("a segment with the frames in it");
    let bytes = std::fs::read(segment).expect("it is read");
    let mut places = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(ANN.as_bytes()));
    let place = places.nth(10).expect("the tenth frame");
    let flip = |to: u8| {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(segment)
            .expect("it opens");
        file.write_all_at(&[to], place as u64)
            .expect("it is written");
    };
    flip(bytes[place] ^ 0x40);
    let Err((status, said)) = setup.try_start() else {
        panic!("it starts on a corrupt journal");
    };
    assert_eq!(status.code(), Some(65), "{said}");
    let name = segment
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    assert!(said.contains(&name), "{said}");
    // the entry that it names begins a little before the byte
    let offset = said
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse::<usize>().ok())
        .any(|offset| offset <= place && offset + 200 > place);
    assert!(offset, "no offset near {place}: {said}");
    assert_eq!(
        std::fs::read(segment).expect("it is read").len(),
        bytes.len(),
        "nothing is cut"
    );

    flip(bytes[place]);
    let gateway = setup.start();
    assert_eq!(
        gateway.stored(device).len(),
        20,
        "nothing was lost by the refusal"
    );
    gateway.audit();
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
