//! Who may what: every kind of token, at every place of a tree, against a plain statement of the
//! rule. And the races that nobody may win twice.

use crate::harness::{Gateway, device};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::sync::Arc;

/// So many races are run; each must have exactly one winner.
const RACES: u64 = 500;

/// What a caller at each place may reach at each other place: the own account and what is below.
const PLACES: [&str; 5] = ["master", "left", "left.below", "right", "stranger"];

fn reaches(caller: usize, target: usize) -> bool {
    matches!(
        (PLACES[caller], PLACES[target]),
        ("master", "master" | "left" | "left.below" | "right")
            | ("left", "left" | "left.below")
            | ("left.below", "left.below")
            | ("right", "right")
            | ("stranger", "stranger")
    )
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    Standard,
    Master,
    AclReads,
    AclWrites,
    AclNothing,
    None,
}

/// The rule: may a token of this kind do this with an item that its account reaches?
fn allows(kind: Kind, call: &str) -> bool {
    let platform = call.contains("/platform/");
    let reads = call.starts_with("GET");
    match kind {
        Kind::Master => true,
        Kind::Standard => !platform,
        Kind::AclReads => reads && call.contains("/gw/devices/ID") && !call.contains("/messages"),
        Kind::AclWrites => call == "PUT /gw/devices/ID" || call == "PATCH /gw/devices/ID",
        Kind::AclNothing | Kind::None => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_token_and_place_keeps_the_rule() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "master").await;
    let left = gateway.account(master, "left").await;
    let below = gateway.account(left, "below").await;
    let right = gateway.account(master, "right").await;
    let stranger = gateway.account(0, "stranger").await;
    let accounts = [master, left, below, right, stranger];
    let mut items = Vec::new();
    let mut tokens = Vec::new();
    for (place, &cid) in accounts.iter().enumerate() {
        let device = gateway
            .device(cid, &format!("35262533322211{place}"))
            .await
            .id();
        let body = json!([{ "protocol_name": "h02", "isolated": false }]);
        let channel = gateway.operator(cid, "POST /gw/channels", body).await.id();
        let limit = gateway
            .operator(cid, "POST /platform/limits", json!([{ "name": "l" }]))
            .await
            .id();
        let child = if place == 2 {
            0
        } else {
            gateway.account(cid, "child").await
        };
        let token = gateway
            .operator(cid, "POST /platform/tokens", json!([{ "info": "t" }]))
            .await
            .id();
        items.push([device, channel, limit, child, token]);
        let acl = |methods: Value| {
            json!({ "type": 2, "acl": [{
                "uri": "gw/devices", "methods": methods,
                "submodules": [
                    { "name": "telemetry", "methods": methods },
                    { "name": "connections", "methods": methods },
                    { "name": "logs", "methods": methods },
                ],
            }] })
        };
        tokens.push([
            (
                Kind::Standard,
                gateway.token(cid, json!({ "type": 0 })).await,
            ),
            (Kind::Master, gateway.token(cid, json!({ "type": 1 })).await),
            (
                Kind::AclReads,
                gateway.token(cid, acl(json!(["GET"]))).await,
            ),
            (
                Kind::AclWrites,
                gateway.token(cid, acl(json!(["PUT", "PATCH"]))).await,
            ),
            (
                Kind::AclNothing,
                gateway.token(cid, json!({ "type": 2, "acl": [] })).await,
            ),
            (Kind::None, "no-such-key".to_owned()),
        ]);
    }
    let calls: &[(&str, usize, Value)] = &[
        ("GET /gw/devices/ID", 0, Value::Null),
        ("PUT /gw/devices/ID", 0, json!({})),
        ("PATCH /gw/devices/ID", 0, json!({})),
        ("DELETE /gw/devices/ID?dry_run=true", 0, Value::Null),
        ("GET /gw/devices/ID/telemetry/all", 0, Value::Null),
        ("GET /gw/devices/ID/messages", 0, Value::Null),
        (
            "POST /gw/devices/ID/messages?dry_run=true",
            0,
            json!([{ "timestamp": 1 }]),
        ),
        ("GET /gw/devices/ID/connections/all", 0, Value::Null),
        ("GET /gw/devices/ID/logs", 0, Value::Null),
        ("GET /gw/channels/ID", 1, Value::Null),
        ("PUT /gw/channels/ID", 1, json!({})),
        ("PATCH /gw/channels/ID", 1, json!({})),
        ("DELETE /gw/channels/ID?dry_run=true", 1, Value::Null),
        ("GET /gw/channels/ID/messages", 1, Value::Null),
        (
            "DELETE /gw/channels/ID/messages?dry_run=true",
            1,
            Value::Null,
        ),
        ("GET /gw/channels/ID/idents/*", 1, Value::Null),
        ("GET /gw/channels/ID/connections/all", 1, Value::Null),
        ("DELETE /gw/channels/ID/connections/all", 1, Value::Null),
        ("GET /gw/channels/ID/logs", 1, Value::Null),
        ("GET /platform/limits/ID", 2, Value::Null),
        ("PUT /platform/limits/ID", 2, json!({})),
        ("DELETE /platform/limits/ID?dry_run=true", 2, Value::Null),
        ("GET /platform/limits/ID/logs", 2, Value::Null),
        ("GET /platform/subaccounts/ID", 3, Value::Null),
        ("PUT /platform/subaccounts/ID", 3, json!({})),
        (
            "DELETE /platform/subaccounts/ID?dry_run=true",
            3,
            Value::Null,
        ),
        ("GET /platform/subaccounts/ID/logs", 3, Value::Null),
        ("GET /platform/tokens/ID", 4, Value::Null),
        ("PUT /platform/tokens/ID", 4, json!({})),
        ("DELETE /platform/tokens/ID?dry_run=true", 4, Value::Null),
        ("GET /platform/tokens/ID/logs", 4, Value::Null),
    ];
    let mut tried = 0;
    for (call, item, body) in calls {
        for (target, ids) in items.iter().enumerate() {
            let id = ids[*item];
            if id == 0 {
                continue;
            }
            for (caller, of_place) in tokens.iter().enumerate() {
                for (kind, key) in of_place {
                    let path = call.replace("ID", &id.to_string());
                    let reply = gateway.call(Some(key), 0, &path, body.clone()).await;
                    let expected = if *kind == Kind::None {
                        StatusCode::UNAUTHORIZED
                    } else if allows(*kind, call) && reaches(caller, target) {
                        StatusCode::OK
                    } else {
                        StatusCode::FORBIDDEN
                    };
                    let who = format!(
                        "{kind:?} at {}: {call} at {}",
                        PLACES[caller], PLACES[target]
                    );
                    assert_eq!(reply.status, expected, "{who}: {}", reply.text);
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 4000, "{tried}");
    // acting for an account: the same rule
    for (target, &cid) in accounts.iter().enumerate() {
        for (caller, of_place) in tokens.iter().enumerate() {
            let reply = gateway
                .call(
                    Some(&of_place[1].1),
                    cid,
                    "GET /platform/customer",
                    Value::Null,
                )
                .await;
            assert_eq!(reply.status == StatusCode::OK, reaches(caller, target));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_creates_of_one_ident_exactly_one_wins() {
    let gateway = Arc::new(Gateway::new());
    let master = gateway.account(0, "Master").await;
    let (left, right) = (
        gateway.account(master, "Left").await,
        gateway.account(master, "Right").await,
    );
    gateway.channel(master, "teltonika").await;
    for race in 0..RACES {
        let ident = format!("{:015}", 352_000_000_000_000 + race);
        let create = |cid: u64| {
            let (gateway, ident) = (Arc::clone(&gateway), ident.clone());
            tokio::spawn(async move {
                gateway
                    .operator(cid, "POST /gw/devices", json!([device(&ident)]))
                    .await
            })
        };
        let (one, other) = tokio::join!(create(left), create(right));
        let replies = [one.expect("no panic"), other.expect("no panic")];
        let won = replies
            .iter()
            .filter(|reply| reply.status == StatusCode::OK)
            .count();
        assert_eq!(won, 1, "race {race}: {replies:?}");
        let lost = replies
            .iter()
            .find(|reply| reply.status != StatusCode::OK)
            .expect("one lost");
        assert_eq!(lost.status, StatusCode::CONFLICT);
        assert_eq!(lost.error()["field"], "configuration.ident");
    }
    let all = gateway
        .operator(0, "GET /gw/devices/all?fields=id", Value::Null)
        .await;
    assert_eq!(all.rows().len() as u64, RACES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_message_of_a_device_that_moves_under_load_has_one_payer() {
    const MESSAGES: i64 = 60;
    let gateway = Arc::new(Gateway::new());
    let master = gateway.account(0, "Master").await;
    let (left, right) = (
        gateway.account(master, "Left").await,
        gateway.account(master, "Right").await,
    );
    let id = gateway.device(left, "352625333222111").await.id();
    let sender = {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move {
            for n in 0..MESSAGES {
                let body = json!([{ "timestamp": 1_700_000_000 + n }]);
                let sent = gateway
                    .operator(0, &format!("POST /gw/devices/{id}/messages"), body)
                    .await;
                assert_eq!(sent.row()["messages"], 1);
            }
        })
    };
    let mut moves = 0;
    while !sender.is_finished() {
        let to = if moves % 2 == 0 { right } else { left };
        let body = json!({ "cid": to });
        // every message is in the past and no time must pass between moves here
        gateway
            .operator(0, &format!("PUT /gw/devices/{id}/cid"), body)
            .await
            .rows();
        moves += 1;
    }
    sender.await.expect("the sender is content");
    assert!(moves > 1);
    let messages = async |cid: u64| {
        let of = gateway
            .operator(
                cid,
                "GET /platform/customer?fields=counters.totals.messages",
                Value::Null,
            )
            .await;
        of.row()["counters"]["totals"]["messages"]
            .as_i64()
            .expect("a number")
    };
    let (l, r) = (messages(left).await, messages(right).await);
    assert_eq!(l + r, MESSAGES, "{l} + {r}");
    assert_eq!(messages(master).await, MESSAGES);
    let all = gateway
        .operator(0, &format!("GET /gw/devices/{id}/messages"), Value::Null)
        .await;
    assert_eq!(all.rows().len(), 60, "history moves with the device");
}
