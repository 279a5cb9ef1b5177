//! Whatever a connection waits for, whatever shall end it does, in its time: every place where the
//! driver waits, against every end.

use super::IDENT;
use super::harness::*;
use crate::account::{Caps, Dimension, Rules};
use crate::channel::bounds::Bounds;
use crate::ids::{ChannelId, Clock as _, ConnectionId, DeviceId, minute_of};
use crate::journal::{Permit, QUEUE_BYTES_MAX};
use crate::metrics::names;
use crate::router::{CloseCode, Command};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const DEVICE: DeviceId = DeviceId(100);
const MUTE: &str = "7000000001";

/// What a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// Its first byte.
    Silent,
    /// Something from its device.
    Idle,
    /// The rest of a frame.
    Begun,
    /// That its peer takes what it is sent.
    Unsent,
    /// The disk, with a reply to send.
    Owed,
    /// The disk, with so many replies that nothing is read.
    Full,
    /// The disk, with a reply to send, and then a command.
    Due,
    /// The answer to a command.
    Commanded,
    /// The next window of a limit.
    Parked,
    /// The same, of a protocol whose trackers send nothing again.
    ParkedMute,
    /// Room in the journal's queue.
    Room,
    /// The same, of a protocol whose trackers send nothing again.
    RoomMute,
    /// Nothing any more: the journal has failed.
    Failed,
    /// The same, with a frame of a tracker that sends nothing again.
    FailedMute,
}

/// What ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Order,
    Moved,
    Replaced,
    Drain,
    Time,
    HangUp,
}

const WAITS: [Waits; 14] = [
    Waits::Silent,
    Waits::Idle,
    Waits::Begun,
    Waits::Unsent,
    Waits::Owed,
    Waits::Full,
    Waits::Due,
    Waits::Commanded,
    Waits::Parked,
    Waits::ParkedMute,
    Waits::Room,
    Waits::RoomMute,
    Waits::Failed,
    Waits::FailedMute,
];

/// The code that it closes with; none: there is nothing to try.
fn code(waits: Waits, end: End) -> Option<i16> {
    let is_parked = matches!(waits, Waits::Parked | Waits::ParkedMute);
    match end {
        End::Order => Some(10),
        End::Moved => (waits != Waits::Silent).then_some(15),
        End::Replaced => (waits != Waits::Silent).then_some(12),
        End::Drain => Some(7),
        End::Time if is_parked => Some(21),
        End::Time => Some(17),
        // what nobody sends again is kept for its time, if it can still be stored then
        End::HangUp if waits == Waits::ParkedMute => Some(21),
        End::HangUp if waits == Waits::RoomMute => Some(17),
        End::HangUp => Some(2),
    }
}

/// The far end, and what is held for the wait.
struct Far {
    stream: Option<TcpStream>,
    _others: Vec<TcpStream>,
    _room: Option<Permit>,
}

/// A connection whose ends take little that is not read.
async fn connect(gateway: &Gateway, channel: ChannelId) -> TcpStream {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    let (near, far) = (near.unwrap(), far.unwrap().0);
    for end in [&near, &far] {
        let socket = socket2::SockRef::from(end);
        socket.set_send_buffer_size(4096).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
    }
    gateway.take_in(channel, far);
    near
}

async fn logged_in(gateway: &Gateway, ident: &str) -> TcpStream {
    let mut stream = connect(gateway, TELTONIKA).await;
    stream.write_all(&login(ident)).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 1);
    stream
}

fn admitted(gateway: &Gateway) -> u64 {
    let minute = minute_of(gateway.clock.now_us());
    let account = gateway.account(LEAF);
    account.admitted(Dimension::ChannelMessages, minute)
}

async fn until_admitted(gateway: &Gateway, count: u64) {
    let what = "admitted";
    gateway.until(what, || admitted(gateway) == count).await;
}

fn order(gateway: &Gateway) {
    let router = &gateway.deps.router;
    let now_us = gateway.clock.now_us();
    router.commands().room(DEVICE).unwrap();
    router.commands().add(Command {
        id: router.commands().next_id(now_us),
        device: DEVICE,
        name: "custom".into(),
        properties: json!({ "payload": "getver" }),
        priority: 0,
        timeout_ms: 3_600_000,
        attempts_max: 1,
        expires_us: now_us + 86_400_000_000,
        stored: false,
    });
    let present = gateway.deps.registry.device(DEVICE).unwrap().present();
    assert!(router.command(present));
}

/// A position, or something that is answered at once.
fn fix(second: u32) -> Vec<u8> {
    format!("*HQ,{MUTE},V1,1057{second:02},A,3757.3392,S,14503.7022,E,0,1,280122,FFFFFBFF#\r\n")
        .into_bytes()
}

/// What is left of the journal's queue.
async fn all_room(gateway: &Gateway) -> Permit {
    let journal = &gateway.deps.journal;
    gateway.worker.hand_in(gateway.worker.now_us(), true);
    let left = || QUEUE_BYTES_MAX - journal.queue_bytes();
    let mut permit = None;
    gateway
        .until("room", || {
            permit = journal.try_permit(left());
            permit.is_some() && left() == 0
        })
        .await;
    permit.unwrap()
}

async fn until_stalled(gateway: &Gateway) {
    let line = format!("{} 1", names::STALLS.name);
    let metrics = &gateway.deps.metrics;
    let stalled = || metrics.render().lines().any(|found| found == line);
    gateway.until("stalled", stalled).await;
}

async fn mute(gateway: &Gateway) -> TcpStream {
    let mut stream = connect(gateway, H02).await;
    stream.write_all(&fix(0)).await.unwrap();
    gateway
        .until("stored", || gateway.messages(LEAF) == 1)
        .await;
    stream
}

/// Brings a connection to where it waits so.
async fn bring(gateway: &Gateway, waits: Waits) -> Far {
    let of_mute = matches!(
        waits,
        Waits::Unsent | Waits::ParkedMute | Waits::RoomMute | Waits::FailedMute
    );
    let (protocol, ident) = if of_mute {
        ("h02", MUTE)
    } else {
        ("teltonika", IDENT)
    };
    gateway.register(DEVICE.0, LEAF, protocol, ident);
    let mut room = None;
    let mut others = Vec::new();
    let one = packet(&[at(1)]);
    let mut stream = match waits {
        Waits::Silent => connect(gateway, TELTONIKA).await,
        _ if of_mute => mute(gateway).await,
        _ => logged_in(gateway, IDENT).await,
    };
    match waits {
        Waits::Silent | Waits::Idle => {}
        Waits::Begun => stream.write_all(&one[..one.len() / 2]).await.unwrap(),
        Waits::Unsent => {
            let heartbeat =
                format!("*HQ,{MUTE},V1,105759,A,3757.3392,S,14503.7022,E,0,1,280122,FF#\r\n");
            let flood = heartbeat.repeat(20);
            // until nothing is taken any more
            let sends = async { while stream.write_all(flood.as_bytes()).await.is_ok() {} };
            let stuck = tokio::time::timeout(SILENCE * 3, sends).await;
            assert!(stuck.is_err(), "closed: {:?}", gateway.closed());
        }
        Waits::Owed | Waits::Due | Waits::Full => {
            gateway.files.hold();
            let count = if waits == Waits::Full { 1_100 } else { 1 };
            let frames: Vec<u8> = (0..count)
                .flat_map(|second| packet(&[at(second)]))
                .collect();
            // what does not fit any more stays with the tracker
            let sends = stream.write_all(&frames);
            _ = tokio::time::timeout(SILENCE * 3, sends).await;
            let most = count.unsigned_abs().min(1_024);
            let what = "admitted";
            gateway.until(what, || admitted(gateway) >= most).await;
            if waits == Waits::Due {
                order(gateway);
            }
        }
        Waits::Commanded => {
            order(gateway);
            assert_ne!(stream.read(&mut [0; 64]).await.unwrap(), 0);
        }
        Waits::Parked | Waits::ParkedMute => {
            gateway.rule(
                LEAF,
                Rules {
                    caps: Caps::default().with(Dimension::ChannelMessages, 1),
                    blocking_duration_s: 3_600,
                    park_ms_max: 10_000,
                    ..Rules::default()
                },
            );
            if waits == Waits::Parked {
                stream.write_all(&one).await.unwrap();
                until_admitted(gateway, 1).await;
            }
            let second = if waits == Waits::Parked {
                packet(&[at(2)])
            } else {
                fix(1)
            };
            stream.write_all(&second).await.unwrap();
            gateway.until_parked(1).await;
        }
        Waits::Room | Waits::RoomMute => {
            room = Some(all_room(gateway).await);
            let frame = if waits == Waits::Room { one } else { fix(1) };
            stream.write_all(&frame).await.unwrap();
            until_stalled(gateway).await;
        }
        Waits::Failed => {
            gateway.files.fail();
            stream.write_all(&one).await.unwrap();
            let what = "failed";
            gateway.until(what, || gateway.worker.mark().failed).await;
        }
        Waits::FailedMute => {
            // another one's frame is what the disk fails at
            gateway.register(101, LEAF, "teltonika", IDENT);
            let mut other = logged_in(gateway, IDENT).await;
            gateway.files.hold();
            other.write_all(&one).await.unwrap();
            until_admitted(gateway, 2).await;
            room = Some(all_room(gateway).await);
            stream.write_all(&fix(1)).await.unwrap();
            until_stalled(gateway).await;
            gateway.files.fail();
            gateway.files.let_go();
            let what = "failed";
            gateway.until(what, || gateway.worker.mark().failed).await;
            gateway
                .deps
                .router
                .close_device(DeviceId(101), CloseCode::ByUser);
            gateway.until("closed", || gateway.closed() == [10]).await;
            others.push(other);
        }
    }
    Far {
        stream: Some(stream),
        _others: others,
        _room: room,
    }
}

async fn ends(gateway: &Gateway, waits: Waits, end: End) {
    let Some(code) = code(waits, end) else {
        return;
    };
    let mut far = bring(gateway, waits).await;
    let before = gateway.closed();
    let router = &gateway.deps.router;
    let id = router.connections(|_| true).first().expect("it lives").id;
    match end {
        End::Order => assert!(router.close(id, CloseCode::ByUser)),
        End::Moved => assert_eq!(router.close_device(DEVICE, CloseCode::DeviceChanged), 1),
        End::Replaced => {
            // as the newer connection does
            let device = gateway.deps.registry.device(DEVICE).unwrap();
            assert_eq!(device.take_over(ConnectionId(u64::MAX - 1)), id);
            router.evict(id, DEVICE, CloseCode::IdentCollision);
        }
        End::Drain => gateway.worker.begin_drain(gateway.clock.now_ms() + 5_000),
        End::Time => {}
        // its answers, which it has not read, turn its end into a reset
        End::HangUp if waits == Waits::Unsent => drop(far.stream.take()),
        End::HangUp => far.stream.as_mut().unwrap().shutdown().await.unwrap(),
    }
    let what = format!("{waits:?} ended by {end:?}, {code}");
    // the clock goes on by so much at each look
    let step_ms = match end {
        End::Time | End::HangUp => 1_000,
        _ => 100,
    };
    gateway
        .until(&what, || {
            gateway.clock.advance_us(step_ms * 1_000);
            gateway.worker.turn();
            gateway.closed().len() > before.len()
        })
        .await;
    assert_eq!(gateway.closed()[before.len()..], [code], "{what}");
    gateway.until("gone", || router.count() == 0).await;
    assert_eq!(gateway.worker.live(), 0, "{what}");
    drop(far);
}

/// Ends in less virtual time than the looks of a test's patience come to.
fn short() -> Bounds {
    Bounds {
        identify_ms: 20_000,
        frame_ms: 20_000,
        idle_ms: 30_000,
        ..Bounds::default()
    }
}

fn every_wait_is_ended_by(end: End) {
    for waits in WAITS {
        Gateway::with(short()).run(async |gateway| ends(gateway, waits, end).await);
    }
}

#[test]
fn an_order_ends_every_wait() {
    every_wait_is_ended_by(End::Order);
}

#[test]
fn a_moved_device_ends_every_wait() {
    every_wait_is_ended_by(End::Moved);
}

#[test]
fn a_newer_connection_ends_every_wait() {
    every_wait_is_ended_by(End::Replaced);
}

#[test]
fn a_drain_ends_every_wait() {
    every_wait_is_ended_by(End::Drain);
}

#[test]
fn its_time_ends_every_wait() {
    every_wait_is_ended_by(End::Time);
}

#[test]
fn a_hang_up_ends_every_wait() {
    every_wait_is_ended_by(End::HangUp);
}
