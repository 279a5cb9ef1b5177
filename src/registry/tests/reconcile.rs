//! The file's items against the stored ones.

use super::*;
use crate::account::Dimension;
use crate::config::Config;
use crate::registry::{NextIds, Planned, reconcile, rehearse};
use crate::store::{Commit, Store};

const FILE: &str = r#"
[[accounts]]
name = "south"
parent = "acme"
limit = "small"

[[accounts]]
name = "acme"
limit = "own"

[[limits]]
name = "own"
account = "acme"
channel_messages = 1000

[[limits]]
name = "small"
account = "acme"
devices_count = 2
policy = "drop"

[[channels]]
name = "main"
account = "acme"
protocol = "teltonika"

[[channels]]
name = "second"
account = "south"
protocol = "h02"
port = 20000

[[devices]]
name = "van"
account = "south"
protocol = "teltonika"
ident = " 111 "
"#;

struct Gateway {
    store: Store,
    registry: Registry,
    _dir: tempfile::TempDir,
}

impl Gateway {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let registry = Registry::load(&store, Arc::new(Tree::new())).unwrap();
        Self {
            store,
            registry,
            _dir: dir,
        }
    }

    fn plan(&self, file: &str) -> Result<Vec<Planned>, Vec<String>> {
        let config = Config::parse(file).unwrap();
        let ids = NextIds::of(&self.store).unwrap();
        reconcile(&config, &self.registry, ids, 9)
            .map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
    }

    /// As control does it; a refusal with the path that the file has it under.
    fn apply(&self, file: &str) -> Vec<String> {
        let mut done = Vec::new();
        for Planned { path, write } in self.plan(file).unwrap() {
            let name = match &write {
                Write::Put(item) => format!("{path} {}", item.name()),
                Write::Remove(_) => panic!("nothing is ever deleted"),
            };
            match self.registry.check(&write, AccountId::NONE) {
                Ok(effect) => {
                    let mut commit = Commit::new();
                    write.stage(&effect, 9, &mut commit);
                    self.store.commit(&commit).unwrap();
                    self.registry.publish(write, effect, 9).unwrap();
                    done.push(name);
                }
                Err(refused) => done.push(format!("{path}: {refused}")),
            }
        }
        done
    }

    fn device(&self, id: u64) -> DeviceItem {
        let handle = self.registry.device(DeviceId(id)).unwrap();
        DeviceItem::clone(&handle.state.load().item)
    }
}

#[test]
fn what_the_file_declares_is_made_once_and_a_second_start_writes_nothing() {
    let gateway = Gateway::new();
    assert_eq!(
        gateway.apply(FILE),
        [
            "accounts[1] acme",
            "limits[0] own",
            "limits[1] small",
            "accounts[1] acme",
            "accounts[0] south",
            "channels[0] main",
            "channels[1] second",
            "devices[0] van"
        ]
    );
    assert_eq!(gateway.apply(FILE), [""; 0]);
    let tree = gateway.registry.tree();
    let south = tree.account(AccountId(2)).unwrap();
    assert_eq!(south.parent().unwrap().id(), AccountId(1));
    assert_eq!(south.rules().caps.get(Dimension::DevicesCount), 2);
    assert_eq!(south.rules().policy, crate::account::Policy::Drop);
    let acme = tree.account(AccountId(1)).unwrap();
    assert_eq!(acme.rules().caps.get(Dimension::ChannelMessages), 1000);
    let main = gateway.registry.channel(ChannelId(1)).unwrap();
    let item = main.state.load().item.clone();
    assert_eq!((item.port, item.host.as_str()), (20001, "localhost"));
    assert_eq!(item.stamp.source, Source::File);
    let ident = Ident::new("111").unwrap();
    let found = gateway.registry.resolve(&main, TELTONIKA, &ident).unwrap();
    assert_eq!(found.id, DeviceId(1));
    // and behind a restart
    let again = Registry::load(&gateway.store, Arc::new(Tree::new())).unwrap();
    let ids = NextIds::of(&gateway.store).unwrap();
    let plan = reconcile(&Config::parse(FILE).unwrap(), &again, ids, 10).unwrap();
    assert_eq!(plan, []);
}

#[test]
fn what_changes_is_changed_and_what_vanishes_is_disabled_and_comes_back() {
    let gateway = Gateway::new();
    gateway.apply(FILE);
    let changed = FILE
        .replace("devices_count = 2", "devices_count = 3")
        .replace(
            "account = \"south\"\nprotocol = \"teltonika\"",
            "account = \"acme\"\nprotocol = \"teltonika\"",
        );
    assert_eq!(
        gateway.apply(&changed),
        ["limits[1] small", "devices[0] van"]
    );
    let van = gateway.device(1);
    assert_eq!(
        (van.cid, van.epoch, van.moved_us),
        (AccountId(1), Epoch(1), 9)
    );
    assert_eq!(van.stamp.revision, crate::ids::Revision(2));

    let (kept, _) = FILE.split_once("[[channels]]").unwrap();
    assert_eq!(
        gateway.apply(kept),
        ["limits[1] small", " van", " main", " second"]
    );
    assert!(!gateway.device(1).enabled);
    assert_eq!(gateway.apply(kept), [""; 0]);
    let other = "[[accounts]]\nname = \"other\"\n";
    assert_eq!(
        gateway.apply(other),
        ["accounts[0] other", " south", " acme"]
    );
    let south = gateway.registry.tree().account(AccountId(2)).unwrap();
    assert!(!south.is_enabled());

    let back = gateway.apply(FILE);
    assert_eq!(back.len(), 6, "{back:?}");
    assert!(south.enabled_chain());
    assert!(gateway.device(1).enabled);
    assert_eq!(gateway.device(1).epoch, Epoch(2));
}

#[test]
fn a_device_of_another_name_and_the_same_ident_is_the_same_device() {
    let gateway = Gateway::new();
    gateway.apply(FILE);
    let renamed = FILE.replace("\"van\"", "\"lorry\"");
    assert_eq!(gateway.apply(&renamed), ["devices[0] lorry"]);
    assert_eq!(gateway.device(1).name, "lorry");
    assert_eq!(gateway.registry.devices().len(), 1);
}

#[test]
fn items_of_the_api_are_left_alone_and_their_idents_and_ports_are_respected() {
    let gateway = Gateway::new();
    gateway.apply("[[accounts]]\nname = \"acme\"\n");
    put(
        &gateway.registry,
        Item::Channel(channel(7, 1, &[TELTONIKA], true)),
    )
    .unwrap();
    put(
        &gateway.registry,
        Item::Device(device(5, 1, TELTONIKA, "111")),
    )
    .unwrap();
    let file = "[[accounts]]\nname = \"acme\"\n[[devices]]\nname = \"van\"\naccount = \"acme\"\n\
                protocol = \"teltonika\"\nident = \"111\"\n";
    assert_eq!(
        gateway.apply(file),
        [
            "devices[0]: the ident 111 is taken by device 5 on a channel of teltonika that would serve both"
        ]
    );
    let full = "[gateway]\nports = \"20007-20007\"\n[[accounts]]\nname = \"acme\"\n[[channels]]\n\
                name = \"c\"\naccount = \"acme\"\nprotocol = \"h02\"\n";
    assert_eq!(
        gateway.plan(full).unwrap_err(),
        ["channels[0].port: no port is free in 20007-20007"]
    );
}

#[test]
fn an_account_that_the_file_puts_elsewhere_is_a_mistake() {
    let gateway = Gateway::new();
    gateway.apply(FILE);
    let moved = FILE.replace("parent = \"acme\"\nlimit = \"small\"", "parent = \"new\"")
        + "[[accounts]]\nname = \"new\"\n";
    assert_eq!(
        gateway.plan(&moved).unwrap_err(),
        ["accounts[0].parent: an account keeps its owner for life; \
          declare another account and move the devices there"]
    );
}

#[test]
fn the_files_limits_are_the_registrys_limits() {
    let names: Vec<_> = crate::registry::items::LIMIT_FIELDS
        .iter()
        .map(|field| field.name)
        .collect();
    assert_eq!(names, crate::config::LimitRaw::NUMBERS);
    assert_eq!(
        crate::config::ACCOUNT_LEVELS_MAX,
        crate::account::LEVELS_MAX
    );
}

#[test]
fn a_rehearsal_tells_every_refusal_of_a_plan_and_changes_nothing() {
    let gateway = Gateway::new();
    gateway.apply(FILE);
    let doubled = FILE.to_owned()
        + "[[devices]]\nname = \"b\"\naccount = \"acme\"\nprotocol = \"teltonika\"\nident = \"111\"\n\
           [[devices]]\nname = \"c\"\naccount = \"south\"\nprotocol = \"teltonika\"\nident = \"112\"\n\
           [[devices]]\nname = \"d\"\naccount = \"south\"\nprotocol = \"teltonika\"\nident = \"113\"\n";
    let plan = gateway.plan(&doubled).unwrap();
    let refusals = rehearse(&gateway.store, &plan).unwrap();
    let said: Vec<_> = refusals.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "devices[1]: the ident 111 is taken by device 1 on a channel of teltonika that would serve both",
            "devices[3]: no room for another device: devices_count is reached"
        ]
    );
    assert_eq!(gateway.registry.devices().len(), 1);
    let good = gateway.plan(FILE).unwrap();
    assert_eq!(rehearse(&gateway.store, &good).unwrap(), []);
}
