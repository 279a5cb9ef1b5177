//! Messages as lines, tables and tracks; how much is kept; what there was over time; lists that are
//! read while others write.

use crate::harness::{Gateway, NOON_US, device};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate::ids::{AccountId, ChannelId, DeviceId};
use tollgate::journal::retention::Lifetimes;
use tower::ServiceExt as _;

const NOON_S: i64 = NOON_US / 1_000_000;

/// Two devices with two messages each; their ids.
async fn two_devices(gateway: &Gateway, master: u64) -> [u64; 2] {
    let mut ids = [0; 2];
    for (id, ident) in ids.iter_mut().zip(["352625333222111", "352625333222112"]) {
        *id = gateway.device(master, ident).await.id();
        let messages = json!([
            { "timestamp": NOON_S - 9, "position.latitude": 52.5, "position.longitude": 13.25,
              "fuel.note": "=a,\"b\"" },
            { "timestamp": NOON_S - 4, "position.speed": 30 },
        ]);
        let call = format!("POST /gw/devices/{id}/messages");
        gateway.operator(0, &call, messages).await.rows();
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_as_lines_tables_and_tracks() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let [one, other] = two_devices(&gateway, master).await;
    let path = format!("/gw/devices/{one},{other}/messages");
    let get = async |call: &str| {
        gateway
            .operator(0, &format!("GET {call}"), Value::Null)
            .await
    };
    let kind = |reply: &crate::harness::Reply| {
        let kind = reply.headers.get(header::CONTENT_TYPE).expect("a type");
        kind.to_str().expect("text").to_owned()
    };

    let rows = get(&path).await.rows().clone();
    assert_eq!(get(&format!("{path}?format=json")).await.rows(), &rows);
    let lines = get(&format!("{path}?format=ndjson")).await;
    assert_eq!(kind(&lines), "application/x-ndjson");
    let of_lines: Vec<Value> = lines
        .text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(of_lines, rows);

    let table = get(&format!("{path}?format=csv")).await;
    assert_eq!(kind(&table), "text/csv; charset=utf-8");
    let lines: Vec<&str> = table.text.split("\r\n").collect();
    assert_eq!(
        lines[0],
        "channel.id,custom.fuel.note,device.id,device.name,device.type.id,ident,peer,\
         position.latitude,position.longitude,position.speed,protocol.id,server.timestamp,timestamp"
    );
    assert_eq!(
        lines[1],
        format!(
            "0,\"'=a,\"\"b\"\"\",{one},352625333222111,1000,352625333222111,0.0.0.0:0,52.5,13.25,,1,\
             {NOON_S},{}",
            NOON_S - 9
        )
    );
    assert_eq!(lines.len(), 6, "a header, four messages, an end");
    let data = r#"{"fields":"timestamp,position.speed","from":1795521596}"#;
    let some = get(&format!("{path}?format=csv&data={data}")).await;
    let row = format!("30,{}\r\n", NOON_S - 4);
    assert_eq!(some.text, format!("position.speed,timestamp\r\n{row}{row}"));

    let tracks = get(&format!("{path}?format=gpx")).await;
    assert_eq!(kind(&tracks), "application/gpx+xml");
    assert_eq!(tracks.text.matches("<trk>").count(), 2);
    assert_eq!(
        tracks
            .text
            .matches("<trkpt lat=\"52.5\" lon=\"13.25\">")
            .count(),
        2
    );
    assert!(tracks.text.contains("<name>352625333222112</name>"));
    assert!(tracks.text.ends_with("</gpx>\n"), "{}", tracks.text);

    // the branch, whoever is in it; nothing is a table without columns
    let all = get("/gw/devices/all/messages?format=ndjson").await;
    assert_eq!(all.text.lines().count(), 4);
    let none = get(&format!("{path}?format=csv&data={{\"from\":{NOON_S}}}")).await;
    assert_eq!((none.status, none.text.as_str()), (StatusCode::OK, "\r\n"));

    // of a channel by the server's time
    let channel = gateway.channel(master, "teltonika").await;
    gateway.frame(channel, one, &[1_000, 2_000]);
    gateway.wait_durable().await;
    let of_channel = get(&format!("/gw/channels/{channel}/messages?format=ndjson")).await;
    assert_eq!(of_channel.text.lines().count(), 2);

    // a header says it too, the first type that there is; the parameter wins
    for (accept, query, expected) in [
        ("text/csv", "", "text/csv; charset=utf-8"),
        (
            "text/html, application/gpx+xml;q=0.9, */*",
            "",
            "application/gpx+xml",
        ),
        ("application/x-ndjson", "?format=json", "application/json"),
        ("*/*, text/csv", "", "application/json"),
        ("text/html", "", "application/json"),
    ] {
        let request = Request::builder()
            .uri(format!("{path}{query}"))
            .header(header::ACCEPT, accept)
            .body(Body::empty())
            .expect("a request");
        assert_eq!(
            kind(&gateway.send(true, request).await),
            expected,
            "{accept}"
        );
    }

    // a form has no place for errors: all of it or nothing
    let partly = get(&format!("/gw/devices/{one},987654/messages?format=csv")).await;
    assert_eq!(partly.status, StatusCode::FORBIDDEN);
    assert_eq!(
        (kind(&partly).as_str(), &partly.error()["id"]),
        ("application/json", &json!(987_654))
    );
    let queue = format!("/gw/channels/{channel}/messages?data={{\"curr_key\":0}}");
    for (call, field) in [
        (format!("{path}?format=xml"), "format"),
        ("/gw/devices/all?format=csv".to_owned(), "format"),
        (
            format!("{path}?format=gpx&data={{\"fields\":\"timestamp\"}}"),
            "fields",
        ),
        (
            format!("/gw/channels/{channel}/messages?format=gpx"),
            "format",
        ),
        (format!("{queue}&format=csv"), "format"),
    ] {
        let refused = get(&call).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{call}");
        assert_eq!(refused.error()["field"], field, "{call}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_and_a_channel_tell_how_much_is_kept_of_them() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let [one, other] = two_devices(&gateway, master).await;
    let channel = gateway.channel(master, "teltonika").await;
    let told = async |of: &str| {
        let call = format!("GET /gw/{of}?fields=messages_size,counters");
        gateway.operator(0, &call, Value::Null).await.row().clone()
    };
    let first = told(&format!("devices/{one}")).await;
    let size = first["messages_size"].as_u64().expect("a size");
    assert!(size > 20, "{first}");
    assert_eq!(
        first["counters"],
        json!({ "messages": 2, "messages_size": size })
    );
    assert_eq!(
        told(&format!("channels/{channel}")).await,
        json!({ "messages_size": 0 })
    );

    // what comes is in it as soon as it is durable
    gateway.frame(channel, one, &[1_000, 2_000, 3_000]);
    gateway.wait_durable().await;
    let more = told(&format!("devices/{one}")).await;
    assert_eq!(more["counters"]["messages"], 5);
    assert!(more["messages_size"].as_u64() > Some(size));
    let buffered = told(&format!("channels/{channel}")).await;
    assert!(buffered["messages_size"].as_u64() > Some(0), "{buffered}");

    // a list and a selector look it up as well
    let list = "GET /gw/devices/{counters.messages == 2}?fields=id,messages_size";
    assert_eq!(
        gateway.operator(0, list, Value::Null).await.rows(),
        &vec![json!({ "id": other, "messages_size": size })]
    );
    let delete = format!("DELETE /gw/devices/{one}/messages");
    gateway.operator(0, &delete, Value::Null).await.rows();
    let gone = json!({ "messages_size": 0, "counters": { "messages": 0, "messages_size": 0 } });
    assert_eq!(told(&format!("devices/{one}")).await, gone);
    assert_eq!(
        told(&format!("devices/{other}")).await["messages_size"],
        size
    );
}

/// Everything belongs to one account and is kept for a day.
struct Kept(AccountId);

impl Lifetimes for Kept {
    fn channel(&self, _: ChannelId) -> Option<(AccountId, u32)> {
        Some((self.0, 86_400))
    }

    fn device(&self, _: DeviceId) -> Option<(AccountId, u32)> {
        Some((self.0, 86_400))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_tell_the_storage_and_the_items_of_each_time() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let customer = gateway.account(master, "Customer").await;
    let [one, other] = two_devices(&gateway, customer).await;
    gateway.channel(master, "teltonika").await;
    let told = async |of: u64, data: Value| {
        let call = format!("GET /platform/customer/statistics?data={data}");
        gateway
            .operator(of, &call, Value::Null)
            .await
            .rows()
            .clone()
    };
    gateway
        .control
        .journal()
        .keep_for(Arc::new(Kept(AccountId(customer))));
    // the keeper looks and counts in its own time
    let until = async |of: u64, holds: &dyn Fn(&Value) -> bool| {
        let deadline = std::time::Instant::now() + std::time::Duration::from_mins(1);
        loop {
            let rows = told(of, json!({ "period": "hour" })).await;
            match rows.last() {
                Some(row) if holds(row) => return row.clone(),
                last => assert!(std::time::Instant::now() < deadline, "{last:?}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let size = |row: &Value| row["devices_storage"].as_u64().unwrap_or(0);
    let row = until(customer, &|row| size(row) > 0).await;
    let sizes = "GET /gw/devices/all?fields=messages_size";
    let sizes = gateway.operator(customer, sizes, Value::Null).await;
    let sizes: u64 = sizes
        .rows()
        .iter()
        .filter_map(|row| row["messages_size"].as_u64())
        .sum();
    assert_eq!(size(&row), sizes);
    assert_eq!(row["devices_count"], 2);
    assert_eq!(row["timestamp"], NOON_S);
    let row = until(master, &|row| size(row) > 0).await;
    assert_eq!(
        [
            &row["devices_count"],
            &row["channels_count"],
            &row["subaccounts_count"]
        ],
        [&json!(2), &json!(1), &json!(1)]
    );
    // a row tells the most of its time
    let call = format!("DELETE /gw/devices/{one},{other}");
    gateway.operator(0, &call, Value::Null).await.rows();
    gateway.clock.advance_us(3_600_000_000);
    let later = until(customer, &|row| row["timestamp"] == NOON_S + 3600).await;
    assert_eq!(later["devices_count"], 0);
    let rows = told(
        customer,
        json!({ "period": "hour", "fields": "timestamp,devices_count" }),
    )
    .await;
    assert_eq!(
        rows,
        [
            json!({ "devices_count": 2, "timestamp": NOON_S }),
            json!({ "devices_count": 0, "timestamp": NOON_S + 3600 }),
        ]
    );
    let day = told(
        customer,
        json!({ "period": "day", "fields": "devices_count" }),
    )
    .await;
    assert_eq!(day, [json!({ "devices_count": 2 })]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_that_is_read_while_others_write_stays_in_order_and_whole() {
    const DEVICES: u64 = 3000;
    let gateway = Gateway::new();
    let master = gateway.account(0, "Master").await;
    let bodies: Vec<_> = (0..DEVICES)
        .map(|n| device(&format!("{:015}", 352_000_000_000_000_u64 + n)))
        .collect();
    let made = gateway
        .operator(master, "POST /gw/devices?fields=id", json!(bodies))
        .await;
    assert_eq!(made.rows().len() as u64, DEVICES);
    let request = Request::builder()
        .uri("/gw/devices/all")
        .body(Body::empty())
        .expect("a request");
    let answer = gateway.local.clone().oneshot(request).await;
    let mut body = answer.expect("an answer").into_body();
    let frame = async |body: &mut Body| Some(body.frame().await?.expect("a piece").into_data());
    let mut text = frame(&mut body)
        .await
        .expect("a first piece")
        .expect("data")
        .to_vec();
    assert!(text.len() < 100 * 1024, "the list is not made as a whole");
    // the next piece waits for its reader, and so do the devices of it
    for (call, data) in [
        ("DELETE /gw/devices/2,5,2999", Value::Null),
        ("POST /gw/devices", json!([device("351000000000001")])),
        (
            "PUT /gw/devices/2998",
            json!({ "configuration": { "ident": "351000000000002" } }),
        ),
    ] {
        gateway.operator(master, call, data).await.rows();
    }
    while let Some(Ok(data)) = frame(&mut body).await {
        text.extend_from_slice(&data);
    }
    let list: Value = serde_json::from_slice(&text).expect("JSON");
    let rows = list["result"].as_array().expect("rows");
    let ids: Vec<u64> = rows.iter().filter_map(|row| row["id"].as_u64()).collect();
    assert!(ids.is_sorted_by(|a, b| a < b), "in order, and none twice");
    let expected = (1..=DEVICES + 1)
        .filter(|id| !ids.contains(id))
        .collect::<Vec<_>>();
    // 2 and 5 had been written already
    assert_eq!(expected, [2999]);
    assert_eq!(rows[2997]["id"], 2998);
    assert_eq!(rows[2997]["configuration"]["ident"], "351000000000002");
}
