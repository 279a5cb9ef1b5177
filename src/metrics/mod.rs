//! Metrics: every name and label in one place ([`names`]), and the page that Prometheus scrapes.
//!
//! Three ways of counting, by how often:
//!
//! - what happens seldom is counted at a handle that the caller keeps ([`Metrics::counter`],
//!   [`Metrics::gauge`]); nobody looks a metric up by name while a frame is on its way;
//! - what happens with every frame is added up by its thread without atomics and handed in some
//!   times a second ([`LocalBuckets`], and the channel room's tallies);
//! - what is counted already (the account tree, the journal) is not counted a second time: its room
//!   is asked at the scrape ([`Source`]).
//!
//! What the kernel knows of every process (memory, CPU time, open files, start) has the names that
//! all exporters give it, `process_*`.
//!
//! Histograms have fixed buckets and keep no samples. The number of series is bounded:
//! [`CHANNEL_SERIES_MAX`] channels have series of their own, later ones share the label `other`;
//! [`ACCOUNT_SERIES_MAX`] accounts have, the rest are only in their ancestors' numbers (which
//! contain them) and in `tollgate_accounts_without_series`; protocols, causes, codes and the `what`
//! of a reject are closed sets. There is no series per device.

mod branch;
pub mod names;
mod page;

pub use branch::branch_of;
pub use metrics::{Counter, Gauge};
pub use names::{Kind, Metric};
pub use page::{Buckets, Counted, LocalBuckets, NUMBERS, Page, SECONDS};

use crate::ids::ChannelId;
use metrics::{Key, KeyName, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use metrics_process::Collector;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The most channels with series of their own.
pub const CHANNEL_SERIES_MAX: usize = 500;
/// The most accounts with series of their own: those with the lowest ids, so parents before
/// children.
pub const ACCOUNT_SERIES_MAX: usize = 2_000;

static METADATA: Metadata<'static> = Metadata::new("tollgate", Level::INFO, None);

/// A room that has counted something already and writes it into the page when it is asked.
pub trait Source: Send + Sync + 'static {
    /// Writes what it has.
    fn write(&self, page: &mut Page);
}

/// Statuses of HTTP are below it.
const STATUSES: usize = 600;

/// The metrics of one gateway. Nothing here is global, so a test has its own.
pub struct Metrics {
    recorder: PrometheusRecorder,
    page: PrometheusHandle,
    channels: Mutex<BTreeSet<ChannelId>>,
    sources: Mutex<Vec<Arc<dyn Source>>>,
    ack_latency: Buckets,
    api_seconds: Buckets,
    /// By status, each made when it is first answered.
    api_requests: [OnceLock<Counter>; STATUSES],
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// Nothing is counted yet.
    pub fn new() -> Arc<Self> {
        let recorder = PrometheusBuilder::new().build_recorder();
        for metric in names::ALL {
            let name = KeyName::from_const_str(metric.name);
            match metric.kind {
                Kind::Counter => recorder.describe_counter(name, None, metric.help.into()),
                Kind::Gauge => recorder.describe_gauge(name, None, metric.help.into()),
                Kind::Histogram => recorder.describe_histogram(name, None, metric.help.into()),
            }
        }
        let metrics = Self {
            page: recorder.handle(),
            recorder,
            channels: Mutex::default(),
            sources: Mutex::default(),
            ack_latency: Buckets::new(SECONDS),
            api_seconds: Buckets::new(SECONDS),
            api_requests: [const { OnceLock::new() }; STATUSES],
        };
        let version: &[&str] = &[env!("CARGO_PKG_VERSION")];
        metrics.gauge(&names::BUILD, version).set(1.0);
        metrics::with_local_recorder(&metrics.recorder, || Collector::default().describe());
        Arc::new(metrics)
    }

    fn key(metric: &'static Metric, values: &[&str]) -> Key {
        debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
        let labels: Vec<_> = metric
            .labels
            .iter()
            .zip(values)
            .map(|(label, value)| Label::new(*label, (*value).to_owned()))
            .collect();
        Key::from_parts(metric.name, labels)
    }

    /// The counter of `metric` with these values of its labels. To be kept, not to be looked up
    /// for every frame.
    pub fn counter(&self, metric: &'static Metric, values: &[&str]) -> Counter {
        self.recorder
            .register_counter(&Self::key(metric, values), &METADATA)
    }

    /// The gauge of `metric` with these values of its labels. To be kept.
    pub fn gauge(&self, metric: &'static Metric, values: &[&str]) -> Gauge {
        self.recorder
            .register_gauge(&Self::key(metric, values), &METADATA)
    }

    /// The value of the label `channel` for this channel: its id while there are not too many.
    pub fn channel_label(&self, channel: ChannelId) -> String {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if channels.contains(&channel) || channels.len() < CHANNEL_SERIES_MAX {
            channels.insert(channel);
            channel.to_string()
        } else {
            "other".to_owned()
        }
    }

    /// Time from the read of a frame to the write of its ack, in seconds.
    pub fn ack_latency(&self) -> &Buckets {
        &self.ack_latency
    }

    /// Time of an API request, in seconds.
    pub fn api_seconds(&self) -> &Buckets {
        &self.api_seconds
    }

    /// Counts an answer of the API.
    pub fn api_answered(&self, status: u16) {
        let made = || self.counter(&names::API_REQUESTS, &[&status.to_string()]);
        match self.api_requests.get(usize::from(status)) {
            Some(kept) => kept.get_or_init(made).increment(1),
            None => made().increment(1),
        }
    }

    /// Asks `source` at every scrape from now on.
    pub fn add_source(&self, source: Arc<dyn Source>) {
        self.sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(source);
    }

    /// The page in Prometheus' text format. Takes milliseconds when there are many series: not for
    /// a thread that moves frames.
    pub fn render(&self) -> String {
        metrics::with_local_recorder(&self.recorder, || Collector::default().collect());
        let mut page = Page::new(self.page.render());
        page.histogram(&names::ACK_LATENCY, &self.ack_latency.counted());
        page.histogram(&names::API_SECONDS, &self.api_seconds.counted());
        let sources = self
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for source in sources {
            source.write(&mut page);
        }
        page.into_text()
    }

    /// Housekeeping of the recorder, to be called every few seconds.
    pub fn run_upkeep(&self) {
        self.page.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One;

    impl Source for One {
        fn write(&self, page: &mut Page) {
            page.single(&names::JOURNAL_FAILED, 0);
        }
    }

    #[test]
    fn a_page_has_help_and_type_for_everything_on_it() {
        let metrics = Metrics::new();
        metrics.add_source(Arc::new(One));
        metrics.counter(&names::FRAMES, &["7"]).increment(3);
        metrics.gauge(&names::CONNECTIONS, &["7"]).set(2.0);
        metrics.ack_latency().count(0.002);
        let page = metrics.render();
        assert!(
            page.contains("tollgate_frames_total{channel=\"7\"} 3"),
            "{page}"
        );
        let named = |line: &str| {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(name);
            family.to_owned()
        };
        for line in page
            .lines()
            .filter(|l| !l.starts_with('#') && !l.is_empty())
        {
            let family = named(line);
            assert!(page.contains(&format!("# HELP {family} ")), "{line}");
            assert!(page.contains(&format!("# TYPE {family} ")), "{line}");
        }
        assert!(page.contains("tollgate_journal_failed 0"));
        assert!(page.contains("\nprocess_open_fds "), "{page}");
    }

    #[test]
    fn the_number_of_channels_with_series_of_their_own_is_bounded() {
        let metrics = Metrics::new();
        for id in 1..=CHANNEL_SERIES_MAX as u64 {
            assert_eq!(metrics.channel_label(ChannelId(id)), id.to_string());
        }
        assert_eq!(metrics.channel_label(ChannelId(9_999)), "other");
        assert_eq!(metrics.channel_label(ChannelId(1)), "1");
    }
}
