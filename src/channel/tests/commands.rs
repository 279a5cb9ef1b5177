//! Commands: to the device's present connection only, one at a time, paid for, and answered.

use super::IDENT;
use super::harness::*;
use super::hostile::{AT_S, FIRST, SECOND, gt06, ruptela, ruptela_ack, ruptela_gateway};
use crate::account::Dimension;
use crate::channel::bounds::Bounds;
use crate::channel::events::Happened;
use crate::ids::{Clock as _, DeviceId, minute_of};
use crate::router::{Command, Outcome};
use protocols::kit::checksum;
use serde_json::json;

const DEVICE: DeviceId = DeviceId(100);

/// A text in Teltonika's codec 12: 5 is a command, 6 an answer.
fn codec12(kind: u8, text: &str) -> Vec<u8> {
    let mut body = vec![0x0c, 1, kind];
    body.extend_from_slice(&u32::try_from(text.len()).unwrap().to_be_bytes());
    body.extend_from_slice(text.as_bytes());
    body.push(1);
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
    let crc = u32::from(checksum::crc16_ibm(&body));
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

impl Gateway {
    /// Leaves a command as control does.
    fn order(&self, payload: &str, attempts_max: u8) -> u64 {
        let router = &self.deps.router;
        let now_us = self.deps.clock.now_us();
        let id = router.commands().next_id(now_us);
        router.commands().room(DEVICE).unwrap();
        router.commands().add(Command {
            id,
            device: DEVICE,
            name: "custom".into(),
            properties: json!({ "payload": payload }),
            priority: 0,
            timeout_ms: 30_000,
            attempts_max,
            expires_us: now_us + 3_600_000_000,
            stored: false,
        });
        let present = self.deps.registry.device(DEVICE).unwrap().present();
        router.command(present);
        id
    }

    fn outcomes(&self) -> Vec<(u64, Outcome)> {
        let results = self.deps.router.commands().results(DEVICE);
        let row = |ended: crate::router::Ended| (ended.command.id, ended.outcome);
        results.into_iter().map(row).collect()
    }
}

fn answered(text: &str) -> Outcome {
    Outcome::Answered(text.into())
}

#[test]
fn commands_go_one_after_the_other_are_answered_and_paid_for() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        let first = gateway.order("getver", 3);
        tracker.expect(&codec12(5, "getver")).await;
        let second = gateway.order("getgps", 3);
        // the first is not answered yet
        tracker.expect_silence().await;
        // what it sends meanwhile is no answer
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
        tracker.send(&codec12(6, "Ver:03")).await;
        tracker.expect(&codec12(5, "getgps")).await;
        tracker.send(&codec12(6, "GPS:1")).await;
        let both = [(first, answered("Ver:03")), (second, answered("GPS:1"))];
        gateway
            .until("answered", || gateway.outcomes() == both)
            .await;
        let codes = gateway.told(|what| {
            let code = what.code();
            matches!(code, 9011 | 9012 | 9014).then_some(code)
        });
        assert_eq!(codes, [9011, 9012, 9011, 9012]);
        // what was sent is usage, and the totals agree with what was admitted
        gateway
            .worker
            .hand_in(gateway.clock.now_us() + 1_000_000, true);
        let login = (IDENT.len() + 2 + 1) as u64;
        let sent = 2 * codec12(5, "getver").len() as u64;
        gateway
            .until("posted", || {
                gateway.account(MASTER).posted().usage_bytes >= login + sent
            })
            .await;
    });
}

#[test]
fn a_command_waits_for_its_device_and_never_goes_to_a_connection_that_was_replaced() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let id = gateway.order("getver", 3);
        let mut old = gateway.logged_in(IDENT).await;
        old.expect(&codec12(5, "getver")).await;
        let later = gateway.order("getgps", 3);
        let mut new = gateway.connect(TELTONIKA);
        new.send(&login(IDENT)).await;
        new.expect(&[1]).await;
        // taken over unanswered: it goes once more, to whoever is the device now
        new.expect(&codec12(5, "getver")).await;
        old.expect_end().await;
        new.send(&codec12(6, "Ver:03")).await;
        new.expect(&codec12(5, "getgps")).await;
        new.send(&codec12(6, "GPS:1")).await;
        let both = [(id, answered("Ver:03")), (later, answered("GPS:1"))];
        gateway
            .until("answered", || gateway.outcomes() == both)
            .await;
    });
}

#[test]
fn a_command_that_nobody_answers_is_sent_again_and_then_given_up() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        let id = gateway.order("getver", 2);
        for _ in 0..2 {
            tracker.expect(&codec12(5, "getver")).await;
            gateway.advance_ms(29_000).await;
            tracker.expect_silence().await;
            gateway.advance_ms(1_200).await;
        }
        let given_up = [(id, Outcome::Unanswered)];
        gateway
            .until("given up", || gateway.outcomes() == given_up)
            .await;
        tracker.expect_silence().await;
        // one that cannot be written is told so, and the connection lives on
        let id = gateway.order("", 2);
        gateway
            .until(
                "told",
                || matches!(gateway.outcomes().last(), Some((of, Outcome::Wrong(_))) if *of == id),
            )
            .await;
        tracker.send(&packet(&[at(1)])).await;
        tracker.expect(&taken(1)).await;
    });
}

#[test]
fn a_command_that_cannot_be_written_does_not_hold_the_next_one_up() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        // both wait for a device that says nothing but its name
        let wrong = gateway.order("", 1);
        let good = gateway.order("getver", 1);
        let mut tracker = gateway.logged_in(IDENT).await;
        tracker.expect(&codec12(5, "getver")).await;
        tracker.send(&codec12(6, "Ver:03")).await;
        gateway
            .until("both have ended", || gateway.outcomes().len() == 2)
            .await;
        let outcomes = gateway.outcomes();
        assert!(
            matches!(&outcomes[0], (id, Outcome::Wrong(_)) if *id == wrong),
            "{outcomes:?}"
        );
        assert_eq!(outcomes[1], (good, answered("Ver:03")));
    });
}

#[test]
fn a_command_that_a_limit_has_no_room_for_waits_for_the_next_window() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    // the login, and not the command
    gateway.limit(MIDDLE, Dimension::ChannelTraffic, 18 + 10);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        gateway.order("getver", 1);
        tracker.expect_silence().await;
        let now = minute_of(gateway.clock.now_us());
        let reading = gateway
            .account(MIDDLE)
            .reading(Dimension::ChannelTraffic, now);
        assert_eq!((reading.used, reading.usage), (0, 18));
        gateway.limit(MIDDLE, Dimension::ChannelTraffic, 1_000);
        gateway.next_minute().await;
        tracker.expect(&codec12(5, "getver")).await;
        let told = gateway.told(|what| matches!(what, Happened::Blocked { .. }).then_some(()));
        assert_eq!(told.len(), 1);
    });
}

/// An answer of GT06 to the command with this key.
fn gt06_answer(key: u32, text: &str) -> Vec<u8> {
    let mut content = vec![u8::try_from(text.len() + 4).unwrap()];
    content.extend_from_slice(&key.to_be_bytes());
    content.extend_from_slice(text.as_bytes());
    content.extend_from_slice(&[0, 2]);
    gt06(0x81, &content)
}

#[test]
fn an_answer_with_another_key_is_no_answer() {
    let gateway = Gateway::new();
    let item = channel(GT06, "gt06");
    gateway.deps.registry.put_channel(item).unwrap();
    gateway.register(100, LEAF, "gt06", "356307042441001");
    gateway.run(async |gateway| {
        let mut tracker = gateway.connect(GT06);
        tracker
            .send(&gt06(1, &[3, 0x56, 0x30, 0x70, 0x42, 0x44, 0x10, 1]))
            .await;
        tracker.one_read().await;
        let first = gateway.order("RELAY,1#", 1);
        let asked = tracker.one_read().await;
        // mark, length, kind, length, key
        let key_of = |asked: &[u8]| u32::from_be_bytes(asked[5..9].try_into().unwrap());
        let key = key_of(&asked);
        tracker.send(&gt06_answer(key + 1, "not this one")).await;
        let second = gateway.order("STATUS#", 1);
        tracker.expect_silence().await;
        assert_eq!(gateway.outcomes(), []);
        tracker.send(&gt06_answer(key, "RELAY:ON")).await;
        let asked = tracker.one_read().await;
        assert_eq!(key_of(&asked), key + 1);
        tracker.send(&gt06_answer(key + 1, "Battery:OK")).await;
        let both = [
            (first, answered("RELAY:ON")),
            (second, answered("Battery:OK")),
        ];
        gateway
            .until("answered", || gateway.outcomes() == both)
            .await;
    });
}

/// A text of a tracker of Ruptela.
fn ruptela_text(imei: u64, text: &str) -> Vec<u8> {
    let mut body = imei.to_be_bytes().to_vec();
    body.push(7);
    body.extend_from_slice(text.as_bytes());
    let mut bytes = u16::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    let crc = checksum::crc16_kermit(&body);
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&crc.to_be_bytes());
    bytes
}

#[test]
fn of_several_idents_on_a_connection_the_one_that_spoke_last_is_commanded_and_answers_for_itself() {
    let gateway = ruptela_gateway(Bounds::default());
    gateway.run(async |gateway| {
        let mut bridge = gateway.connect(RUPTELA);
        let both = [ruptela(FIRST, AT_S), ruptela(SECOND, AT_S)].concat();
        bridge.send(&both).await;
        bridge
            .expect(&[ruptela_ack(1), ruptela_ack(1)].concat())
            .await;
        // what is written now would go to the second one
        let id = gateway.order("getver", 1);
        bridge.expect_silence().await;
        bridge.send(&ruptela(FIRST, AT_S + 1)).await;
        bridge.expect(&ruptela_ack(1)).await;
        let asked = bridge.one_read().await;
        assert!(
            asked.windows(6).any(|part| part == b"getver"),
            "{asked:02x?}"
        );
        bridge.send(&ruptela_text(SECOND, "not mine")).await;
        bridge.send(&ruptela(SECOND, AT_S + 2)).await;
        bridge.expect(&ruptela_ack(1)).await;
        assert_eq!(gateway.outcomes(), []);
        bridge.send(&ruptela_text(FIRST, "Ver:03")).await;
        let answer = [(id, answered("Ver:03"))];
        gateway
            .until("answered", || gateway.outcomes() == answer)
            .await;
    });
}
