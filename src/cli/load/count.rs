//! What a run counts, and the latencies in buckets of 3 %.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;

/// Buckets of a power of two.
const SUB: usize = 32;

/// How long things took: bounded memory, each value at most 3 % too high.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    most_us: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            buckets: vec![0; 64 * SUB],
            count: 0,
            most_us: 0,
        }
    }
}

impl Latencies {
    fn bucket(us: u64) -> usize {
        let octave = us.max(SUB as u64).ilog2() - SUB.ilog2();
        usize::try_from(us >> octave).unwrap_or(0) + octave as usize * SUB
    }

    fn upper(bucket: usize) -> u64 {
        let octave = (bucket / SUB).saturating_sub(1);
        let first = bucket - octave * SUB;
        ((first as u64 + 1) << octave) - 1
    }

    /// Counts one.
    pub(super) fn count(&mut self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX >> 8);
        if let Some(bucket) = self.buckets.get_mut(Self::bucket(us)) {
            *bucket += 1;
        }
        self.count += 1;
        self.most_us = self.most_us.max(us);
    }

    /// Adds what another one has counted.
    fn add(&mut self, other: &Self) {
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.count += other.count;
        self.most_us = self.most_us.max(other.most_us);
    }

    /// So many thousandths of all took at most this, in ms; none: nothing was counted.
    pub(super) fn at_ms(&self, thousandths: u64) -> Option<f64> {
        let wanted = (self.count * thousandths).div_ceil(1000).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(Self::upper(bucket).min(self.most_us) as f64 / 1e3)
    }

    /// The percentiles that people ask for, ms.
    pub(super) fn report(&self) -> Value {
        json!({
            "p50": self.at_ms(500),
            "p90": self.at_ms(900),
            "p99": self.at_ms(990),
            "p999": self.at_ms(999),
            "max": (self.count > 0).then_some(self.most_us as f64 / 1e3),
        })
    }
}

/// What happened in a run.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Frames that came into being, and their records.
    pub(super) frames: u64,
    pub(super) records: u64,
    /// Frames written to a socket, the second time too.
    pub(super) sent: u64,
    pub(super) sent_bytes: u64,
    /// Frames that were sent again.
    pub(super) again: u64,
    /// Frames that were acked (without acks: written), and their records.
    pub(super) acked: u64,
    pub(super) acked_records: u64,
    /// Answers that said no.
    pub(super) refused: u64,
    /// Frames that had to go because a tracker's buffer was full.
    pub(super) lost: u64,
    /// Frames that nobody has acked at the end.
    pub(super) left: u64,
    pub(super) connects: u64,
    pub(super) connects_failed: u64,
    pub(super) logins: u64,
    /// Connections that the other side ended.
    pub(super) closed: u64,
    /// Answers that did not come in time.
    pub(super) unanswered: u64,
    /// Connections of hostile senders, and how many of them were closed.
    pub(super) hostile: u64,
    pub(super) hostile_closed: u64,
    /// From when a frame should have been sent to its ack.
    pub(super) latencies: Latencies,
}

impl Counts {
    /// Adds what a part of the run has counted.
    pub(super) fn add(&mut self, part: &Self) {
        let Self {
            frames,
            records,
            sent,
            sent_bytes,
            again,
            acked,
            acked_records,
            refused,
            lost,
            left,
            connects,
            connects_failed,
            logins,
            closed,
            unanswered,
            hostile,
            hostile_closed,
            latencies,
        } = self;
        let counts = [
            (frames, part.frames),
            (records, part.records),
            (sent, part.sent),
            (sent_bytes, part.sent_bytes),
            (again, part.again),
            (acked, part.acked),
            (acked_records, part.acked_records),
            (refused, part.refused),
            (lost, part.lost),
            (left, part.left),
            (connects, part.connects),
            (connects_failed, part.connects_failed),
            (logins, part.logins),
            (closed, part.closed),
            (unanswered, part.unanswered),
            (hostile, part.hostile),
            (hostile_closed, part.hostile_closed),
        ];
        for (count, more) in counts {
            *count += more;
        }
        latencies.add(&part.latencies);
    }

    /// All of it.
    pub(super) fn report(&self, took: Duration) -> Value {
        let per_s = |count: u64| (count as f64 / took.as_secs_f64().max(1e-9)).round();
        json!({
            "seconds": took.as_secs_f64(),
            "frames": self.frames,
            "records": self.records,
            "frames_sent": self.sent,
            "frames_sent_again": self.again,
            "bytes_sent": self.sent_bytes,
            "frames_acked": self.acked,
            "records_acked": self.acked_records,
            "frames_acked_per_s": per_s(self.acked),
            "records_acked_per_s": per_s(self.acked_records),
            "refused": self.refused,
            "lost": self.lost,
            "left_unacked": self.left,
            "connects": self.connects,
            "connects_failed": self.connects_failed,
            "logins": self.logins,
            "closed_by_server": self.closed,
            "unanswered": self.unanswered,
            "hostile_connections": self.hostile,
            "hostile_closed": self.hostile_closed,
            "ack_ms": self.latencies.report(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_at_most_three_percent_too_high_and_never_too_low() {
        let mut last = 0;
        for us in (0..5_000u64).chain((5_000..100_000_000).step_by(99_991)) {
            let bucket = Latencies::bucket(us);
            assert!(bucket >= last && bucket < 64 * SUB, "{us}");
            last = bucket;
            let upper = Latencies::upper(bucket);
            assert!(
                upper >= us && upper as f64 <= us as f64 * 1.032 + 1.0,
                "{us}: {upper}"
            );
        }
        let mut latencies = Latencies::default();
        assert_eq!(latencies.at_ms(500), None);
        for ms in 1..=1000 {
            latencies.count(Duration::from_millis(ms));
        }
        for (thousandths, ms) in [(500, 500.0), (990, 990.0), (1000, 1000.0)] {
            let at = latencies.at_ms(thousandths).unwrap();
            assert!((ms..=ms * 1.032).contains(&at), "{thousandths}: {at}");
        }
    }
}
