//! The routes of the local socket that are not part of the public API: what the command line
//! needs of a running gateway.

use super::backup;
use super::export::{self, Asked};
use super::gateway::Gateway;
use super::packets;
use crate::control::Control;
use crate::ids::{AccountId, ChannelId, DeviceId};
use crate::journal::{Follow, Journal};
use crate::raw::RawTraffic;
use crate::registry::Registry;
use crate::store::SledLedger;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_util::io::ReaderStream;

/// Messages that a follower is handed at a time.
const FOLLOW_MESSAGES: usize = 256;
/// Bytes that wait for a follower that reads slowly; behind that it is not read for.
const FOLLOW_BYTES: usize = 64 * 1024;
/// A follower is looked at so often, so that one who left is noticed.
const FOLLOW_PULSE: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Rooms {
    journal: Journal,
    registry: Arc<Registry>,
    control: Arc<Control>,
    raw: Arc<RawTraffic>,
    at_rest: (SledLedger, PathBuf),
    /// One backup at a time.
    backup: Arc<Mutex<()>>,
}

/// The local API: the public routes for the operator, and what the command line needs.
pub(super) fn of(gateway: &Gateway) -> Router {
    let control = &gateway.control;
    let rooms = Rooms {
        journal: control.journal().clone(),
        registry: Arc::clone(control.registry()),
        control: Arc::clone(control),
        raw: Arc::clone(&gateway.raw),
        at_rest: gateway.at_rest.clone(),
        backup: Arc::default(),
    };
    let own = Router::new()
        .route("/local/audit", get(audit))
        .route("/local/backup", post(take_backup))
        .route("/local/erase", post(erase))
        .route("/local/erasing", get(erasing))
        .route("/local/export", post(export_messages))
        .route("/local/follow", get(follow))
        .route("/local/packets", post(capture))
        .with_state(rooms);
    crate::api::local(gateway.state()).merge(own)
}

/// Where a backup goes.
#[derive(Debug, Deserialize)]
struct BackupTo {
    dir: PathBuf,
}

/// Takes a backup into a folder of this machine.
async fn take_backup(State(rooms): State<Rooms>, Json(to): Json<BackupTo>) -> Response {
    let taken = tokio::task::spawn_blocking(move || {
        let _alone = rooms.backup.lock().unwrap_or_else(PoisonError::into_inner);
        let (ledger, data) = &rooms.at_rest;
        backup::take(&rooms.control, ledger, data, &to.dir)
    });
    match taken.await {
        Ok(Ok(copied)) => Json(json!({ "result": [copied] })).into_response(),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

/// Whose data is to be erased.
#[derive(Debug, Clone, Copy, Deserialize)]
struct ToErase {
    device: DeviceId,
}

/// Erases everything of a device; answers when nobody reads it any more.
async fn erase(State(rooms): State<Rooms>, Json(of): Json<ToErase>) -> Response {
    let erased = tokio::task::spawn_blocking(move || rooms.control.erase(of.device));
    match erased.await {
        Ok(Ok(())) => Json(json!({ "result": [{ "device": of.device }] })).into_response(),
        Ok(Err(error)) => failed(&error),
        Err(error) => failed(&error),
    }
}

/// The devices whose data is being erased.
async fn erasing(State(rooms): State<Rooms>) -> Response {
    let all = rooms.journal.erasing();
    let all: Vec<_> = all
        .iter()
        .map(|one| json!({ "device": one.device }))
        .collect();
    Json(json!({ "result": all })).into_response()
}

/// Messages of devices, in the form that was asked for.
async fn export_messages(State(rooms): State<Rooms>, Json(asked): Json<Asked>) -> Response {
    if let Some(missing) = export::missing(&rooms.registry, &asked) {
        return failed(&missing);
    }
    let (reader, mut writer) = tokio::io::duplex(FOLLOW_BYTES);
    let (pieces, mut to_write) = mpsc::channel::<String>(4);
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Some(piece) = to_write.recv().await {
            if writer.write_all(piece.as_bytes()).await.is_err() {
                return;
            }
        }
    });
    // it ends by itself when the reader leaves: nobody takes the next piece then
    drop(tokio::task::spawn_blocking(move || {
        export::export(&rooms.journal, &rooms.registry, &asked, &mut |piece| {
            pieces.blocking_send(piece).is_ok()
        });
    }));
    Body::from_stream(ReaderStream::new(reader)).into_response()
}

/// Raw traffic as a capture.
async fn capture(State(rooms): State<Rooms>, Json(asked): Json<packets::Asked>) -> Response {
    let (raw, of) = (Arc::clone(&rooms.raw), asked.clone());
    match tokio::task::spawn_blocking(move || packets::any(&raw, &of)).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => return failed(&"no raw traffic is kept of that"),
        Ok(Err(error)) => return failed(&error),
        Err(error) => return failed(&error),
    }
    let (reader, mut writer) = tokio::io::duplex(FOLLOW_BYTES);
    let (pieces, mut to_write) = mpsc::channel::<Vec<u8>>(4);
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        while let Some(piece) = to_write.recv().await {
            if writer.write_all(&piece).await.is_err() {
                return;
            }
        }
    });
    // it ends by itself when the reader leaves: nobody takes the next piece then
    drop(tokio::task::spawn_blocking(move || {
        let out = std::io::BufWriter::with_capacity(FOLLOW_BYTES, Pieces(pieces));
        if let Err(error) = packets::capture(&rooms.raw, &rooms.control, &asked, out) {
            tracing::debug!(%error, "nobody reads a capture on");
        }
    }));
    Body::from_stream(ReaderStream::new(reader)).into_response()
}

/// Hands what is written on in pieces.
struct Pieces(mpsc::Sender<Vec<u8>>);

impl std::io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let sent = self.0.blocking_send(bytes.to_vec());
        sent.map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Recounts the journal and says where the counters differ.
async fn audit(State(rooms): State<Rooms>) -> Response {
    let journal = rooms.journal.clone();
    let audit = match tokio::task::spawn_blocking(move || journal.audit()).await {
        Ok(Ok(audit)) => audit,
        Ok(Err(error)) => return failed(&error),
        Err(error) => return failed(&error),
    };
    let accounts: Vec<_> = audit
        .accounts
        .iter()
        .map(|(id, totals)| {
            let name = rooms.registry.account(*id).map(|item| item.name.clone());
            json!({
                "id": id.0,
                "name": name,
                "messages": totals.messages,
                "bytes_in": totals.bytes_in,
                "bytes_out": totals.bytes_out,
            })
        })
        .collect();
    let differences = audit.differences.iter().map(ToString::to_string);
    let differences: Vec<String> = differences.chain(audit.archives).collect();
    let result = json!({
        "entries": audit.entries,
        "bytes": audit.bytes,
        "archived": audit.archived,
        "position": audit.position.sequence(),
        "accounts": accounts,
        "differences": differences,
    });
    Json(json!({ "result": [result] })).into_response()
}

/// Which messages to follow: of a device, of a channel, or all.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Followed {
    #[serde(default)]
    device: u64,
    #[serde(default)]
    channel: u64,
}

/// Messages as they become durable, one JSON object a line, until the reader leaves.
async fn follow(State(rooms): State<Rooms>, Query(of): Query<Followed>) -> Response {
    let (reader, writer) = tokio::io::duplex(FOLLOW_BYTES);
    let mut watermark = rooms.journal.subscribe();
    let from = rooms.journal.follow(rooms.journal.durable());
    let (lines, mut to_write) = mpsc::channel::<Bytes>(4);
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let mut writer = writer;
        while let Some(bytes) = to_write.recv().await {
            if writer.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let mut from = from;
        loop {
            let registry = Arc::clone(&rooms.registry);
            let read = tokio::task::spawn_blocking(move || {
                let text = read_on(&mut from, of, &registry);
                (from, text)
            });
            let Ok((next, Ok(text))) = read.await else {
                return;
            };
            from = next;
            if !text.is_empty() && lines.send(text.into()).await.is_err() {
                return;
            }
            if !from.is_behind() {
                match tokio::time::timeout(FOLLOW_PULSE, watermark.changed()).await {
                    Ok(Err(_)) => return,
                    // an empty line shows whether the reader is still there
                    Err(_) if lines.send(Bytes::from_static(b"\n")).await.is_err() => return,
                    Ok(Ok(())) | Err(_) => {}
                }
            }
        }
    });
    Body::from_stream(ReaderStream::new(reader)).into_response()
}

fn read_on(from: &mut Follow, of: Followed, registry: &Registry) -> std::io::Result<String> {
    let mut wanted = |channel: ChannelId, device: DeviceId, _: AccountId| {
        (of.device == 0 || device.0 == of.device) && (of.channel == 0 || channel.0 == of.channel)
    };
    let mut text = String::new();
    for message in from.read(FOLLOW_MESSAGES, &mut wanted)? {
        let device = registry
            .device(message.device)
            .map(|device| device.state.load_full());
        let names = device.as_ref().map(|state| crate::journal::DeviceNames {
            name: &state.item.name,
            type_id: u64::from(state.item.device_type_id),
        });
        text += &serde_json::Value::Object(message.json(names)).to_string();
        text.push('\n');
    }
    Ok(text)
}

fn failed(error: &dyn std::fmt::Display) -> Response {
    let body = json!({ "result": [], "errors": [{ "code": 5, "reason": error.to_string() }] });
    (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response()
}
