//! Every way in which a connection can end, with its code in the log and in the metrics, and what it
//! carried.

use super::IDENT;
use super::harness::*;
use crate::account::{Caps, Dimension, Rules};
use crate::channel::bounds::SWALLOW_MS;
use crate::channel::connection::Wire;
use crate::channel::events::Happened;
use crate::ids::DeviceId;
use crate::registry::items::{ChannelItem, Takeover};
use crate::router::CloseCode;
use std::collections::BTreeSet;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What the table below does not show: nothing gives these today (-1, 3, 18), and what an allow-list
/// turns away is never a connection (16; the test of allow-lists has it).
const ELSEWHERE: [CloseCode; 4] = [
    CloseCode::Unexpected,
    CloseCode::Done,
    CloseCode::Whitelist,
    CloseCode::Unsupported,
];

/// A stream over which the driver panics.
struct Broken;

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        panic!("a bug of the driver, made on purpose");
    }
}

impl AsyncWrite for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, b: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(b.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Wire for Broken {}

/// Ends a connection so that it closes with `code`; gives back what keeps the far end open.
async fn end_with(gateway: &Gateway, code: CloseCode) -> Vec<Tracker> {
    let router = &gateway.deps.router;
    let registry = &gateway.deps.registry;
    match code {
        CloseCode::ByTracker => drop(gateway.logged_in(IDENT).await),
        CloseCode::Violation => {
            let mut tracker = gateway.connect(TELTONIKA);
            tracker.send(&[0xee; 64]).await;
            return vec![tracker];
        }
        CloseCode::Internal => gateway.take_in(TELTONIKA, Broken),
        CloseCode::Parse => {
            let mut tracker = gateway.logged_in(IDENT).await;
            let mut frame = packet(&[at(1)]);
            *frame.last_mut().unwrap() ^= 1;
            for _ in 0..protocols::REJECTS_IN_A_ROW_MAX {
                if !tracker.try_send(&frame).await {
                    break;
                }
            }
            return vec![tracker];
        }
        CloseCode::Restart => {
            let tracker = gateway.logged_in(IDENT).await;
            gateway
                .worker
                .begin_drain(gateway.deps.clock.now_ms() + 5_000);
            return vec![tracker];
        }
        CloseCode::ChannelChanged => {
            let mut tracker = gateway.logged_in(IDENT).await;
            let gone = ChannelItem {
                enabled: false,
                ..channel(TELTONIKA, "teltonika")
            };
            registry.put_channel(gone).unwrap();
            router.close_channel(TELTONIKA, CloseCode::ChannelChanged);
            tracker.expect_end().await;
        }
        CloseCode::ByUser => {
            let tracker = gateway.logged_in(IDENT).await;
            let of = registry.device(DeviceId(100)).unwrap().present();
            router.close(of, CloseCode::ByUser);
            return vec![tracker];
        }
        CloseCode::IdentCollision => {
            let keeps = ChannelItem {
                takeover: Takeover::Keep,
                ..channel(TELTONIKA, "teltonika")
            };
            registry.put_channel(keeps).unwrap();
            let incumbent = gateway.logged_in(IDENT).await;
            let mut other = gateway.connect(TELTONIKA);
            other.send(&login(IDENT)).await;
            return vec![incumbent, other];
        }
        CloseCode::DeviceBlocked => {
            let frame = packet(&[at(1), at(2)]);
            let rules = Rules {
                caps: Caps::default().with(Dimension::ChannelMessages, 1),
                ..Rules::default()
            };
            gateway.rule(LEAF, rules);
            let mut tracker = gateway.logged_in(IDENT).await;
            tracker.send(&frame).await;
            return vec![tracker];
        }
        CloseCode::Authentication => {
            let mut tracker = gateway.connect(TELTONIKA);
            tracker.send(&login("356307042441999")).await;
            tracker.expect(&[0]).await;
            gateway.advance_ms(61_000).await;
            return vec![tracker];
        }
        CloseCode::DeviceChanged => {
            let tracker = gateway.logged_in(IDENT).await;
            router.close_device(DeviceId(100), CloseCode::DeviceChanged);
            return vec![tracker];
        }
        CloseCode::Inactivity => {
            let tracker = gateway.logged_in(IDENT).await;
            gateway.advance_ms(601_000).await;
            return vec![tracker];
        }
        CloseCode::Mismatch => {
            registry.remove_channel(H02);
            let mut item = channel(TELTONIKA, "teltonika");
            item.protocols.push(protocols::find("h02").unwrap().number);
            item.protocols.sort_unstable();
            registry.put_channel(item).unwrap();
            let mut tracker = gateway.connect(TELTONIKA);
            tracker.send(b"GET / HTTP/1.1\r\n\r\n").await;
            return vec![tracker];
        }
        CloseCode::ChannelBlocked => {
            let rules = Rules {
                caps: Caps::default().with(Dimension::ChannelMessages, 1),
                blocking_duration_s: 600,
                ..Rules::default()
            };
            gateway.rule(LEAF, rules);
            let mut tracker = gateway.logged_in(IDENT).await;
            tracker.send(&packet(&[at(1)])).await;
            tracker.expect(&taken(1)).await;
            tracker.send(&packet(&[at(2)])).await;
            gateway.until_parked(1).await;
            gateway.advance_ms(91_000).await;
            return vec![tracker];
        }
        CloseCode::DeviceDisabled => {
            registry.tree().set_enabled(LEAF, false).unwrap();
            let mut tracker = gateway.connect(TELTONIKA);
            tracker.send(&login(IDENT)).await;
            return vec![tracker];
        }
        CloseCode::Unexpected | CloseCode::Done | CloseCode::Whitelist | CloseCode::Unsupported => {
        }
    }
    Vec::new()
}

#[test]
fn every_way_to_end_has_its_code_in_the_log_and_in_the_metrics() {
    let elsewhere = BTreeSet::from(ELSEWHERE);
    for code in CloseCode::ALL {
        if elsewhere.contains(code) {
            continue;
        }
        let gateway = Gateway::new();
        gateway.register(100, LEAF, "teltonika", IDENT);
        gateway.run(async |gateway| {
            let far_ends = end_with(gateway, *code).await;
            // behind a refusal what still comes is swallowed for a while
            for _ in 0..100 {
                if !gateway.closed().is_empty() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                gateway.advance_ms(SWALLOW_MS + 200).await;
            }
            assert_eq!(gateway.closed(), [code.number()], "{code}");
            // the metrics agree with the log, code by code
            let page = gateway.deps.metrics.render();
            let line = format!(
                "tollgate_connections_closed_total{{code=\"{}\"}} 1",
                code.number()
            );
            assert!(page.lines().any(|known| known == line), "{code}\n{page}");
            drop(far_ends);
        });
    }
}

#[test]
fn a_connection_s_end_says_what_it_carried() {
    let gateway = Gateway::new();
    gateway.register(100, LEAF, "teltonika", IDENT);
    gateway.run(async |gateway| {
        let mut tracker = gateway.logged_in(IDENT).await;
        let frame = packet(&[at(1), at(2)]);
        tracker.send(&frame).await;
        tracker.expect(&taken(2)).await;
        gateway.advance_ms(2_500).await;
        drop(tracker);
        gateway.until("closed", || gateway.closed() == [2]).await;
        let told = gateway.told(|what| match what {
            Happened::Closed {
                who,
                messages,
                received,
                sent,
                duration_us,
                ..
            } => Some((who.clone(), *messages, *received, *sent, *duration_us)),
            _ => None,
        });
        let (who, messages, received, sent, duration_us) = told.first().cloned().unwrap();
        let who = who.expect("its device");
        assert_eq!((who.ident.as_str(), who.device), (IDENT, DeviceId(100)));
        let bytes_in = (login(IDENT).len() + frame.len()) as u64;
        assert_eq!((messages, received, sent), (2, bytes_in, 5));
        assert_eq!(duration_us, 2_500_000);
    });
}
