//! The bytes of a frame's entries. It charges nothing and appends nothing.

use std::sync::MutexGuard;

use protocols::{Event, Record};

use super::{Payer, saturated};
use crate::channel::connection::{Core, Walk};
use crate::channel::frames::Span;
use crate::channel::worker::Scratch;
use crate::journal::{Batch, FrameMeta, FrameWriter, Note, PartMeta};
use crate::registry::{Recent, RecordKey};

impl Core {
    pub(super) fn write_parts(
        &self,
        walk: &Walk,
        span: &Span,
        at_us: i64,
        payers: &[Payer],
        batch: &mut Batch,
    ) {
        if span.parts == 0 {
            return;
        }
        // with messages in the frame, its bytes stand in their entry
        let mut bytes_in = if span.messages > 0 { 0 } else { span.bytes };
        let events = walk.output.events.get(span.first..span.end);
        for event in events.into_iter().flatten() {
            let Event::Part { login, range } = event else {
                continue;
            };
            let Some(payer) = payers.iter().find(|payer| payer.login == *login) else {
                continue;
            };
            Note::Part {
                at_us,
                connection: self.handle.id(),
                channel: self.channel.id,
                ident: &payer.ident,
                device: payer.device_id,
                account: payer.account.id(),
                bytes: walk.output.bytes.get(range.clone()).unwrap_or_default(),
                bytes_in: saturated(std::mem::take(&mut bytes_in)),
            }
            .write(batch);
        }
    }

    /// Writes a frame's entry. Gives back how many of its messages are stored already.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one step of settling"
    )]
    pub(super) fn write_messages(
        &self,
        walk: &Walk,
        span: &Span,
        at_us: i64,
        payers: &mut [Payer],
        windows: &[Option<MutexGuard<'_, Recent>>],
        batch: &mut Batch,
        scratch: &mut Scratch,
    ) -> u64 {
        let Some(protocol) = self.protocol.filter(|_| span.messages > 0) else {
            return 0;
        };
        let mut duplicates = 0;
        let mut writer = FrameWriter::begin(
            batch,
            &FrameMeta {
                at_us,
                connection: self.handle.id(),
                channel: self.channel.id,
                protocol: protocol.number,
                decoder_version: protocol.info.version,
                peer: self.handle.peer(),
                bytes_in: saturated(span.bytes),
            },
        );
        let events = walk
            .output
            .events
            .get(span.first..span.end)
            .unwrap_or_default();
        for (payer, window) in payers.iter_mut().zip(windows) {
            writer.part(&PartMeta {
                ident: &payer.ident,
                device: payer.device_id,
                account: payer.account.id(),
                epoch: payer.epoch,
            });
            for event in events {
                let Event::Message { login, range } = event else {
                    continue;
                };
                if *login != payer.login {
                    continue;
                }
                let Some(bytes) = walk.output.bytes.get(range.clone()) else {
                    continue;
                };
                let key = window
                    .as_ref()
                    .and_then(|_| RecordKey::of(&Record::read(bytes)?));
                if let (Some(key), Some(window)) = (key, window) {
                    let told = (*login, key.timestamp_ms, key.content_hash);
                    let again = window.holds(key) || !scratch.seen.insert(told);
                    if again {
                        writer.duplicate();
                        duplicates += 1;
                        continue;
                    }
                    scratch.keys.push((*login, key));
                }
                writer.record(bytes);
                payer.messages += 1;
            }
        }
        writer.finish(saturated(span.reply_bytes));
        duplicates
    }
}
