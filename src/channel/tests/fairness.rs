//! Who has much does not keep others waiting: backlogs beside live records, accounts beside each
//! other.

use super::IDENT;
use super::harness::*;
use crate::account::Dimension;
use crate::channel::bounds::{Bounds, READS_PER_TURN_MAX};
use crate::ids::minute_of;
use crate::router::CloseCode;

/// Trackers that all hold this many records.
const HOLDERS: u64 = 40;
const PACKETS: i64 = 2_000;

fn ident(number: u64) -> String {
    format!("3563070424{number:05}")
}

#[test]
fn live_records_go_before_the_backlog_of_many() {
    let gateway = Gateway::new();
    for number in 0..HOLDERS {
        gateway.register(1_000 + number, LEAF, "teltonika", &ident(number));
    }
    gateway.register(100, SIBLING, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut holders = Vec::new();
        for number in 0..HOLDERS {
            holders.push(gateway.logged_in(&ident(number)).await);
        }
        let backlog: Vec<u8> = (0..PACKETS)
            .flat_map(|second| packet(&[at(second)]))
            .collect();
        let sends = holders.into_iter().map(|mut holder| {
            let backlog = backlog.clone();
            tokio::task::spawn_local(async move {
                holder.send(&backlog).await;
                for _ in 0..PACKETS {
                    holder.expect(&taken(1)).await;
                }
            })
        });
        let sends: Vec<_> = sends.collect();
        let all = HOLDERS * u64::try_from(PACKETS).unwrap();
        tokio::task::yield_now().await;
        // who has just come is let in long before what the others have is through
        let mut live = gateway.connect(TELTONIKA);
        live.send(&login(IDENT)).await;
        live.expect(&[1]).await;
        let minute = minute_of(gateway.deps.clock.now_us());
        let account = gateway.account(LEAF);
        let admitted = account.admitted(Dimension::ChannelMessages, minute);
        assert!(admitted < all / 2, "{admitted} of {all}");
        live.send(&packet(&[at(1)])).await;
        live.expect(&taken(1)).await;
        for send in sends {
            send.await.unwrap();
        }
        gateway.until("all", || gateway.messages(LEAF) == all).await;
        assert_eq!(gateway.worker.allowance().0, READS_PER_TURN_MAX);
    });
}

#[test]
fn an_account_whose_devices_all_call_at_once_waits_for_its_turns_and_others_do_not() {
    let gateway = Gateway::with(Bounds {
        account_logins_max: 4,
        ..Bounds::default()
    });
    for number in 0..20 {
        gateway.register(1_000 + number, LEAF, "teltonika", &ident(number));
    }
    gateway.register(100, SIBLING, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut callers = Vec::new();
        for number in 0..20 {
            let mut caller = gateway.connect(TELTONIKA);
            caller.send(&login(&ident(number))).await;
            callers.push(caller);
        }
        gateway.until_parked(16).await;
        // another account's is let in at once
        let mut other = gateway.logged_in(IDENT).await;
        other.send(&packet(&[at(1)])).await;
        other.expect(&taken(1)).await;
        let mut waiting = 16;
        for _ in 0..5 {
            gateway.advance_ms(1_100).await;
            gateway
                .until("some more", || {
                    gateway.deps.router.parked_count() < waiting || waiting == 0
                })
                .await;
            waiting = gateway.deps.router.parked_count();
        }
        gateway.advance_ms(1_000).await;
        gateway.until_parked(0).await;
        for caller in &mut callers {
            caller.expect(&[1]).await;
        }
        assert_eq!(gateway.closed(), [0; 0]);
        gateway
            .deps
            .router
            .close_channel(TELTONIKA, CloseCode::ByUser);
    });
}

/// Messages a minute of an account.
const RATE: i64 = 100;
/// Tasks of a worker's thread that have their turn in one round of its queue.
const TASKS_PER_ROUND: u64 = 61;

#[test]
fn an_account_at_a_hundred_times_its_rate_costs_the_others_a_round_and_no_frame() {
    let loud = u64::try_from(trial_size("TOLLGATE_LOUD", 10)).unwrap();
    let frames = trial_size("TOLLGATE_HONEST_FRAMES", 50);
    let gateway = Gateway::new();
    for number in 0..loud {
        gateway.register(1_000 + number, LEAF, "teltonika", &ident(number));
    }
    gateway.register(100, SIBLING, "teltonika", IDENT);
    gateway.limit(LEAF, Dimension::ChannelMessages, RATE);
    gateway.run(async |gateway| {
        let mut honest = gateway.logged_in(IDENT).await;
        let mut sent = 0;
        let quiet = slowest(gateway, &mut honest, &mut sent, frames).await;
        let each = usize::try_from(RATE).unwrap() * 100 / usize::try_from(loud).unwrap();
        let flood = packet(&[at(1)]).repeat(each.max(1));
        // all are in before the first is loud: or each login would wait for the floods before it
        let mut loud_ones = Vec::new();
        for number in 0..loud {
            loud_ones.push(gateway.logged_in(&ident(number)).await);
        }
        let flood_of = |mut sender: Tracker| {
            let flood = flood.clone();
            tokio::task::spawn_local(async move { while sender.try_send(&flood).await {} })
        };
        let senders: Vec<_> = loud_ones.into_iter().map(flood_of).collect();
        let beside = slowest(gateway, &mut honest, &mut sent, frames).await;
        // each that is loud, and who sends for it, has its turn once before
        let bound = quiet + (2 * loud).div_ceil(TASKS_PER_ROUND) + 1;
        assert!(
            beside <= bound,
            "{beside} rounds, {quiet} without, {bound} at most"
        );
        let minute = minute_of(gateway.deps.clock.now_us());
        let admitted = |id| {
            gateway
                .account(id)
                .admitted(Dimension::ChannelMessages, minute)
        };
        assert_eq!(admitted(SIBLING), u64::try_from(sent).unwrap());
        assert!(admitted(LEAF) <= u64::try_from(RATE).unwrap());
        assert_eq!(gateway.messages(SIBLING), u64::try_from(sent).unwrap());
        assert_eq!(gateway.closed(), [0; 0]);
        for sender in senders {
            sender.abort();
        }
    });
}

/// Sends so many frames, each acked, and tells how many rounds of the thread the slowest took from
/// its send to its charge. What the disk takes behind that is no matter of turns.
async fn slowest(gateway: &Gateway, honest: &mut Tracker, sent: &mut i64, frames: usize) -> u64 {
    let minute = minute_of(gateway.deps.clock.now_us());
    let account = gateway.account(SIBLING);
    let mut slowest = 0;
    for _ in 0..frames {
        *sent += 1;
        honest.send(&packet(&[at(*sent)])).await;
        let mut rounds = 0;
        while account.admitted(Dimension::ChannelMessages, minute) < u64::try_from(*sent).unwrap() {
            rounds += 1;
            tokio::task::yield_now().await;
        }
        slowest = slowest.max(rounds);
        honest.expect(&taken(1)).await;
    }
    slowest
}
