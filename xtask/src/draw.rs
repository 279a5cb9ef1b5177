//! `dashboards --draw`: the overview dashboard as a picture, from what a real Prometheus has of the
//! last minutes, for those who have no Grafana at hand and for the README. Not Grafana's own looks:
//! the same panels, queries, units and legends.

use crate::dashboards::{self, Panel};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::fmt::Write as _;
use std::process::Command;

/// A panel's box and the plot in it, in pixels.
const PANEL: (f64, f64) = (440.0, 210.0);
const COLUMNS: usize = 3;
const PLOT: (f64, f64, f64, f64) = (52.0, 34.0, 430.0, 160.0);
const COLOURS: [&str; 6] = [
    "#5794f2", "#73bf69", "#f2cc0c", "#ff9830", "#f2495c", "#b877d9",
];
/// Points of a curve.
const POINTS: u64 = 120;
/// Curves of a panel that are drawn.
const CURVES: usize = COLOURS.len();

/// A curve: its legend, its points as (share of the time, value).
struct Curve {
    legend: String,
    points: Vec<(f64, f64)>,
}

/// The picture of the last `minutes`, as SVG.
pub(crate) fn overview(prometheus: &str, minutes: u64) -> Result<String> {
    let panels = dashboards::overview();
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, height) = (PANEL.0 * COLUMNS as f64, PANEL.1 * rows as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\" fill=\"#ccccdc\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#111217\"/>\n"
    );
    for (index, panel) in panels.iter().enumerate() {
        let mut curves = Vec::new();
        for (query, legend) in panel.queries {
            curves.extend(asked(prometheus, query, legend, minutes)?);
        }
        curves.truncate(CURVES);
        let (x, y) = (
            (index % COLUMNS) as f64 * PANEL.0,
            (index / COLUMNS) as f64 * PANEL.1,
        );
        writeln!(svg, "<g transform=\"translate({x} {y})\">")?;
        draw(&mut svg, panel, &curves)?;
        svg += "</g>\n";
    }
    svg += "</svg>\n";
    Ok(svg)
}

/// Asks Prometheus for a query's curves.
fn asked(prometheus: &str, query: &str, legend: &str, minutes: u64) -> Result<Vec<Curve>> {
    let now_s = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)?
        .as_secs();
    let (from_s, step_s) = (now_s - minutes * 60, (minutes * 60 / POINTS).max(1));
    let output = Command::new("curl")
        .args(["-fsS", "--max-time", "10", "-G"])
        .arg(format!("{prometheus}/api/v1/query_range"))
        .args([
            "--data-urlencode",
            &format!("query={}", query.replace("$__rate_interval", "30s")),
        ])
        .args(["-d", &format!("start={from_s}&end={now_s}&step={step_s}")])
        .output()
        .context("curl")?;
    ensure!(
        output.status.success(),
        "{query}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let answer: Value = serde_json::from_slice(&output.stdout).context("the answer")?;
    let Some(results) = answer.pointer("/data/result").and_then(Value::as_array) else {
        bail!("{query}: {answer}");
    };
    let span = (now_s - from_s) as f64;
    Ok(results
        .iter()
        .map(|result| curve(result, legend, from_s as f64, span))
        .collect())
}

fn curve(result: &Value, legend: &str, from_s: f64, span: f64) -> Curve {
    let mut legend = legend.to_owned();
    for (label, value) in result["metric"].as_object().into_iter().flatten() {
        legend = legend.replace(&format!("{{{{{label}}}}}"), value.as_str().unwrap_or(""));
    }
    let values = result["values"].as_array().into_iter().flatten();
    let points = values.filter_map(|pair| {
        let at: f64 = pair.get(0)?.as_f64()?;
        let value: f64 = pair.get(1)?.as_str()?.parse().ok()?;
        value.is_finite().then_some(((at - from_s) / span, value))
    });
    Curve {
        legend,
        points: points.collect(),
    }
}

fn draw(svg: &mut String, panel: &Panel, curves: &[Curve]) -> Result<()> {
    let (left, top, right, bottom) = PLOT;
    writeln!(
        svg,
        "<rect x=\"4\" y=\"4\" width=\"{}\" height=\"{}\" rx=\"3\" fill=\"#181b1f\" stroke=\"#2a2d33\"/>\n\
         <text x=\"14\" y=\"22\" font-size=\"13\" font-weight=\"bold\">{}</text>",
        PANEL.0 - 8.0,
        PANEL.1 - 8.0,
        escaped(panel.title)
    )?;
    let values = curves
        .iter()
        .flat_map(|curve| &curve.points)
        .map(|(_, value)| *value);
    let most = values.fold(0.0, f64::max);
    let most = if most > 0.0 { most * 1.05 } else { 1.0 };
    for share in [0.0, 0.5, 1.0] {
        let y = bottom - (bottom - top) * share;
        writeln!(
            svg,
            "<path d=\"M{left} {y:.0}H{right}\" stroke=\"#2a2d33\"/>\
             <text x=\"{}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#8e8e9a\">{}</text>",
            left - 5.0,
            y + 4.0,
            number(most * share, panel.unit)
        )?;
    }
    let mut x = 14.0;
    for (curve, colour) in curves.iter().zip(COLOURS) {
        let mut path = String::new();
        for (at, value) in &curve.points {
            let point = (
                left + (right - left) * at,
                bottom - (bottom - top) * value / most,
            );
            let pen = if path.is_empty() { 'M' } else { 'L' };
            write!(path, "{pen}{:.1} {:.1}", point.0, point.1)?;
        }
        writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
        )?;
        let legend = if curve.legend.is_empty() {
            panel.title
        } else {
            &curve.legend
        };
        writeln!(
            svg,
            "<rect x=\"{x:.0}\" y=\"178\" width=\"10\" height=\"3\" fill=\"{colour}\"/>"
        )?;
        writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"183\">{}</text>",
            x + 14.0,
            escaped(legend)
        )?;
        x += 26.0 + legend.len() as f64 * 6.2;
    }
    Ok(())
}

/// A number on the axis, short, in Grafana's unit.
fn number(value: f64, unit: &str) -> String {
    let scaled = |step: f64, units: [&str; 4]| {
        let mut left = value;
        let mut index = 0;
        while left >= step && index + 1 < units.len() {
            left /= step;
            index += 1;
        }
        let digits = usize::from(left < 10.0 && left > 0.0);
        format!("{left:.digits$}{}", units[index])
    };
    match unit {
        "s" if value < 1.0 => format!("{:.1} ms", value * 1e3),
        "s" => format!("{value:.1} s"),
        "bytes" | "Bps" => scaled(1024.0, [" B", " KiB", " MiB", " GiB"]),
        _ => scaled(1000.0, ["", " k", " M", " G"]),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_panel_has_its_curves_and_legends() {
        let result =
            json!({"metric": {"code": "12"}, "values": [[100, "0"], [130, "2048"], [160, "NaN"]]});
        let curve = curve(&result, "code {{code}}", 100.0, 60.0);
        assert_eq!(curve.legend, "code 12");
        assert_eq!(curve.points.len(), 2, "NaN is no point");
        let panel = &dashboards::overview()[0];
        let mut svg = String::new();
        draw(&mut svg, panel, &[curve]).expect("a string takes all");
        assert!(svg.contains("M52.0 160.0L241.0 40.0"), "{svg}");
        assert!(
            svg.contains(">code 12</text>") && svg.contains(panel.title),
            "{svg}"
        );
        assert_eq!(number(2048.0, "bytes"), "2.0 KiB");
        assert_eq!(number(0.0123, "s"), "12.3 ms");
        assert_eq!(escaped("a<b & c"), "a&lt;b &amp; c");
    }
}
