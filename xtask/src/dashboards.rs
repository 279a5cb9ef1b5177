//! `dashboards`: what Grafana shows, as one table of panels -> `deploy/grafana/*.json`; and the
//! queries alone, so that `.ci/run` can put each of them to a real Prometheus.
//!
//! `tests/deploy.rs` holds every name in them against the gateway's own list of metrics.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::Path;

/// A panel: a graph over time of one or more queries.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    /// What a person is to see in it.
    note: &'static str,
    /// Grafana's name of the unit.
    pub(crate) unit: &'static str,
    /// Query and legend.
    pub(crate) queries: &'static [(&'static str, &'static str)],
}

/// A dashboard: its file's name, its title, the label it chooses by, its panels.
struct Dashboard {
    name: &'static str,
    title: &'static str,
    /// A label whose values are chosen from at the top, and the series that has it.
    variable: Option<(&'static str, &'static str)>,
    panels: &'static [Panel],
}

const fn panel(
    title: &'static str,
    note: &'static str,
    unit: &'static str,
    queries: &'static [(&'static str, &'static str)],
) -> Panel {
    Panel {
        title,
        note,
        unit,
        queries,
    }
}

#[rustfmt::skip]
static DASHBOARDS: &[Dashboard] = &[
    Dashboard { name: "overview", title: "Tollgate: overview", variable: None, panels: &[
        panel("Acks", "Zero while connections are open: look at the journal.", "ops", &[
            ("sum(rate(tollgate_acks_total[$__rate_interval]))", "acks"),
            ("sum(rate(tollgate_frames_total[$__rate_interval]))", "frames"),
            ("sum(rate(tollgate_messages_total[$__rate_interval]))", "messages"),
        ]),
        panel("Ack latency", "From the read of a frame to the write of its ack; its floor is the disk's sync.", "s", &[
            ("histogram_quantile(0.5, sum by (le) (rate(tollgate_ack_latency_seconds_bucket[$__rate_interval])))", "p50"),
            ("histogram_quantile(0.99, sum by (le) (rate(tollgate_ack_latency_seconds_bucket[$__rate_interval])))", "p99"),
        ]),
        panel("Connections", "Parked ones wait for a limit; unidentified ones have named no device yet.", "short", &[
            ("sum(tollgate_connections)", "open"),
            ("tollgate_connections_unidentified", "unidentified"),
            ("tollgate_connections_parked", "parked"),
        ]),
        panel("Connections closed", "By flespi's close code: 2 by the tracker, 12 another connection with its ident, 14 unknown, 17 silence.", "ops", &[
            ("sum by (code) (rate(tollgate_connections_closed_total[$__rate_interval]))", "{{code}}"),
        ]),
        panel("Bytes", "On the trackers' side.", "Bps", &[
            ("sum(rate(tollgate_received_bytes_total[$__rate_interval]))", "in"),
            ("sum(rate(tollgate_sent_bytes_total[$__rate_interval]))", "out"),
            ("sum(rate(tollgate_unidentified_bytes_total[$__rate_interval]))", "in, nobody's"),
        ]),
        panel("Refused by a limit", "By dimension and policy; `tollgate accounts` says whose.", "ops", &[
            ("sum by (dimension, policy) (rate(tollgate_refusals_total[$__rate_interval]))", "{{dimension}} {{policy}}"),
        ]),
        panel("Rejected", "Frames that could not be read: a wrong checksum, a form that the decoder does not know.", "ops", &[
            ("sum by (protocol, what) (rate(tollgate_rejects_total[$__rate_interval]))", "{{protocol}} {{what}}"),
            ("sum by (protocol, what) (rate(tollgate_fatals_total[$__rate_interval]))", "closed: {{protocol}} {{what}}"),
        ]),
        panel("Accounts blocked", "Accounts over a limit now, without their branches.", "short", &[
            ("tollgate_accounts_blocked", "blocked"),
        ]),
        panel("Disk", "Free space of the journal's file system.", "bytes", &[
            ("tollgate_journal_free_bytes", "free"),
        ]),
        panel("Journal stands still", "1 is an emergency: failed does not heal, stalled waits for space.", "short", &[
            ("tollgate_journal_failed", "failed"),
            ("tollgate_journal_stalled", "stalled"),
        ]),
        panel("Memory", "Resident memory of the process, and what refused frames hold of it.", "bytes", &[
            ("process_resident_memory_bytes{job=\"tollgate\"}", "resident"),
            ("tollgate_parked_bytes", "parked frames"),
        ]),
        panel("Processor and files", "Cores used; open files as a part of those allowed.", "percentunit", &[
            ("rate(process_cpu_seconds_total{job=\"tollgate\"}[$__rate_interval])", "cores"),
            ("process_open_fds{job=\"tollgate\"} / process_max_fds{job=\"tollgate\"}", "files"),
        ]),
    ]},
    Dashboard { name: "account", title: "Tollgate: account",
        variable: Some(("account", "tollgate_account_bytes_total")), panels: &[
        panel("Traffic", "Charged to the account and its branch.", "Bps", &[
            ("sum by (direction) (rate(tollgate_account_bytes_total{account=\"$account\"}[$__rate_interval]))", "{{direction}}"),
        ]),
        panel("Messages", "Charged to the account and its branch.", "ops", &[
            ("rate(tollgate_account_messages_total{account=\"$account\"}[$__rate_interval])", "messages"),
        ]),
        panel("Use of its caps", "1 is the cap: of this minute for rates, of now for levels. Only caps of its own.", "percentunit", &[
            ("tollgate_account_admitted{account=\"$account\"} / on (account, dimension) tollgate_account_limit > 0", "{{dimension}}"),
        ]),
        panel("Admitted", "Of this minute for rates, of now for levels.", "short", &[
            ("tollgate_account_admitted{account=\"$account\"}", "{{dimension}}"),
        ]),
        panel("Refused", "Bytes of frames that a limit refused: not lost, trackers send them again.", "Bps", &[
            ("rate(tollgate_account_refused_bytes_total{account=\"$account\"}[$__rate_interval])", "refused"),
        ]),
    ]},
    Dashboard { name: "channel", title: "Tollgate: channel",
        variable: Some(("channel", "tollgate_connections")), panels: &[
        panel("Connections", "Open now.", "short", &[
            ("tollgate_connections{channel=\"$channel\"}", "open"),
        ]),
        panel("Calls", "Accepted, and devices admitted.", "ops", &[
            ("rate(tollgate_connections_opened_total{channel=\"$channel\"}[$__rate_interval])", "accepted"),
            ("rate(tollgate_logins_total{channel=\"$channel\"}[$__rate_interval])", "admitted"),
        ]),
        panel("Frames and messages", "Many duplicates: trackers do not see their acks in time.", "ops", &[
            ("rate(tollgate_frames_total{channel=\"$channel\"}[$__rate_interval])", "frames"),
            ("rate(tollgate_messages_total{channel=\"$channel\"}[$__rate_interval])", "messages"),
            ("rate(tollgate_duplicate_messages_total{channel=\"$channel\"}[$__rate_interval])", "duplicates"),
            ("rate(tollgate_acks_total{channel=\"$channel\"}[$__rate_interval])", "acks"),
        ]),
        panel("Bytes", "On the trackers' side.", "Bps", &[
            ("rate(tollgate_received_bytes_total{channel=\"$channel\"}[$__rate_interval])", "in"),
            ("rate(tollgate_sent_bytes_total{channel=\"$channel\"}[$__rate_interval])", "out"),
            ("rate(tollgate_unidentified_bytes_total{channel=\"$channel\"}[$__rate_interval])", "in, nobody's"),
            ("rate(tollgate_refused_bytes_total{channel=\"$channel\"}[$__rate_interval])", "refused"),
        ]),
        panel("Dropped", "Messages that the policy drop has thrown away.", "ops", &[
            ("rate(tollgate_dropped_messages_total{channel=\"$channel\"}[$__rate_interval])", "dropped"),
        ]),
    ]},
    Dashboard { name: "journal", title: "Tollgate: journal", variable: None, panels: &[
        panel("Commit", "Write and fdatasync of one group.", "s", &[
            ("histogram_quantile(0.5, sum by (le) (rate(tollgate_journal_commit_seconds_bucket[$__rate_interval])))", "p50"),
            ("histogram_quantile(0.99, sum by (le) (rate(tollgate_journal_commit_seconds_bucket[$__rate_interval])))", "p99"),
        ]),
        panel("Entries of a commit", "Grows with the load: that is how one sync serves many.", "short", &[
            ("rate(tollgate_journal_commit_entries_sum[$__rate_interval]) / rate(tollgate_journal_commit_entries_count[$__rate_interval])", "mean"),
        ]),
        panel("Written", "By group commits.", "Bps", &[
            ("rate(tollgate_journal_commit_bytes_total[$__rate_interval])", "bytes"),
        ]),
        panel("Entries", "New entries on disk.", "ops", &[
            ("deriv(tollgate_journal_durable_sequence[$__rate_interval])", "entries"),
        ]),
        panel("Queue", "Taken in and not on disk yet; reads wait when it is full.", "bytes", &[
            ("tollgate_journal_queued_bytes", "queued"),
        ]),
        panel("Waits and losses", "Reads that waited for the queue; side records given up because too many waited (never messages).", "ops", &[
            ("rate(tollgate_queue_stalls_total[$__rate_interval])", "waits"),
            ("rate(tollgate_connection_entries_lost_total[$__rate_interval])", "connection entries lost"),
            ("rate(tollgate_events_lost_total[$__rate_interval])", "events lost"),
        ]),
        panel("Raw traffic", "Chunks kept of channels and devices with keep_packets; lost ones are gaps in captures, never messages.", "ops", &[
            ("rate(tollgate_raw_chunks_total[$__rate_interval])", "kept"),
            ("rate(tollgate_raw_chunks_lost_total[$__rate_interval])", "lost"),
        ]),
        panel("Raw traffic on disk", "Stays below packets.budget: the oldest segment goes.", "bytes", &[
            ("tollgate_raw_bytes", "raw traffic"),
        ]),
        panel("Free space", "The forecast is four hours ahead, by the last hour.", "bytes", &[
            ("tollgate_journal_free_bytes", "free"),
            ("predict_linear(tollgate_journal_free_bytes[1h], 4 * 3600)", "in four hours"),
        ]),
        panel("API", "Requests by status, and their p99.", "ops", &[
            ("sum by (status) (rate(tollgate_api_requests_total[$__rate_interval]))", "{{status}}"),
        ]),
    ]},
];

/// Two panels a row, each half of Grafana's 24 columns.
const WIDTH: usize = 12;
const HEIGHT: usize = 8;

/// Writes `deploy/grafana/*.json`.
pub(crate) fn write(root: &Path) -> Result<()> {
    for dashboard in DASHBOARDS {
        let path = root.join(format!("deploy/grafana/{}.json", dashboard.name));
        std::fs::write(&path, text(dashboard)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// The panels of the overview.
pub(crate) fn overview() -> &'static [Panel] {
    let overview = DASHBOARDS
        .iter()
        .find(|dashboard| dashboard.name == "overview");
    overview.map_or(&[], |dashboard| dashboard.panels)
}

/// Every query, with Grafana's own variables filled in: one a line.
pub(crate) fn queries() -> String {
    let mut lines = String::new();
    for panel in DASHBOARDS.iter().flat_map(|dashboard| dashboard.panels) {
        for (query, _) in panel.queries {
            let query = query
                .replace("$__rate_interval", "1m")
                .replace("\"$account\"", "\"1\"")
                .replace("\"$channel\"", "\"1\"");
            lines += &query;
            lines.push('\n');
        }
    }
    lines
}

fn text(dashboard: &Dashboard) -> String {
    format!("{:#}\n", json(dashboard))
}

fn json(dashboard: &Dashboard) -> Value {
    let source = json!({ "type": "prometheus", "uid": "${datasource}" });
    let mut variables = vec![json!({
        "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus",
    })];
    if let Some((label, series)) = dashboard.variable {
        variables.push(json!({
            "name": label, "type": "query", "label": label, "datasource": source,
            "query": format!("label_values({series}, {label})"), "refresh": 2, "sort": 3,
        }));
    }
    let panels: Vec<Value> = dashboard
        .panels
        .iter()
        .enumerate()
        .map(|(index, panel)| {
            let targets: Vec<Value> = panel
                .queries
                .iter()
                .zip('A'..='Z')
                .map(|((query, legend), name)| {
                    json!({ "refId": name, "datasource": source, "expr": query, "legendFormat": legend })
                })
                .collect();
            json!({
                "id": index + 1,
                "type": "timeseries",
                "title": panel.title,
                "description": panel.note,
                "datasource": source,
                "gridPos": { "x": index % 2 * WIDTH, "y": index / 2 * HEIGHT, "w": WIDTH, "h": HEIGHT },
                "fieldConfig": { "defaults": { "unit": panel.unit, "min": 0 }, "overrides": [] },
                "options": { "legend": { "displayMode": "list", "placement": "bottom" }, "tooltip": { "mode": "multi" } },
                "targets": targets,
            })
        })
        .collect();
    json!({
        "uid": format!("tollgate-{}", dashboard.name),
        "title": dashboard.title,
        "tags": ["tollgate"],
        "schemaVersion": 39,
        "timezone": "browser",
        "refresh": "15s",
        "time": { "from": "now-1h", "to": "now" },
        "links": [{ "type": "dashboards", "tags": ["tollgate"], "title": "Tollgate", "asDropdown": true }],
        "templating": { "list": variables },
        "panels": panels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dashboards_in_the_tree_are_what_this_table_makes() {
        for dashboard in DASHBOARDS {
            let path = crate::root().join(format!("deploy/grafana/{}.json", dashboard.name));
            let there = std::fs::read_to_string(&path).expect("it is there");
            assert_eq!(
                there,
                text(dashboard),
                "{}: cargo xtask dashboards",
                path.display()
            );
        }
    }

    #[test]
    fn a_variable_is_used_where_it_is_chosen_and_nowhere_else() {
        for dashboard in DASHBOARDS {
            for panel in dashboard.panels {
                for (query, _) in panel.queries {
                    for label in ["account", "channel"] {
                        let used = query.contains(&format!("\"${label}\""));
                        let chosen = dashboard.variable.is_some_and(|(name, _)| name == label);
                        assert_eq!(used, chosen, "{}: {query}", dashboard.name);
                    }
                }
            }
        }
    }
}
