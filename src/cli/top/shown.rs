//! What is on the screen, as data: two scrapes and what the API says of accounts and devices become
//! panels of names and texts, and rows of two tables. It asks nobody and draws nothing.

use super::numbers::{at_most, bytes, count, span};
use super::page::Page;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Accounts that are shown.
pub(super) const ACCOUNTS_SHOWN: usize = 200;
/// Devices that are shown.
pub(super) const DEVICES_SHOWN: usize = 20;
/// Rates that the curve remembers.
const REMEMBERED: usize = 120;

/// How grave something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Tone {
    #[default]
    Plain,
    /// Worth a look.
    Notable,
    /// Somebody has to do something.
    Bad,
}

/// A line of a panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) text: String,
    pub(super) tone: Tone,
}

/// An account, or a device, as a row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) tone: Tone,
    /// What it is sorted by: most first.
    pub(super) weight: f64,
}

/// Everything on the screen.
#[derive(Debug, Clone, Default)]
pub(super) struct Shown {
    /// `Err`: why the gateway says it is not ready.
    pub(super) ready: Option<Result<(), String>>,
    pub(super) uptime: String,
    pub(super) way: Vec<Line>,
    pub(super) journal: Vec<Line>,
    pub(super) connections: Vec<Line>,
    /// Frames a second, oldest first.
    pub(super) curve: Vec<u64>,
    pub(super) accounts: Vec<Row>,
    pub(super) devices: Vec<Row>,
}

/// What accounts are sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Order {
    /// Messages a second.
    #[default]
    Messages,
    /// Bytes a second.
    Traffic,
    /// The share of the limit that is used most.
    Limit,
}

impl Order {
    /// The next one, round and round.
    pub(super) const fn next(self) -> Self {
        match self {
            Self::Messages => Self::Traffic,
            Self::Traffic => Self::Limit,
            Self::Limit => Self::Messages,
        }
    }

    /// Its word for people.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Traffic => "traffic",
            Self::Limit => "limit used",
        }
    }
}

/// Two scrapes and the time between them.
pub(super) struct Between<'a> {
    pub(super) before: &'a Page,
    pub(super) now: &'a Page,
    pub(super) took: Duration,
}

impl Between<'_> {
    fn rate_of(&self, before: f64, now: f64) -> f64 {
        // a counter that is lower than before began anew with its process
        let grown = if now < before { now } else { now - before };
        grown / self.took.as_secs_f64().max(0.001)
    }

    fn rate(&self, name: &str) -> f64 {
        self.rate_of(self.before.sum(name), self.now.sum(name))
    }

    fn rates_by(&self, name: &str, label: &str) -> HashMap<String, f64> {
        let before = self.before.by(name, label);
        let now = self.now.by(name, label);
        let rate = |(value, now): (&str, f64)| {
            let before = before.get(value).copied().unwrap_or(0.0);
            (value.to_owned(), self.rate_of(before, now))
        };
        now.into_iter().map(rate).collect()
    }

    /// The percentiles 50 and 99 of a histogram.
    fn percentiles(&self, histogram: &str) -> String {
        let at = |q| at_most(self.now.percentile(self.before, histogram, q));
        format!("{} / {}", at(0.5), at(0.99))
    }
}

fn line(name: &'static str, text: String) -> Line {
    Line {
        name,
        text,
        tone: Tone::Plain,
    }
}

/// A line that matters where its number is not zero.
fn if_any(name: &'static str, number: f64, text: String, tone: Tone) -> Line {
    let tone = if number > 0.0 { tone } else { Tone::Plain };
    Line { name, text, tone }
}

/// The most of a map, as `what 3.2, other 1`.
fn greatest(rates: HashMap<String, f64>) -> String {
    let mut rates: Vec<_> = rates.into_iter().filter(|(_, rate)| *rate > 0.0).collect();
    rates.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let shown = rates
        .iter()
        .take(3)
        .map(|(what, rate)| format!("{what} {}", count(*rate)));
    shown.collect::<Vec<_>>().join(", ")
}

/// The panel of a frame's way.
pub(super) fn way(between: &Between<'_>) -> Vec<Line> {
    let per_second = |name: &str| format!("{}/s", count(between.rate(name)));
    let of_bytes = |name: &str| format!("{}/s", bytes(between.rate(name)));
    let (rejects, refusals) = (
        between.rate("tollgate_rejects_total") + between.rate("tollgate_fatals_total"),
        between.rate("tollgate_refusals_total"),
    );
    let with = |rate: f64, most: String| match most.as_str() {
        "" => format!("{}/s", count(rate)),
        most => format!("{}/s: {most}", count(rate)),
    };
    vec![
        line("frames", per_second("tollgate_frames_total")),
        line("messages", per_second("tollgate_messages_total")),
        line("acks", per_second("tollgate_acks_total")),
        line(
            "ack p50 / p99",
            between.percentiles("tollgate_ack_latency_seconds"),
        ),
        line("bytes in", of_bytes("tollgate_received_bytes_total")),
        line("bytes out", of_bytes("tollgate_sent_bytes_total")),
        line(
            "sent again",
            per_second("tollgate_duplicate_messages_total"),
        ),
        if_any(
            "rejected",
            rejects,
            with(
                rejects,
                greatest(between.rates_by("tollgate_rejects_total", "what")),
            ),
            Tone::Notable,
        ),
        if_any(
            "refused",
            refusals,
            with(
                refusals,
                greatest(between.rates_by("tollgate_refusals_total", "dimension")),
            ),
            Tone::Notable,
        ),
    ]
}

/// The panel of the journal.
pub(super) fn journal(between: &Between<'_>) -> Vec<Line> {
    let now = between.now;
    let (commits, entries) = (
        between.rate("tollgate_journal_commit_seconds_count"),
        between.rate("tollgate_journal_commit_entries_sum"),
    );
    let state = if now.sum("tollgate_journal_failed") > 0.0 {
        ("a write failed: nothing is acked", Tone::Bad)
    } else if now.sum("tollgate_journal_stalled") > 0.0 {
        ("no space or file: trackers are not read", Tone::Bad)
    } else {
        ("writing", Tone::Plain)
    };
    let free = if now.has("tollgate_journal_free_bytes") {
        bytes(now.sum("tollgate_journal_free_bytes"))
    } else {
        "not known".to_owned()
    };
    let lost =
        now.sum("tollgate_events_lost_total") + now.sum("tollgate_connection_entries_lost_total");
    vec![
        Line {
            name: "state",
            text: state.0.to_owned(),
            tone: state.1,
        },
        line("commits", format!("{}/s", count(commits))),
        line(
            "commit p50 / p99",
            between.percentiles("tollgate_journal_commit_seconds"),
        ),
        line(
            "entries a commit",
            if commits > 0.0 {
                count(entries / commits)
            } else {
                "-".to_owned()
            },
        ),
        line(
            "written",
            format!(
                "{}/s",
                bytes(between.rate("tollgate_journal_commit_bytes_total"))
            ),
        ),
        line("waiting", bytes(now.sum("tollgate_journal_queued_bytes"))),
        line(
            "on disk up to",
            format!("entry {:.0}", now.sum("tollgate_journal_durable_sequence")),
        ),
        line("space left", free),
        if_any("notes lost", lost, count(lost), Tone::Notable),
    ]
}

/// The panel of connections and of the process.
pub(super) fn connections(between: &Between<'_>) -> Vec<Line> {
    let now = between.now;
    let (parked, blocked) = (
        now.sum("tollgate_connections_parked"),
        now.sum("tollgate_accounts_blocked"),
    );
    let closed = between.rates_by("tollgate_connections_closed_total", "code");
    let all: f64 = closed.values().sum();
    let by_code = closed
        .into_iter()
        .map(|(code, rate)| (format!("code {code}:"), rate))
        .collect();
    let flaps = between.rate("tollgate_ident_flaps_total");
    let cpu = between.rate("process_cpu_seconds_total");
    let (open, limit) = (now.sum("process_open_fds"), now.sum("process_max_fds"));
    vec![
        line("open", count(now.sum("tollgate_connections"))),
        line(
            "not identified",
            count(now.sum("tollgate_connections_unidentified")),
        ),
        if_any("parked", parked, count(parked), Tone::Notable),
        if_any("accounts blocked", blocked, count(blocked), Tone::Notable),
        line(
            "accepted",
            format!(
                "{}/s",
                count(between.rate("tollgate_connections_opened_total"))
            ),
        ),
        line(
            "closed",
            format!("{}/s {}", count(all), greatest(by_code))
                .trim_end()
                .to_owned(),
        ),
        if_any(
            "flapping",
            flaps,
            format!("{}/s", count(flaps)),
            Tone::Notable,
        ),
        line("processor", format!("{:.0} %", cpu * 100.0)),
        line("memory", bytes(now.sum("process_resident_memory_bytes"))),
        if_any(
            "open files",
            (open - limit * 0.8).max(0.0),
            format!("{} of {}", count(open), count(limit)),
            Tone::Bad,
        ),
    ]
}

/// How long the process has been running.
pub(super) fn uptime(now: &Page, now_s: f64) -> String {
    let since = now_s - now.sum("process_start_time_seconds");
    Duration::try_from_secs_f64(since).map_or_else(|_| "-".to_owned(), span)
}

/// Appends a rate to the curve.
pub(super) fn remember(curve: &mut Vec<u64>, between: &Between<'_>) {
    if curve.len() >= REMEMBERED {
        curve.remove(0);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate, never below zero"
    )]
    curve.push(between.rate("tollgate_frames_total").round() as u64);
}

/// The head of the table of accounts.
pub(super) const ACCOUNT_COLUMNS: [&str; 7] = [
    "id",
    "account",
    "messages/s",
    "traffic/s",
    "refused/s",
    "limit used",
    "state",
];

/// Accounts by use, blocked ones first. `items`: what the API says of them.
pub(super) fn accounts(
    between: &Between<'_>,
    items: &[Value],
    order: Order,
    now_s: f64,
) -> Vec<Row> {
    let messages = between.rates_by("tollgate_account_messages_total", "account");
    let traffic = between.rates_by("tollgate_account_bytes_total", "account");
    let refused = between.rates_by("tollgate_account_refused_bytes_total", "account");
    let shares = shares(between.now);
    let mut rows: Vec<Row> = items
        .iter()
        .filter_map(|item| {
            let id = item.get("id")?.as_u64()?.to_string();
            let of = |rates: &HashMap<String, f64>| rates.get(&id).copied().unwrap_or(0.0);
            let share = shares.get(&id);
            let (state, tone) = state_of(item, now_s);
            let by_order = match order {
                Order::Messages => of(&messages),
                Order::Traffic => of(&traffic),
                Order::Limit => share.map_or(0.0, |(used, _)| *used),
            };
            // whatever the order, what is blocked is what one looks for
            let weight = by_order + if tone == Tone::Bad { 1e18 } else { 0.0 };
            let cells = vec![
                id.clone(),
                text_of(item, "name"),
                count(of(&messages)),
                bytes(of(&traffic)),
                bytes(of(&refused)),
                share.map_or_else(String::new, |(used, what)| {
                    format!("{:.0} % {what}", used * 100.0)
                }),
                state,
            ];
            let tone = if share.is_some_and(|(used, _)| *used > 0.8) && tone == Tone::Plain {
                Tone::Notable
            } else {
                tone
            };
            Some(Row {
                cells,
                tone,
                weight,
            })
        })
        .collect();
    most_first(&mut rows, ACCOUNTS_SHOWN);
    rows
}

/// Of each account with a limit: the dimension that is used most, and how much of it.
fn shares(now: &Page) -> HashMap<String, (f64, String)> {
    let mut shares: HashMap<String, (f64, String)> = HashMap::new();
    let used = now.pairs("tollgate_account_admitted", "account", "dimension");
    for ((account, dimension), cap) in now.pairs("tollgate_account_limit", "account", "dimension") {
        let used = used.get(&(account, dimension)).copied().unwrap_or(0.0);
        let share = if cap > 0.0 { used / cap } else { 1.0 };
        let known = shares.get(account).map_or(-1.0, |(share, _)| *share);
        if share > known {
            let what = dimension.trim_start_matches("channel_").to_owned();
            shares.insert(account.to_owned(), (share, what));
        }
    }
    shares
}

fn state_of(item: &Value, now_s: f64) -> (String, Tone) {
    if item.get("enabled").and_then(Value::as_bool) == Some(false) {
        return ("disabled".to_owned(), Tone::Notable);
    }
    if item.get("blocked").and_then(Value::as_u64).unwrap_or(0) == 0 {
        return (String::new(), Tone::Plain);
    }
    let by = text_of(item, "blocked_by");
    let until = item.get("blocked_until").and_then(Value::as_f64);
    let left = until.and_then(|until| Duration::try_from_secs_f64(until - now_s).ok());
    let text = match left {
        Some(left) => format!("blocked: {by}, {} left", span(left)),
        None => format!("blocked: {by}"),
    };
    (text.trim_end_matches([':', ' ']).to_owned(), Tone::Bad)
}

/// The head of the table of devices.
pub(super) const DEVICE_COLUMNS: [&str; 6] = [
    "id",
    "device",
    "account",
    "rejected",
    "flapped",
    "broke off",
];

/// Devices with the most trouble. `events`: of the last minutes; `items`: what the API says of the
/// devices that [`troubled`] names.
pub(super) fn devices(events: &[Value], items: &[Value]) -> Vec<Row> {
    let names: HashMap<u64, &Value> = items
        .iter()
        .filter_map(|item| Some((item.get("id")?.as_u64()?, item)))
        .collect();
    let mut rows: Vec<Row> = troubles(events)
        .into_iter()
        .map(|(id, trouble)| {
            let item = names.get(&id);
            let number = |count: u32| {
                if count == 0 {
                    String::new()
                } else {
                    count.to_string()
                }
            };
            Row {
                cells: vec![
                    id.to_string(),
                    item.map_or_else(String::new, |item| text_of(item, "name")),
                    item.and_then(|item| item.get("cid")?.as_u64())
                        .map_or_else(String::new, |cid| cid.to_string()),
                    number(trouble.rejected),
                    number(trouble.flapped),
                    number(trouble.broke_off),
                ],
                tone: Tone::Plain,
                weight: f64::from(trouble.all()),
            }
        })
        .collect();
    most_first(&mut rows, DEVICES_SHOWN);
    rows
}

/// The devices that have had the most trouble.
pub(super) fn troubled(events: &[Value]) -> Vec<u64> {
    let mut all: Vec<(u64, Trouble)> = troubles(events).into_iter().collect();
    all.sort_by_key(|(id, trouble)| (std::cmp::Reverse(trouble.all()), *id));
    all.truncate(DEVICES_SHOWN);
    all.into_iter().map(|(id, _)| id).collect()
}

#[derive(Debug, Clone, Copy, Default)]
struct Trouble {
    rejected: u32,
    flapped: u32,
    broke_off: u32,
}

impl Trouble {
    const fn all(self) -> u32 {
        // a flapping device is two trackers with one ident: worse than a frame that was garbled
        self.rejected + self.flapped * 5 + self.broke_off
    }
}

/// Close codes of a connection that ended in order: by the tracker, done, or by a restart.
const IN_ORDER: [i64; 3] = [2, 3, 7];

fn troubles(events: &[Value]) -> BTreeMap<u64, Trouble> {
    let mut troubles: BTreeMap<u64, Trouble> = BTreeMap::new();
    for event in events {
        let origin = event
            .get("event_origin")
            .and_then(Value::as_str)
            .unwrap_or("");
        let Some(id) = origin
            .strip_prefix("gw/devices/")
            .and_then(|id| id.parse().ok())
        else {
            continue;
        };
        let mut count =
            |what: fn(&mut Trouble) -> &mut u32| *what(troubles.entry(id).or_default()) += 1;
        match event.get("event_code").and_then(Value::as_u64) {
            Some(305) => count(|trouble| &mut trouble.rejected),
            Some(9001 | 9004) => count(|trouble| &mut trouble.flapped),
            Some(301) => {
                let code = event.get("close_code").and_then(Value::as_i64);
                if code.is_some_and(|code| !IN_ORDER.contains(&code)) {
                    count(|trouble| &mut trouble.broke_off);
                }
            }
            _ => {}
        }
    }
    troubles
}

fn most_first(rows: &mut Vec<Row>, keep: usize) {
    rows.sort_by(|a, b| {
        b.weight
            .total_cmp(&a.weight)
            .then_with(|| a.cells.cmp(&b.cells))
    });
    rows.truncate(keep);
}

fn text_of(item: &Value, name: &str) -> String {
    item.get(name)
        .and_then(Value::as_str)
        .unwrap_or("")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn between<'a>(before: &'a Page, now: &'a Page) -> Between<'a> {
        Between {
            before,
            now,
            took: Duration::from_secs(2),
        }
    }

    fn text<'a>(lines: &'a [Line], name: &str) -> &'a str {
        &lines
            .iter()
            .find(|line| line.name == name)
            .expect("the line")
            .text
    }

    #[test]
    fn rates_are_of_the_time_between_and_survive_a_restart() {
        let before = Page::read(
            "tollgate_frames_total{channel=\"1\"} 100\ntollgate_rejects_total{protocol=\"gt06\",what=\"checksum\"} 4\n",
        );
        let now = Page::read(
            "tollgate_frames_total{channel=\"1\"} 700\ntollgate_rejects_total{protocol=\"gt06\",what=\"checksum\"} 8\n",
        );
        let lines = way(&between(&before, &now));
        assert_eq!(text(&lines, "frames"), "300/s");
        assert_eq!(text(&lines, "rejected"), "2/s: checksum 2");
        let lines = way(&between(&now, &before));
        assert_eq!(text(&lines, "frames"), "50/s", "the counter began anew");
    }

    #[test]
    fn a_failed_journal_is_told_before_all_else() {
        let page = |text: &str| Page::read(text);
        let failed = page("tollgate_journal_failed 1\ntollgate_journal_stalled 1\n");
        let lines = journal(&between(&failed, &failed));
        let state = lines.first().expect("a line");
        assert_eq!((state.name, state.tone), ("state", Tone::Bad));
        assert!(state.text.contains("nothing is acked"), "{state:?}");
        let stalled = page("tollgate_journal_failed 0\ntollgate_journal_stalled 1\n");
        assert_eq!(journal(&between(&stalled, &stalled))[0].tone, Tone::Bad);
        let well = page("tollgate_journal_failed 0\ntollgate_journal_stalled 0\n");
        assert_eq!(journal(&between(&well, &well))[0].tone, Tone::Plain);
    }

    #[test]
    fn blocked_accounts_come_first_then_those_that_use_most() {
        let before = Page::default();
        let now = Page::read(
            "tollgate_account_messages_total{account=\"1\"} 40\ntollgate_account_messages_total{account=\"2\"} 10\n\
             tollgate_account_messages_total{account=\"3\"} 30\n\
             tollgate_account_admitted{account=\"3\",dimension=\"channel_traffic\"} 90\n\
             tollgate_account_limit{account=\"3\",dimension=\"channel_traffic\"} 100\n",
        );
        let items = [
            json!({"id": 1, "name": "master", "enabled": true, "blocked": 0}),
            json!({"id": 2, "name": "late payer", "enabled": true, "blocked": 2, "blocked_by": "channel_messages", "blocked_until": 1030}),
            json!({"id": 3, "name": "busy", "enabled": true, "blocked": 0}),
            json!({"id": 4, "name": "off", "enabled": false, "blocked": 0}),
        ];
        let rows = accounts(&between(&before, &now), &items, Order::Messages, 1000.0);
        let ids: Vec<&str> = rows.iter().map(|row| row.cells[0].as_str()).collect();
        assert_eq!(ids, ["2", "1", "3", "4"]);
        assert_eq!(rows[0].cells[6], "blocked: channel_messages, 30s left");
        assert_eq!(rows[2].cells[5], "90 % traffic");
        assert_eq!((rows[0].tone, rows[2].tone), (Tone::Bad, Tone::Notable));
        assert_eq!(rows[3].cells[6], "disabled");
        let rows = accounts(&between(&before, &now), &items, Order::Limit, 1000.0);
        assert_eq!(rows[1].cells[0], "3");
    }

    #[test]
    fn the_devices_with_most_trouble_are_named() {
        let event = |id: u64, code: u64| json!({"event_origin": format!("gw/devices/{id}"), "event_code": code});
        let mut events = vec![
            event(5, 305),
            event(5, 305),
            event(9, 9004),
            event(7, 300),
            event(8, 1),
        ];
        events.push(json!({"event_origin": "gw/devices/5", "event_code": 301, "close_code": 17}));
        events.push(json!({"event_origin": "gw/devices/7", "event_code": 301, "close_code": 2}));
        events.push(json!({"event_origin": "gw/channels/5", "event_code": 305}));
        assert_eq!(troubled(&events), [9, 5]);
        let rows = devices(&events, &[json!({"id": 5, "name": "van", "cid": 3})]);
        assert_eq!(rows[1].cells, ["5", "van", "3", "2", "", "1"]);
    }
}
