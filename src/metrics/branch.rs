//! What of the page a branch of accounts may see: the samples that are labelled with one of its
//! accounts or channels, and nothing that counts for others as well.

use std::fmt::Write as _;

/// The lines of `page` whose every id in a label `account` or `channel` is theirs, and that have at
/// least one; with the help and type of their metrics. `is_theirs` is asked with label and id.
pub fn branch_of(page: &str, is_theirs: &dyn Fn(&str, u64) -> bool) -> String {
    let mut kept = String::new();
    let mut head: Vec<&str> = Vec::new();
    for line in page.lines() {
        if line.starts_with('#') {
            // the help begins a metric, the type follows it
            if line.starts_with("# HELP ") {
                head.clear();
            }
            head.push(line);
        } else if is_of_branch(line, is_theirs) {
            for line in head.drain(..).chain([line]) {
                // writing to a String cannot fail
                _ = writeln!(kept, "{line}");
            }
        }
    }
    kept
}

fn is_of_branch(sample: &str, is_theirs: &dyn Fn(&str, u64) -> bool) -> bool {
    let Some((_, labels)) = sample.split_once('{') else {
        return false;
    };
    let mut named = false;
    for label in ["account", "channel"] {
        let Some(id) = id_of(labels, label) else {
            continue;
        };
        // channels that share `other` are many people's
        if !id.parse().is_ok_and(|id| is_theirs(label, id)) {
            return false;
        }
        named = true;
    }
    named
}

/// The value of a label, as it stands there. Values that name items have nothing to escape.
fn id_of<'a>(labels: &'a str, label: &str) -> Option<&'a str> {
    labels.split(',').find_map(|pair| {
        let (name, value) = pair.split_once("=\"")?;
        (name == label).then(|| value.split('"').next()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP frames_total Frames.
# TYPE frames_total counter
frames_total{channel=\"1\"} 3
frames_total{channel=\"2\"} 4
frames_total{channel=\"other\"} 5
# HELP bytes_total Bytes.
# TYPE bytes_total counter
bytes_total{account=\"7\",direction=\"in\"} 8
bytes_total{account=\"9\",direction=\"in\"} 9
# HELP both Both.
# TYPE both gauge
both{channel=\"1\",account=\"9\"} 1
both{channel=\"1\",account=\"7\"} 1
# HELP rejects_total Everybody's.
# TYPE rejects_total counter
rejects_total{protocol=\"gt06\",what=\"a, account=7\"} 2
# HELP up Everybody's.
# TYPE up gauge
up 1
";

    #[test]
    fn a_branch_sees_its_accounts_and_channels_and_nothing_of_everybodys() {
        let theirs = |label: &str, id| matches!((label, id), ("channel", 1) | ("account", 7));
        let expected = "\
# HELP frames_total Frames.
# TYPE frames_total counter
frames_total{channel=\"1\"} 3
# HELP bytes_total Bytes.
# TYPE bytes_total counter
bytes_total{account=\"7\",direction=\"in\"} 8
# HELP both Both.
# TYPE both gauge
both{channel=\"1\",account=\"7\"} 1
";
        assert_eq!(branch_of(PAGE, &theirs), expected);
        assert_eq!(branch_of(PAGE, &|_, _| false), "");
    }
}
