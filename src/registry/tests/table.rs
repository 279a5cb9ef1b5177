//! One write and its outcome a line.
//!
//! ```text
//! c1 @2 t iso           channel 1 of account 2, Teltonika, isolated (`open`: not; `t+h`: two protocols)
//! d1 @4 t 111           device 1 of account 4, Teltonika, ident 111 (`off`: disabled)
//! -c1, -d1              gone
//! as 2: ...             account 2 asks
//! c1 t 111              nothing is written: the device that the ident names on channel 1, or -
//! ```
//!
//! Outcomes: `ok`, with the devices that lost (`-`) and gained (`+`) a channel; `taken by 1`,
//! `taken` (by one that is not shown); `doubles 1=2`, `doubles` (not shown); other refusals by
//! their text.

use super::*;
use crate::registry::ItemId;
use std::fmt::Write as _;

fn protocols(text: &str) -> Vec<u16> {
    let number = |name| match name {
        "t" => TELTONIKA,
        "h" => H02,
        other => panic!("no protocol {other}"),
    };
    text.split('+').map(number).collect()
}

fn parse(text: &str) -> (Option<Write>, u64) {
    let (viewer, text) = match text.strip_prefix("as ") {
        Some(rest) => {
            let (viewer, rest) = rest.split_once(": ").unwrap();
            (viewer.parse().unwrap(), rest)
        }
        None => (0, text),
    };
    let words: Vec<&str> = text.split_whitespace().collect();
    let number = |word: &str| word[1..].parse::<u64>().unwrap();
    let write = match words.as_slice() {
        [gone] if gone.starts_with("-c") => {
            Write::Remove(ItemId::Channel(ChannelId(number(&gone[1..]))))
        }
        [gone] if gone.starts_with("-d") => {
            Write::Remove(ItemId::Device(DeviceId(number(&gone[1..]))))
        }
        [c, cid, speaks, how @ ..] if c.starts_with('c') && cid.starts_with('@') => {
            let mut item = channel(
                number(c),
                number(cid),
                &protocols(speaks),
                how.contains(&"iso"),
            );
            item.enabled = !how.contains(&"off");
            Write::Put(Item::Channel(item))
        }
        [d, cid, speaks, ident, how @ ..] if d.starts_with('d') => {
            let mut item = device(number(d), number(cid), protocols(speaks)[0], ident);
            item.enabled = !how.contains(&"off");
            Write::Put(Item::Device(item))
        }
        _ => return (None, viewer),
    };
    (Some(write), viewer)
}

fn outcome(registry: &Registry, text: &str) -> String {
    let (parsed, viewer) = parse(text);
    let Some(parsed) = parsed else {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [on, speaks, ident] = words.as_slice() else {
            panic!("not understood: {text}")
        };
        let id = ChannelId(on[1..].parse().unwrap());
        let channel = registry.channel(id).unwrap();
        let ident = Ident::new(ident).unwrap();
        return registry
            .resolve(&channel, protocols(speaks)[0], &ident)
            .map_or_else(|| "-".into(), |device| device.id.to_string());
    };
    match write(registry, parsed, viewer) {
        Ok((effect, _)) => {
            let mut text = "ok".to_owned();
            for (sign, devices) in [("-", effect.lost), ("+", effect.gained)] {
                for id in devices {
                    write!(text, " {sign}{id}").unwrap();
                }
            }
            text
        }
        Err(Refused::Ident { holder, .. }) => match holder {
            Some(id) => format!("taken by {id}"),
            None => "taken".into(),
        },
        Err(Refused::Doubles { listed, hidden }) => {
            let mut text = "doubles".to_owned();
            for (_, _, [a, b]) in listed {
                write!(text, " {a}={b}").unwrap();
            }
            if hidden {
                text.push_str(" hidden");
            }
            text
        }
        Err(other) => other.to_string(),
    }
}

fn run(table: &str) {
    let registry = registry();
    for line in table.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (step, expected) = line.split_once("=>").expect(line);
        assert_eq!(
            outcome(&registry, step.trim()),
            expected.trim(),
            "{line}\nin {table}"
        );
    }
}

#[test]
fn one_ident_on_one_channel_is_one_device_in_all_accounts_below_it() {
    run("
        c1 @1 t iso       => ok
        d1 @4 t 111       => ok +1
        c1 t 111          => 1
        d2 @4 t 111       => taken by 1
        d2 @1 t 111       => taken by 1
        d2 @8 t 111       => taken by 1
        d2 @8 t 112       => ok +2
        d2 @8 t 111       => taken by 1
        c1 t 112          => 2
        -d1               => ok -1
        c1 t 111          => -
        d2 @8 t 111       => ok -2 +2
        c1 t 111          => 2
        c1 t 112          => -
    ");
}

#[test]
fn a_refusal_tells_nothing_of_what_is_outside_the_branch_of_the_one_who_asks() {
    run("
        c1 @1 t iso       => ok
        d1 @4 t 111       => ok +1
        as 3: d2 @3 t 111 => taken
        as 2: d2 @5 t 111 => taken by 1
        as 1: d2 @3 t 111 => taken by 1
        d3 @9 t 111       => ok
        as 9: c2 @9 t iso => ok +3
        as 3: c3 @3 t iso => ok
        as 3: d4 @8 t 111 => ok +4
        as 1: -c3         => doubles 1=4
        as 3: -c3         => doubles hidden
    ");
}

#[test]
fn without_a_channel_that_serves_both_the_same_ident_may_be_registered_in_sibling_branches() {
    run("
        d1 @2 t 111       => ok
        d2 @3 t 111       => ok
        d3 @2 t 111       => ok
        c1 @2 t iso       => doubles 1=3
        -d3               => ok -3
        c1 @2 t iso       => ok +1
        c2 @3 t iso       => ok +2
        c1 t 111          => 1
        c2 t 111          => 2
        c3 @1 t iso       => ok
        c3 t 111          => -
        c3 @1 t open      => ok
        d3 @1 t 111       => ok +3
        c3 t 111          => 3
        -c1               => doubles 1=3
        c1 @2 t open      => doubles 1=3
        c1 @2 h iso       => doubles 1=3
        c1 @4 t iso       => doubles 1=3
        c1 @2 t+h iso     => ok
    ");
}

#[test]
fn an_isolated_channel_hides_its_branch_from_the_channels_above_at_every_level() {
    run("
        c1 @1 t iso       => ok
        d1 @1 t 111       => ok +1
        d2 @7 t 112       => ok +2
        c1 t 112          => 2
        c2 @6 t iso       => ok -2 +2
        c1 t 112          => -
        c2 t 112          => 2
        c3 @2 t iso       => ok
        c2 t 112          => 2
        c3 t 112          => -
        d3 @5 t 112       => ok +3
        c3 t 112          => 3
        d4 @7 t 111       => ok +4
        c2 t 111          => 4
        c1 t 111          => 1
        d5 @4 t 112       => taken by 3
        -c2               => doubles 2=3
        -d3               => ok -3
        -c2               => ok -2 -4 +2 +4
        c3 t 112          => 2
        c3 t 111          => 4
        -c3               => doubles 1=4
    ");
}

#[test]
fn channels_that_are_not_isolated_serve_side_by_side_for_a_migration() {
    run("
        c1 @1 t iso       => ok
        d1 @4 t 111       => ok +1
        c2 @2 t open      => ok +1
        c1 t 111          => 1
        c2 t 111          => 1
        d2 @3 t 111       => taken by 1
        c2 @2 t iso       => ok -1
        c1 t 111          => -
        d2 @3 t 111       => ok +2
        c2 @2 t open      => doubles 1=2
        c1 t 111          => 2
        c2 t 111          => 1
    ");
}

#[test]
fn moving_a_channel_is_tested_with_every_ident_that_is_held_twice() {
    run("
        c1 @2 t iso       => ok
        d1 @4 t 111       => ok +1
        d2 @3 t 111       => ok
        c1 @3 t iso       => ok -1 +2
        c1 t 111          => 2
        c1 @1 t iso       => doubles 1=2
        c1 @9 t iso       => ok -2
        c1 @7 t iso       => ok
        c1 t 111          => -
        c1 @4 t iso       => ok +1
        c1 t 111          => 1
    ");
}

#[test]
fn moving_a_device_is_tested_where_it_goes() {
    run("
        c1 @2 t iso       => ok
        c2 @3 t iso       => ok
        d1 @4 t 111       => ok +1
        d2 @8 t 111       => ok +2
        d1 @3 t 111       => taken by 2
        d1 @5 t 111       => ok
        d1 @1 t 111       => ok -1
        c1 t 111          => -
        d2 @1 t 111       => ok -2
        d2 @2 t 111       => ok +2
        d1 @2 t 111       => taken by 2
    ");
}

#[test]
fn what_is_disabled_counts_and_what_is_deleted_does_not() {
    run("
        c1 @1 t iso off   => ok
        d1 @4 t 111 off   => ok +1
        d2 @3 t 111       => taken by 1
        -d1               => ok -1
        d2 @3 t 111       => ok +2
        d1 @4 t 111       => taken by 2
        -c1               => ok -2
        d1 @4 t 111       => ok
        c1 @1 t iso off   => doubles 1=2
    ");
}

#[test]
fn a_channel_of_several_protocols_keeps_their_idents_apart_and_isolates_each() {
    run("
        c1 @1 t+h iso     => ok
        d1 @2 t 111       => ok +1
        d2 @3 h 111       => ok +2
        c1 t 111          => 1
        c1 h 111          => 2
        d3 @4 h 111       => taken by 2
        c2 @2 h iso       => ok
        d3 @4 h 111       => ok +3
        c1 t 111          => 1
        c1 h 111          => 2
        c2 h 111          => 3
        c2 @2 t iso       => doubles 2=3
        c2 @2 t+h iso     => ok -1 +1
        c1 t 111          => -
        c2 t 111          => 1
        c1 @1 t iso       => ok -2
        c1 h 111          => -
        c2 @2 t iso       => ok -3
    ");
}

#[test]
fn ports_are_taken_once_and_the_holder_is_named_to_who_may_see_it() {
    let registry = registry();
    put(&registry, Item::Channel(channel(1, 4, &[TELTONIKA], true))).unwrap();
    let mut other = channel(2, 3, &[TELTONIKA], true);
    other.port = 20_001;
    let said = |viewer| {
        write(&registry, Write::Put(Item::Channel(other.clone())), viewer)
            .err()
            .unwrap()
            .to_string()
    };
    assert_eq!(said(1), "the port 20001 is taken by channel 1");
    assert_eq!(said(3), "the port 20001 is taken by another channel");
}

#[test]
fn accounts_keep_their_place_and_are_deleted_only_when_empty() {
    let registry = registry();
    let refused = |item| put(&registry, item).err().unwrap().to_string();
    let mut moved = account(4, 3);
    assert_eq!(
        refused(Item::Account(moved.clone())),
        "an account keeps its owner for life"
    );
    assert_eq!(
        refused(Item::Account(account(10, 7))),
        crate::account::TreeError::TooDeep.to_string()
    );
    assert_eq!(
        refused(Item::Account(account(10, 77))),
        "there is no account 77"
    );
    moved.owner_id = AccountId(2);
    moved.limit_id = LimitId(1);
    put(&registry, Item::Limit(limit(1, 4, &[]))).unwrap();
    assert_eq!(
        refused(Item::Account(moved.clone())),
        "limit 1 is not one that this account may be attached to"
    );
    put(&registry, Item::Limit(limit(2, 1, &[]))).unwrap();
    moved.limit_id = LimitId(2);
    put(&registry, Item::Account(moved)).unwrap();
    put(&registry, Item::Device(device(1, 4, TELTONIKA, "1"))).unwrap();
    let gone = |id| write(&registry, Write::Remove(id), 0).map(|_| ());
    assert_eq!(
        gone(ItemId::Limit(LimitId(2))).unwrap_err().to_string(),
        "limit 2 is attached to 1 accounts"
    );
    assert_eq!(
        gone(ItemId::Account(AccountId(4))).unwrap_err().to_string(),
        "account 4 still owns 1 subaccounts, 1 limits, 1 devices"
    );
    gone(ItemId::Account(AccountId(5))).unwrap();
    assert!(gone(ItemId::Account(AccountId(5))).is_err());
    assert!(refused(Item::Account(account(5, 2))).contains("taken"));
    assert_eq!(
        refused(Item::Device(device(2, 5, TELTONIKA, "2"))),
        "there is no account 5"
    );
}

#[test]
fn count_limits_are_taken_by_the_write_and_given_back_by_what_fails() {
    use crate::account::Dimension::DevicesCount;
    let registry = registry();
    put(&registry, Item::Limit(limit(1, 1, &[("devices_count", 2)]))).unwrap();
    let mut limited = account(2, 1);
    limited.limit_id = LimitId(1);
    put(&registry, Item::Account(limited)).unwrap();
    let used = |id| {
        let account = registry.tree().account(AccountId(id)).unwrap();
        account.admitted(DevicesCount, 0)
    };
    put(&registry, Item::Device(device(1, 4, TELTONIKA, "1"))).unwrap();
    put(&registry, Item::Device(device(2, 5, TELTONIKA, "2"))).unwrap();
    let third = Write::Put(Item::Device(device(3, 2, TELTONIKA, "3")));
    let refused = registry.check(&third, AccountId(2)).unwrap_err();
    assert!(
        matches!(&refused, Refused::Limit { what: "device", refusal } if refusal.account == AccountId(2)),
        "{refused}"
    );
    assert_eq!((used(1), used(2), used(4), used(5)), (2, 2, 1, 1));

    // a dry run takes nothing
    let elsewhere = Write::Put(Item::Device(device(3, 3, TELTONIKA, "3")));
    drop(registry.check(&elsewhere, AccountId(1)).unwrap());
    assert_eq!((used(1), used(3)), (2, 0));
    write(&registry, elsewhere, 1).unwrap();
    assert_eq!((used(1), used(3)), (3, 1));

    // a move within the full branch counts nothing twice, a move into it has no room
    write(
        &registry,
        Write::Put(Item::Device(device(1, 5, TELTONIKA, "1"))),
        1,
    )
    .unwrap();
    assert_eq!((used(1), used(2), used(4), used(5)), (3, 2, 0, 2));
    let inward = Write::Put(Item::Device(device(3, 4, TELTONIKA, "3")));
    assert!(matches!(
        registry.check(&inward, AccountId(1)),
        Err(Refused::Limit { .. })
    ));
    assert_eq!((used(1), used(2), used(3)), (3, 2, 1));

    write(&registry, Write::Remove(ItemId::Device(DeviceId(2))), 0).unwrap();
    write(&registry, inward, 1).unwrap();
    assert_eq!((used(1), used(2), used(3), used(4)), (2, 2, 0, 1));
}

#[test]
fn an_item_is_refused_with_all_its_mistakes() {
    let registry = registry();
    let mut bad = channel(1, 1, &[H02, TELTONIKA, 999, H02], true);
    bad.port = 0;
    bad.allow = vec!["10.0.0.1/8".into()];
    bad.messages_ttl_s = u32::MAX;
    let Err(Refused::Fields(found)) = put(&registry, Item::Channel(bad)) else {
        panic!("refused")
    };
    let fields: Vec<_> = found.iter().map(|error| error.field.as_str()).collect();
    assert_eq!(
        fields,
        ["protocols", "protocols", "port", "allow[0]", "messages_ttl"]
    );
    let limit = limit(1, 1, &[("devices_cuont", 1), ("api_calls", -2)]);
    let refused = put(&registry, Item::Limit(limit))
        .err()
        .unwrap()
        .to_string();
    assert_eq!(
        refused,
        "api_calls: -2 is neither -1 (no cap) nor a number of 0 or more; \
         devices_cuont: is no field of a limit; did you mean devices_count?"
    );
    let mut device = device(1, 1, TELTONIKA, "1");
    device.device_type_id = 3000;
    device.settings.time_zone = Some("Mars/Base".into());
    let refused = put(&registry, Item::Device(device))
        .err()
        .unwrap()
        .to_string();
    assert!(refused.starts_with("device_type_id: 3000 is no device type of teltonika; settings: "));
}
