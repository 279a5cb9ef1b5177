//! What an operator gets wrong: each time it is told what, where, and what to do, and the exit code
//! says of which kind it is.

use crate::harness::{Heard, Setup, TOLLGATE, Tracker, command, now_ms, until};
use std::fs::Permissions;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[track_caller]
fn tells(said: &str, what: &[&str]) {
    for part in what {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_mistake_of_the_file_is_told_with_its_line_and_what_was_meant() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("tollgate.toml");
    let check = |text: &[u8]| {
        std::fs::write(&file, text).expect("it is written");
        command(&["config", "check"], &file, &[])
    };
    let wrong = b"[gateway]\nworkers = \"two\"\n\n[[accounts]]\nname = \"a\"\n\n[[channels]]\n\
        acount = \"a\"\nprotocol = \"teltonica\"\n";
    let output = check(wrong);
    let told = said(&output);
    assert_eq!(output.status.code(), Some(64), "{told}");
    tells(
        &told,
        &[
            "line 2, gateway.workers: \"two\" is no whole number; write one from 0 to 1024",
            "line 8, channels[0].acount: there is no such key; did you mean account?",
            "line 9, channels[0].protocol: there is no protocol \"teltonica\"; did you mean \"teltonika\"?",
            // what is missing is missing here
            "line 7, channels[0].name: ",
        ],
    );
    let output = check(b"[gateway]\n# Z\xfcrich\n");
    let told = said(&output);
    assert_eq!(output.status.code(), Some(65), "{told}");
    tells(
        &told,
        &["byte 13, in line 2, is fc", "hint: ", "iconv", "TOML"],
    );
}

#[test]
fn a_list_of_devices_that_is_no_text_is_told_with_its_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("devices.csv");
    std::fs::write(&file, b"ident,name\n1,a\n2,\xe9\n").expect("it is written");
    let data = dir.path().join("data");
    let output = command(
        &["import", "devices"],
        &file,
        &["--data", &data.to_string_lossy()],
    );
    let told = said(&output);
    assert_eq!(output.status.code(), Some(65), "{told}");
    tells(
        &told,
        &[
            "devices.csv: no text in UTF-8: byte 17, in line 3, is e9",
            "hint: CSV",
        ],
    );
}

#[test]
fn a_certificate_that_is_not_there_is_told_with_its_channel_and_file() {
    let setup = Setup::new().with(
        "[[accounts]]\nname = \"a\"\n\
         [[channels]]\nname = \"c\"\naccount = \"a\"\nprotocol = \"teltonika\"\n\
         tls = { certificate = \"/nowhere/chain.pem\", key = \"/nowhere/key.pem\" }\n",
    );
    let Err((status, told)) = setup.try_start() else {
        panic!("it starts without a certificate");
    };
    assert_eq!(status.code(), Some(64), "{told}");
    tells(
        &told,
        &["channels[0].tls: /nowhere/chain.pem: No such file"],
    );
}

#[test]
fn a_data_directory_in_use_is_one_exit_code_and_says_what_to_end() {
    let setup = Setup::new();
    let gateway = setup.start();
    let Err((status, told)) = setup.try_start() else {
        panic!("two on one directory");
    };
    let compacted = command(&["compact", "--data"], &setup.data(), &[]);
    assert_eq!(
        (status.code(), compacted.status.code()),
        (Some(65), Some(65))
    );
    tells(&told, &["in use by another process", "hint: end that one"]);
    tells(
        &said(&compacted),
        &["in use by another process", "hint: stop the gateway"],
    );
    gateway.stop();
}

#[test]
fn a_data_directory_of_another_user_is_told_with_who_may() {
    let setup = Setup::new();
    setup.start().stop();
    let data = setup.data();
    let root = rustix::process::geteuid().is_root();
    // root may everything: there it is nobody who asks, else a directory that nobody may look into
    for folder in [setup.dir.path(), &data] {
        let mode = if root { 0o755 } else { 0o700 };
        std::fs::set_permissions(folder, Permissions::from_mode(mode)).expect("ours");
    }
    if !root {
        std::fs::set_permissions(&data, Permissions::from_mode(0o000)).expect("ours");
    }
    let ask = |verb: &[&str]| {
        let mut asked = Command::new(TOLLGATE);
        asked.args(verb).arg("--data").arg(&data);
        asked.env_remove("TOLLGATE_DATA");
        if root {
            asked.uid(65_534).gid(65_534);
        }
        asked.output()
    };
    let config = setup.config().to_string_lossy().into_owned();
    for verb in [
        &["serve", "--config", &config][..],
        &["audit"],
        &["accounts"],
    ] {
        let output = match ask(verb) {
            Ok(output) => output,
            // the program lies where nobody may run it
            Err(error) => {
                assert!(
                    root && error.kind() == ErrorKind::PermissionDenied,
                    "{error}"
                );
                return;
            }
        };
        let told = said(&output);
        // who may not even look at the socket is told so before the directory is opened
        assert!(matches!(output.status.code(), Some(66 | 74)), "{told}");
        tells(&told, &["Permission denied", "hint: ", "user"]);
    }
    std::fs::set_permissions(&data, Permissions::from_mode(0o700)).expect("ours");
}

#[test]
fn what_is_not_there_is_told_by_its_number() {
    let setup = Setup::new();
    let gateway = setup.start();
    gateway.master_and_channel();
    for (verb, missing) in [
        (
            &["messages", "--device", "77", "--data"][..],
            "no device 77",
        ),
        (&["messages", "--channel", "77", "--data"], "no channel 77"),
        (&["export", "--device", "77", "--data"], "no device 77"),
        (&["export", "--account", "77", "--data"], "no account 77"),
        (&["statement", "--account", "77", "--data"], "no account 77"),
    ] {
        let output = command(verb, &setup.data(), &[]);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(65), "{verb:?}: {told}");
        tells(&told, &[missing]);
    }
    let output = command(
        &["erase", "--yes", "--device", "77", "--data"],
        &setup.data(),
        &[],
    );
    assert!(output.status.success(), "{output:?}");
    tells(&said(&output), &["there is no device 77 now", "is erased"]);
    let output = command(
        &["messages", "--device", "van", "--data"],
        &setup.data(),
        &[],
    );
    assert_eq!(output.status.code(), Some(64));
    tells(&said(&output), &["'van'", "the number of one is wanted"]);
    gateway.stop();
}

/// A certificate and its key in PEM, valid until the first day of that year.
fn certificate(until: i32) -> (String, String) {
    let names = vec!["localhost".to_owned()];
    let mut params = rcgen::CertificateParams::new(names).expect("a name");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = rcgen::KeyPair::generate().expect("a key");
    let made = params.self_signed(&key).expect("a certificate");
    (made.pem(), key.serialize_pem())
}

#[test]
fn a_certificate_that_has_expired_is_told_and_one_that_is_broken_changes_nothing() {
    let files = tempfile::tempdir().expect("a folder");
    let write = |(certificate, key): &(String, String)| {
        std::fs::write(files.path().join("gps.pem"), certificate).expect("it is written");
        std::fs::write(files.path().join("gps.key"), key).expect("it is written");
    };
    write(&certificate(2021));
    let setup = Setup::new().with(&format!(
        "[[accounts]]\nname = \"a\"\n\
         [[channels]]\nname = \"c\"\naccount = \"a\"\nprotocol = \"teltonika\"\n\
         tls = {{ certificate = \"{0}/gps.pem\", key = \"{0}/gps.key\" }}\n",
        files.path().display()
    ));
    let gateway = setup.start();
    tells(
        &gateway.said(),
        &["has expired", "channel=1", "2021-01-01", "put a new one"],
    );
    let expires = "tollgate_tls_certificate_expires_timestamp_seconds{channel=\"1\"}";
    let of_2021 = 1_609_459_200.0;
    assert!((gateway.metric(expires) - of_2021).abs() < 0.5);
    // neither a key of another certificate nor a file that is none takes its place
    write(&(certificate(2098).0, certificate(2099).1));
    gateway.send_sighup();
    until("it is told", || {
        gateway.said().contains("is not the key of")
    });
    write(&("no certificate".to_owned(), certificate(2099).1));
    gateway.send_sighup();
    until("it is told", || {
        gateway.said().contains("no certificate in PEM")
    });
    assert!((gateway.metric(expires) - of_2021).abs() < 0.5);
    write(&certificate(2100));
    gateway.send_sighup();
    until("the new one is there", || {
        gateway.metric(expires) > of_2021 + 1e9
    });
    let times = gateway.said().matches("has expired").count();
    assert_eq!(times, 1, "{}", gateway.said());
    gateway.stop();
}

#[test]
fn a_limit_of_open_files_that_is_low_is_told_with_what_raises_it() {
    let mut setup = Setup::new();
    setup.hard_files = Some(128);
    let gateway = setup.start();
    let told = gateway.said();
    tells(&told, &["WARN", "files=128 most=64", "LimitNOFILE"]);
    gateway.stop();
}

#[test]
fn what_a_newer_version_wrote_is_refused_with_its_file_and_left_as_it_is() {
    let setup = Setup::new();
    let gateway = setup.start();
    let (master, _, at) = gateway.master_and_channel();
    let ident = "356600000000301";
    gateway.device(master, ident);
    let begin_ms = now_ms() - 60_000;
    assert_eq!(Tracker::of(ident, at).send(&[begin_ms]), Heard::Count(1));
    gateway.stop();
    let journal = setup.data().join("journal");
    let segments = std::fs::read_dir(&journal).expect("a folder");
    let segment = segments
        .map(|file| file.expect("a file").path())
        .find(|path| path.extension().is_some_and(|kind| kind == "seg"))
        .expect("a segment");
    let as_it_was = std::fs::read(&segment).expect("it is read");
    // the version stands in a header with a checksum of its own
    let mut newer = as_it_was.clone();
    newer[6] += 1;
    let sum = crc32fast::hash(&newer[..28]);
    newer[28..32].copy_from_slice(&sum.to_le_bytes());
    std::fs::write(&segment, &newer).expect("it is written");
    let Err((status, told)) = setup.try_start() else {
        panic!("it starts on what it cannot read");
    };
    assert_eq!(status.code(), Some(65), "{told}");
    let name = segment.file_name().expect("a name").to_string_lossy();
    tells(&told, &[&name, "newer version", "hint: "]);
    assert!(std::fs::read(&segment).expect("it is read") == newer);
    std::fs::write(&segment, &as_it_was).expect("it is written");
    setup.start().stop();
}
