//! Writes the exposition format by hand, for what is counted elsewhere already and for histograms
//! of fixed buckets.

use super::names::Metric;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};

/// A scrape being written.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    pub(super) fn new(text: String) -> Self {
        Self { text }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// Begins a metric: all of its samples follow before another one begins.
    pub fn begin(&mut self, metric: &Metric) {
        let (name, kind) = (metric.name, metric.kind.name());
        // writing to a String cannot fail
        _ = writeln!(self.text, "# HELP {name} {}", metric.help);
        _ = writeln!(self.text, "# TYPE {name} {kind}");
    }

    /// A sample of the metric that was begun. `values`: of its labels, in their order.
    pub fn sample(&mut self, metric: &Metric, values: &[&dyn Display], number: impl Display) {
        self.line(
            metric.name,
            "",
            metric.labels.iter().copied(),
            values,
            None,
            &number,
        );
    }

    /// A metric without labels, whole.
    pub fn single(&mut self, metric: &Metric, number: impl Display) {
        self.begin(metric);
        self.sample(metric, &[], number);
    }

    /// A histogram without labels, whole.
    pub fn histogram(&mut self, metric: &Metric, counted: &Counted) {
        self.begin(metric);
        let mut below = 0u64;
        for (bound, count) in counted.bounds.iter().zip(&counted.counts) {
            below = below.saturating_add(*count);
            self.line(metric.name, "_bucket", [], &[], Some(bound), &below);
        }
        let all: u64 = counted.counts.iter().sum();
        self.line(metric.name, "_bucket", [], &[], Some(&"+Inf"), &all);
        self.line(metric.name, "_sum", [], &[], None, &counted.sum);
        self.line(metric.name, "_count", [], &[], None, &all);
    }

    fn line(
        &mut self,
        name: &str,
        suffix: &str,
        labels: impl IntoIterator<Item = &'static str>,
        values: &[&dyn Display],
        bound: Option<&dyn Display>,
        number: &dyn Display,
    ) {
        _ = write!(self.text, "{name}{suffix}");
        let mut open = '{';
        let label = |text: &mut String, label: &str, value: &dyn Display, open: &mut char| {
            _ = write!(text, "{open}{label}=\"{}\"", escaped(&value.to_string()));
            *open = ',';
        };
        for (key, value) in labels.into_iter().zip(values) {
            label(&mut self.text, key, *value, &mut open);
        }
        if let Some(bound) = bound {
            label(&mut self.text, "le", bound, &mut open);
        }
        if open == ',' {
            self.text.push('}');
        }
        _ = writeln!(self.text, " {number}");
    }
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

/// A histogram of fixed buckets that threads share: for those who count seldom, or add up first.
#[derive(Debug)]
pub struct Buckets {
    bounds: &'static [f64],
    counts: Box<[AtomicU64]>,
    /// In millionths, so that it can be added to atomically.
    sum_millionths: AtomicU64,
}

/// What a histogram counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    /// Upper bounds of the buckets, ascending.
    pub bounds: &'static [f64],
    /// How many were counted in each, and last of all above all of them.
    pub counts: Vec<u64>,
    /// The sum of all that was counted.
    pub sum: f64,
}

/// Buckets for times from the read of a frame to its ack, and for commits, in seconds.
pub static SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0, 30.0,
];

/// Buckets for numbers of things.
pub static NUMBERS: &[f64] = &[
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0,
];

impl Buckets {
    /// An empty one.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_millionths: AtomicU64::new(0),
        }
    }

    /// Counts one.
    pub fn count(&self, value: f64) {
        if let Some(count) = self.counts.get(bucket(self.bounds, value)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_millionths
            .fetch_add(millionths(value), Ordering::Relaxed);
    }

    /// Adds what a thread has counted for itself, and empties that.
    pub fn take_in(&self, local: &mut LocalBuckets) {
        for (count, local) in self.counts.iter().zip(&mut local.counts) {
            if *local > 0 {
                count.fetch_add(std::mem::take(local), Ordering::Relaxed);
            }
        }
        let sum = std::mem::take(&mut local.sum_millionths);
        self.sum_millionths.fetch_add(sum, Ordering::Relaxed);
    }

    /// What was counted.
    pub fn counted(&self) -> Counted {
        Counted {
            bounds: self.bounds,
            counts: self
                .counts
                .iter()
                .map(|count| count.load(Ordering::Relaxed))
                .collect(),
            sum: self.sum_millionths.load(Ordering::Relaxed) as f64 / 1e6,
        }
    }
}

/// One thread's share of a [`Buckets`]: no atomics.
#[derive(Debug)]
pub struct LocalBuckets {
    bounds: &'static [f64],
    counts: Box<[u64]>,
    sum_millionths: u64,
}

impl LocalBuckets {
    /// An empty one, with the bounds of what it will be taken into.
    pub fn new(bounds: &'static [f64]) -> Self {
        Self {
            bounds,
            counts: vec![0; bounds.len() + 1].into(),
            sum_millionths: 0,
        }
    }

    /// Counts one.
    pub fn count(&mut self, value: f64) {
        if let Some(count) = self.counts.get_mut(bucket(self.bounds, value)) {
            *count += 1;
        }
        self.sum_millionths = self.sum_millionths.saturating_add(millionths(value));
    }
}

fn bucket(bounds: &[f64], value: f64) -> usize {
    bounds.partition_point(|bound| *bound < value)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, which is what is wanted"
)]
fn millionths(value: f64) -> u64 {
    (value * 1e6) as u64
}

#[cfg(test)]
mod tests {
    use super::super::names;
    use super::*;

    #[test]
    fn labels_are_escaped_and_buckets_add_up() {
        let mut page = Page::default();
        page.begin(&names::REJECTS);
        page.sample(&names::REJECTS, &[&"a\"b\\c", &7], 3);
        let shared = Buckets::new(&[1.0, 2.0]);
        let mut local = LocalBuckets::new(&[1.0, 2.0]);
        local.count(1.0);
        local.count(9.0);
        shared.take_in(&mut local);
        shared.take_in(&mut local);
        shared.count(1.5);
        page.histogram(&names::JOURNAL_COMMIT_ENTRIES, &shared.counted());
        let text = page.into_text();
        for line in [
            r#"tollgate_rejects_total{protocol="a\"b\\c",what="7"} 3"#,
            r#"tollgate_journal_commit_entries_bucket{le="1"} 1"#,
            r#"tollgate_journal_commit_entries_bucket{le="2"} 2"#,
            r#"tollgate_journal_commit_entries_bucket{le="+Inf"} 3"#,
            "tollgate_journal_commit_entries_sum 11.5",
            "tollgate_journal_commit_entries_count 3",
            "# TYPE tollgate_journal_commit_entries histogram",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
    }
}
