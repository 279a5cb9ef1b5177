//! The project's chores, in Rust: `cargo xtask help` lists them.

mod captures;
mod conformance;
mod corpus;
mod dashboards;
mod draw;
mod fuzz;
#[expect(dead_code, reason = "the dialogues' half is for the fixtures' test")]
#[path = "../../protocols/tests/harness/mod.rs"]
mod harness;
mod instructions;
mod package;
mod pages;
mod scaffold;
#[cfg(test)]
mod template;

use anyhow::{Context as _, Result, bail};
#[cfg(test)]
use protocols::{self as contract, kit};
use std::path::{Path, PathBuf};

const HELP: &str = "\
cargo xtask CHORE

  import-corpus [PROTOCOL..]   shared/corpus, in a folder above this -> fixtures/<protocol>/_corpus.jsonl
  captures [PROTOCOL..]        the corpus' frames as TCP conversations -> fixtures/_pcap/<protocol>.pcap
  conformance                  the corpus through every decoder -> docs/conformance.md
  scaffold NAME [NUMBER]       a new protocol that compiles, with a dialogue that fails
  dashboards [--queries]       what Grafana shows -> deploy/grafana; or its queries, one a line
  dashboards --draw URL MINUTES
                               the overview from a running Prometheus -> docs/overview.svg
  fields                       the dictionary -> docs/message-fields.md
  fuzz --all|PROTOCOL.. [--minutes N] [--seed N]
                               changed bytes of the fixtures through the decoders, on every core
  instructions [PROTOCOL..]    what decoding costs, by callgrind; of a release build
  package                      release binary, manual pages, completions, a Debian package -> target/package
  protocols                    what is spoken -> docs/protocols.md
";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let root = root();
    match arguments.split_first() {
        Some((chore, rest)) => match chore.as_str() {
            "import-corpus" => corpus::import(&root, &beside(&root)?, rest),
            "captures" => captures::write(&root, rest),
            "conformance" => conformance::write(&root),
            "dashboards" if rest == ["--queries"] => {
                say(dashboards::queries().trim_end());
                Ok(())
            }
            "dashboards" => match rest {
                [] => dashboards::write(&root),
                [draw, url, minutes] if draw == "--draw" => {
                    let picture = draw::overview(url, minutes.parse().context("minutes")?)?;
                    write(&root, "docs/overview.svg", &picture)
                }
                _ => bail!("dashboards takes nothing, --queries, or --draw URL MINUTES"),
            },
            "fields" => write(
                &root,
                "docs/message-fields.md",
                &harness::docs::message_fields(),
            ),
            "package" => package::make(&root),
            "protocols" => write(&root, "docs/protocols.md", &pages::protocols()?),
            "fuzz" => fuzz::run(rest),
            "instructions" => instructions::run(rest),
            "scaffold" => {
                let (name, number) = match rest {
                    [name] => (name, None),
                    [name, number] => (name, Some(number.parse().context("a number")?)),
                    _ => bail!("scaffold takes one name, and a number where it is fixed"),
                };
                for path in scaffold::write(&root, name, number)? {
                    // named as from the top, wherever that is
                    let path = path.strip_prefix(&root).unwrap_or(&path);
                    say(&path.display().to_string());
                }
                Ok(())
            }
            "help" | "--help" => {
                say(HELP);
                Ok(())
            }
            _ => bail!("no such chore: {chore}\n\n{HELP}"),
        },
        None => bail!("{HELP}"),
    }
}

/// The top of the workspace.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

fn write(root: &Path, page: &str, text: &str) -> Result<()> {
    std::fs::write(root.join(page), text).with_context(|| page.to_owned())
}

/// The corpus that lies in a folder above the project.
fn beside(root: &Path) -> Result<PathBuf> {
    root.ancestors()
        .map(|folder| folder.join("shared/corpus"))
        .find(|corpus| corpus.is_dir())
        .context("there is no shared/corpus in any folder above")
}

#[expect(
    clippy::print_stdout,
    reason = "a chore speaks to the person who runs it"
)]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
