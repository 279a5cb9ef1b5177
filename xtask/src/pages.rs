//! `protocols`: the page about what this build speaks.

use crate::harness::alike;
use crate::harness::corpus::{self, Corpus};
use anyhow::{Result, anyhow};
use protocols::{Acks, PROTOCOLS};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// docs/protocols.md: what this build speaks. The corpus is run for it.
pub(crate) fn protocols() -> Result<String> {
    let mut page = String::from(
        "# Protocols\n\n\
         Written by `cargo xtask protocols` from the table in `protocols/lib.rs` and the corpus.\n\n\
         - *ident*: what names the device; *several* idents may share one connection where it says so.\n\
         - *acks*: whether the tracker waits for an answer to its data, and what one answer covers. Where there is none a\n\
         \x20 refused tracker is not told; the gateway stops reading instead.\n\
         - *corpus*: vectors equal to the reference, of those imported (`docs/conformance.md` has the rest).\n\n\
         | protocol | for | port | ident | acks | settings | commands | corpus |\n|---|---|---|---|---|---|---|---|\n",
    );
    let mut models = String::new();
    for protocol in PROTOCOLS {
        let info = protocol.info;
        let (mut equal, mut all, mut by_login) = (0, 0, "frame");
        if let Some(corpus) = Corpus::read(info.name).map_err(|why| anyhow!(why))? {
            by_login = if corpus.by_login { "login" } else { "frame" };
            for (vector, verdict) in corpus.vectors.iter().zip(corpus.run(protocol)) {
                if !vector.prelude {
                    all += 1;
                    equal += usize::from(verdict.differences.is_empty());
                }
            }
        }
        let excepted = corpus::exceptions(info.name)
            .map_err(|why| anyhow!(why))?
            .len();
        let acks = match info.acks {
            Acks::None => "none",
            Acks::Frame => "each frame",
            Acks::Cumulative => "all before",
        };
        let settings: Vec<_> = info.settings.iter().map(|setting| setting.name()).collect();
        writeln!(
            page,
            "| `{}` | {} | {} | {by_login}{} | {acks} | {} | {} | {equal} of {all}{} |",
            info.name,
            info.title,
            if info.port == 0 {
                String::new()
            } else {
                info.port.to_string()
            },
            if info.shared { ", several" } else { "" },
            settings.join(", "),
            info.commands.join(", "),
            if excepted == 0 {
                String::new()
            } else {
                format!(", {excepted} excepted")
            },
        )?;
        let mut by_vendor: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for model in info.models {
            by_vendor.entry(model.vendor).or_default().push(model.name);
        }
        write!(models, "\n## {}\n\n{}\n", info.name, info.source)?;
        for (vendor, names) in by_vendor {
            write!(models, "\n{vendor}: {}\n", names.join(", "))?;
        }
    }
    page.push_str(&told_apart()?);
    page.push_str("\n# Sources and models\n");
    Ok(page + &models)
}

/// Which corpus frames each protocol recognises as its own by the first bytes, and who else does.
fn told_apart() -> Result<String> {
    let mut section = String::from(
        "\n# Told apart by the first bytes\n\n\
         For channels that speak several protocols: how many corpus frames that can begin a connection (they name their\n\
         device) their own protocol recognises. No other protocol takes any of them, but for those listed below. The same is\n\
         a test (`cargo test -p protocols --test fixtures \"told apart\"`).\n\n\
         | protocol | recognised |\n|---|---|\n",
    );
    for protocol in PROTOCOLS {
        if let Some(line) = alike::line(protocol).map_err(|why| anyhow!(why))? {
            let name = protocol.info.name;
            writeln!(section, "| {name} | {} of {} |", line.own, line.all)?;
        }
    }
    section.push_str(
        "\nNot told apart (`fixtures/_alike.json`): put such devices on a channel of their own.\n\n\
         | frames of | taken by | corpus frames | why |\n|---|---|---|---|\n",
    );
    for pair in alike::pairs().map_err(|why| anyhow!(why))? {
        let taken_by = if pair.taken_by == pair.protocol {
            "none"
        } else {
            &pair.taken_by
        };
        writeln!(
            section,
            "| {} | {taken_by} | {} | {} |",
            pair.protocol, pair.frames, pair.reason
        )?;
    }
    Ok(section)
}
