//! Who reads what happened to channels.

use crate::harness::{Gateway, NOON_US};
use serde_json::{Value, json};
use tollgate::channel::{ConnectionEvent, EventSink as _, Happened};
use tollgate::ids::{AccountId, ChannelId, ConnectionId};

impl Gateway {
    /// A connection comes to a channel, whose owner this is.
    fn accepts(&self, channel: u64, owner: u64) {
        let told = self.control.events().tell(ConnectionEvent {
            at_us: NOON_US,
            channel: ChannelId(channel),
            owner: AccountId(owner),
            connection: ConnectionId(7),
            peer: "192.0.2.9:5000".parse().expect("an address"),
            what: Happened::Accepted,
        });
        assert!(told);
    }

    /// The numbers of the connection events that a token reads of a channel.
    async fn connection_events(&self, key: &str, channel: u64) -> Vec<u64> {
        let call = format!("GET /gw/channels/{channel}/logs");
        let read = self.call(Some(key), 0, &call, Value::Null).await;
        let rows = read.body["result"].as_array().cloned().unwrap_or_default();
        let codes = rows.iter().filter_map(|row| row["event_code"].as_u64());
        codes.filter(|code| (100..200).contains(code)).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_channel_are_its_owners_and_nobody_elses() {
    let gateway = Gateway::new();
    let master = gateway.account(0, "master").await;
    let customer = gateway.account(master, "customer").await;
    let beside = gateway.account(master, "beside").await;
    let stranger = gateway.account(0, "stranger").await;
    let channel = gateway.channel(customer, "teltonika").await;
    gateway.accepts(channel, customer);
    for (account, seen) in [(customer, 1), (master, 1), (beside, 0), (stranger, 0)] {
        for access in [json!({ "type": 0 }), json!({ "type": 1 })] {
            let key = gateway.token(account, access).await;
            let codes = gateway.connection_events(&key, channel).await;
            assert_eq!(codes, vec![100; seen], "account {account}");
        }
    }
    // moved to another account, it takes nothing along of what happened before
    let moved = json!({ "cid": beside });
    let call = format!("PUT /gw/channels/{channel}/cid");
    gateway.operator(0, &call, moved).await.row();
    gateway.accepts(channel, beside);
    let key = gateway.token(beside, json!({ "type": 0 })).await;
    assert_eq!(gateway.connection_events(&key, channel).await, [100]);
    let key = gateway.token(customer, json!({ "type": 0 })).await;
    let none: [u64; 0] = [];
    assert_eq!(gateway.connection_events(&key, channel).await, none);
}
