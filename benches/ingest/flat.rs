//! Is the cost of a frame flat? Each axis in one run: a gateway for each end of it, each beside the
//! server that does nothing with as many connections, all in turn.

use std::io;

use crate::server::{Server, Setup};
use crate::table::{Extent, Figure, Side, cost, ratio, slices};
use crate::trackers::Sends;

/// The dearest end may cost so much of the cheapest.
const WITHIN: f64 = 1.15;

/// What is changed.
pub(crate) const AXES: &[&str] = &["connections", "accounts", "devices", "protocols"];

struct End {
    label: String,
    setup: Setup,
    connections: usize,
}

fn ends(axis: &str, extent: Extent) -> Vec<End> {
    let few = extent.connections.min(1000);
    let end = |label: &str, setup: Setup, connections| End {
        label: label.to_owned(),
        setup,
        connections,
    };
    let scaled = |full: usize| if extent.test { full / 1000 } else { full };
    match axis {
        "connections" => [few, extent.connections, extent.many.min(15_000)]
            .into_iter()
            .map(|count| end(&format!("{count} connections"), Setup::new(count), count))
            .collect(),
        "accounts" => [10, scaled(10_000).max(10)]
            .into_iter()
            .map(|leaves| {
                let count = leaves.max(few).min(10_000);
                let setup = Setup {
                    leaves,
                    ..Setup::new(count)
                };
                end(&format!("{leaves} accounts"), setup, few)
            })
            .collect(),
        "devices" => [0, scaled(1_000_000 - few)]
            .into_iter()
            .map(|others| {
                let setup = Setup {
                    others,
                    ..Setup::new(few)
                };
                end(&format!("{} devices", others + few), setup, few)
            })
            .collect(),
        _ => {
            let mut all = vec!["auto"];
            all.extend(
                protocols::PROTOCOLS
                    .iter()
                    .map(|protocol| protocol.info.name),
            );
            vec![
                end("one channel of one protocol", Setup::new(few), few),
                end(
                    "a channel of all protocols, and one of each",
                    Setup {
                        channels: all,
                        ..Setup::new(few)
                    },
                    few,
                ),
            ]
        }
    }
}

/// Measures an axis.
pub(crate) fn measure(axis: &str, extent: Extent) -> io::Result<()> {
    let ends = ends(axis, extent);
    let mut servers = Vec::new();
    for end in &ends {
        servers.push((Server::null()?, Server::gateway(&end.setup)?));
    }
    let mut sides = Vec::new();
    for (end, (null, gateway)) in ends.iter().zip(&servers) {
        sides.push(Side::new(null, Sends::ONE, 0, end.connections)?);
        sides.push(Side::new(gateway, Sends::ONE, 0, end.connections)?);
    }
    let rounds = slices(&mut sides, extent)?;
    println!("{axis}: us of server CPU a frame");
    for (index, end) in ends.iter().enumerate() {
        let (null, ours) = (2 * index, 2 * index + 1);
        println!(
            "  {:<44} do nothing {:<24} tollgate {:<24} ratio {}",
            end.label,
            cost(&rounds, null).to_string(),
            cost(&rounds, ours).to_string(),
            ratio(&rounds, ours, null)
        );
    }
    let medians = (0..ends.len()).map(|index| ratio(&rounds, 2 * index + 1, 2 * index).median);
    let (low, high) = medians.fold((f64::MAX, f64::MIN), |(low, high), ratio| {
        (low.min(ratio), high.max(ratio))
    });
    let all = high / low;
    let met = if extent.test || all <= WITHIN {
        ""
    } else {
        "  missed"
    };
    println!(
        "  the dearest ratio / the cheapest: {} (at most {WITHIN}){met}",
        Figure::once(all)
    );
    Ok(())
}
