//! What is in `deploy/` against the gateway itself: no alert and no panel asks for a series that the
//! gateway does not have. That the rules fire when they should is `promtool test rules`' to say, in
//! `.ci/run`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use tollgate::metrics::Kind;
use tollgate::metrics::names;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// Every word of `text` that begins like one of our metrics.
fn named(text: &str) -> BTreeSet<&str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("tollgate_"))
        .collect()
}

/// The series that the gateway has.
fn series() -> BTreeSet<String> {
    let mut series = BTreeSet::new();
    for metric in names::ALL {
        if metric.kind == Kind::Histogram {
            for part in ["bucket", "sum", "count"] {
                series.insert(format!("{}_{part}", metric.name));
            }
        } else {
            series.insert(metric.name.to_owned());
        }
    }
    series
}

#[test]
fn alerts_and_panels_ask_only_for_series_that_there_are() {
    let there = series();
    let mut files = vec![
        deploy().join("alerts.yml"),
        deploy().join("alerts_test.yml"),
    ];
    let panels = std::fs::read_dir(deploy().join("grafana")).expect("the dashboards");
    files.extend(panels.map(|file| file.expect("a file").path()));
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        let text = std::fs::read_to_string(&file).expect("it can be read");
        let asked = named(&text);
        assert!(!asked.is_empty(), "{}", file.display());
        for name in asked {
            assert!(there.contains(name), "{} asks for {name}", file.display());
        }
    }
}

#[test]
fn every_alert_is_tested_and_told_what_to_do_about() {
    let read = |path: PathBuf| std::fs::read_to_string(path).expect("it can be read");
    let rules = read(deploy().join("alerts.yml"));
    let tests = read(deploy().join("alerts_test.yml"));
    let help = read(deploy().join("../docs/troubleshooting.md"));
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(
            tests.contains(&format!("alertname: {alert}\n")),
            "alerts_test.yml does not make {alert} fire"
        );
        assert!(
            help.contains(&format!("`{alert}`")),
            "docs/troubleshooting.md does not say what to do about {alert}"
        );
    }
}
