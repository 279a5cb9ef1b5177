//! What the calls do, and the shapes of their answers.

use crate::harness::{Gateway, device};
use axum::http::StatusCode;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_has_no_fifth_level_below_a_master_and_no_cycle() {
    let gateway = Gateway::new();
    let mut chain = vec![gateway.account(0, "Master").await];
    for level in 1..=4 {
        let above = *chain.last().expect("an account");
        chain.push(gateway.account(above, &format!("Level {level}")).await);
    }
    let (master, top, leaf) = (chain[0], chain[1], chain[4]);
    let body = json!([{ "name": "Too deep" }]);
    for call in [
        "POST /platform/subaccounts",
        "POST /platform/subaccounts?dry_run=true",
    ] {
        let deep = gateway.operator(leaf, call, body.clone()).await;
        assert_eq!(deep.status, StatusCode::CONFLICT, "{}", deep.text);
        assert_eq!(deep.error()["code"], 5);
    }
    // whoever would hang an account below itself names a field that nobody may write
    for field in ["owner_id", "cid"] {
        for method in ["PUT", "PATCH"] {
            let call = format!("{method} /platform/subaccounts/{top}");
            let body = json!({ field: leaf });
            let cycle = gateway.operator(master, &call, body).await;
            assert_eq!(cycle.status, StatusCode::BAD_REQUEST, "{}", cycle.text);
            assert_eq!(cycle.error()["field"], field);
        }
    }
    let call = format!("PUT /platform/subaccounts/{top}/cid");
    let moved = gateway
        .operator(master, &call, json!({ "cid": leaf }))
        .await;
    assert_eq!(moved.status, StatusCode::NOT_FOUND);
    let call = "GET /platform/subaccounts/all?fields=id,owner_id";
    let rows = gateway.operator(master, call, Value::Null).await;
    let expected = chain.windows(2);
    let expected = expected.map(|pair| json!({ "id": pair[1], "owner_id": pair[0] }));
    assert_eq!(rows.body["result"], expected.collect::<Value>());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_ident_twice_in_a_body_is_one_device_and_the_rest_is_made() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    gateway.channel(master, "teltonika").await;
    let (one, two) = ("352625333222111", "352625333222112");
    let body = json!([device(one), device(two), device(one), device(two)]);
    let made = gateway.operator(master, "POST /gw/devices", body).await;
    let idents = |body: &Value| -> Vec<Value> {
        let rows = body["result"].as_array().into_iter().flatten();
        rows.map(|row| row["configuration"]["ident"].clone())
            .collect()
    };
    assert_eq!(idents(&made.body), [one, two]);
    let errors = made.body["errors"].as_array().expect("errors");
    assert_eq!(errors.len(), 2);
    assert!(errors.iter().all(|error| error["code"] == 5), "{errors:?}");
    let call = "GET /gw/devices/all";
    let all = gateway.operator(master, call, Value::Null).await;
    assert_eq!(idents(&all.body), [one, two]);
}

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

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_refused_by_name_and_nothing_is_made() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let ident = json!({ "ident": "352625333222111" });
    for (call, body, status, field) in [
        (
            "POST /gw/devices",
            json!([{ "device_type_id": 1000, "configuration": ident, "cid": 5 }]),
            400,
            Some("cid"),
        ),
        (
            "POST /gw/devices",
            json!([{ "device_type_id": 1000 }]),
            400,
            Some("configuration.ident"),
        ),
        (
            "POST /gw/devices",
            json!([{ "configuration": ident }]),
            400,
            Some("device_type_id"),
        ),
        (
            "POST /gw/devices",
            json!([{ "device_type_id": 325, "configuration": ident }]),
            400,
            Some("device_type_id"),
        ),
        (
            "POST /gw/devices",
            json!([{ "device_type_id": "x", "configuration": ident }]),
            400,
            Some("device_type_id"),
        ),
        (
            "POST /gw/devices",
            json!([{ "device_type_id": 1000, "configuration": { "ident": "a#b" } }]),
            400,
            Some("configuration.ident"),
        ),
        (
            "POST /gw/devices",
            json!([{ "device_type_id": 1000, "configuration": { "ident": [1] } }]),
            400,
            Some("configuration.ident"),
        ),
        (
            "POST /gw/devices",
            json!([{ "device_type_id": 1000, "configuration": ident, "messages_ttl": -1 }]),
            400,
            Some("messages_ttl"),
        ),
        (
            "POST /gw/devices",
            json!([{ "device_type_id": 1000, "configuration": ident, "enabled": "yes" }]),
            400,
            Some("enabled"),
        ),
        ("POST /gw/devices", json!([]), 400, None),
        ("POST /gw/devices", json!("text"), 400, None),
        ("POST /gw/devices", json!([7]), 400, None),
        (
            "POST /gw/channels",
            json!([{ "name": "x" }]),
            400,
            Some("protocol_id"),
        ),
        (
            "POST /gw/channels",
            json!([{ "protocol_name": "teltonica" }]),
            400,
            Some("protocol_name"),
        ),
        (
            "POST /gw/channels",
            json!([{ "protocol_id": 1, "port": 70_000 }]),
            400,
            Some("port"),
        ),
        // another program's, on the operator's machine
        (
            "POST /gw/channels",
            json!([{ "protocol_id": 1, "port": 22 }]),
            400,
            Some("port"),
        ),
        (
            "POST /gw/channels",
            json!([{ "protocol_id": 1, "unknown": "eat" }]),
            400,
            Some("unknown"),
        ),
        (
            "POST /platform/limits",
            json!([{ "name": "l", "devices_count": -2 }]),
            400,
            Some("devices_count"),
        ),
        (
            "POST /platform/limits",
            json!([{ "name": "l", "device_count": 2 }]),
            400,
            Some("device_count"),
        ),
        (
            "POST /platform/subaccounts",
            json!([{ "name": "" }]),
            400,
            Some("name"),
        ),
        (
            "POST /platform/subaccounts",
            json!([{ "name": "a", "limit_id": 99 }]),
            403,
            None,
        ),
        (
            "POST /platform/tokens",
            json!([{ "access": { "type": 9 } }]),
            400,
            Some("access.type"),
        ),
        (
            "POST /platform/tokens",
            json!([{ "access": { "type": 2, "acl": [{ "uri": "platform" }] } }]),
            400,
            Some("access.acl[0].uri"),
        ),
        ("GET /gw/devices/x", Value::Null, 400, None),
        ("GET /gw/devices/{a ==}", Value::Null, 400, None),
        (
            "GET /gw/devices/all?filds=id",
            Value::Null,
            400,
            Some("filds"),
        ),
        ("GET /gw/nothing/all", Value::Null, 404, None),
        ("PUT /gw/devices", Value::Null, 405, None),
    ] {
        let reply = gateway.operator(master, call, body.clone()).await;
        assert_eq!(
            reply.status.as_u16(),
            status,
            "{call} {body}: {}",
            reply.text
        );
        assert_eq!(
            reply.error().get("field").and_then(Value::as_str),
            field,
            "{call} {body}: {}",
            reply.text
        );
        assert_eq!(reply.body["result"], json!([]));
    }
    for list in [
        "gw/devices",
        "gw/channels",
        "platform/limits",
        "platform/tokens",
        "platform/subaccounts",
    ] {
        let all = gateway
            .operator(master, &format!("GET /{list}/all"), Value::Null)
            .await;
        assert_eq!(all.rows().len(), 0, "{list}");
    }
    // no JSON, too deep, too long: each a clear no
    for (body, status) in [
        ("[{".to_owned(), 400),
        ("[".repeat(5000), 400),
        (format!("[{}1{}]", "[".repeat(40), "]".repeat(40)), 400),
        (format!("\"{}\"", "x".repeat(9 << 20)), 413),
    ] {
        let request = axum::http::Request::post("/gw/devices").header("x-flespi-cid", master);
        let reply = gateway
            .send(true, request.body(body.into()).expect("a request"))
            .await;
        assert_eq!(reply.status.as_u16(), status, "{}", reply.text);
        assert_eq!(reply.error()["code"], 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_keeps_two_writers_from_losing_an_update() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let id = gateway.device(master, "352625333222111").await.id();
    let path = format!("/gw/devices/{id}");
    let read = gateway
        .operator(0, &format!("GET {path}"), Value::Null)
        .await;
    assert_eq!(read.headers["etag"], "\"1\"");
    let put = async |tag: &str, name: &str| {
        let request = axum::http::Request::put(&path).header("if-match", tag);
        let body = json!({ "name": name }).to_string();
        gateway
            .send(true, request.body(body.into()).expect("a request"))
            .await
    };
    assert_eq!(put("\"1\"", "first").await.headers["etag"], "\"2\"");
    let lost = put("\"1\"", "second").await;
    assert_eq!(lost.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(put("\"2\"", "second").await.status, StatusCode::OK);
    // a change that changes nothing is not written
    assert_eq!(put("*", "second").await.headers["etag"], "\"3\"");
    assert_eq!(put("soon", "third").await.status, StatusCode::BAD_REQUEST);
    let named = gateway
        .operator(0, &format!("GET {path}?fields=name,revision"), Value::Null)
        .await;
    assert_eq!(named.row(), &json!({ "name": "second", "revision": 3 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_comes_whole_in_pages_and_by_selector() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let bodies: Vec<_> = (0..2000)
        .map(|n| device(&format!("{:015}", 352_000_000_000_000_u64 + n)))
        .collect();
    let made = gateway
        .operator(master, "POST /gw/devices?fields=id", json!(bodies))
        .await;
    assert_eq!(made.rows().len(), 2000);
    let all = gateway
        .operator(0, "GET /gw/devices/all", Value::Null)
        .await;
    assert!(all.text.len() > 256 * 1024, "long enough to come in pieces");
    assert_eq!(all.rows().len(), 2000);
    let page = gateway
        .operator(
            0,
            "GET /gw/devices/all?fields=id&limit=2&offset=10",
            Value::Null,
        )
        .await;
    assert_eq!(page.body["result"], json!([{ "id": 11 }, { "id": 12 }]));
    assert_eq!(
        page.body["pagination"],
        json!({ "limit": 2, "offset": 10, "count": 2000 })
    );
    for (selector, count) in [
        ("configuration.ident=352000000000007", 1),
        ("configuration.ident=35200000000001*", 10),
        ("{id > 1990 && cid == 1}", 10),
        ("{id > 1990 && cid == 2}", 0),
        (
            "{configuration.ident ~ \"*19\" || name == \"352000000000001\"}",
            21,
        ),
        ("5,cid=1", 1),
        ("1,2,3", 3),
        ("1%2C2", 2),
    ] {
        let some = gateway
            .operator(
                0,
                &format!("GET /gw/devices/{selector}?fields=id"),
                Value::Null,
            )
            .await;
        assert_eq!(some.rows().len(), count, "{selector}");
    }
    let partly = gateway
        .operator(0, "GET /gw/devices/1,99999?fields=id", Value::Null)
        .await;
    assert_eq!(partly.status, StatusCode::OK);
    assert_eq!(partly.body["result"], json!([{ "id": 1 }]));
    assert_eq!(partly.error()["id"], 99999);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_may_be_written_back_with_a_change() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let other = gateway.account(master, "Other").await;
    let mut read = gateway
        .device(master, "352625333222111")
        .await
        .row()
        .clone();
    let path = format!("PUT /gw/devices/{}", read["id"]);
    read["name"] = json!("lorry");
    let written = gateway.operator(0, &path, read.clone()).await;
    assert_eq!(written.row(), &read);
    // what is not the item's to change is refused as ever
    for (name, value) in [
        ("cid", json!(other)),
        ("id", json!(9)),
        ("protocol_id", json!(2)),
    ] {
        let mut wrong = read.clone();
        wrong[name] = value;
        let reply = gateway.operator(0, &path, wrong).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{name}");
        assert_eq!(reply.error()["field"], name);
        assert_eq!(reply.error()["reason"], "field is not allowed");
    }
    let empty = gateway
        .operator(0, "GET /gw/devices/all/settings/all", Value::Null)
        .await;
    assert_eq!(empty.rows().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_fits_no_item_is_refused_even_where_nothing_is_chosen() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "master").await;
    let call = async |call: &str, body| gateway.operator(master, call, body).await;
    for (path, field) in [
        ("PUT /gw/channels/all", "allow[0]"),
        ("PATCH /gw/channels/all", "allow[0]"),
    ] {
        let refused = call(path, json!({ "allow": [""] })).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path}");
        assert_eq!(refused.error()["field"], field, "{path}");
    }
    let tls = json!({ "tls": { "certificate": "a", "key": "" } });
    let refused = call("PUT /gw/channels/all", tls).await;
    assert_eq!(
        refused.status,
        StatusCode::BAD_REQUEST,
        "{:?}",
        refused.text
    );
    // nothing is chosen, and nothing is wrong
    let fits = call("PUT /gw/channels/all", json!({ "allow": ["10.0.0.0/8"] })).await;
    assert_eq!(fits.status, StatusCode::OK, "{}", fits.text);
}
