//! Random writes against a slow model: the definition of design and nothing else.

use super::*;
use crate::registry::{ItemId, identity};
use std::collections::BTreeMap;

/// A small generator, so that a failure is the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % sides
    }
}

#[derive(Clone, Default)]
struct Model {
    channels: BTreeMap<u64, ChannelItem>,
    devices: BTreeMap<u64, DeviceItem>,
}

fn parent(id: u64) -> u64 {
    TREE.iter().find(|(child, _)| *child == id).unwrap().1
}

/// Account `id` and those above it.
fn path(id: u64) -> Vec<u64> {
    std::iter::successors(Some(id), |id| Some(parent(*id)).filter(|id| *id != 0)).collect()
}

impl Model {
    /// Word for word: protocol among the channel's, owner in the path, no isolated channel of that
    /// protocol strictly below the owner on the path.
    fn serves(&self, channel: &ChannelItem, device: &DeviceItem) -> bool {
        let path = path(device.cid.0);
        let Some(depth) = path.iter().position(|id| *id == channel.cid.0) else {
            return false;
        };
        channel.protocols.contains(&device.protocol)
            && !self.channels.values().any(|other| {
                other.isolated
                    && other.protocols.contains(&device.protocol)
                    && path[..depth].contains(&other.cid.0)
            })
    }

    fn sound(&self) -> bool {
        self.channels.values().all(|channel| {
            let mut seen = std::collections::BTreeSet::new();
            self.devices
                .values()
                .filter(|device| self.serves(channel, device))
                .all(|device| seen.insert((device.protocol, device.ident.clone())))
        })
    }

    fn apply(&mut self, write: &Write) {
        match write {
            Write::Put(Item::Channel(item)) => {
                self.channels.insert(item.id.0, item.clone());
            }
            Write::Put(Item::Device(item)) => {
                self.devices.insert(item.id.0, item.clone());
            }
            Write::Remove(ItemId::Channel(id)) => {
                self.channels.remove(&id.0);
            }
            Write::Remove(ItemId::Device(id)) => {
                self.devices.remove(&id.0);
            }
            other => panic!("not rolled: {other:?}"),
        }
    }

    /// Which channels serve a device.
    fn served(&self, device: u64) -> Vec<u64> {
        let Some(device) = self.devices.get(&device) else {
            return Vec::new();
        };
        self.channels
            .values()
            .filter(|channel| self.serves(channel, device))
            .map(|channel| channel.id.0)
            .collect()
    }
}

fn roll(dice: &mut Dice) -> Write {
    let cid = 1 + dice.roll(TREE.len() as u64);
    match dice.roll(10) {
        0 => Write::Remove(ItemId::Device(DeviceId(1 + dice.roll(8)))),
        1 => Write::Remove(ItemId::Channel(ChannelId(1 + dice.roll(6)))),
        2..=4 => {
            let speaks: &[u16] = match dice.roll(3) {
                0 => &[TELTONIKA],
                1 => &[H02],
                _ => &[TELTONIKA, H02],
            };
            let item = channel(1 + dice.roll(6), cid, speaks, dice.roll(3) > 0);
            Write::Put(Item::Channel(item))
        }
        _ => {
            let speaks = if dice.roll(3) > 0 { TELTONIKA } else { H02 };
            let ident = if dice.roll(2) == 0 { "111" } else { "112" };
            Write::Put(Item::Device(device(1 + dice.roll(8), cid, speaks, ident)))
        }
    }
}

#[test]
fn exactly_the_writes_that_double_an_ident_are_refused_and_what_is_rerouted_is_told() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut refused, mut written) = (0, 0);
    for _ in 0..200 {
        let registry = registry();
        let mut model = Model::default();
        for _ in 0..60 {
            let step = roll(&mut dice);
            let mut after = model.clone();
            after.apply(&step);
            match write(&registry, step.clone(), 0) {
                Ok((effect, _)) => {
                    assert!(after.sound(), "accepted: {step:?}");
                    check_rerouted(&model, &after, &step, &effect);
                    model = after;
                    written += 1;
                }
                Err(Refused::NoSuch { .. }) => {}
                Err(other) => {
                    assert!(!after.sound(), "refused: {other} for {step:?}");
                    refused += 1;
                }
            }
            check_resolve(&registry, &model);
        }
    }
    assert!(refused > 500 && written > 5000, "{refused} {written}");
}

fn check_rerouted(before: &Model, after: &Model, step: &Write, effect: &Told) {
    let changed = |id: u64| step.id() == ItemId::Device(DeviceId(id));
    for id in 1..=8 {
        let (was, is) = (before.served(id), after.served(id));
        let lost = was.iter().any(|channel| !is.contains(channel));
        let gained = is.iter().any(|channel| !was.contains(channel));
        // A device's own change or deletion closes its connection whatever serves it.
        let told_lost = effect.lost.contains(&DeviceId(id));
        let told_gained = effect.gained.contains(&DeviceId(id));
        assert!(
            told_lost || !lost,
            "{step:?}: device {id} lost {was:?} -> {is:?}"
        );
        assert!(
            told_gained || !gained,
            "{step:?}: device {id} gained {was:?} -> {is:?}"
        );
        if !changed(id) {
            assert_eq!(told_lost, lost, "{step:?}: device {id} {was:?} -> {is:?}");
            assert_eq!(
                told_gained, gained,
                "{step:?}: device {id} {was:?} -> {is:?}"
            );
        }
    }
}

fn check_resolve(registry: &Registry, model: &Model) {
    for channel in model.channels.values() {
        let handle = registry.channel(channel.id).unwrap();
        for protocol in [TELTONIKA, H02] {
            for ident in ["111", "112"] {
                let ident = Ident::new(ident).unwrap();
                let expected = model
                    .devices
                    .values()
                    .find(|device| {
                        device.protocol == protocol
                            && device.ident == ident
                            && model.serves(channel, device)
                    })
                    .map(|device| device.id);
                let found = registry.resolve(&handle, protocol, &ident);
                assert_eq!(found.map(|device| device.id), expected);
            }
        }
    }
}

#[test]
fn conflict_is_symmetric_and_says_that_some_channel_serves_both() {
    let mut dice = Dice(7);
    for _ in 0..2000 {
        let mut model = Model::default();
        let mut places = identity::Places::default();
        for id in 1..=5 {
            let item = channel(id, 1 + dice.roll(9), &[TELTONIKA], dice.roll(2) == 0);
            places.add(identity::Post {
                owner: item.cid,
                protocols: &item.protocols,
                isolated: item.isolated,
            });
            model.channels.insert(id, item);
        }
        let pair: Vec<DeviceItem> = (1..=2)
            .map(|id| device(id, 1 + dice.roll(9), TELTONIKA, "1"))
            .collect();
        let paths: Vec<identity::Path> = pair
            .iter()
            .map(|device| path(device.cid.0).into_iter().map(AccountId).collect())
            .collect();
        let claim = |index: usize| identity::Claim {
            protocol: pair[index].protocol,
            ident: &pair[index].ident,
            path: &paths[index],
        };
        let both = model
            .channels
            .values()
            .any(|channel| pair.iter().all(|device| model.serves(channel, device)));
        assert_eq!(identity::conflict(&places, claim(0), claim(1)), both);
        assert_eq!(identity::conflict(&places, claim(1), claim(0)), both);
    }
}
