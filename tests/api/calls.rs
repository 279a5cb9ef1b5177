//! What the calls do, and the shapes of their answers.

use crate::harness::{Gateway, device};
use axum::http::StatusCode;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_reseller_builds_its_tree_and_every_answer_has_flespis_shape() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let limit = gateway
        .operator(
            master,
            "POST /platform/limits",
            json!([{ "name": "small", "devices_count": 2 }]),
        )
        .await;
    assert_eq!(limit.row()["devices_count"], 2);
    assert_eq!(limit.row()["streams_count"], -1);
    assert_eq!(limit.row()["cid"], master);
    let body = json!([{ "name": "Customer", "limit_id": limit.id(), "metadata": { "crm": 7 } }]);
    let customer = gateway
        .operator(master, "POST /platform/subaccounts", body)
        .await;
    assert_eq!(
        customer.row(),
        &json!({
            "id": 2, "cid": master, "owner_id": master, "name": "Customer", "enabled": true,
            "limit_id": limit.id(), "metadata": { "crm": 7 },
        })
    );
    let customer = customer.id();
    let channel = gateway
        .operator(
            master,
            "POST /gw/channels",
            json!([{ "name": "in", "protocol_name": "teltonika" }]),
        )
        .await;
    assert_eq!(
        channel.row(),
        &json!({
            "id": 1, "cid": master, "name": "in", "enabled": true, "protocol_id": 1,
            "protocol_name": "teltonika", "configuration": {}, "messages_ttl": 86400,
            "uri": "gate.example:21000", "secondary_uri": "", "isolated": true, "unknown": "hold",
            "takeover": "newest", "metadata": {},
        })
    );
    let made = gateway.device(customer, "352625333222111").await;
    assert_eq!(
        made.row(),
        &json!({
            "id": 1, "cid": customer, "name": "352625333222111", "enabled": true,
            "device_type_id": 1000, "protocol_id": 1,
            "configuration": { "ident": "352625333222111", "settings_polling": "once" },
            "messages_ttl": 31536000, "messages_rotate": 0, "media_ttl": 31536000, "media_rotate": 0,
            "metadata": {},
        })
    );
    let customer_view = gateway
        .operator(
            customer,
            "GET /platform/customer?fields=id,limits.devices_count,counters.devices_count,blocked",
            Value::Null,
        )
        .await;
    assert_eq!(
        customer_view.row(),
        &json!({
            "id": customer, "blocked": 0, "counters": { "devices_count": 1 },
            "limits": { "devices_count": 2 },
        })
    );
    // the second fits, the third does not; each is decided by itself
    let two = json!([device("352625333222112"), device("352625333222113")]);
    let partly = gateway.operator(customer, "POST /gw/devices", two).await;
    assert_eq!(partly.status, StatusCode::OK);
    assert_eq!(partly.body["result"].as_array().map(Vec::len), Some(1));
    assert_eq!(partly.error()["code"], 4);
    assert!(
        partly.headers.contains_key("x-tollgate-refusal"),
        "{partly:?}"
    );
    let keys: Vec<_> = partly
        .error()
        .as_object()
        .expect("an object")
        .keys()
        .collect();
    assert_eq!(keys, ["code", "reason"]);
    let list = gateway
        .operator(
            0,
            "GET /gw/devices/all?fields=id,configuration.ident",
            Value::Null,
        )
        .await;
    assert_eq!(list.rows().len(), 2);
    assert_eq!(
        list.rows()[0],
        json!({ "id": 1, "configuration": { "ident": "352625333222111" } })
    );
}
