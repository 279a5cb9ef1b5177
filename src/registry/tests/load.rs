//! A restart brings back exactly what was acknowledged.

use super::*;
use crate::account::Dimension;
use crate::registry::{ItemId, LoadError};
use crate::store::{Commit, Kind, Store};
use serde_json::Value;
use std::path::Path;

/// As control does it: check, transaction, publish.
fn acknowledge(registry: &Registry, store: &Store, write: Write) {
    let effect = registry.check(&write, AccountId::NONE).unwrap();
    let mut commit = Commit::new();
    write.stage(&effect, 5, &mut commit);
    store.commit(&commit).unwrap();
    registry.publish(write, effect, 5).unwrap();
}

fn fill(registry: &Registry, store: &Store) {
    let mut limited = account(2, 1);
    limited.limit_id = LimitId(1);
    let mut asleep = account(3, 1);
    asleep.enabled = false;
    let mut moved = device(1, 3, TELTONIKA, "111");
    moved.epoch = Epoch(1);
    for write in [
        Write::Put(Item::Account(account(1, 0))),
        Write::Put(Item::Limit(limit(1, 1, &[("channel_messages", 60)]))),
        Write::Put(Item::Account(limited)),
        Write::Put(Item::Account(account(3, 1))),
        Write::Put(Item::Account(account(4, 3))),
        Write::Put(Item::Account(account(5, 4))),
        Write::Put(Item::Channel(channel(1, 1, &[TELTONIKA, H02], true))),
        Write::Put(Item::Channel(channel(2, 2, &[H02], false))),
        Write::Put(Item::Device(device(1, 2, TELTONIKA, "111"))),
        Write::Put(Item::Device(device(2, 2, H02, "112"))),
        Write::Put(Item::Device(moved)),
        Write::Put(Item::Token(token(1, 2))),
        Write::Remove(ItemId::Account(AccountId(5))),
        Write::Remove(ItemId::Account(AccountId(4))),
        Write::Remove(ItemId::Device(DeviceId(2))),
        Write::Put(Item::Account(asleep)),
    ] {
        acknowledge(registry, store, write);
    }
}

fn counts(registry: &Registry) -> Vec<(u64, Vec<u64>)> {
    registry
        .tree()
        .accounts()
        .iter()
        .map(|account| {
            let counts = [
                Dimension::SubaccountsCount,
                Dimension::LimitsCount,
                Dimension::ChannelsCount,
                Dimension::DevicesCount,
                Dimension::TokensCount,
            ];
            let counts = counts.map(|dimension| account.admitted(dimension, 0));
            (account.id().0, counts.to_vec())
        })
        .collect()
}

#[test]
fn a_restart_brings_back_exactly_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let before = Registry::new(Arc::new(Tree::new()));
    {
        let store = Store::open(dir.path()).unwrap();
        fill(&before, &store);
    }
    let store = Store::open(dir.path()).unwrap();
    let after = Registry::load(&store, Arc::new(Tree::new())).unwrap();
    assert_eq!(after.accounts(), before.accounts());
    assert_eq!(after.limits(), before.limits());
    assert_eq!(after.tokens(), before.tokens());
    let channels = |registry: &Registry| -> Vec<_> {
        let all = registry.channels().into_iter();
        all.map(|channel| channel.state.load().item.clone())
            .collect()
    };
    assert_eq!(channels(&after), channels(&before));
    let devices = |registry: &Registry| -> Vec<_> {
        let all = registry.devices().into_iter();
        all.map(|device| device.state.load().item.clone()).collect()
    };
    assert_eq!(devices(&after), devices(&before));
    assert_eq!(devices(&after).len(), 1);
    assert_eq!(counts(&after), counts(&before));
    let tree = after.tree();
    let of = |id| tree.account(AccountId(id)).unwrap();
    assert!(of(4).is_gone() && of(5).is_gone());
    assert_eq!(of(5).chain().count(), 4, "a tombstone keeps its chain");
    assert!(!of(3).is_enabled());
    assert_eq!(of(2).rules().caps.get(Dimension::ChannelMessages), 60);
    let channel = after.channel(ChannelId(1)).unwrap();
    let ident = Ident::new("111").unwrap();
    let found = after.resolve(&channel, TELTONIKA, &ident).unwrap();
    assert_eq!(found.state.load().epoch, Epoch(1));
    assert_eq!(store.next_id(Kind::Device).unwrap(), 3);
    assert_eq!(store.next_id(Kind::Account).unwrap(), 6);
    let hash = after.token(TokenId(1)).unwrap().key_hash.clone();
    assert_eq!(after.token_by_hash(&hash).unwrap().id, TokenId(1));
}

#[test]
fn items_at_rest_that_break_the_rule_are_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut commit = Commit::new();
    commit
        .create(Kind::Account, 1, &account(1, 0))
        .create(Kind::Channel, 1, &channel(1, 1, &[TELTONIKA], true))
        .create(Kind::Device, 1, &device(1, 1, TELTONIKA, "111"))
        .create(Kind::Device, 2, &device(2, 1, TELTONIKA, "111"));
    store.commit(&commit).unwrap();
    let error = Registry::load(&store, Arc::new(Tree::new())).err().unwrap();
    assert!(matches!(error, LoadError::Doubled { .. }), "{error}");
    let mut orphan = Commit::new();
    orphan.create(Kind::Device, 3, &device(3, 77, TELTONIKA, "113"));
    store.commit(&orphan).unwrap();
    let error = Registry::load(&store, Arc::new(Tree::new())).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the items at rest do not fit together: device 3 belongs to account 77, which does not exist"
    );
}

/// The records of every version that was ever written, as `fixtures/_store/README.md` says.
#[test]
fn old_records_load_for_ever() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/_store");
    let dir = tempfile::tempdir().unwrap();
    copy(&root.join("v1"), dir.path());
    let store = Store::open(dir.path()).unwrap();
    let registry = Registry::load(&store, Arc::new(Tree::new())).unwrap();
    let shown = show(&registry);
    let expected = std::fs::read_to_string(root.join("v1.expected.jsonl")).unwrap();
    assert_eq!(shown.lines().count(), expected.lines().count());
    for (shown, expected) in shown.lines().zip(expected.lines()) {
        let shown: Value = serde_json::from_str(shown).unwrap();
        let expected: Value = serde_json::from_str(expected).unwrap();
        assert!(holds(&shown, &expected), "{expected}\nis now\n{shown}");
    }
}

/// Does `shown` hold all of `expected`, and perhaps fields that came later?
fn holds(shown: &Value, expected: &Value) -> bool {
    match (shown, expected) {
        (Value::Object(shown), Value::Object(expected)) => expected
            .iter()
            .all(|(key, value)| shown.get(key).is_some_and(|shown| holds(shown, value))),
        _ => shown == expected,
    }
}

fn show(registry: &Registry) -> String {
    let mut lines = Vec::new();
    let mut line = |item: Value| lines.push(item.to_string());
    for item in registry.accounts() {
        line(serde_json::to_value(&*item).unwrap());
    }
    for item in registry.limits() {
        line(serde_json::to_value(&*item).unwrap());
    }
    for channel in registry.channels() {
        line(serde_json::to_value(&*channel.state.load().item).unwrap());
    }
    for device in registry.devices() {
        line(serde_json::to_value(&*device.state.load().item).unwrap());
    }
    for item in registry.tokens() {
        line(serde_json::to_value(&*item).unwrap());
    }
    lines.join("\n") + "\n"
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Writes the fixture of the present version anew: `cargo test -- --ignored fixture`.
#[test]
#[ignore = "writes fixtures/_store: only for a new version of the records"]
fn write_the_store_fixture() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/_store/v1");
    assert!(!dir.exists(), "old records are never written again");
    let store = Store::open(&dir).unwrap();
    fill(&Registry::new(Arc::new(Tree::new())), &store);
}
