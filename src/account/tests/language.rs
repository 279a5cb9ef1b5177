//! Tables: one operation and its outcome a line, `operation => outcome`.
//!
//! ```text
//! account 2 under 1                  => ok
//! limit 2 channel_traffic=100        => ok
//! charge 2 at 10 bytes=60 messages=1 => ok
//! charge 2 at 10 bytes=60            => refused channel_traffic by 2 level 1, 60 of 100 used, resets 11
//! ```

use crate::account::{Account, Caps, Cost, Dimension, Held, Policy, Refusal, Rules, Totals, Tree};
use crate::ids::{AccountId, US_PER_MINUTE};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Runs a table; every line that turned out differently is shown with what it gave.
pub(super) fn check(table: &str) {
    let mut world = World::default();
    let mut wrong = String::new();
    for line in table.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (operation, expected) = line.split_once("=>").expect("a line has an outcome");
        let words: Vec<&str> = operation.split_whitespace().collect();
        let outcome = world.run(&words);
        if outcome != expected.trim() {
            writeln!(wrong, "{line}\n    gave => {outcome}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "the table was wrong in:\n{wrong}");
}

#[derive(Default)]
struct World {
    tree: Tree,
    held: BTreeMap<String, Held>,
    refusal: Option<Refusal>,
}

fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse()
        .unwrap_or_else(|_| panic!("{word:?} is no number"))
}

fn dimension(word: &str) -> Dimension {
    word.parse().unwrap()
}

/// The values of `key=value` words.
fn value<T: std::str::FromStr>(words: &[&str], key: &str) -> Option<T> {
    words.iter().find_map(|word| {
        let (name, value) = word.split_once('=')?;
        (name == key).then(|| number(value))
    })
}

fn cost(words: &[&str]) -> Cost {
    Cost {
        bytes: value(words, "bytes").unwrap_or(0),
        messages: value(words, "messages").unwrap_or(0),
    }
}

fn minute_text(at_us: i64) -> String {
    assert_eq!(at_us % US_PER_MINUTE, 0, "a window resets with the minute");
    (at_us / US_PER_MINUTE).to_string()
}

fn seconds_text(at_us: i64) -> String {
    format!("{}s", at_us / 1_000_000)
}

impl World {
    fn account(&self, word: &str) -> Account {
        self.tree
            .account(AccountId(number(word)))
            .expect("the table inserted it")
    }

    fn refused(&mut self, outcome: Result<(), Refusal>) -> String {
        match outcome {
            Ok(()) => "ok".to_owned(),
            Err(refusal) => {
                let mut text = format!(
                    "refused {} by {} level {}, {} of {} used",
                    refusal.dimension, refusal.account, refusal.level, refusal.used, refusal.cap
                );
                if let Some(at_us) = refusal.resets_at_us {
                    write!(text, ", resets {}", minute_text(at_us)).unwrap();
                }
                if refusal.too_large {
                    text.push_str(", never fits");
                }
                if refusal.disabled {
                    text.push_str(", disabled");
                }
                if refusal.policy == Policy::Drop {
                    text.push_str(", drop");
                }
                self.refusal = Some(refusal);
                text
            }
        }
    }

    fn changed(outcome: Result<crate::account::Lifted, crate::account::TreeError>) -> String {
        match outcome {
            Ok(lifted) if lifted.is_empty() => "ok".to_owned(),
            Ok(lifted) => lifted
                .iter()
                .fold("lifted".to_owned(), |text, (dimension, until_us)| {
                    format!("{text} {dimension} until {}", seconds_text(*until_us))
                }),
            Err(error) => error.to_string(),
        }
    }

    fn run(&mut self, words: &[&str]) -> String {
        match words {
            ["account", id] => self.insert(id, "0"),
            ["account", id, "under", parent] => self.insert(id, parent),
            ["limit", id, rest @ ..] => {
                let mut rules = Rules::default();
                for dimension in Dimension::ALL {
                    if let Some(cap) = value(rest, dimension.name()) {
                        rules.caps.set(dimension, cap);
                    }
                }
                if rest.contains(&"drop") {
                    rules.policy = Policy::Drop;
                }
                rules.blocking_duration_s = value(rest, "blocking_duration").unwrap_or(0);
                Self::changed(self.tree.set_rules(AccountId(number(id)), rules))
            }
            ["disable", id] => Self::changed(self.tree.set_enabled(AccountId(number(id)), false)),
            ["enable", id] => Self::changed(self.tree.set_enabled(AccountId(number(id)), true)),
            ["retire", id] => match self.tree.retire(AccountId(number(id))) {
                Ok(()) => "ok".to_owned(),
                Err(error) => error.to_string(),
            },
            ["charge", id, "at", minute, rest @ ..] => {
                let outcome = self.account(id).charge(number(minute), cost(rest));
                self.refused(outcome.map(drop))
            }
            ["usage", id, "at", minute, rest @ ..] => {
                self.account(id)
                    .charge_unchecked(number(minute), cost(rest));
                "ok".to_owned()
            }
            ["restore", id, "at", minute, rest @ ..] => {
                self.account(id).restore(number(minute), cost(rest));
                "ok".to_owned()
            }
            ["union", "at", minute, rest @ ..] => {
                let parts: Vec<(Account, u64)> = rest
                    .iter()
                    .filter_map(|word| word.split_once(':'))
                    .map(|(id, messages)| (self.account(id), number(messages)))
                    .collect();
                let outcome = self
                    .tree
                    .charge_union(number(minute), cost(rest).bytes, &parts);
                self.refused(outcome.map(drop))
            }
            ["rate", id, "at", minute, name, amount] => {
                let outcome =
                    self.account(id)
                        .charge_rate(dimension(name), number(minute), number(amount));
                self.refused(outcome)
            }
            ["restore", "rate", id, "at", minute, name, amount] => {
                let account = self.account(id);
                account.restore_rate(dimension(name), number(minute), number(amount));
                "ok".to_owned()
            }
            ["acquire", guard, id, name, amount] => {
                let held = self.account(id).acquire(dimension(name), number(amount));
                let outcome = held.map(|held| {
                    self.held.insert((*guard).to_owned(), held);
                });
                self.refused(outcome)
            }
            ["occupy", guard, id, name, amount] => {
                let held = self.account(id).occupy(dimension(name), number(amount));
                self.held.insert((*guard).to_owned(), held);
                "ok".to_owned()
            }
            ["drop", guard] => {
                drop(self.held.remove(*guard).expect("the table took it"));
                "ok".to_owned()
            }
            ["keep", guard] => {
                self.held.remove(*guard).expect("the table took it").keep();
                "ok".to_owned()
            }
            ["release", id, name, amount] => {
                self.account(id).release(dimension(name), number(amount));
                "ok".to_owned()
            }
            // what each of some accounts has used, in one line
            ["used", name, "at", minute, ids @ ..] => ids
                .iter()
                .map(|id| {
                    self.account(id)
                        .admitted(dimension(name), number(minute))
                        .to_string()
                })
                .collect::<Vec<_>>()
                .join(" "),
            ["reading", id, name, "at", minute] => {
                let reading = self.account(id).reading(dimension(name), number(minute));
                let left = reading
                    .left()
                    .map_or("any".to_owned(), |left| left.to_string());
                format!(
                    "{} and {} of {}, {left} left, {} over",
                    reading.used,
                    reading.usage,
                    reading.cap,
                    reading.over()
                )
            }
            // blocks what refused last
            ["block", "refused", "at", now_s] => {
                let refusal = self.refusal.as_ref().expect("something was refused");
                match refusal.block(number::<i64>(now_s) * 1_000_000) {
                    Some(until_us) => format!("until {}", seconds_text(until_us)),
                    None => "no".to_owned(),
                }
            }
            ["block", id, name, "until", until_s] => {
                let until_us = number::<i64>(until_s) * 1_000_000;
                let began = self.account(id).block(dimension(name), until_us);
                if began { "began" } else { "no change" }.to_owned()
            }
            ["blocked", id, "at", now_s] => {
                let now_us = number::<i64>(now_s) * 1_000_000;
                self.account(id)
                    .blocked(now_us)
                    .map_or("no".to_owned(), |blocked| {
                        format!(
                            "code {} {} by {}{} until {}",
                            blocked.code,
                            blocked.dimension,
                            blocked.account,
                            if blocked.inherited { " above" } else { "" },
                            seconds_text(blocked.until_us)
                        )
                    })
            }
            ["blocked", id, "for", name, "at", now_s] => {
                let now_us = number::<i64>(now_s) * 1_000_000;
                let blocked = self.account(id).blocked_for(&[dimension(name)], now_us);
                blocked.map_or("no".to_owned(), |blocked| format!("code {}", blocked.code))
            }
            ["seen", "by", id] => {
                let refusal = self.refusal.as_ref().expect("something was refused");
                let seen = refusal.seen_by(&self.account(id));
                let mut text = seen.dimension.to_string();
                match seen.at {
                    Some(at) => write!(
                        text,
                        " by {} {} below, asked {}, {} of {} used, {} left",
                        at.account, at.level_below, at.asked, at.used, at.cap, at.left
                    ),
                    None => write!(text, " above"),
                }
                .unwrap();
                if let Some(at_us) = seen.resets_at_us {
                    write!(text, ", resets {}", minute_text(at_us)).unwrap();
                }
                text
            }
            ["chain", id] => self
                .account(id)
                .chain()
                .map(|account| account.id().to_string())
                .collect::<Vec<_>>()
                .join(" "),
            ["is", id, "in", above] => self
                .account(id)
                .is_or_is_below(AccountId(number(above)))
                .to_string(),
            ["enabled", id] => self.account(id).enabled_chain().to_string(),
            ["rules", id, name] => {
                let caps: Caps = self.account(id).rules().caps;
                caps.get(dimension(name)).to_string()
            }
            // posts what the journal's writer would: on the whole chain
            ["post", id, rest @ ..] => {
                let deltas = Totals {
                    bytes_in: cost(rest).bytes,
                    messages: cost(rest).messages,
                    frames: 1,
                    ..Totals::default()
                };
                let _publishing = self.tree.publishing();
                for account in self.account(id).chain() {
                    account.post(&deltas);
                }
                "ok".to_owned()
            }
            ["posted", id] => {
                let totals = self.account(id).posted();
                format!("{} {} {}", totals.bytes_in, totals.messages, totals.frames)
            }
            ["statement"] => self
                .tree
                .statement()
                .iter()
                .map(|(account, totals)| format!("{}:{}", account.id(), totals.bytes_in))
                .collect::<Vec<_>>()
                .join(" "),
            _ => panic!("no such operation: {words:?}"),
        }
    }

    fn insert(&self, id: &str, parent: &str) -> String {
        match self
            .tree
            .insert(AccountId(number(id)), AccountId(number(parent)))
        {
            Ok(account) => format!("level {}", account.level()),
            Err(error) => error.to_string(),
        }
    }
}
