//! The metrics page of many accounts and channels: how many series it may have, and who sees which.
//! How long it takes at full size says `cargo bench --bench api`.

use crate::harness::Gateway;
use serde_json::json;
use tollgate::metrics::{ACCOUNT_SERIES_MAX, CHANNEL_SERIES_MAX, Kind, names};

/// Beyond both bounds.
const ACCOUNTS: usize = ACCOUNT_SERIES_MAX + 50;
const CHANNELS: u64 = CHANNEL_SERIES_MAX as u64 + 50;
/// Series of an account: bytes by direction, messages, refused bytes, five dimensions and their caps.
const OF_ACCOUNT: usize = 3 + 1 + 1 + 5 + 5;
/// What belongs to nobody: buckets, the process, statuses.
const OF_NOBODY: usize = 300;

fn samples(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_are_bounded_and_what_has_none_is_counted() {
    let gateway = Gateway::new();
    let master = gateway.many_accounts(ACCOUNTS).await;
    gateway.count_for_channels(CHANNELS);
    let page = gateway.metrics.render();
    let of_channel = names::ALL
        .iter()
        .filter(|metric| metric.labels == ["channel"] && metric.kind == Kind::Counter)
        .count();
    assert!(of_channel > 5, "{of_channel}");
    let count = samples(&page).count();
    let most = ACCOUNT_SERIES_MAX * OF_ACCOUNT + (CHANNEL_SERIES_MAX + 1) * of_channel + OF_NOBODY;
    assert!(count <= most, "{count} series, {most} at most");
    assert!(
        count > most - OF_NOBODY - 100,
        "{count} of {most}: is anything missing?"
    );
    // the master's own is among those listed
    let unlisted = format!(
        "tollgate_accounts_without_series {}",
        ACCOUNTS + 1 - ACCOUNT_SERIES_MAX
    );
    assert!(page.contains(&unlisted), "{unlisted}");
    assert!(page.contains(r#"tollgate_frames_total{channel="other"}"#));

    // a subaccount's token sees the series of its branch, and those of nobody else
    let child = gateway.token(master + 1, json!({ "type": 1 })).await;
    let text = gateway
        .call(Some(&child), 0, "GET /metrics", json!(null))
        .await
        .text;
    let own = format!(r#"account="{}""#, master + 1);
    assert_eq!(samples(&text).count(), OF_ACCOUNT, "{text}");
    assert!(samples(&text).all(|line| line.contains(&own)), "{text}");
}
