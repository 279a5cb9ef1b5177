//! Who gets in, and what a token lets do.

use crate::harness::{Gateway, NOON_US, device};
use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use serde_json::{Value, json};
use tollgate::ids::ChannelId;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_health_is_open_without_a_token() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let key = gateway.token(master, json!({ "type": 1 })).await;
    assert_eq!(key.len(), 64);
    for path in [
        "/health/live",
        "/health/ready",
        "/openapi.json",
        "/gw/api.json",
        "/",
    ] {
        let reply = gateway
            .call(Some("wrong"), 0, &format!("GET {path}"), Value::Null)
            .await;
        assert_eq!(reply.status, StatusCode::OK, "{path}");
    }
    for (path, status) in [
        ("/health/live", StatusCode::OK),
        ("/health/ready", StatusCode::OK),
        ("/metrics", StatusCode::UNAUTHORIZED),
        ("/gw/devices/all", StatusCode::UNAUTHORIZED),
    ] {
        let call = format!("HEAD {path}");
        let reply = gateway.call(Some("wrong"), 0, &call, Value::Null).await;
        assert_eq!(reply.status, status, "{call}");
    }
    // the peer of these tests is far away
    for path in [
        "/metrics",
        "/gw/devices/all",
        "/auth/info",
        "/no/such/path",
        "/platform/customer",
    ] {
        let reply = gateway
            .call(Some("wrong"), 0, &format!("GET {path}"), Value::Null)
            .await;
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(reply.error()["code"], 3);
    }
    for header in [
        format!("FlespiToken {key}"),
        key.clone(),
        format!("FlespiToken FlespiToken {key}"),
    ] {
        let request = Request::builder()
            .uri("/auth/info")
            .header("authorization", header)
            .body(Body::empty())
            .expect("a request");
        let reply = gateway.send(false, request).await;
        assert_eq!(reply.row()["access"], json!({ "type": 1 }));
        assert_eq!(reply.row().get("key"), None);
    }
    assert!(
        gateway
            .call(None, 0, "GET /metrics", Value::Null)
            .await
            .text
            .contains("tollgate_api_requests_total")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_item_and_one_that_is_not_there_are_the_same_answer() {
    let gateway = Gateway::new();
    let (one, other) = (
        gateway.account(0, "One").await,
        gateway.account(0, "Other").await,
    );
    let theirs = gateway.account(other, "Theirs").await;
    let key = gateway.token(one, json!({ "type": 1 })).await;
    let channel = gateway.channel(other, "teltonika").await;
    let foreign = gateway.device(other, "352625333222111").await.id();
    assert!(
        gateway
            .ports
            .0
            .lock()
            .expect("no panic")
            .contains(&ChannelId(channel))
    );
    for (call, id, body) in [
        ("GET /gw/devices/ID", foreign, Value::Null),
        ("PUT /gw/devices/ID", foreign, json!({ "name": "mine" })),
        ("PATCH /gw/devices/ID", foreign, json!({ "name": "mine" })),
        ("DELETE /gw/devices/ID", foreign, Value::Null),
        ("PUT /gw/devices/ID/cid", foreign, json!({ "cid": one })),
        ("GET /gw/devices/ID/messages", foreign, Value::Null),
        ("GET /gw/devices/ID/telemetry/all", foreign, Value::Null),
        ("GET /gw/devices/ID/connections/all", foreign, Value::Null),
        ("GET /gw/channels/ID", channel, Value::Null),
        ("GET /gw/channels/ID/messages", channel, Value::Null),
        ("GET /gw/channels/ID/idents/*", channel, Value::Null),
        ("DELETE /gw/channels/ID/messages", channel, Value::Null),
        ("GET /platform/subaccounts/ID", theirs, Value::Null),
        ("DELETE /platform/subaccounts/ID", theirs, Value::Null),
    ] {
        let there = gateway
            .call(
                Some(&key),
                0,
                &call.replace("ID", &id.to_string()),
                body.clone(),
            )
            .await;
        let absent = gateway
            .call(Some(&key), 0, &call.replace("ID", "987654"), body)
            .await;
        assert_eq!(there.status, StatusCode::FORBIDDEN, "{call}");
        assert_eq!(absent.status, StatusCode::FORBIDDEN, "{call}");
        assert_eq!(
            there.text.replace(&format!(":{id}}}"), ":ID}"),
            absent.text.replace(":987654}", ":ID}"),
            "{call}"
        );
        assert_eq!(
            there.error()["reason"],
            "access denied or unable to process the item"
        );
    }
    for cid in [other, theirs, 987_654] {
        let reply = gateway
            .call(Some(&key), cid, "GET /gw/devices/all", Value::Null)
            .await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN);
        assert_eq!(
            reply.error(),
            &json!({
                "code": 3, "reason": "access denied or unable to process the item", "id": cid,
            })
        );
    }
    assert_eq!(
        gateway
            .call(Some(&key), 0, "GET /gw/devices/all", Value::Null)
            .await
            .rows()
            .len(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_master_token_of_a_master_stays() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let customer = gateway.account(master, "Customer").await;
    let made = async |cid, enabled: bool| {
        let body = json!([{ "access": { "type": 1 }, "enabled": enabled }]);
        let call = gateway.operator(cid, "POST /platform/tokens", body);
        let made = call.await;
        (
            made.id(),
            made.row()["key"].as_str().expect("a key").to_owned(),
        )
    };
    let (only, key) = made(master, true).await;
    // neither a disabled one nor one of another type or of another account is a way in
    let (disabled, _) = made(master, false).await;
    gateway.token(master, json!({ "type": 0 })).await;
    let (below, _) = made(customer, true).await;
    let call = async |cid, method: &str, id: u64, body: Value| {
        let call = format!("{method} /platform/tokens/{id}");
        gateway.operator(cid, &call, body).await.status
    };
    let (off, weak) = (
        json!({ "enabled": false }),
        json!({ "access": { "type": 0 } }),
    );
    for (method, body) in [("DELETE", Value::Null), ("PUT", off), ("PATCH", weak)] {
        let status = call(master, method, only, body).await;
        assert_eq!(status, StatusCode::CONFLICT, "{method}");
    }
    let list = "GET /platform/tokens/all";
    let seen = gateway.call(Some(&key), 0, list, Value::Null).await;
    assert_eq!(seen.rows().len(), 4, "it lets in as before");
    // an account that somebody above can enter may be left without
    let status = call(customer, "DELETE", below, Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    // with a second one the first may go, and then the second stays
    let on = json!({ "enabled": true });
    assert_eq!(call(master, "PUT", disabled, on).await, StatusCode::OK);
    let status = call(master, "DELETE", only, Value::Null).await;
    assert_eq!(status, StatusCode::OK);
    let status = call(master, "DELETE", disabled, Value::Null).await;
    assert_eq!(status, StatusCode::CONFLICT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_do_what_its_type_says() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let first = gateway.device(master, "352625333222111").await.id();
    let second = gateway.device(master, "352625333222112").await.id();
    let standard = gateway.token(master, json!({ "type": 0 })).await;
    let acl = json!([{
        "uri": "gw/devices", "methods": ["GET"], "ids": [first],
        "submodules": [{ "name": "telemetry", "methods": ["GET"] }],
    }]);
    let listed_key = gateway
        .token(master, json!({ "type": 2, "acl": acl }))
        .await;
    let standard = Some(standard.as_str());
    let listed = Some(listed_key.as_str());
    let may = async |key, call: &str, body| gateway.call(key, 0, call, body).await.status;
    assert_eq!(
        may(standard, "GET /gw/devices/all", Value::Null).await,
        StatusCode::OK
    );
    assert_eq!(
        may(standard, "GET /platform/customer", Value::Null).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        may(
            standard,
            "POST /gw/devices",
            json!([device("352625333222113")])
        )
        .await,
        StatusCode::OK
    );
    let seen = gateway
        .call(listed, 0, "GET /gw/devices/all", Value::Null)
        .await;
    assert_eq!(seen.id(), first);
    assert_eq!(
        may(listed, &format!("GET /gw/devices/{second}"), Value::Null).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        may(
            listed,
            &format!("GET /gw/devices/{first}/telemetry/all"),
            Value::Null
        )
        .await,
        StatusCode::OK
    );
    // GET of the device is not GET of what hangs on it
    let denied = gateway
        .call(
            listed,
            0,
            &format!("GET /gw/devices/{first}/messages"),
            Value::Null,
        )
        .await;
    assert_eq!(denied.error()["reason"], "action is not permitted by ACL");
    assert_eq!(
        may(
            listed,
            &format!("PUT /gw/devices/{first}"),
            json!({ "name": "x" })
        )
        .await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        may(
            listed,
            "POST /gw/devices",
            json!([device("352625333222114")])
        )
        .await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        may(listed, "GET /gw/channels/all", Value::Null).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        may(listed, "GET /auth/info", Value::Null).await,
        StatusCode::OK
    );
    // the same, as a bench asks
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&listed_key).expect("a header");
    headers.insert("authorization", value);
    for (what, method, lets) in [
        (("gw/devices", None), Method::GET, true),
        (("gw/devices", Some("telemetry")), Method::GET, true),
        (("gw/devices", Some("messages")), Method::GET, false),
        (("gw/devices", None), Method::PUT, false),
    ] {
        assert_eq!(gateway.state.lets(&headers, None, what, &method), lets);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_ends_by_date_by_disuse_and_with_its_account() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let sub = gateway.account(master, "Sub").await;
    let noon_s = NOON_US / 1_000_000;
    let bodies = json!([
        { "access": { "type": 1 }, "ttl": 100 },
        { "access": { "type": 1 }, "expire": noon_s + 150 },
        { "access": { "type": 1 } },
    ]);
    let made = gateway.operator(sub, "POST /platform/tokens", bodies).await;
    let keys: Vec<_> = made
        .rows()
        .iter()
        .map(|row| row["key"].as_str().expect("a key").to_owned())
        .collect();
    let valid = async || {
        let mut valid = Vec::new();
        for key in &keys {
            valid.push(
                gateway
                    .call(Some(key), 0, "GET /auth/info", Value::Null)
                    .await
                    .status
                    == StatusCode::OK,
            );
        }
        valid
    };
    assert_eq!(valid().await, [true, true, true]);
    gateway.clock.advance_us(90_000_000);
    assert_eq!(valid().await, [true, true, true]);
    // its use renewed it
    gateway.clock.advance_us(90_000_000);
    assert_eq!(valid().await, [true, false, true]);
    gateway.clock.advance_us(101_000_000);
    assert_eq!(valid().await, [false, false, true]);
    let off = gateway
        .operator(
            master,
            &format!("PUT /platform/subaccounts/{sub}"),
            json!({ "enabled": false }),
        )
        .await;
    off.rows();
    assert_eq!(valid().await, [false, false, false]);
    gateway
        .operator(
            master,
            &format!("PUT /platform/subaccounts/{sub}"),
            json!({ "enabled": true }),
        )
        .await
        .rows();
    assert_eq!(valid().await, [false, false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_may_call_the_api_and_nothing_else() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let key = gateway.token(master, json!({ "type": 1 })).await;
    let ask = Request::builder()
        .method("OPTIONS")
        .uri("/gw/devices/all")
        .header("origin", "https://map.example")
        .header("access-control-request-headers", "authorization");
    let asked = gateway
        .send(false, ask.body(Body::empty()).expect("a request"))
        .await;
    assert_eq!(asked.status, StatusCode::NO_CONTENT);
    let allowed = asked.headers["access-control-allow-headers"].to_str();
    assert!(allowed.expect("text").contains("authorization"));
    let listed = gateway
        .call(Some(&key), 0, "GET /gw/devices/all", Value::Null)
        .await;
    assert_eq!(listed.headers["access-control-allow-origin"], "*");
    // a page on the operator's own machine is near: it must not read what needs no token
    for path in ["/metrics", "/health/ready"] {
        let page = gateway
            .call(None, 0, &format!("GET {path}"), Value::Null)
            .await;
        assert_eq!(page.headers.get("access-control-allow-origin"), None);
    }
}
