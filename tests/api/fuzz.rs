//! What nobody sends on purpose: changed selectors, filters and bodies, and bodies that are too much.
//! Every answer is an envelope of a known status, and the gateway lives on.

use crate::harness::{Gateway, Reply, device};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Calls of each kind.
const TRIES: u64 = 1500;

/// Numbers that come out the same in each run.
struct Dice(u64);

impl Dice {
    /// Below `most`.
    fn roll(&mut self, most: usize) -> usize {
        // Steele, Lea, Flood: SplitMix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits ^ (bits >> 31)) % most as u64).expect("below most")
    }

    /// `text` with a few of its characters dropped, doubled, or made others.
    fn change(&mut self, text: &str) -> String {
        const ODD: [char; 16] = [
            '{',
            '}',
            '(',
            ')',
            '"',
            '=',
            '!',
            '~',
            '*',
            ',',
            '\\',
            '[',
            ']',
            '0',
            '\u{0}',
            '\u{1f697}',
        ];
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..=self.roll(4) {
            let at = self.roll(chars.len() + 1);
            match self.roll(4) {
                0 if at < chars.len() => drop(chars.remove(at)),
                1 if at < chars.len() => chars.insert(at, chars[at]),
                2 if at < chars.len() => chars[at] = ODD[self.roll(ODD.len())],
                _ => chars.insert(at, ODD[self.roll(ODD.len())]),
            }
        }
        chars.into_iter().collect()
    }
}

/// An envelope with a status that is described, and none of a gateway that fails.
#[track_caller]
fn is_answered(reply: &Reply, what: &str) {
    assert!(reply.status.as_u16() < 500, "{what}: {}", reply.text);
    assert!(reply.body["result"].is_array(), "{what}: {}", reply.text);
    let failed = reply.status != StatusCode::OK;
    assert!(
        !failed || reply.body.get("errors").is_some(),
        "{what}: {}",
        reply.text
    );
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut uri, byte| {
        write!(uri, "%{byte:02X}").expect("a string takes it");
        uri
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_selectors_filters_and_bodies_get_an_answer() {
    const SELECTORS: [&str; 6] = [
        "1,2,3",
        "all,cid=1",
        "configuration.ident=352625333222111",
        "{name ~ \"35*\" && (cid == 1 || !blocked) && device_type_id >= 1000}",
        "{configuration.ident == \"352625333222111\"}",
        "name=3526*",
    ];
    const FILTERS: [&str; 2] = [
        "position.speed > 10 && (engine.ignition.status == true || !din.1)",
        "ident ~ \"35*\" && timestamp <= 1700000000.5",
    ];
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    gateway.device(master, "352625333222111").await.row();
    let whole = json!([{
        "name": "van", "device_type_id": 1000, "enabled": true, "messages_ttl": 86400,
        "configuration": { "ident": "352625333222112", "model": "fmb" }, "metadata": { "a": [1, { "b": null }] },
    }])
    .to_string();
    let mut dice = Dice(42);
    for _ in 0..TRIES {
        let chosen = SELECTORS[dice.roll(SELECTORS.len())];
        let selector = dice.change(chosen);
        let path = format!("GET /gw/devices/{}?fields=id", encoded(&selector));
        is_answered(&gateway.operator(0, &path, Value::Null).await, &selector);
        let chosen = FILTERS[dice.roll(FILTERS.len())];
        let filter = dice.change(chosen);
        let data = json!({ "filter": filter });
        let read = gateway
            .operator(0, "GET /gw/devices/all/messages", data)
            .await;
        is_answered(&read, &filter);
        let body = dice.change(&whole);
        for method in ["POST", "PUT"] {
            let path = if method == "POST" {
                "/gw/devices"
            } else {
                "/gw/devices/1"
            };
            let request = Request::builder()
                .method(method)
                .uri(format!("{path}?dry_run=true"))
                .header("x-flespi-cid", master)
                .body(Body::from(body.clone()));
            let reply = gateway.send(true, request.expect("a request")).await;
            is_answered(&reply, &body);
        }
    }
    gateway
        .operator(0, "GET /gw/devices/1", Value::Null)
        .await
        .row();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_much_is_refused_before_it_is_held() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let post = async |body: Body, length: Option<u64>| {
        let mut request = Request::builder()
            .method("POST")
            .uri("/gw/devices")
            .header("x-flespi-cid", master);
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        gateway
            .send(true, request.body(body).expect("a request"))
            .await
    };
    let much = vec![b'['; 100 * 1024 * 1024];
    // announced, and not
    for length in [Some(much.len() as u64), None] {
        let reply = post(Body::from(much.clone()), length).await;
        assert_eq!(
            reply.status,
            StatusCode::PAYLOAD_TOO_LARGE,
            "{}",
            reply.text
        );
    }
    for depth in [33, 127, 200, 100_000] {
        let deep = format!(
            "[{{\"metadata\":{{\"a\":{}{}}}}}]",
            "[".repeat(depth),
            "]".repeat(depth)
        );
        let reply = post(Body::from(deep), None).await;
        assert_eq!(
            reply.status,
            StatusCode::BAD_REQUEST,
            "{depth}: {}",
            reply.text
        );
    }
    let many = Value::from(vec![device("352625333222111"); 10_001]);
    let reply = post(Body::from(many.to_string()), None).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        gateway
            .operator(0, "GET /gw/devices/all", Value::Null)
            .await
            .rows()
            .len(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_type_names_its_field() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    gateway.device(master, "352625333222111").await.row();
    let channel = gateway.channel(master, "teltonika").await;
    for (path, fields) in [
        (
            "/gw/devices/1".to_owned(),
            &[
                "name",
                "enabled",
                "device_type_id",
                "configuration",
                "messages_ttl",
                "messages_rotate",
                "metadata",
            ][..],
        ),
        (
            format!("/gw/channels/{channel}"),
            &[
                "name",
                "enabled",
                "protocol_id",
                "protocols",
                "messages_ttl",
                "isolated",
                "unknown",
                "takeover",
                "allow",
                "tls",
                "metadata",
            ],
        ),
        (
            "/platform/customer".to_owned(),
            &["name", "email", "metadata"],
        ),
    ] {
        for field in fields {
            for wrong in [json!(1.5), json!([[]])] {
                let body = json!({ *field: wrong });
                let reply = gateway.operator(master, &format!("PUT {path}"), body).await;
                assert_eq!(
                    reply.status,
                    StatusCode::BAD_REQUEST,
                    "{path} {field}: {}",
                    reply.text
                );
                let named = reply.error()["field"].as_str().expect("a field");
                assert!(named.starts_with(field), "{path} {field}: {}", reply.text);
            }
        }
    }
}
