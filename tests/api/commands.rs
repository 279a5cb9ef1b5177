//! Commands to devices: what a call may say, the queue, what is left of it behind a restart.

use crate::harness::Gateway;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tollgate::ids::{ConnectionId, DeviceId};
use tollgate::router::{Command, Outcome};
use tollgate::store::{Kind, Store};

#[tokio::test(flavor = "multi_thread")]
async fn commands_wait_are_shown_and_are_taken_back() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let device = gateway.device(master, "352625333222111").await.id();
    let queue = format!("/gw/devices/{device}/commands-queue");
    let body = json!([
        { "name": "custom", "properties": { "payload": "getver" }, "ttl": 600 },
        { "name": "custom", "properties": { "payload": "reboot" }, "priority": 3, "max_attempts": 1 },
    ]);
    let made = gateway
        .operator(master, &format!("POST {queue}"), body)
        .await;
    let first = made.rows()[0]["id"].as_u64().expect("a number");
    assert_eq!(made.rows()[0]["max_attempts"], 3);
    assert_eq!(made.rows()[0]["expires"], 1_795_521_600 + 600);
    let shown = gateway
        .operator(master, &format!("GET {queue}/all"), Value::Null)
        .await;
    // the higher priority first
    assert_eq!(shown.rows().len(), 2);
    assert_eq!(shown.rows()[0]["properties"]["payload"], "reboot");
    let field = format!("GET /gw/devices/{device}?fields=commands,commands_queue");
    let row = gateway.operator(master, &field, Value::Null).await;
    assert_eq!(row.row()["commands"], json!(["custom"]));
    assert_eq!(
        row.row()["commands_queue"].as_array().map(Vec::len),
        Some(2)
    );
    let gone = gateway
        .operator(master, &format!("DELETE {queue}/{first},7"), Value::Null)
        .await;
    assert_eq!(gone.body["result"], json!([{ "id": first }]));
    assert_eq!(gone.error()["id"], 7);
    let results = format!("GET /gw/devices/{device}/commands-result");
    let result = gateway.operator(master, &results, Value::Null).await;
    assert_eq!(result.row()["outcome"], "canceled");
    assert_eq!(result.row()["executed"], false);
    // the other one is over when its time is
    gateway.clock.advance_us(86_400_000_000);
    gateway.control.keep_commands();
    let results = gateway.operator(master, &results, Value::Null).await;
    assert_eq!(results.rows()[1]["outcome"], "expired");
    let logs = format!("GET /gw/devices/{device}/logs");
    let logs = gateway.operator(master, &logs, Value::Null).await;
    let codes: Vec<_> = logs.rows().iter().map(|row| &row["event_code"]).collect();
    for code in [9010, 9013, 9014] {
        assert!(codes.contains(&&json!(code)), "{code}: {codes:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_command_is_refused_by_name() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let device = gateway.device(master, "352625333222111").await.id();
    let queue = format!("POST /gw/devices/{device}/commands-queue");
    let now = format!("POST /gw/devices/{device}/commands");
    for (call, body, says) in [
        (&queue, json!([{}]), "must be the name"),
        (
            &queue,
            json!([{ "name": "custom", "ttl": 5 }]),
            "60 to 2592000",
        ),
        (
            &queue,
            json!([{ "name": "custom", "condition": "x" }]),
            "not allowed",
        ),
        (
            &now,
            json!([{ "name": "custom", "ttl": 600 }]),
            "not allowed",
        ),
        (
            &now,
            json!([{ "name": "custom", "timeout": 61 }]),
            "5 to 60",
        ),
        (
            &queue,
            json!([{ "name": "engine.relay" }]),
            "engine.relay is not found",
        ),
        (
            &queue,
            json!([{ "name": "custom", "properties": 7 }]),
            "must be an object",
        ),
        (
            &queue,
            json!([{ "name": "custom", "properties": { "payload": "x".repeat(5000) } }]),
            "longer than 4096 bytes",
        ),
    ] {
        let reply = gateway.operator(master, call, body).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text);
        let reason = reply.error()["reason"].as_str().expect("a reason");
        assert!(reason.contains(says), "{reason}");
    }
    let body = json!({ "name": "custom", "properties": { "payload": "getver" } });
    let reply = gateway.operator(master, &now, body.clone()).await;
    assert_eq!(reply.status, StatusCode::CONFLICT);
    assert_eq!(
        reply.error()["reason"],
        format!(
            "failed to deliver command custom with timeout pending, device with id {device} is not connected"
        )
    );
    for _ in 0..tollgate::router::COMMANDS_PER_DEVICE_MAX {
        gateway.operator(master, &queue, body.clone()).await.row();
    }
    let full = gateway.operator(master, &queue, body).await;
    assert_eq!(full.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(full.text.contains("100 commands wait already"));
    // another account sees nothing of it
    let other = gateway.account(0, "Other").await;
    let call = format!("GET /gw/devices/{device}/commands-queue");
    let hidden = gateway.operator(other, &call, Value::Null).await;
    assert_eq!(hidden.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_command_outlives_a_restart_until_it_has_ended() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let device = gateway.device(master, "352625333222111").await.id();
    let body = json!({ "name": "custom", "properties": { "payload": "getver" } });
    let queue = format!("POST /gw/devices/{device}/commands-queue");
    let kept = gateway.operator(master, &queue, body.clone()).await.id();
    let done = gateway.operator(master, &queue, body).await.id();
    let commands = gateway.control.router().commands();
    let outcome = Outcome::Answered("ok".into());
    let ended = commands.finish(DeviceId(device), done, outcome, 1);
    assert!(ended.is_some());
    gateway.control.keep_commands();
    let dir = gateway.into_dir();
    let store = Store::open(dir.path()).expect("a store");
    let rows: Vec<(u64, Command)> = store
        .all(Kind::Command)
        .map(|row| row.expect("whole"))
        .collect();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].0, kept);
    drop(store);
    let gateway = Gateway::open(dir);
    let commands = gateway.control.router().commands();
    let taken = commands
        .take(DeviceId(device), ConnectionId(1), 1)
        .expect("it waits again");
    assert_eq!(taken, rows[0].1);
    assert!(commands.next_id(1) > kept);
}
