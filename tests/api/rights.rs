//! Who may what: every kind of token, at every place of a tree, against a plain statement of the
//! rule. And the races that nobody may win twice.

use crate::harness::{Gateway, device};
use axum::http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// So many races are run unless `RACES` says otherwise; each must have exactly one winner.
const RACES: u64 = 500;

/// In place of an item: the call is of the caller's account.
const OWN: usize = usize::MAX;

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
    let (method, path) = call.split_once(' ').expect("METHOD /path");
    let path = path.split('?').next().expect("a path");
    // what is no account's
    let open = [
        "/auth/info",
        "/gw/channel-protocols",
        "/gw/message-parameters",
    ]
    .iter()
    .any(|begin| path.starts_with(begin));
    let of_devices = path == "/gw/devices/ID"
        || ["telemetry", "connections", "logs"]
            .iter()
            .any(|sub| path.starts_with(&format!("/gw/devices/ID/{sub}")));
    match kind {
        Kind::None => false,
        Kind::Master => true,
        _ if open => true,
        Kind::Standard => path.starts_with("/gw/"),
        Kind::AclReads => method == "GET" && of_devices,
        // a move is the device's own PUT
        Kind::AclWrites => {
            ["PUT", "PATCH"].contains(&method)
                && (path == "/gw/devices/ID" || path == "/gw/devices/ID/cid")
        }
        Kind::AclNothing => false,
    }
}

/// Every route of the description, as `METHOD /path` with `*` for what stands in braces.
async fn routes(gateway: &Gateway) -> BTreeSet<String> {
    let described = gateway.operator(0, "GET /openapi.json", Value::Null).await;
    let paths = described.body["paths"].as_object().expect("paths");
    let mut found = BTreeSet::new();
    for (path, methods) in paths {
        let shape: Vec<&str> = path
            .split('/')
            .map(|part| if part.starts_with('{') { "*" } else { part })
            .collect();
        for method in methods.as_object().expect("methods").keys() {
            found.insert(format!("{} {}", method.to_uppercase(), shape.join("/")));
        }
    }
    found
}

/// The route that a call of these tests is of.
fn route_of(call: &str, routes: &BTreeSet<String>) -> String {
    let call = call.split('?').next().expect("a path");
    let parts: Vec<&str> = call.split('/').collect();
    let fits = |route: &&String| {
        let shape: Vec<&str> = route.split('/').collect();
        shape.len() == parts.len() && shape.iter().zip(&parts).all(|(s, p)| *s == "*" || s == p)
    };
    routes
        .iter()
        .find(fits)
        .unwrap_or_else(|| panic!("no route: {call}"))
        .clone()
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
        let gone = gateway
            .operator(cid, "POST /platform/limits", json!([{ "name": "gone" }]))
            .await
            .id();
        gateway
            .operator(cid, &format!("DELETE /platform/limits/{gone}"), Value::Null)
            .await
            .rows();
        let bin = gateway
            .operator(
                0,
                &format!("GET /platform/deleted/item_id={gone}"),
                Value::Null,
            )
            .await
            .id();
        items.push([device, channel, limit, child, token, bin, cid]);
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
        // of no item: the own account is what is reached
        ("GET /auth/info", OWN, Value::Null),
        ("GET /platform/customer", OWN, Value::Null),
        ("PUT /platform/customer", OWN, json!({})),
        ("PATCH /platform/customer", OWN, json!({})),
        ("GET /platform/customer/logs", OWN, Value::Null),
        ("GET /platform/customer/statistics", OWN, Value::Null),
        ("GET /platform/customer/statements", OWN, Value::Null),
        (
            "POST /platform/limits?dry_run=true",
            OWN,
            json!([{ "name": "l" }]),
        ),
        (
            "POST /platform/tokens?dry_run=true",
            OWN,
            json!([{ "info": "t" }]),
        ),
        (
            "POST /platform/subaccounts?dry_run=true",
            OWN,
            json!([{ "name": "s" }]),
        ),
        (
            "POST /gw/channels?dry_run=true",
            OWN,
            json!([{ "protocol_name": "gt06" }]),
        ),
        (
            "POST /gw/devices?dry_run=true",
            OWN,
            json!([device("352625333222999")]),
        ),
        ("GET /gw/channel-protocols/all", OWN, Value::Null),
        (
            "GET /gw/channel-protocols/1/device-types/all",
            OWN,
            Value::Null,
        ),
        ("GET /gw/message-parameters/ident", OWN, Value::Null),
        ("GET /platform/deleted/ID", 5, Value::Null),
        (
            "POST /platform/deleted/ID/restore?dry_run=true",
            5,
            Value::Null,
        ),
        (
            "PUT /gw/devices/ID/cid?dry_run=true",
            0,
            json!({ "cid": "OWNER" }),
        ),
        (
            "PUT /gw/channels/ID/cid?dry_run=true",
            1,
            json!({ "cid": "OWNER" }),
        ),
        ("GET /gw/devices/ID/telemetry", 0, Value::Null),
        (
            "DELETE /gw/devices/ID/telemetry/none?dry_run=true",
            0,
            Value::Null,
        ),
        ("GET /gw/devices/ID/settings/all", 0, Value::Null),
        ("GET /gw/devices/ID/packets", 0, Value::Null),
        ("GET /gw/devices/ID/doctor", 0, Value::Null),
        ("DELETE /gw/devices/ID/connections/all", 0, Value::Null),
        ("GET /gw/channels/ID/idents", 1, Value::Null),
        ("GET /gw/channels/ID/idents/*/packets", 1, Value::Null),
        ("GET /gw/channels/ID/idents/*/doctor", 1, Value::Null),
        ("PATCH /platform/limits/ID", 2, json!({})),
        ("PATCH /platform/subaccounts/ID", 3, json!({})),
        ("PATCH /platform/tokens/ID", 4, json!({})),
        ("GET /gw/devices/ID", 0, Value::Null),
        ("PUT /gw/devices/ID", 0, json!({})),
        ("PATCH /gw/devices/ID", 0, json!({})),
        ("DELETE /gw/devices/ID?dry_run=true", 0, Value::Null),
        ("GET /gw/devices/ID/telemetry/all", 0, Value::Null),
        ("GET /gw/devices/ID/messages", 0, Value::Null),
        (
            "DELETE /gw/devices/ID/messages?dry_run=true",
            0,
            Value::Null,
        ),
        (
            "POST /gw/devices/ID/messages?dry_run=true",
            0,
            json!([{ "timestamp": 1 }]),
        ),
        ("GET /gw/devices/ID/connections/all", 0, Value::Null),
        ("GET /gw/devices/ID/logs", 0, Value::Null),
        (
            "POST /gw/devices/ID/commands-queue?dry_run=true",
            0,
            json!([{ "name": "custom" }]),
        ),
        (
            "POST /gw/devices/ID/commands?dry_run=true",
            0,
            json!([{ "name": "custom" }]),
        ),
        ("GET /gw/devices/ID/commands-queue/all", 0, Value::Null),
        (
            "DELETE /gw/devices/ID/commands-queue/all?dry_run=true",
            0,
            Value::Null,
        ),
        ("GET /gw/devices/ID/commands-queue", 0, Value::Null),
        ("GET /gw/devices/ID/commands-result", 0, Value::Null),
        ("GET /gw/devices/ID/commands-result/all", 0, Value::Null),
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
    let routes = routes(&gateway).await;
    let walked: BTreeSet<String> = calls
        .iter()
        .map(|(call, ..)| route_of(call, &routes))
        .collect();
    let left: Vec<_> = routes.difference(&walked).collect();
    assert!(left.is_empty(), "routes that nobody tries: {left:?}");
    let mut tried = 0;
    for (call, item, body) in calls {
        for (target, ids) in items.iter().enumerate() {
            let id = if *item == OWN {
                target as u64
            } else {
                ids[*item]
            };
            if id == 0 && *item != OWN {
                continue;
            }
            for (caller, of_place) in tokens.iter().enumerate() {
                if *item == OWN && caller != target {
                    continue;
                }
                for (kind, key) in of_place {
                    let path = call.replace("ID", &id.to_string());
                    let mut body = body.clone();
                    if body["cid"] == "OWNER" {
                        body["cid"] = ids[6].into();
                    }
                    let reply = gateway.call(Some(key), 0, &path, body).await;
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
    let races = std::env::var("RACES").map_or(RACES, |text| text.parse().expect("a number"));
    for race in 0..races {
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
    assert_eq!(all.rows().len() as u64, races);
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

/// The rest of a path that a route asks for, and the body that it takes.
fn tried(route: &str, id: u64) -> (String, Value) {
    let (method, path) = route.split_once(' ').expect("METHOD /path");
    let path = path.replacen('*', &id.to_string(), 1).replace('*', "all");
    let body = match method {
        "PUT" if path.ends_with("/cid") => json!({ "cid": 1 }),
        "PUT" | "PATCH" => json!({ "name": "mine" }),
        "POST" if path.ends_with("/messages") => json!([{ "timestamp": 1 }]),
        _ => Value::Null,
    };
    (format!("{method} {path}"), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_route_what_is_foreign_and_what_is_missing_are_the_same_answer() {
    const MISSING: u64 = 987_654;
    let gateway = Gateway::new();
    let one = gateway.account(0, "One").await;
    let other = gateway.account(0, "Other").await;
    let key = gateway.token(one, json!({ "type": 1 })).await;
    let id_of =
        async |call: &str, body: Value| gateway.operator(other, call, json!([body])).await.id();
    let child = gateway.account(other, "Child").await;
    let gone = id_of("POST /platform/limits", json!({ "name": "gone" })).await;
    gateway
        .operator(
            other,
            &format!("DELETE /platform/limits/{gone}"),
            Value::Null,
        )
        .await
        .rows();
    let bin = gateway
        .operator(other, "GET /platform/deleted/all", Value::Null)
        .await
        .id();
    let foreign = [
        (
            "/gw/devices/",
            gateway.device(other, "352625333222111").await.id(),
        ),
        ("/gw/channels/", gateway.channel(other, "teltonika").await),
        (
            "/platform/limits/",
            id_of("POST /platform/limits", json!({ "name": "l" })).await,
        ),
        (
            "/platform/tokens/",
            id_of("POST /platform/tokens", json!({ "info": "t" })).await,
        ),
        ("/platform/subaccounts/", child),
        ("/platform/deleted/", bin),
    ];
    let mut routes_tried = 0;
    for route in routes(&gateway).await {
        let Some((_, id)) = foreign.iter().find(|(begin, _)| route.contains(begin)) else {
            continue;
        };
        let mut answers = Vec::new();
        let mut touched = Vec::new();
        for id in [*id, MISSING] {
            let (call, body) = tried(&route, id);
            let before = gateway.files.touched();
            let reply = gateway.call(Some(&key), 0, &call, body).await;
            assert_eq!(
                reply.status,
                StatusCode::FORBIDDEN,
                "{call}: {}",
                reply.text
            );
            assert_eq!(reply.error()["id"], id, "{call}");
            answers.push(reply.text.replace(&format!(":{id}}}"), ":ID}"));
            touched.push(gateway.files.touched() - before);
        }
        // the class of time: no journal, log or raw traffic is looked into for either
        assert_eq!(touched, [0, 0], "{route}");
        assert_eq!(answers[0], answers[1], "{route}");
        routes_tried += 1;
    }
    assert!(routes_tried > 35, "{routes_tried}");
    // nothing of it happened
    for (begin, id) in &foreign[..5] {
        let path = format!("GET {begin}{id}");
        gateway.operator(0, &path, Value::Null).await.row();
    }
}
