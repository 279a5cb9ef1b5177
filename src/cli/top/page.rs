//! Reads the page that Prometheus scrapes: samples by name, their sums, and percentiles of its
//! histograms. It knows the text form and nothing of what the numbers mean.

use std::collections::{BTreeMap, HashMap};

/// A sample: its labels as they stand on the page, and its number.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    labels: Vec<(String, String)>,
    number: f64,
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        let found = self.labels.iter().find(|(label, _)| label == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// One scrape.
#[derive(Debug, Clone, Default)]
pub(super) struct Page {
    samples: HashMap<String, Vec<Sample>>,
}

impl Page {
    /// Reads the text of a page. Lines that are no samples are passed over.
    pub(super) fn read(text: &str) -> Self {
        let mut samples: HashMap<String, Vec<Sample>> = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, sample)) = sample_of(line) {
                samples.entry(name.to_owned()).or_default().push(sample);
            }
        }
        Self { samples }
    }

    fn of(&self, name: &str) -> &[Sample] {
        self.samples.get(name).map_or(&[], Vec::as_slice)
    }

    /// Is there a sample of that name?
    pub(super) fn has(&self, name: &str) -> bool {
        self.samples.contains_key(name)
    }

    /// The sum of all samples of a name.
    pub(super) fn sum(&self, name: &str) -> f64 {
        self.of(name).iter().map(|sample| sample.number).sum()
    }

    /// The samples of a name, added up by the values of a label.
    pub(super) fn by(&self, name: &str, label: &str) -> HashMap<&str, f64> {
        let mut sums = HashMap::new();
        for sample in self.of(name) {
            *sums.entry(sample.label(label).unwrap_or("")).or_default() += sample.number;
        }
        sums
    }

    /// The samples of a name with that value of a label, added up.
    pub(super) fn with(&self, name: &str, label: &str, value: &str) -> f64 {
        let fits = self
            .of(name)
            .iter()
            .filter(|s| s.label(label) == Some(value));
        fits.map(|sample| sample.number).sum()
    }

    /// The samples of a name by the values of two labels.
    pub(super) fn pairs(&self, name: &str, one: &str, two: &str) -> BTreeMap<(&str, &str), f64> {
        let mut pairs = BTreeMap::new();
        for sample in self.of(name) {
            if let (Some(one), Some(two)) = (sample.label(one), sample.label(two)) {
                pairs.insert((one, two), sample.number);
            }
        }
        pairs
    }

    /// The percentile (0 to 1) of what a histogram has counted since `before`: the upper bound of
    /// its bucket; `None` where it has counted nothing, infinite above the last bound.
    pub(super) fn percentile(&self, before: &Self, histogram: &str, at: f64) -> Option<f64> {
        let name = format!("{histogram}_bucket");
        let mut buckets: Vec<(f64, f64)> = self
            .of(&name)
            .iter()
            .filter_map(|sample| {
                let bound = sample.label("le")?;
                let since = before.with(&name, "le", bound);
                let bound = if bound == "+Inf" {
                    f64::INFINITY
                } else {
                    bound.parse().ok()?
                };
                // a counter that is lower than before began anew
                let counted = if sample.number < since {
                    sample.number
                } else {
                    sample.number - since
                };
                Some((bound, counted))
            })
            .collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let all = buckets.last()?.1;
        if all <= 0.0 {
            return None;
        }
        let found = buckets.iter().find(|(_, below)| *below >= all * at);
        found.map(|(bound, _)| *bound)
    }
}

/// `name{label="value",...} number`.
fn sample_of(line: &str) -> Option<(&str, Sample)> {
    let (name, labels, number) = match line.split_once('{') {
        None => {
            let (name, number) = line.split_once(' ')?;
            (name, Vec::new(), number)
        }
        Some((name, rest)) => {
            let (labels, number) = labels_of(rest)?;
            (name, labels, number)
        }
    };
    let number = number.split_whitespace().next()?.parse().ok()?;
    Some((name, Sample { labels, number }))
}

/// The labels up to the closing brace, and what follows it.
fn labels_of(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (label, quoted) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.push((label.to_owned(), value));
        rest = quoted.get(end + 1..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP frames_total Frames.
# TYPE frames_total counter
frames_total{channel=\"1\"} 3
frames_total{channel=\"2\",what=\"a \\\"b\\\" c\"} 4.5
up 1
broken{channel=\"1
seconds_bucket{le=\"0.001\"} 10
seconds_bucket{le=\"0.01\"} 90
seconds_bucket{le=\"+Inf\"} 100
";

    fn is(number: f64, expected: f64) {
        assert!(
            (number - expected).abs() < 1e-9,
            "{number} is not {expected}"
        );
    }

    #[test]
    fn samples_are_found_by_name_and_label() {
        let page = Page::read(TEXT);
        is(page.sum("frames_total"), 7.5);
        is(page.with("frames_total", "what", "a \"b\" c"), 4.5);
        is(page.by("frames_total", "channel")["1"], 3.0);
        is(page.sum("up"), 1.0);
        let pairs = page.pairs("frames_total", "channel", "what");
        assert_eq!(pairs.len(), 1);
        is(pairs[&("2", "a \"b\" c")], 4.5);
        assert!(!page.has("broken") && !page.has("missing"));
        is(page.sum("missing"), 0.0);
    }

    #[test]
    fn a_percentile_is_of_what_came_since() {
        let (nothing, page) = (Page::default(), Page::read(TEXT));
        let at = |before: &Page, q| page.percentile(before, "seconds", q);
        assert_eq!(at(&nothing, 0.05), Some(0.001));
        assert_eq!(at(&nothing, 0.5), Some(0.01));
        assert_eq!(at(&nothing, 0.99), Some(f64::INFINITY));
        assert_eq!(at(&page, 0.5), None, "nothing since");
        assert_eq!(page.percentile(&nothing, "missing", 0.5), None);
        let before = Page::read(
            "seconds_bucket{le=\"0.001\"} 0\nseconds_bucket{le=\"0.01\"} 80\nseconds_bucket{le=\"+Inf\"} 80\n",
        );
        assert_eq!(at(&before, 0.5), Some(0.001), "ten of twenty");
    }
}
