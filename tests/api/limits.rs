//! What calls cost, who is told what of a refusal, and what stays on record.

use crate::harness::{Gateway, NOON_US, device};
use axum::http::StatusCode;
use serde_json::{Value, json};
use tollgate::ids::{ChannelId, DeviceId};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_the_limit_is_429_and_nothing_is_done() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let limit = gateway
        .operator(
            master,
            "POST /platform/limits",
            json!([{ "name": "calls", "api_calls": 3 }]),
        )
        .await
        .id();
    let body = json!([{ "name": "Reseller", "limit_id": limit }]);
    let reseller = gateway
        .operator(master, "POST /platform/subaccounts", body)
        .await
        .id();
    let customer = gateway.account(reseller, "Customer").await;
    let above = gateway.token(reseller, json!({ "type": 1 })).await;
    let below = gateway.token(customer, json!({ "type": 1 })).await;
    let list = json!([device("352625333222111")]);
    for _ in 0..3 {
        gateway
            .call(Some(&below), 0, "GET /gw/devices/all", Value::Null)
            .await
            .rows();
    }
    // a child learns the dimension and when it resets, never whose limit it was
    let refused = gateway
        .call(Some(&below), 0, "POST /gw/devices", list.clone())
        .await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers["retry-after"], "60");
    let header: Value = serde_json::from_str(
        refused.headers["x-tollgate-refusal"]
            .to_str()
            .expect("text"),
    )
    .expect("JSON");
    assert_eq!(
        header,
        json!({ "dimension": "api_calls", "resets": NOON_US / 1_000_000 + 60 })
    );
    assert!(
        refused.error()["reason"]
            .as_str()
            .expect("text")
            .contains("an account above"),
        "{}",
        refused.text
    );
    // the account whose limit it is sees its own
    let own = gateway
        .call(Some(&above), 0, "GET /gw/devices/all", Value::Null)
        .await;
    assert_eq!(own.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(
        own.error()["reason"]
            .as_str()
            .expect("text")
            .contains(&format!("account {reseller}")),
        "{}",
        own.text
    );
    assert_eq!(
        gateway
            .operator(0, "GET /gw/devices/all", Value::Null)
            .await
            .rows()
            .len(),
        0
    );
    let blocked = gateway
        .operator(
            master,
            &format!("GET /platform/subaccounts/{reseller}?fields=blocked"),
            Value::Null,
        )
        .await;
    assert_eq!(
        blocked.row(),
        &json!({ "blocked": 2, "blocked_until": NOON_US / 1_000_000 + 60, "blocked_by": "api_calls" })
    );
    // one no to the customer and one to the reseller, in the sum of both
    gateway.control.flush_usage();
    gateway.wait_durable().await;
    for (cid, noes) in [(customer, 1), (reseller, 2), (master, 2)] {
        let data = json!({ "fields": "refused_api_calls,api_calls" });
        let used = gateway.operator(cid, "GET /platform/customer/statistics", data);
        let expected = json!({ "api_calls": 3, "refused_api_calls": noes });
        assert_eq!(used.await.row(), &expected);
    }
    gateway.clock.advance_us(60_000_000);
    gateway
        .call(Some(&below), 0, "POST /gw/devices", list)
        .await
        .rows();
    // raising the limit is in force at once
    for _ in 0..2 {
        gateway
            .call(Some(&below), 0, "GET /gw/devices/all", Value::Null)
            .await
            .rows();
    }
    assert_eq!(
        gateway
            .call(Some(&below), 0, "GET /auth/info", Value::Null)
            .await
            .status,
        StatusCode::TOO_MANY_REQUESTS
    );
    gateway
        .operator(
            master,
            &format!("PUT /platform/limits/{limit}"),
            json!({ "api_calls": -1 }),
        )
        .await
        .rows();
    gateway
        .call(Some(&below), 0, "GET /auth/info", Value::Null)
        .await
        .rows();
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_say_what_the_branch_used_to_the_byte() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let customer = gateway.account(master, "Customer").await;
    let key = gateway.token(customer, json!({ "type": 1 })).await;
    let call = "/gw/devices/all?fields=id";
    let mut bytes = 0;
    for _ in 0..5 {
        let reply = gateway
            .call(Some(&key), 0, &format!("GET {call}"), Value::Null)
            .await;
        bytes += reply.text.len() + call.len() - 1;
    }
    gateway.control.flush_usage();
    gateway.wait_durable().await;
    for account in [master, customer] {
        let rows = gateway
            .operator(account, "GET /platform/customer/statistics", Value::Null)
            .await;
        let row = rows.row();
        assert_eq!(row["api_calls"], 5);
        assert_eq!(row["api_traffic"], bytes);
        assert_eq!(row["cid"], account);
        assert_eq!(row["timestamp"], NOON_US / 1_000_000);
    }
    let hour = r#"GET /platform/customer/statistics?data={"period":"hour","fields":"api_calls"}"#;
    assert_eq!(
        gateway.operator(master, hour, Value::Null).await.row(),
        &json!({ "api_calls": 5 })
    );
    let wrong = gateway
        .operator(
            master,
            r#"GET /platform/customer/statistics?data={"perod":1}"#,
            Value::Null,
        )
        .await;
    assert_eq!(
        wrong.error(),
        &json!({ "code": 2, "reason": "field is not allowed", "field": "perod" })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_what_happened_and_no_secret() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let other = gateway.account(0, "Other").await;
    let key = gateway.token(master, json!({ "type": 1 })).await;
    let body = json!([{
        "device_type_id": 4000, "name": "van",
        "configuration": { "ident": "van-1", "password": "open-sesame" },
    }]);
    let made = gateway.call(Some(&key), 0, "POST /gw/devices", body).await;
    assert_eq!(made.row()["configuration"]["password"], "open-sesame");
    let id = made.id();
    let change = json!({ "name": "bus", "configuration": { "password": "other-secret" } });
    let changed = gateway
        .call(Some(&key), 0, &format!("PATCH /gw/devices/{id}"), change)
        .await;
    assert_eq!(changed.row()["configuration"]["ident"], "van-1");
    gateway
        .call(
            Some(&key),
            0,
            &format!("DELETE /gw/devices/{id}"),
            Value::Null,
        )
        .await
        .rows();
    let log = gateway
        .operator(master, "GET /platform/customer/logs", Value::Null)
        .await;
    assert!(
        !log.text.contains("sesame") && !log.text.contains("other-secret"),
        "{}",
        log.text
    );
    assert!(!log.text.contains(&key), "{}", log.text);
    let of_device: Vec<_> = log
        .rows()
        .iter()
        .filter(|row| row["event_origin"] == format!("gw/devices/{id}"))
        .collect();
    let codes: Vec<_> = of_device
        .iter()
        .map(|row| row["event_code"].as_u64())
        .collect();
    assert_eq!(codes, [Some(1), Some(2), Some(3)]);
    assert_eq!(of_device[1]["new"]["name"], "bus");
    assert_eq!(of_device[1]["old"]["name"], "van");
    let calls = gateway
        .operator(master, r#"GET /platform/customer/logs?data={"filter":"event_code==1000","fields":"http_data"}"#, Value::Null)
        .await;
    // the operator made the token for the account: that is told too
    let sources: Vec<_> = calls
        .rows()
        .iter()
        .map(|row| &row["http_data"]["source"])
        .collect();
    assert_eq!(sources, ["local", "192.0.2.7", "192.0.2.7", "192.0.2.7"]);
    assert_eq!(calls.rows()[2]["http_data"]["method"], "PATCH");
    let none = gateway
        .operator(other, "GET /platform/customer/logs", Value::Null)
        .await;
    assert!(
        none.rows().iter().all(|row| row["cid"] == other),
        "{}",
        none.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_comes_back_unless_its_place_is_taken() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let other = gateway.account(0, "Other").await;
    let channel = gateway.channel(master, "teltonika").await;
    let id = gateway.device(master, "352625333222111").await.id();
    gateway
        .operator(master, &format!("DELETE /gw/devices/{id}"), Value::Null)
        .await
        .rows();
    gateway
        .operator(
            master,
            &format!("DELETE /gw/channels/{channel}"),
            Value::Null,
        )
        .await
        .rows();
    assert!(gateway.ports.0.lock().expect("no panic").is_empty());
    let bin = gateway
        .operator(master, "GET /platform/deleted/all", Value::Null)
        .await;
    assert_eq!(bin.rows().len(), 2);
    assert_eq!(bin.rows()[0]["item_type"], "gw/devices");
    assert_eq!(
        gateway
            .operator(other, "GET /platform/deleted/all", Value::Null)
            .await
            .rows()
            .len(),
        0
    );
    let foreign = gateway
        .operator(other, "POST /platform/deleted/1/restore", Value::Null)
        .await;
    assert_eq!(foreign.status, StatusCode::FORBIDDEN);
    let back = gateway
        .operator(
            master,
            "POST /platform/deleted/item_id=1/restore",
            Value::Null,
        )
        .await;
    assert_eq!(back.rows().len(), 2);
    assert_eq!(gateway.ports.0.lock().expect("no panic").len(), 1);
    assert_eq!(
        gateway
            .operator(master, "GET /platform/deleted/all", Value::Null)
            .await
            .rows()
            .len(),
        0
    );
    assert_eq!(
        gateway
            .operator(0, &format!("GET /gw/devices/{id}"), Value::Null)
            .await
            .row()["name"],
        "352625333222111"
    );
    // again, and somebody takes the ident meanwhile
    gateway
        .operator(master, &format!("DELETE /gw/devices/{id}"), Value::Null)
        .await
        .rows();
    gateway.device(master, "352625333222111").await.rows();
    let taken = gateway
        .operator(master, "POST /platform/deleted/all/restore", Value::Null)
        .await;
    assert_eq!(taken.status, StatusCode::CONFLICT);
    assert_eq!(taken.error()["field"], "configuration.ident");
    assert_eq!(
        gateway
            .operator(master, "GET /platform/deleted/all", Value::Null)
            .await
            .rows()
            .len(),
        1
    );
    gateway.clock.advance_us(31 * 86_400 * 1_000_000);
    assert_eq!(gateway.control.empty_bin().expect("a store"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_limit_below_what_exists_blocks_the_newest_and_frees_them_by_itself() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let limit = gateway
        .operator(master, "POST /platform/limits", json!([{ "name": "l" }]))
        .await
        .id();
    let body = json!([{ "name": "Customer", "limit_id": limit }]);
    let customer = gateway
        .operator(master, "POST /platform/subaccounts", body)
        .await
        .id();
    for n in 1..=4 {
        gateway
            .device(customer, &format!("35262533322211{n}"))
            .await
            .rows();
    }
    let channel = gateway.channel(customer, "teltonika").await;
    let blocked = async || {
        let all = gateway
            .operator(0, "GET /gw/devices/all?fields=blocked", Value::Null)
            .await;
        all.rows()
            .iter()
            .map(|row| row["blocked"].as_u64().expect("a code"))
            .collect::<Vec<_>>()
    };
    assert_eq!(blocked().await, [0, 0, 0, 0]);
    let dry = format!("PUT /platform/limits/{limit}?dry_run=true");
    let lower = json!({ "devices_count": 2, "channels_count": 0 });
    let told = gateway.operator(master, &dry, lower.clone()).await;
    assert_eq!(
        told.row()["would_block"],
        json!([
            { "cid": customer, "limit": "channels_count", "used": 1, "cap": 0 },
            { "cid": customer, "limit": "devices_count", "used": 4, "cap": 2 },
        ])
    );
    assert_eq!(blocked().await, [0, 0, 0, 0], "a dry run does nothing");
    gateway
        .operator(master, &format!("PUT /platform/limits/{limit}"), lower)
        .await
        .rows();
    assert_eq!(blocked().await, [0, 0, 5, 5]);
    let registry = gateway.control.registry();
    let in_use = |id| {
        registry
            .device(DeviceId(id))
            .expect("a device")
            .state
            .load()
            .enabled
    };
    assert_eq!([1, 2, 3, 4].map(in_use), [true, true, false, false]);
    let listens = || {
        registry
            .channel(ChannelId(channel))
            .expect("a channel")
            .state
            .load()
            .enabled
    };
    assert!(!listens());
    // a change of a blocked device does not free it
    gateway
        .operator(0, "PUT /gw/devices/4", json!({ "name": "still" }))
        .await
        .rows();
    assert_eq!([1, 2, 3, 4].map(in_use), [true, true, false, false]);
    // there is room for one more when an old one goes
    gateway
        .operator(0, "DELETE /gw/devices/1", Value::Null)
        .await
        .rows();
    assert_eq!(blocked().await, [0, 0, 5]);
    assert!(in_use(3) && !in_use(4));
    gateway
        .operator(
            master,
            &format!("PUT /platform/limits/{limit}"),
            json!({ "devices_count": -1, "channels_count": -1 }),
        )
        .await
        .rows();
    assert_eq!(blocked().await, [0, 0, 0]);
    assert!(in_use(4) && listens());
}
