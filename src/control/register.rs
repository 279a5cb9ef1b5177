//! Messages that come by the API in place of a connection: stored, charged and told of as a frame
//! would be, in one entry, durable before the answer.

use super::Control;
use crate::account::{Cost, Refusal};
use crate::ids::{ChannelId, ConnectionId, US_PER_MINUTE, minute_of};
use crate::journal::{Batch, FrameMeta, FrameWriter, PartMeta};
use crate::registry::{DeviceHandle, DeviceState, Recent, RecordKey};
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

/// How many messages were stored, and how many were there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// Stored now.
    pub messages: u64,
    /// Stored already.
    pub duplicates: u64,
}

/// Why messages were not stored: none of them was.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegisterError {
    /// A limit has no room.
    #[error("a limit is reached")]
    Refused(Refusal),
    /// The device was deleted or disabled.
    #[error("the device is disabled or gone")]
    Disabled,
    /// The journal cannot write.
    #[error("the messages could not be made durable")]
    Journal,
}

impl Control {
    /// Stores records of a device, each with what it is recognised by. `bytes` is what they cost of
    /// traffic. Blocks until they are durable.
    pub fn register(
        &self,
        device: &Arc<DeviceHandle>,
        records: &[(Vec<u8>, Option<RecordKey>)],
        bytes: u32,
        peer: Option<SocketAddr>,
    ) -> Result<Registered, RegisterError> {
        let size: usize = records.iter().map(|(bytes, _)| bytes.len()).sum();
        let permit = self
            .permit(size.saturating_add(256))
            .ok_or(RegisterError::Journal)?;
        // as the driver does: what is looked at under it holds until the append
        let window = device.recent();
        let state = device.state.load_full();
        if state.gone || !state.enabled {
            return Err(RegisterError::Disabled);
        }
        let now_us = self.clock.now_us();
        let write = |at_us| Written::new(device, &state, &window, records, (at_us, bytes), peer);
        let mut written = write(now_us);
        let cost = Cost {
            bytes: u64::from(bytes),
            messages: written.done.messages,
        };
        let minute = state
            .account
            .charge(minute_of(now_us), cost)
            .map_err(RegisterError::Refused)?;
        if minute != minute_of(now_us) {
            // a later minute has paid for it
            written = write(i64::from(minute) * US_PER_MINUTE);
        }
        let Written {
            mut batch,
            keys,
            done,
        } = written;
        let position = self.journal.append(permit, &mut batch);
        let mut telemetry = device.telemetry();
        for (record, _) in records {
            telemetry.update(record, position, self.clock.now_ms());
        }
        drop(telemetry);
        // behind telemetry: a snapshot waits for the window
        device.remember(window, &keys);
        if self.router.is_followed() {
            self.router.appended(ChannelId::NONE, device.id, position);
        }
        self.wait_durable(position);
        if self.journal.durable() < position {
            return Err(RegisterError::Journal);
        }
        Ok(done)
    }
}

/// An entry that is to be appended, and what is to be remembered of it.
struct Written {
    batch: Batch,
    keys: Vec<RecordKey>,
    done: Registered,
}

impl Written {
    fn new(
        device: &DeviceHandle,
        state: &DeviceState,
        window: &Recent,
        records: &[(Vec<u8>, Option<RecordKey>)],
        (at_us, bytes_in): (i64, u32),
        peer: Option<SocketAddr>,
    ) -> Self {
        let mut batch = Batch::new();
        let mut writer = FrameWriter::begin(
            &mut batch,
            &FrameMeta {
                at_us,
                connection: ConnectionId::NONE,
                channel: ChannelId::NONE,
                protocol: device.protocol,
                decoder_version: 0,
                peer: peer.unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into()),
                bytes_in,
            },
        );
        writer.part(&PartMeta {
            ident: &device.ident,
            device: device.id,
            account: state.account.id(),
            epoch: state.epoch,
        });
        let mut keys = Vec::new();
        let mut seen = HashSet::new();
        let mut done = Registered {
            messages: 0,
            duplicates: 0,
        };
        for (bytes, key) in records {
            if let Some(key) = *key {
                let told = (key.timestamp_ms, key.content_hash);
                if window.holds(key) || !seen.insert(told) {
                    writer.duplicate();
                    done.duplicates += 1;
                    continue;
                }
                keys.push(key);
            }
            writer.record(bytes);
            done.messages += 1;
        }
        writer.finish(0);
        Self { batch, keys, done }
    }
}
