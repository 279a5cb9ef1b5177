//! Numbers as a person at a terminal reads them: short, with their unit.

use std::time::Duration;

/// A rate or a count: `0`, `3.2`, `847`, `12.4k`, `3.1M`.
pub(super) fn count(number: f64) -> String {
    if !number.is_finite() {
        return "-".to_owned();
    }
    // the sum of nothing is -0.0
    let (number, unit) = scaled(number + 0.0, 1000.0, &["", "k", "M", "G", "T"]);
    short(number) + unit
}

/// Bytes: `0 B`, `1.4 KiB`, `71 GiB`.
pub(super) fn bytes(number: f64) -> String {
    let (number, unit) = scaled(number, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB"]);
    short(number) + unit
}

/// A time of a percentile, in seconds: at most this much. `-` where nothing was counted.
pub(super) fn at_most(seconds: Option<f64>) -> String {
    match seconds {
        None => "-".to_owned(),
        Some(seconds) if seconds.is_infinite() => "> 30 s".to_owned(),
        Some(seconds) if seconds < 0.001 => format!("{} us", short(seconds * 1e6)),
        Some(seconds) if seconds < 1.0 => format!("{} ms", short(seconds * 1e3)),
        Some(seconds) => format!("{} s", short(seconds)),
    }
}

/// How long: `45s`, `12m 3s`, `3h 20m`, `9d 4h`.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m {}s", seconds % 60),
        3600..86_400 => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

fn scaled<'a>(mut number: f64, step: f64, units: &[&'a str]) -> (f64, &'a str) {
    let mut left = units.iter().copied();
    let mut unit = left.next().unwrap_or("");
    for next in left {
        if number.abs() < step {
            break;
        }
        number /= step;
        unit = next;
    }
    (number, unit)
}

/// Three digits that count.
fn short(number: f64) -> String {
    if number.abs() < 9.95 && number.fract().abs() > 0.05 {
        format!("{number:.1}")
    } else {
        format!("{number:.0}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_a_unit() {
        let counts = [
            (0.0, "0"),
            (-0.0, "0"),
            (3.21, "3.2"),
            (846.7, "847"),
            (12_400.0, "12k"),
            (3.1e6, "3.1M"),
        ];
        for (number, text) in counts {
            assert_eq!(count(number), text);
        }
        assert_eq!(bytes(1434.0), "1.4 KiB");
        assert_eq!(bytes(76e9), "71 GiB");
        assert_eq!(at_most(Some(0.00025)), "250 us");
        assert_eq!(at_most(Some(0.0025)), "2.5 ms");
        assert_eq!(at_most(Some(f64::INFINITY)), "> 30 s");
        assert_eq!(at_most(None), "-");
        for (seconds, text) in [
            (45, "45s"),
            (723, "12m 3s"),
            (12_000, "3h 20m"),
            (793_000, "9d 4h"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}
