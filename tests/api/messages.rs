//! Messages by time and like a queue, registered by the API, and telemetry.

use crate::harness::{Gateway, NOON_US};
use axum::http::StatusCode;
use serde_json::{Value, json};

const NOON_S: i64 = NOON_US / 1_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_registered_once_charged_and_read_back_by_time() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let id = gateway.device(master, "352625333222111").await.id();
    let path = format!("/gw/devices/{id}/messages");
    let bodies: Vec<_> = (0..10)
        .map(|n| {
            let (time, speed) = (NOON_S - 100 + n, 10 * n);
            json!({
                "timestamp": time, "position.speed": speed, "din.1": n % 2 == 0, "fuel.note": "ok",
            })
        })
        .collect();
    let stored = gateway
        .operator(0, &format!("POST {path}"), json!(bodies))
        .await;
    assert_eq!(
        stored.row(),
        &json!({ "id": id, "messages": 10, "duplicates": 0 })
    );
    let again = gateway
        .operator(0, &format!("POST {path}"), json!(bodies))
        .await;
    assert_eq!(
        again.row(),
        &json!({ "id": id, "messages": 0, "duplicates": 10 })
    );
    let all = gateway
        .operator(0, &format!("GET {path}"), Value::Null)
        .await;
    assert_eq!(all.rows().len(), 10);
    assert_eq!(
        all.rows()[3],
        json!({
            "timestamp": NOON_S - 97, "position.speed": 30, "din.1": false, "custom.fuel.note": "ok",
            "ident": "352625333222111", "server.timestamp": NOON_S, "channel.id": 0, "protocol.id": 1,
            "peer": "0.0.0.0:0", "device.id": id, "device.name": "352625333222111",
            "device.type.id": 1000,
        })
    );
    let read = async |data: Value| {
        // in the query or in the body, as the client likes
        let encoded = data.to_string().replace('&', "%26");
        let query = gateway
            .operator(0, &format!("GET {path}?data={encoded}"), Value::Null)
            .await;
        let body = gateway.operator(0, &format!("GET {path}"), data).await;
        assert_eq!(query.text, body.text);
        query
    };
    let some = read(json!({ "from": NOON_S - 98, "to": NOON_S - 96, "fields": "timestamp" })).await;
    assert_eq!(
        some.body["result"],
        json!([{ "timestamp": NOON_S - 98 }, { "timestamp": NOON_S - 97 }, { "timestamp": NOON_S - 96 }])
    );
    let last = read(json!({ "reverse": true, "count": 1, "fields": "position.*" })).await;
    assert_eq!(last.body["result"], json!([{ "position.speed": 90 }]));
    let fast =
        read(json!({ "filter": "position.speed >= 70 && din.1", "fields": "position.speed" }))
            .await;
    assert_eq!(fast.body["result"], json!([{ "position.speed": 80 }]));
    let mean = read(
        json!({ "generalize": 20, "method": "average", "fields": "timestamp,position.speed" }),
    )
    .await;
    assert_eq!(
        mean.body["result"],
        json!([{ "timestamp": NOON_S - 100, "position.speed": 45 }])
    );
    let wrong = gateway
        .operator(
            0,
            &format!("GET {path}?data={{\"filter\":\"a ==\"}}"),
            Value::Null,
        )
        .await;
    assert_eq!(wrong.error()["field"], "filter");
    let telemetry = gateway
        .operator(
            0,
            &format!("GET /gw/devices/{id}/telemetry/position.speed,ident"),
            Value::Null,
        )
        .await;
    assert_eq!(
        telemetry.row(),
        &json!({ "id": id, "telemetry": {
            "position.speed": { "ts": NOON_S - 91, "value": 90 },
            "ident": { "ts": NOON_S - 91, "value": "352625333222111" },
        } })
    );
    // the whole is what the device shows as its field, and `position` is made of its parts
    let whole = format!("GET /gw/devices/{id}/telemetry/all");
    let whole = gateway.operator(0, &whole, Value::Null).await;
    let shown = format!("GET /gw/devices/{id}?fields=id,telemetry");
    let shown = gateway.operator(0, &shown, Value::Null).await;
    assert_eq!(whole.row(), shown.row());
    let parts = format!("GET /gw/devices/{id}/telemetry/position.s*,timestamp,position,none");
    let parts = gateway.operator(0, &parts, Value::Null).await;
    let kept: Value = ["timestamp", "position.speed"]
        .map(|name| (name, whole.row()["telemetry"][name].clone()))
        .into_iter()
        .collect();
    assert_eq!(
        parts.row()["telemetry"],
        kept,
        "no position without latitude"
    );
    gateway
        .operator(
            0,
            &format!("DELETE /gw/devices/{id}/telemetry/position.*"),
            Value::Null,
        )
        .await
        .rows();
    let after = gateway
        .operator(
            0,
            &format!("GET /gw/devices/{id}/telemetry/position.speed"),
            Value::Null,
        )
        .await;
    assert_eq!(after.row()["telemetry"], json!({}));
    let used = gateway
        .operator(
            master,
            "GET /platform/customer?fields=counters.channel_messages",
            Value::Null,
        )
        .await;
    assert_eq!(used.row()["counters"]["channel_messages"], 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_is_refused_and_names_its_place() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let id = gateway.device(master, "352625333222111").await.id();
    for (body, field) in [
        (json!([{ "position.speed": 1 }]), "[0].timestamp"),
        (
            json!([{ "timestamp": 1, "a": 1 }, { "timestamp": "x" }]),
            "[1].timestamp",
        ),
        (json!([{ "timestamp": 1, "a": { "b": 1 } }]), "[0].a"),
        (json!([7]), "[0]"),
    ] {
        let refused = gateway
            .operator(0, &format!("POST /gw/devices/{id}/messages"), body)
            .await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert_eq!(refused.error()["field"], field);
    }
    assert_eq!(
        gateway
            .operator(0, &format!("GET /gw/devices/{id}/messages"), Value::Null)
            .await
            .rows()
            .len(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channels_buffer_is_read_like_a_queue_and_cleared_behind_the_reader() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let channel = gateway.channel(master, "teltonika").await;
    let id = gateway.device(master, "352625333222111").await.id();
    let noon_ms = NOON_S * 1000;
    for frame in 0..5 {
        let times: Vec<i64> = (0..3)
            .map(|n| noon_ms + frame * 10_000 + n * 1000)
            .collect();
        gateway.frame(channel, id, &times);
    }
    gateway.wait_durable().await;
    let path = format!("/gw/channels/{channel}/messages");
    let take = async |data: Value| {
        gateway
            .operator(0, &format!("GET {path}?data={data}"), Value::Null)
            .await
    };
    let (mut key, mut got) = (json!(0), Vec::new());
    for _ in 0..6 {
        // frames of three come whole: four is room for one of them, not for two
        let some = take(json!({ "curr_key": key, "limit_count": 4, "delete": true })).await;
        got.push(some.body["result"].as_array().expect("rows").len());
        key = some.body["next_key"].clone();
    }
    assert_eq!(got, [3, 3, 3, 3, 3, 0]);
    // what was read is gone from the buffer, not from the device
    assert_eq!(
        gateway
            .operator(0, &format!("GET {path}"), Value::Null)
            .await
            .rows()
            .len(),
        0
    );
    assert_eq!(
        gateway
            .operator(0, &format!("GET /gw/devices/{id}/messages"), Value::Null)
            .await
            .rows()
            .len(),
        15
    );
    // a reader that waits gets what comes meanwhile
    let begun = std::time::Instant::now();
    let (waited, ()) = tokio::join!(take(json!({ "curr_key": key, "timeout": 20 })), async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        gateway.frame(channel, id, &[noon_ms + 90_000]);
    });
    assert_eq!(waited.row()["timestamp"], NOON_S + 90);
    assert!(begun.elapsed() < std::time::Duration::from_secs(10));
    let none = take(json!({ "curr_key": waited.body["next_key"], "timeout": 1 })).await;
    assert_eq!(
        none.body,
        json!({ "result": [], "next_key": waited.body["next_key"] })
    );
    let by_time = take(json!({ "from": NOON_S, "count": 1, "fields": "timestamp" })).await;
    assert_eq!(by_time.row(), &json!({ "timestamp": NOON_S + 90 }));
    gateway
        .operator(0, &format!("DELETE {path}"), Value::Null)
        .await
        .rows();
    assert_eq!(
        gateway
            .operator(0, &format!("GET {path}"), Value::Null)
            .await
            .rows()
            .len(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_go_with_their_time_to_live() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let id = gateway.device(master, "352625333222111").await.id();
    let path = format!("/gw/devices/{id}");
    gateway
        .operator(0, &format!("PUT {path}"), json!({ "messages_ttl": 100 }))
        .await
        .rows();
    let one = json!([{ "timestamp": NOON_S }]);
    gateway
        .operator(0, &format!("POST {path}/messages"), one)
        .await
        .rows();
    gateway.clock.advance_us(99_000_000);
    assert_eq!(
        gateway
            .operator(0, &format!("GET {path}/messages"), Value::Null)
            .await
            .rows()
            .len(),
        1
    );
    gateway.clock.advance_us(2_000_000);
    assert_eq!(
        gateway
            .operator(0, &format!("GET {path}/messages"), Value::Null)
            .await
            .rows()
            .len(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_traffic_is_read_in_flespis_form_and_by_those_only_who_manage_it() {
    use tollgate::ids::{AccountId, ChannelId, ConnectionId, DeviceId};
    use tollgate::raw::{Direction, Ended, Label};
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let mine = gateway.account(master, "Mine").await;
    let other = gateway.account(master, "Other").await;
    let channel = gateway.channel(master, "teltonika").await;
    let device = gateway.device(mine, "352625333222111").await.id();
    let foreign = gateway.device(other, "352625333222112").await.id();
    let kept = |connection: u64, index: u32, device: u64, account: u64, ident| Label {
        at_us: NOON_US + i64::from(index) * 1_000_000,
        connection: ConnectionId(connection),
        channel: ChannelId(channel),
        index,
        direction: Direction::Received,
        shared: false,
        protocol: 1,
        port: 21_000,
        device: DeviceId(device),
        account: AccountId(account),
        peer: "192.0.2.9:4711".parse().expect("an address"),
        ident,
    };
    let raw = &gateway.raw;
    raw.keep(&kept(7, 1, 0, master, ""), b"\x00\x0f");
    raw.keep(&kept(7, 2, device, mine, "352625333222111"), b"3526");
    raw.keep(&kept(8, 1, foreign, other, "352625333222112"), b"secret");
    raw.keep_end(
        &kept(7, 3, device, mine, "352625333222111"),
        2,
        Ended::ByTracker,
    );
    let of_devices = "GET /gw/devices/all/packets";
    let all = gateway.operator(mine, of_devices, Value::Null).await;
    assert_eq!(
        all.rows()[0],
        json!({
            "timestamp": NOON_S + 1, "conn": 7, "index": 1, "type": 2, "data": "AA8=",
            "channel_id": channel, "ident": "", "source": "192.0.2.9:4711",
        })
    );
    assert_eq!(all.rows()[1]["data"], "MzUyNg==");
    assert_eq!(all.rows()[2]["type"], 1);
    assert_eq!(all.rows()[2]["close_code"], 2);
    assert_eq!(all.rows().len(), 3);
    let data = json!({ "reverse": true, "count": 1, "fields": "conn,index,type" });
    let last = gateway.operator(mine, of_devices, data).await;
    assert_eq!(
        last.body["result"],
        json!([{ "conn": 7, "index": 3, "type": 1 }])
    );
    let of_ident = format!("GET /gw/channels/{channel}/idents/*2112/packets");
    let found = gateway.operator(master, &of_ident, Value::Null).await;
    assert_eq!(found.rows().len(), 1);
    let hidden = gateway.operator(mine, &of_ident, Value::Null).await;
    assert_eq!(hidden.status, StatusCode::FORBIDDEN, "{}", hidden.text);
    // an ACL of devices without this word does not open it
    let only = json!([{ "name": "messages", "methods": ["GET"] }]);
    let entry =
        json!({ "uri": "gw/devices", "methods": ["GET"], "ids": "all", "submodules": only });
    let acl = json!({ "type": 2, "acl": [entry] });
    let key = gateway.token(mine, acl).await;
    let refused = gateway.call(Some(&key), 0, of_devices, Value::Null).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_devices_are_deleted_by_their_time_and_erased_only_as_a_whole() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let id = gateway.device(master, "352625333222111").await.id();
    let other = gateway.device(master, "352625333222112").await.id();
    for device in [id, other] {
        let bodies: Vec<_> = (0..10)
            .map(|n| json!({ "timestamp": NOON_S - 100 + n, "position.speed": n }))
            .collect();
        let path = format!("POST /gw/devices/{device}/messages");
        gateway.operator(0, &path, json!(bodies)).await.rows();
    }
    let path = format!("/gw/devices/{id}/messages");
    let delete = async |call: &str, data: Value| {
        let call = format!("DELETE {path}{call}");
        gateway.operator(0, &call, data).await
    };
    let count = async |device: u64| {
        let call = format!("GET /gw/devices/{device}/messages");
        gateway.operator(0, &call, Value::Null).await.rows().len()
    };
    // what would narrow it otherwise is refused, not passed over
    let filtered = delete("", json!({ "filter": "position.speed > 5" })).await;
    assert_eq!(filtered.error()["field"], "filter");
    let both = delete("", json!({ "erase": true, "from": NOON_S })).await;
    assert_eq!(both.error()["field"], "erase");
    assert_eq!(count(id).await, 10);
    let done = delete("", json!({ "from": NOON_S - 98, "to": NOON_S - 96 })).await;
    assert_eq!(done.row(), &json!({ "id": id }));
    assert_eq!(count(id).await, 7);
    let token = gateway
        .token(
            master,
            json!({ "type": 2, "acl": [
                { "uri": "gw/devices", "methods": ["GET"], "submodules": [
                    { "name": "messages", "methods": ["GET"] },
                ] },
            ] }),
        )
        .await;
    let refused = gateway
        .call(Some(&token), 0, &format!("DELETE {path}"), Value::Null)
        .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
    delete("", json!({ "erase": true })).await.rows();
    assert_eq!((count(id).await, count(other).await), (0, 10));
    // what comes later is there
    let later = json!([{ "timestamp": NOON_S - 50, "position.speed": 1 }]);
    let call = format!("POST {path}");
    gateway.operator(0, &call, later).await.rows();
    assert_eq!(count(id).await, 1);
    delete("", Value::Null).await.rows();
    assert_eq!((count(id).await, count(other).await), (0, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_in_telemetry_is_one_value_with_the_time_of_its_latitude() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    gateway.channel(master, "teltonika").await;
    let id = gateway.device(master, "352625333222111").await.id();
    let read = async |names: &str| {
        let call = format!("GET /gw/devices/{id}/telemetry/{names}");
        gateway.operator(0, &call, Value::Null).await.row()["telemetry"].clone()
    };
    assert_eq!(read("position").await, Value::Null, "nothing has come");
    let messages = json!([
        { "timestamp": NOON_S - 9, "position.latitude": 52.5, "position.longitude": 13.25 },
        { "timestamp": NOON_S - 4, "position.speed": 30 },
    ]);
    let call = format!("POST /gw/devices/{id}/messages");
    gateway.operator(0, &call, messages).await.rows();
    let place = json!({ "latitude": 52.5, "longitude": 13.25, "speed": 30 });
    let position = json!({ "ts": NOON_S - 9, "value": place });
    assert_eq!(read("position").await, json!({ "position": position }));
    let all = read("all").await;
    assert_eq!(all["position"], position);
    let speed = json!({ "ts": NOON_S - 4, "value": 30 });
    assert_eq!(all["position.speed"], speed);
    assert_eq!(all["timestamp"]["ts"], NOON_S - 4);
    // names with dots lead on in selectors and in `fields`
    for (selector, count) in [("> 20", 1), ("> 30", 0)] {
        let call = format!(
            "GET /gw/devices/{{telemetry.position.speed.value {selector}}}\
             ?fields=telemetry.position.speed.value,telemetry.none.such"
        );
        let found = gateway.operator(0, &call, Value::Null).await;
        assert_eq!(found.rows().len(), count, "{call}");
        if count > 0 {
            let speed = json!({ "position.speed": { "value": 30 } });
            assert_eq!(found.row(), &json!({ "telemetry": speed }));
        }
    }
    assert_eq!(
        read("position.*,device.name")
            .await
            .as_object()
            .map(serde_json::Map::len),
        Some(4)
    );
}
