//! Figures of rounds, and the table of what was reached.

use std::io;
use std::time::Duration;

use crate::server::Server;
use crate::trackers::{Fleet, Sends};

/// What was measured: the median of the rounds, and the quartiles where there are rounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) median: f64,
    pub(crate) quartiles: Option<(f64, f64)>,
}

impl Figure {
    /// One that was measured once.
    pub(crate) fn once(value: f64) -> Self {
        Self {
            median: value,
            quartiles: None,
        }
    }

    /// Of the rounds.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (values.len().saturating_sub(1) as f64 * share).round();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "an index of the list"
            )]
            values.get(index as usize).copied().unwrap_or(f64::NAN)
        };
        Self {
            median: at(0.5),
            quartiles: Some((at(0.25), at(0.75))),
        }
    }
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let places = match self.median.abs() {
            0.0..0.1 => 4,
            0.1..100.0 => 2,
            _ => 0,
        };
        write!(f, "{:.places$}", self.median)?;
        match self.quartiles {
            Some((low, high)) => write!(f, " ({low:.places$} to {high:.places$})"),
            None => Ok(()),
        }
    }
}

/// How long everything takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub(crate) rounds: usize,
    pub(crate) slice: Duration,
    /// Connections of a fleet whose frames are counted.
    pub(crate) connections: usize,
    /// Connections where their memory or their logins are measured.
    pub(crate) many: usize,
    /// Only shows that everything works.
    pub(crate) test: bool,
}

/// A server with a fleet.
pub(crate) struct Side<'a> {
    pub(crate) server: &'a Server,
    pub(crate) fleet: Fleet,
}

impl<'a> Side<'a> {
    /// With so many trackers from `first` on.
    pub(crate) fn new(
        server: &'a Server,
        sends: Sends,
        first: usize,
        count: usize,
    ) -> io::Result<Self> {
        let fleet = Fleet::connected(server.address(), sends, first, count)?;
        Ok(Self { server, fleet })
    }
}

/// Alternating slices: us of server CPU per frame, of each round and side.
pub(crate) fn slices(sides: &mut [Side<'_>], extent: Extent) -> io::Result<Vec<Vec<f64>>> {
    for side in sides.iter_mut() {
        // a first slice that does not count: everything is touched once
        side.fleet.slice(extent.slice)?;
    }
    for side in sides.iter() {
        side.server.cpu_since_last()?;
    }
    let mut rounds = Vec::new();
    let count = sides.len();
    for round in 0..extent.rounds {
        let mut costs = vec![f64::NAN; count];
        for turn in 0..count {
            // the order changes with each round, so that none always comes second
            let index = (turn + round) % count;
            let (Some(side), Some(cost)) = (sides.get_mut(index), costs.get_mut(index)) else {
                continue;
            };
            let sent = side.fleet.slice(extent.slice)?;
            *cost = side.server.cpu_since_last()? * 1e6 / sent.frames.max(1) as f64;
        }
        rounds.push(costs);
    }
    Ok(rounds)
}

/// The cost of side `index`.
pub(crate) fn cost(rounds: &[Vec<f64>], index: usize) -> Figure {
    Figure::of(rounds.iter().filter_map(|round| round.get(index).copied()))
}

/// How much side `over` costs, divided by side `under`, in each round.
pub(crate) fn ratio(rounds: &[Vec<f64>], over: usize, under: usize) -> Figure {
    let of = |round: &Vec<f64>| Some(round.get(over)? / round.get(under)?);
    Figure::of(rounds.iter().filter_map(of))
}
