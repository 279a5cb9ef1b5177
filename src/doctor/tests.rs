//! From facts to causes.

use super::diagnosis::{AHEAD_US, SILENT_US};
use super::facts::{Blocked, ChannelFacts, UnknownFacts};
use super::{Cause, DeviceFacts, Facts, Told, diagnose};
use serde_json::{Value, json};

const NOW_US: i64 = 1_795_521_600_000_000;

fn device() -> DeviceFacts {
    DeviceFacts {
        enabled: true,
        protocol: "teltonika",
        channels: vec![ChannelFacts::default()],
        ..DeviceFacts::default()
    }
}

fn told(ago_s: i64, code: u16, data: &Value) -> Told {
    Told {
        at_us: NOW_US - ago_s * 1_000_000,
        code,
        data: data.as_object().cloned().unwrap_or_default(),
        serves: true,
        ..Told::default()
    }
}

fn of(device: DeviceFacts, log: Vec<Told>) -> Facts {
    Facts {
        at_us: NOW_US,
        devices: vec![device],
        log,
        ..Facts::default()
    }
}

fn first(facts: &Facts) -> Cause {
    diagnose(facts)[0].cause
}

#[test]
fn what_is_so_now_goes_before_what_the_log_says() {
    let secret = told(5, 9005, &json!({ "cause": "secret" }));
    let mut facts = of(device(), vec![secret]);
    assert_eq!(first(&facts), Cause::WrongPassword);
    facts.devices[0].blocked = Some(Blocked {
        dimension: "channel_messages",
        levels_up: 1,
        until_us: NOW_US + 1,
    });
    assert_eq!(first(&facts), Cause::LimitReached);
    assert!(
        diagnose(&facts)[0]
            .says
            .starts_with("the account one level above")
    );
    facts.devices[0].account_disabled = Some(0);
    assert_eq!(first(&facts), Cause::AccountDisabled);
    facts.devices[0].enabled = false;
    assert_eq!(first(&facts), Cause::DeviceDisabled);
    facts.disk = Some("no space".into());
    let causes: Vec<_> = diagnose(&facts).into_iter().map(|one| one.cause).collect();
    assert_eq!(
        causes,
        [
            Cause::DiskStopped,
            Cause::DeviceDisabled,
            Cause::AccountDisabled,
            Cause::LimitReached,
            Cause::WrongPassword
        ]
    );
}

#[test]
fn what_is_older_than_the_newest_message_has_passed() {
    let reject = json!({ "what": "frame", "why": "checksum does not hold", "at": 9 });
    let mut facts = of(device(), vec![told(60, 305, &reject)]);
    assert_eq!(first(&facts), Cause::FrameRejected);
    assert!(diagnose(&facts)[0].says.contains("at byte 9"));
    facts.devices[0].newest = Some((NOW_US, NOW_US - 30_000_000));
    assert_eq!(first(&facts), Cause::Well);
    facts.devices[0].newest = Some((NOW_US, NOW_US - 2 * SILENT_US));
    assert_eq!(first(&facts), Cause::FrameRejected);
    facts.log.clear();
    assert_eq!(first(&facts), Cause::Silent);
}

#[test]
fn who_nobody_has_registered_is_told_from_who_calls_elsewhere() {
    let unknown = UnknownFacts {
        last_us: NOW_US - 1,
        count: 3,
        ..UnknownFacts::default()
    };
    let mut facts = Facts {
        at_us: NOW_US,
        unknown: vec![unknown],
        ..Facts::default()
    };
    assert_eq!(first(&facts), Cause::UnknownIdent);
    facts.devices.push(device());
    assert_eq!(first(&facts), Cause::CallsElsewhere);
    assert_eq!(first(&of(device(), Vec::new())), Cause::NeverCalled);
    // that it was made and changed is no call of it
    let mut log = vec![told(9, 1, &json!({})), told(8, 2, &json!({}))];
    assert_eq!(first(&of(device(), log.clone())), Cause::NeverCalled);
    log.push(told(7, 101, &json!({})));
    assert_eq!(first(&of(device(), log)), Cause::Well);
    let nothing = Facts::default();
    assert_eq!(first(&nothing), Cause::NeverSeen);
}

#[test]
fn strays_are_looked_at_only_where_nothing_surer_is_known() {
    let silent = told(
        9,
        102,
        &json!({ "close_code": 17, "recv": 0, "source": "192.0.2.1:9" }),
    );
    let mut other = told(5, 102, &json!({ "close_code": 19, "head": "7878" }));
    other.speaks = Some("gt06");
    let mut facts = of(device(), Vec::new());
    facts.strays = vec![silent.clone()];
    assert_eq!(first(&facts), Cause::SaysNothing);
    assert!(diagnose(&facts)[0].says.contains("another tracker"));
    facts.strays.push(other);
    assert_eq!(first(&facts), Cause::WrongProtocol);
    let mut hello = told(3, 102, &json!({ "close_code": 4, "head": "160301" }));
    facts.strays = vec![hello.clone()];
    assert_eq!(first(&facts), Cause::TlsUnexpected);
    hello.tls = true;
    facts.strays = vec![hello];
    assert_eq!(first(&facts), Cause::TlsExpected);
    for why in [
        "tls: received fatal alert: UnknownCA",
        "tls: peer is incompatible: x",
    ] {
        let mut failed = told(3, 102, &json!({ "close_code": 4, "why": why }));
        failed.tls = true;
        facts.strays = vec![failed];
        assert_eq!(first(&facts), Cause::TlsFailed);
    }
    facts.strays = vec![told(2, 102, &json!({ "close_code": 16 }))];
    assert_eq!(first(&facts), Cause::SourceNotAllowed);
    facts.log = vec![told(50, 9005, &json!({ "cause": "secret" }))];
    assert_eq!(first(&facts), Cause::WrongPassword);
}

#[test]
fn the_data_itself_shows_a_wrong_clock_and_repetition() {
    let ahead = DeviceFacts {
        newest: Some((NOW_US + 3 * AHEAD_US, NOW_US)),
        ..device()
    };
    assert_eq!(first(&of(ahead, Vec::new())), Cause::ClockAhead);
    let again = told(1, 301, &json!({ "msgs": 0, "duplicates": 4 }));
    let sent = DeviceFacts {
        newest: Some((NOW_US, NOW_US - 9_000_000)),
        ..device()
    };
    assert_eq!(first(&of(sent, vec![again])), Cause::DuplicatesOnly);
    let taken = |ago| told(ago, 9004, &json!({ "source": "192.0.2.1:9" }));
    let shared = of(device(), vec![taken(1), taken(2)]);
    assert_eq!(first(&shared), Cause::IdentShared);
    assert_eq!(first(&of(device(), vec![taken(1)])), Cause::Well);
}
