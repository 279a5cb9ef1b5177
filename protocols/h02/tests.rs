use super::Decoder;
use crate::contract::{Cut, Decode, Env, Event, Output, Probe, Protocol, Unregistered, event_line};

const NOW_MS: i64 = 1_795_477_360_000;

fn lines(wire: &[u8]) -> Vec<String> {
    let mut session = (Protocol::of::<Decoder>(3).open)();
    let mut out = Output::default();
    let fed = session.feed(
        wire,
        true,
        Env {
            now_ms: NOW_MS,
            lookup: &mut Unregistered,
            out: &mut out,
        },
    );
    assert_eq!(fed.consumed, wire.len());
    let events = out.events.iter();
    events
        .filter_map(|event| event_line(event, &out, None))
        .map(|line| line.to_string())
        .collect()
}

fn replies(wire: &[u8]) -> Vec<String> {
    let mut session = (Protocol::of::<Decoder>(3).open)();
    let mut out = Output::default();
    session.feed(
        wire,
        true,
        Env {
            now_ms: NOW_MS,
            lookup: &mut Unregistered,
            out: &mut out,
        },
    );
    let text = |event: &Event| match event {
        Event::Reply(reply) => Some(String::from_utf8_lossy(&reply.accepted).into_owned()),
        _ => None,
    };
    out.events.iter().filter_map(text).collect()
}

#[test]
fn heartbeats_are_answered_with_themselves_and_fixes_with_the_clock() {
    for (wire, reply) in [
        (&b"*HQ,1451316451,V0#"[..], Some("*HQ,1451316451,V0#")),
        (b"*HQ,1451316451,HTBT,50#", Some("*HQ,1451316451,HTBT#")),
        (b"*HQ,1451316451,XT,1,100#", None),
        (
            b"*TH,2020916012,V1,050316,A,2212.8745,N,11346.6574,E,14.28,028,220902,FFFFFBFF#",
            Some("*TH,2020916012,V4,V1,20261123234240#"),
        ),
        (
            b"*HQ,2020916012,R12,050316,A,2212.8745,N,11346.6574,E,14.28,028,220902,FFFFFBFF#",
            Some("*HQ,2020916012,R12,234240#"),
        ),
        (
            b"*HQ,2020916012,V2,050316,A,2212.8745,N,11346.6574,E,14.28,028,220902,FFFFFBFF#",
            None,
        ),
    ] {
        assert_eq!(replies(wire).first().map(String::as_str), reply);
    }
}

#[test]
fn a_frame_without_a_fix_brings_no_place() {
    let wire = b"*HQ,353506050551016,V1,,V,,N,,E,0.00,0,,FFFFFFFF,2e4,0,5209,273d#";
    let [_, message, _] = &*lines(wire) else {
        panic!("a login, a message and a reply");
    };
    assert!(message.contains(r#""position.valid":false"#), "{message}");
    assert!(!message.contains("latitude"), "{message}");
    assert!(message.contains(r#""gsm.mcc":740"#), "{message}");
    assert!(message.contains(r#""timestamp":1795477360"#), "{message}");
}

#[test]
fn impossible_dates_are_marked_and_impossible_digits_rejected() {
    let wire = b"*HQ,2020916012,V1,996099,A,2212.8745,N,11346.6574,E,14.28,028,220902,FFFFFBFF#";
    assert!(
        lines(wire)
            .iter()
            .any(|l| l.contains(r#""timestamp.valid":false"#))
    );
    let mut wire = vec![0x24; 32];
    wire[29..].copy_from_slice(&[0xff, 0, 0]);
    assert!(lines(&wire).iter().all(|l| l.contains("rejected")));
}

#[test]
fn the_forms_of_binary_frames_are_told_apart_by_their_content() {
    let cut = |hex: &str| {
        let bytes = crate::kit::hex::decode(hex).expect("hex");
        Decoder::default()
            .cut(&bytes, 0, false)
            .expect("never fatal")
    };
    let short = "2427051711092133391406135002584900014337822e000000ffffffffff0000";
    let long = "2441091144271222470112142233983006114026520e000000fffffbffff0014060000000001cc00262b0f170a";
    let imei =
        "2435248308419329301047591808172627335900074412294e024138feffffffff01120064ba73005ecc";
    assert_eq!(cut(short), Cut::Frame(32));
    assert_eq!(cut(long), Cut::Frame(45));
    assert_eq!(cut(imei), Cut::Frame(42));
    assert_eq!(cut(&long[..64]), Cut::Need(45));
    assert_eq!(cut(&short[..20]), Cut::Need(15));
    assert_eq!(cut("0d0a00"), Cut::Skip(3));
}

#[test]
fn the_first_bytes_tell_the_protocol() {
    assert_eq!(Decoder::probe(b"*HQ,1"), Probe::Yes);
    assert_eq!(Decoder::probe(b"*H"), Probe::More);
    assert_eq!(Decoder::probe(b"*1234"), Probe::No);
    assert_eq!(Decoder::probe(b"$GPRMC,0000000000000"), Probe::No);
    // a padlock's longitude would be 402 degrees
    let padlock = "247000000003213036090609080453225640251132423ffc0bf50000410400003c";
    let padlock = crate::kit::hex::decode(padlock).expect("hex");
    assert_eq!(Decoder::probe(&padlock), Probe::No);
}
