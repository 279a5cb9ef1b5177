//! Every rule of the tree, one table each.

use super::language::check;
use crate::account::{
    ACCOUNTS_MAX, Account, Caps, Cost, Dimension, LEVELS_MAX, NO_CAP, Rules, Totals, Tree,
    split_bytes,
};
use crate::ids::AccountId;

#[test]
fn a_tree_has_a_master_and_four_levels_below_it() {
    check(
        "account 1           => level 0
         account 2 under 1   => level 1
         account 3 under 2   => level 2
         account 4 under 3   => level 3
         account 5 under 4   => level 4
         account 6 under 5   => an account can be at most 4 levels below its master
         account 5 under 4   => the account id is taken
         account 0           => the account id is taken
         account 7 under 9   => the parent account does not exist
         account 7           => level 0
         chain 5             => 5 4 3 2 1
         chain 7             => 7
         is 5 in 1           => true
         is 5 in 5           => true
         is 5 in 7           => false
         is 1 in 5           => false
         limit 8             => the account does not exist
         disable 8           => the account does not exist
         retire 8            => the account does not exist",
    );
}

#[test]
fn a_deleted_account_keeps_its_id_its_chain_and_its_numbers() {
    check(
        "account 1                              => level 0
         account 2 under 1                      => level 1
         account 3 under 2                      => level 2
         charge 3 at 5 bytes=10 messages=1      => ok
         post 3 bytes=10 messages=1             => ok
         retire 2                               => the account has subaccounts
         retire 3                               => ok
         retire 3                               => the account does not exist
         account 3 under 2                      => the account id is taken
         account 4 under 3                      => the parent account does not exist
         chain 3                                => 3 2 1
         posted 3                               => 10 1 1
         charge 3 at 5 bytes=1                  => refused channel_traffic by 3 level 2, 10 of 0 used, disabled
         enable 3                               => ok
         enabled 3                              => false
         used channel_traffic at 5 1 2 3        => 10 10 10
         retire 2                               => ok
         retire 1                               => ok",
    );
}

#[test]
fn a_charge_is_taken_on_every_level_or_on_none() {
    check(
        "account 1                              => level 0
         account 2 under 1                      => level 1
         account 3 under 2                      => level 2
         account 4 under 1                      => level 1
         limit 1 channel_traffic=100            => ok
         limit 2 channel_traffic=80             => ok
         limit 3 channel_messages=3             => ok
         charge 3 at 7 bytes=50 messages=2      => ok
         used channel_traffic at 7 1 2 3 4      => 50 50 50 0
         used channel_messages at 7 1 2 3 4     => 2 2 2 0
         # the leaf refuses: nothing stays above
         charge 3 at 7 bytes=5 messages=2       => refused channel_messages by 3 level 2, 2 of 3 used, resets 8
         used channel_traffic at 7 1 2 3 4      => 50 50 50 0
         # the middle refuses
         charge 3 at 7 bytes=31 messages=1      => refused channel_traffic by 2 level 1, 50 of 80 used, resets 8
         used channel_traffic at 7 1 2 3 4      => 50 50 50 0
         # exactly full is not over
         charge 3 at 7 bytes=30 messages=1      => ok
         charge 4 at 7 bytes=20                 => ok
         charge 4 at 7 bytes=1                  => refused channel_traffic by 1 level 0, 100 of 100 used, resets 8
         used channel_traffic at 7 1 2 3 4      => 100 80 80 20
         used channel_messages at 7 1 2 3 4     => 3 3 3 0",
    );
}

#[test]
fn the_highest_account_that_refuses_is_named_and_bytes_go_before_messages() {
    check(
        "account 1                                      => level 0
         account 2 under 1                              => level 1
         limit 1 channel_traffic=10 channel_messages=5  => ok
         limit 2 channel_traffic=10 channel_messages=5  => ok
         charge 2 at 1 bytes=8 messages=4               => ok
         # both dimensions on both levels: the master's bytes
         charge 2 at 1 bytes=9 messages=2               => refused channel_traffic by 1 level 0, 8 of 10 used, resets 2
         charge 2 at 1 bytes=1 messages=2               => refused channel_messages by 1 level 0, 4 of 5 used, resets 2
         # what never fits goes before what does not fit now, on one level
         charge 2 at 1 bytes=9 messages=6               => refused channel_messages by 1 level 0, 4 of 5 used, never fits
         charge 2 at 1 bytes=11 messages=6              => refused channel_traffic by 1 level 0, 8 of 10 used, never fits
         # a higher level goes before a worse reason
         limit 2 channel_traffic=4                      => ok
         charge 2 at 1 bytes=9 messages=2               => refused channel_traffic by 1 level 0, 8 of 10 used, resets 2
         charge 2 at 2 bytes=9 messages=2               => refused channel_traffic by 2 level 1, 0 of 4 used, never fits
         used channel_traffic at 2 1 2                  => 0 0
         # a disabled account's zero caps are no frame's fault
         disable 2                                      => ok
         charge 2 at 2 bytes=9 messages=2               => refused channel_traffic by 2 level 1, 0 of 0 used, disabled",
    );
}

#[test]
fn no_own_cap_means_what_the_ancestors_have_left() {
    check(
        "account 1                        => level 0
         account 2 under 1                => level 1
         limit 1 channel_traffic=100      => ok
         limit 2 channel_traffic=-1       => ok
         charge 2 at 1 bytes=100          => ok
         reading 2 channel_traffic at 1   => 100 and 0 of -1, any left, 0 over
         reading 1 channel_traffic at 1   => 100 and 0 of 100, 0 left, 0 over
         charge 2 at 1 bytes=1            => refused channel_traffic by 1 level 0, 100 of 100 used, resets 2
         limit 1 channel_traffic=-1       => ok
         charge 2 at 1 bytes=1            => ok
         # what a window's word can hold is a cap as well
         charge 2 at 1 bytes=274877906943 => refused channel_traffic by 1 level 0, 101 of -1 used, resets 2
         charge 2 at 1 bytes=274877906944 => refused channel_traffic by 1 level 0, 101 of -1 used, never fits
         charge 2 at 2 bytes=274877906943 messages=4294967295 => ok
         used channel_messages at 2 1 2   => 4294967295 4294967295
         charge 2 at 2 messages=18446744073709551615 => refused channel_messages by 1 level 0, 4294967295 of -1 used, never fits",
    );
}

#[test]
fn a_window_resets_with_the_minute_and_never_goes_back() {
    check(
        "account 1                        => level 0
         account 2 under 1                => level 1
         account 3 under 1                => level 1
         limit 1 channel_traffic=10       => ok
         charge 2 at 5 bytes=10           => ok
         charge 2 at 5 bytes=1            => refused channel_traffic by 1 level 0, 10 of 10 used, resets 6
         used channel_traffic at 6 1 2    => 0 0
         charge 2 at 6 bytes=4            => ok
         # a minute that is over charges into the one that runs, on all levels
         charge 2 at 5 bytes=4            => ok
         charge 3 at 4 bytes=1            => ok
         used channel_traffic at 6 1 2 3  => 9 8 1
         used channel_traffic at 5 1 2 3  => 9 8 1
         charge 3 at 4 bytes=2            => refused channel_traffic by 1 level 0, 9 of 10 used, resets 7
         charge 2 at 7 bytes=1            => ok
         used channel_traffic at 7 1 2 3  => 1 1 0
         # the API's windows are their own
         limit 1 api_calls=1              => ok
         rate 2 at 7 api_calls 1          => ok
         rate 3 at 6 api_calls 1          => refused api_calls by 1 level 0, 1 of 1 used, resets 8
         rate 3 at 8 api_calls 1          => ok
         used api_calls at 8 1 2 3        => 1 0 1",
    );
}

#[test]
fn a_cap_lowered_below_the_use_admits_nothing_until_it_fits() {
    check(
        "account 1                        => level 0
         account 2 under 1                => level 1
         limit 2 channel_traffic=100 devices_count=5 => ok
         charge 2 at 1 bytes=60           => ok
         acquire a 2 devices_count 4      => ok
         limit 2 channel_traffic=50 devices_count=2  => ok
         reading 2 channel_traffic at 1   => 60 and 0 of 50, 0 left, 10 over
         reading 2 devices_count at 1     => 4 and 0 of 2, 0 left, 2 over
         charge 2 at 1 bytes=1            => refused channel_traffic by 2 level 1, 60 of 50 used, resets 2
         acquire b 2 devices_count 1      => refused devices_count by 2 level 1, 4 of 2 used
         # what asks for nothing of the full dimension fits
         charge 2 at 1 messages=1         => ok
         charge 2 at 2 bytes=50           => ok
         drop a                           => ok
         acquire b 2 devices_count 2      => ok
         # raised live
         limit 2 channel_traffic=51       => ok
         charge 2 at 2 bytes=1            => ok
         used devices_count at 0 1 2      => 2 2",
    );
}

#[test]
fn a_level_is_taken_by_a_guard_that_gives_back() {
    check(
        "account 1                                  => level 0
         account 2 under 1                          => level 1
         account 3 under 1                          => level 1
         limit 1 channel_connections=3              => ok
         limit 2 channel_connections=2              => ok
         acquire a 2 channel_connections 1          => ok
         acquire b 2 channel_connections 1          => ok
         acquire c 2 channel_connections 1          => refused channel_connections by 2 level 1, 2 of 2 used
         used channel_connections at 0 1 2 3        => 2 2 0
         acquire c 3 channel_connections 1          => ok
         acquire d 3 channel_connections 1          => refused channel_connections by 1 level 0, 3 of 3 used
         drop a                                     => ok
         acquire d 3 channel_connections 1          => ok
         # kept: the item is durable, and is given back when it is deleted
         keep d                                     => ok
         used channel_connections at 0 1 2 3        => 3 1 2
         release 3 channel_connections 1            => ok
         used channel_connections at 9 1 2 3        => 2 1 1
         acquire e 2 channel_connections 4          => refused channel_connections by 1 level 0, 2 of 3 used, never fits
         # what exists when the gateway starts is not asked
         occupy f 2 channel_connections 5           => ok
         used channel_connections at 0 1 2 3        => 7 6 1
         drop f                                     => ok
         drop b                                     => ok
         drop c                                     => ok
         used channel_connections at 0 1 2 3        => 0 0 0",
    );
}

#[test]
fn a_disabled_account_is_one_of_zero_caps_for_its_whole_branch() {
    check(
        "account 1                            => level 0
         account 2 under 1                    => level 1
         account 3 under 2                    => level 2
         account 4 under 1                    => level 1
         limit 2 channel_traffic=100          => ok
         charge 3 at 1 bytes=10               => ok
         disable 2                            => ok
         enabled 3                            => false
         enabled 4                            => true
         charge 3 at 1 bytes=1                => refused channel_traffic by 2 level 1, 10 of 0 used, disabled
         charge 3 at 1 messages=1             => refused channel_messages by 2 level 1, 0 of 0 used, disabled
         rate 2 at 1 api_calls 1              => refused api_calls by 2 level 1, 0 of 0 used, disabled
         acquire a 3 channel_connections 1    => refused channel_connections by 2 level 1, 0 of 0 used, disabled
         acquire a 3 devices_count 1          => refused devices_count by 2 level 1, 0 of 0 used, disabled
         block refused at 60                  => no
         charge 4 at 1 bytes=1                => ok
         # rules that come meanwhile wait
         limit 2 channel_traffic=20           => ok
         rules 2 channel_traffic              => 20
         charge 3 at 1 bytes=1                => refused channel_traffic by 2 level 1, 10 of 0 used, disabled
         enable 2                             => ok
         charge 3 at 1 bytes=10               => ok
         charge 3 at 1 bytes=1                => refused channel_traffic by 2 level 1, 20 of 20 used, resets 2",
    );
}

#[test]
fn usage_is_never_refused_is_counted_apart_and_is_no_longer_free() {
    check(
        "account 1                        => level 0
         account 2 under 1                => level 1
         limit 1 channel_traffic=100      => ok
         charge 2 at 1 bytes=60           => ok
         usage 2 at 1 bytes=30            => ok
         used channel_traffic at 1 1 2    => 60 60
         reading 1 channel_traffic at 1   => 60 and 30 of 100, 10 left, 0 over
         charge 2 at 1 bytes=11           => refused channel_traffic by 1 level 0, 90 of 100 used, resets 2
         charge 2 at 1 bytes=10           => ok
         usage 2 at 1 bytes=500           => ok
         reading 1 channel_traffic at 1   => 70 and 530 of 100, 0 left, 0 over
         charge 2 at 2 bytes=100          => ok
         disable 2                        => ok
         usage 2 at 2 bytes=1             => ok
         reading 2 channel_traffic at 2   => 100 and 1 of 0, 0 left, 100 over
         # an old minute goes into the one that runs
         usage 2 at 1 bytes=1             => ok
         reading 1 channel_traffic at 2   => 100 and 2 of 100, 0 left, 0 over",
    );
}

#[test]
fn what_was_admitted_before_a_start_counts_again() {
    check(
        "account 1                        => level 0
         account 2 under 1                => level 1
         limit 1 channel_traffic=100      => ok
         restore 2 at 9 bytes=90 messages=3 => ok
         restore 2 at 9 bytes=30          => ok
         reading 1 channel_traffic at 9   => 120 and 0 of 100, 0 left, 20 over
         used channel_messages at 9 1 2   => 3 3
         charge 2 at 9 bytes=1            => refused channel_traffic by 1 level 0, 120 of 100 used, resets 10
         charge 2 at 10 bytes=1           => ok
         limit 2 api_calls=5              => ok
         restore rate 2 at 9 api_calls 7  => ok
         restore rate 2 at 10 channel_traffic 2  => ok
         restore rate 2 at 10 channel_messages 4 => ok
         used api_calls at 9 1 2          => 7 7
         used channel_traffic at 10 1 2   => 3 3
         used channel_messages at 10 1 2  => 4 4
         rate 2 at 9 api_calls 1          => refused api_calls by 2 level 1, 7 of 5 used, resets 10",
    );
}

#[test]
fn a_frame_of_several_logins_is_charged_to_all_chains_or_to_none() {
    check(
        "account 1                              => level 0
         account 2 under 1                      => level 1
         account 3 under 2                      => level 2
         account 4 under 2                      => level 2
         account 9                              => level 0
         # the accounts above both pay each byte once, those of one login their share
         union at 1 bytes=101 3:2 4:5           => ok
         used channel_traffic at 1 1 2 3 4      => 101 101 51 50
         used channel_messages at 1 1 2 3 4     => 7 7 2 5
         # two logins of one account
         union at 2 bytes=101 3:2 3:5           => ok
         used channel_traffic at 2 1 2 3 4      => 101 101 101 0
         used channel_messages at 2 1 2 3 4     => 7 7 7 0
         # an account and one above it
         union at 3 bytes=101 2:1 4:1 3:1       => ok
         used channel_traffic at 3 1 2 3 4      => 101 101 33 33
         used channel_messages at 3 1 2 3 4     => 3 3 1 1
         # one login is a charge
         union at 4 bytes=7 3:1                 => ok
         used channel_traffic at 4 1 2 3 4      => 7 7 7 0
         union at 4 bytes=7                     => ok
         used channel_traffic at 4 1 2 3 4      => 7 7 7 0
         # one chain refuses all
         limit 4 channel_messages=5             => ok
         union at 5 bytes=101 3:2 4:6           => refused channel_messages by 4 level 2, 0 of 5 used, never fits
         union at 5 bytes=101 3:2 4:5           => ok
         union at 5 bytes=101 3:2 4:5           => refused channel_messages by 4 level 2, 5 of 5 used, resets 6
         used channel_traffic at 5 1 2 3 4      => 101 101 51 50
         # chains without a common account, and windows that differ
         charge 9 at 8 bytes=1                  => ok
         union at 7 bytes=10 9:1 3:1            => ok
         used channel_traffic at 8 1 2 3 9      => 5 5 5 6",
    );
}

#[test]
fn what_is_refused_blocks_its_account_until_the_window_resets() {
    check(
        "account 1                                => level 0
         account 2 under 1                        => level 1
         account 3 under 2                        => level 2
         account 4 under 1                        => level 1
         limit 2 channel_messages=1               => ok
         charge 3 at 1 messages=1                 => ok
         blocked 3 at 70                          => no
         charge 3 at 1 messages=1                 => refused channel_messages by 2 level 1, 1 of 1 used, resets 2
         block refused at 70                      => until 120s
         # it begins once
         block refused at 71                      => no
         blocked 2 at 70                          => code 2 channel_messages by 2 until 120s
         blocked 3 at 70                          => code 2 channel_messages by 2 above until 120s
         blocked 1 at 70                          => no
         blocked 4 at 70                          => no
         blocked 3 at 119                         => code 2 channel_messages by 2 above until 120s
         blocked 3 at 120                         => no
         # the master's block goes before the branch's
         limit 1 channel_traffic=5                => ok
         charge 4 at 1 bytes=5                    => ok
         charge 4 at 1 bytes=1                    => refused channel_traffic by 1 level 0, 5 of 5 used, resets 2
         block refused at 80                      => until 120s
         blocked 3 at 80                          => code 3 channel_traffic by 1 above until 120s
         blocked 1 at 80                          => code 3 channel_traffic by 1 until 120s
         # new rules lift it
         limit 1 channel_traffic=50               => lifted channel_traffic until 120s
         blocked 4 at 80                          => no
         blocked 3 at 80                          => code 2 channel_messages by 2 above until 120s
         # what would fit by now blocks nothing
         block refused at 81                      => no
         # what never fits blocks nothing
         charge 4 at 1 bytes=51                   => refused channel_traffic by 1 level 0, 5 of 50 used, never fits
         block refused at 81                      => no
         disable 2                                => lifted channel_messages until 120s",
    );
}

#[test]
fn a_blocking_duration_outlasts_the_window() {
    check(
        "account 1                                => level 0
         limit 1 channel_traffic=1 channel_connections=1 blocking_duration=300 drop => ok
         charge 1 at 1 bytes=1                    => ok
         charge 1 at 1 bytes=1                    => refused channel_traffic by 1 level 0, 1 of 1 used, resets 2, drop
         block refused at 100                     => until 400s
         blocked 1 at 399                         => code 3 channel_traffic by 1 until 400s
         blocked 1 at 400                         => no
         # a level has no window: without a duration it is only full
         acquire a 1 channel_connections 1        => ok
         acquire b 1 channel_connections 1        => refused channel_connections by 1 level 0, 1 of 1 used, drop
         block refused at 500                     => until 800s
         # which stops logins, and no frame of who is in
         blocked 1 for channel_connections at 500 => code 1
         blocked 1 at 500                         => no
         limit 1 channel_connections=1            => lifted channel_traffic until 400s channel_connections until 800s
         acquire b 1 channel_connections 1        => refused channel_connections by 1 level 0, 1 of 1 used
         block refused at 500                     => no",
    );
}

#[test]
fn each_dimension_is_blocked_for_itself() {
    check(
        "account 1                                => level 0
         account 2 under 1                        => level 1
         # from the journal, at a start
         block 1 api_calls until 500              => began
         block 1 api_calls until 500              => no change
         blocked 2 at 499                         => no
         blocked 2 for api_calls at 499           => code 2
         block 1 device_storage until 600         => began
         blocked 2 at 499                         => code 4 device_storage by 1 above until 600s
         block 1 device_storage until 0           => began
         blocked 2 at 499                         => no
         block 1 devices_count until 600          => began
         blocked 2 for devices_count at 599       => code 5
         blocked 2 for api_traffic at 499         => no
         block 2 api_traffic until 500            => began
         blocked 2 for api_traffic at 499         => code 3",
    );
}

#[test]
fn a_child_sees_no_id_and_no_number_of_what_is_above_it() {
    check(
        "account 1                            => level 0
         account 2 under 1                    => level 1
         account 3 under 2                    => level 2
         account 4 under 2                    => level 2
         account 9                            => level 0
         limit 2 channel_traffic=77           => ok
         charge 3 at 1 bytes=70               => ok
         charge 3 at 1 bytes=8                => refused channel_traffic by 2 level 1, 70 of 77 used, resets 2
         seen by 3                            => channel_traffic above, resets 2
         seen by 4                            => channel_traffic above, resets 2
         seen by 9                            => channel_traffic above, resets 2
         seen by 2                            => channel_traffic by 2 0 below, asked 8, 70 of 77 used, 7 left, resets 2
         seen by 1                            => channel_traffic by 2 1 below, asked 8, 70 of 77 used, 7 left, resets 2",
    );
}

#[test]
fn posted_numbers_are_a_parents_own_plus_its_childrens() {
    check(
        "account 1                  => level 0
         account 2 under 1          => level 1
         account 3 under 1          => level 1
         post 2 bytes=10 messages=1 => ok
         post 3 bytes=5 messages=2  => ok
         post 1 bytes=1             => ok
         posted 1                   => 16 3 3
         statement                  => 1:16 2:10 3:5
         # posting admits nothing
         used channel_traffic at 0 1 2 => 0 0",
    );
}

#[test]
fn totals_keep_their_stored_order() {
    let mut array = [0; Totals::LEN];
    for (at, number) in array.iter_mut().zip(1..) {
        *at = number;
    }
    let totals = Totals::from_array(array);
    assert_eq!(totals.to_array(), array);
    assert_eq!(
        (
            totals.bytes_in,
            totals.connections,
            totals.refused_device_storage
        ),
        (1, 12, Totals::LEN as u64)
    );
    assert_eq!(Totals::NAMES[2], "messages");
    assert_eq!(totals + totals - totals, totals);
    assert!((totals - totals).is_zero());
    let older = Totals::from_slice(&array[..3]);
    assert_eq!((older.messages, older.duplicates), (3, 0));
}

#[test]
fn dimensions_keep_their_numbers_and_their_names() {
    for (number, dimension) in (0..).zip(Dimension::ALL) {
        assert_eq!(dimension.number(), number);
        assert_eq!(Dimension::from_number(number), Some(dimension));
        assert_eq!(dimension.name().parse(), Ok(dimension));
        assert!((1..=5).contains(&dimension.blocked_code()));
    }
    assert_eq!(Dimension::from_number(12), None);
    assert!("sms_count".parse::<Dimension>().is_err());
    assert_eq!(Caps::default().with(Dimension::ApiCalls, -7), Caps::NONE);
    assert_eq!(Caps::NONE.get(Dimension::ApiCalls), NO_CAP);
}

#[test]
fn shares_of_a_frame_add_up_to_it() {
    for (bytes, parts) in [(0, 1), (7, 1), (7, 2), (7, 3), (2, 5), (u64::MAX, 4)] {
        let shares: Vec<u64> = split_bytes(bytes, parts).collect();
        assert_eq!(shares.len(), parts);
        assert_eq!(shares.iter().sum::<u64>(), bytes);
    }
    assert_eq!(split_bytes(7, 0).count(), 0);
}

#[test]
fn what_a_charge_exchanges_is_one_cache_line() {
    assert_eq!(size_of::<crate::account::word::FrameWindow>(), 64);
    assert_eq!(align_of::<crate::account::tree::Node>(), 128);
    assert_eq!(size_of::<Account>(), size_of::<usize>());
    assert!(ACCOUNTS_MAX * size_of::<crate::account::tree::Node>() < 1 << 30);
    assert_eq!(LEVELS_MAX, 5);
}

#[test]
fn every_change_raises_the_generation() {
    let tree = Tree::new();
    let before = tree.generation();
    let account = tree.insert(AccountId(1), AccountId::NONE).unwrap();
    let inserted = tree.generation();
    tree.set_rules(account.id(), Rules::default()).unwrap();
    let ruled = tree.generation();
    account
        .charge(
            1,
            Cost {
                bytes: 1,
                messages: 1,
            },
        )
        .unwrap();
    assert!(before < inserted && inserted < ruled);
    assert_eq!(tree.generation(), ruled, "a charge changes no rule");
}
