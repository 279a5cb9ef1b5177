//! Frames of admitted logins become entries: written, charged and appended together, with no await in
//! between and under the windows of duplicates of all devices in them.

use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, MutexGuard};

use protocols::Event;
use smallvec::SmallVec;

use super::{Payer, Settled, saturated};
use crate::account::{Account, Cost};
use crate::channel::bounds::{BATCH_BYTES_MAX, FRAGMENT_BYTES_MAX};
use crate::channel::connection::{Core, Walk};
use crate::channel::frames::{Login, Span};
use crate::channel::worker::Scratch;
use crate::ids::{Position, US_PER_MINUTE, minute_of};
use crate::journal::{Batch, Permit};
use crate::registry::{DeviceHandle, Recent};

/// What was written of frames that are to be charged together.
#[derive(Default)]
struct Written {
    /// What they cost.
    bytes: u64,
    /// Records that are stored already.
    duplicates: u64,
    /// The minute of the first of them, if anything of them is stored.
    minute: Option<u32>,
    /// They are of more than one.
    crosses_minutes: bool,
}

type Devices = SmallVec<[Option<Arc<DeviceHandle>>; 1]>;

pub(super) fn devices_of(payers: &[Payer]) -> Devices {
    payers.iter().map(|payer| payer.device.clone()).collect()
}

/// The windows of duplicates of devices, which are in the order in which they may be taken.
pub(super) fn windows_of(devices: &Devices) -> SmallVec<[Option<MutexGuard<'_, Recent>>; 1]> {
    devices
        .iter()
        .map(|device| device.as_ref().map(|device| device.recent()))
        .collect()
}

impl Payer {
    /// Is its device another account's, or gone, since it logged in?
    pub(super) fn has_changed(&self) -> bool {
        self.device.as_ref().is_some_and(|device| {
            device.state.changes() != self.seen && {
                let state = device.state.load();
                state.gone || state.epoch != self.epoch
            }
        })
    }
}

impl Core {
    /// Room in the journal's queue: what was waited for, or what there is now.
    pub(super) fn room(&self, walk: &mut Walk, bytes: usize) -> Option<Permit> {
        let kept = walk.permit.take().filter(|permit| permit.bytes() >= bytes);
        kept.or_else(|| self.worker.deps().journal.try_permit(bytes))
    }

    /// Settles frames that are all of admitted logins (or guests): charge, append, answer.
    pub(super) fn settle(&mut self, walk: &mut Walk, range: Range<usize>) -> Settled {
        let worker = Rc::clone(&self.worker);
        let mut batch = worker.batch.take();
        let mut scratch = worker.scratch.take();
        let settled = self.settle_with(walk, range, &mut batch, &mut scratch);
        batch.clear();
        batch.shrink_to(2 * BATCH_BYTES_MAX);
        worker.batch.replace(batch);
        worker.scratch.replace(scratch);
        settled
    }

    fn settle_with(
        &mut self,
        walk: &mut Walk,
        range: Range<usize>,
        batch: &mut Batch,
        scratch: &mut Scratch,
    ) -> Settled {
        let mut payers = self.payers_of(walk, &range);
        let stores = |span: &Span| span.stores();
        let any = walk
            .spans
            .get(range.clone())
            .is_some_and(|spans| spans.iter().any(stores));
        if any {
            let blocked = payers
                .iter()
                .find_map(|payer| Some((payer.account.id(), payer.account.blocked(self.now_us)?)));
            if let Some((account, blocked)) = blocked {
                return Settled::Limit(self.limit_of(&blocked, account));
            }
            match self.store(walk, &range, &mut payers, batch, scratch) {
                Settled::Done => {}
                other => return other,
            }
        }
        for index in range {
            self.answer(walk, index, true);
        }
        Settled::Done
    }

    pub(super) fn payers_of(&self, walk: &Walk, range: &Range<usize>) -> SmallVec<[Payer; 1]> {
        let spans = walk.spans.get(range.clone()).unwrap_or_default();
        let logins = match spans {
            [_] => self.logins_of(walk),
            _ => spans
                .iter()
                .find_map(|span| match span.login {
                    Login::One(login) => Some(login),
                    _ => None,
                })
                .or(self.current)
                .into_iter()
                .collect(),
        };
        let mut payers: SmallVec<[Payer; 1]> = logins
            .into_iter()
            .filter_map(|login| {
                let known = self.talk.logins.get(usize::from(login))?;
                Some(Payer {
                    login,
                    ident: known.ident.clone(),
                    device: known.device.clone().filter(|_| known.is_admitted()),
                    device_id: known.device_id(),
                    account: known.account()?.clone(),
                    epoch: known.epoch(),
                    seen: known.seen(),
                    messages: 0,
                })
            })
            .collect();
        // the order in which their windows are locked
        payers.sort_by_key(|payer| payer.device_id);
        payers
    }

    /// Writes the frames into `batch`, charges them, appends them.
    fn store(
        &mut self,
        walk: &mut Walk,
        range: &Range<usize>,
        payers: &mut SmallVec<[Payer; 1]>,
        batch: &mut Batch,
        scratch: &mut Scratch,
    ) -> Settled {
        let devices = devices_of(payers);
        let mut windows = windows_of(&devices);
        // a device is moved under its window: what is looked at now holds until the append
        if payers.iter().any(Payer::has_changed) {
            return Settled::Changed;
        }
        let fragments = self.fragments(walk, range, payers, &windows);
        if fragments.iter().any(|bytes| *bytes > FRAGMENT_BYTES_MAX) {
            return Settled::Fragments;
        }
        let mut written = self.write(walk, range, payers, &windows, batch, scratch);
        let Some(minute) = written.minute else {
            return Settled::Done;
        };
        if written.crosses_minutes && range.len() > 1 {
            return Settled::Apart;
        }
        let Some(permit) = self.room(walk, batch.len()) else {
            return Settled::NoRoom(batch.len());
        };
        let charged = match &payers[..] {
            [payer] => payer.account.charge(
                minute,
                Cost {
                    bytes: written.bytes,
                    messages: payer.messages,
                },
            ),
            several => {
                let parts: SmallVec<[(Account, u64); 4]> = several
                    .iter()
                    .map(|payer| (payer.account.clone(), payer.messages))
                    .collect();
                let tree = self.worker.deps().registry.tree();
                tree.charge_union(minute, written.bytes, &parts)
            }
        };
        match charged {
            Err(refusal) => {
                walk.permit = Some(permit);
                return Settled::Refused(refusal);
            }
            Ok(charged) if charged != minute => {
                // others are in a later minute already, which has paid: so the entries are of that one
                let begins_us = i64::from(charged).saturating_mul(US_PER_MINUTE);
                self.now_us = self.now_us.max(begins_us);
                written = self.write(walk, range, payers, &windows, batch, scratch);
            }
            Ok(_) => {}
        }
        let count = u64::from(batch.count());
        let last = self.worker.append(permit, batch, self.now_us);
        let behind = Position::from_raw((last.raw() + 1).saturating_sub(count));
        // under the windows: a snapshot of telemetry waits for them
        self.renew_telemetry(walk, range, payers, behind, scratch);
        for ((payer, window), kept) in payers.iter().zip(&mut windows).zip(fragments) {
            if let (None, Some(known)) =
                (&window, self.talk.logins.get_mut(usize::from(payer.login)))
            {
                known.set_fragment_bytes(saturated(kept));
            }
            if let (Some(device), Some(mut window)) = (&payer.device, window.take()) {
                window.fragment_bytes = kept;
                scratch.of_device.clear();
                let of_payer = scratch
                    .keys
                    .iter()
                    .filter(|(login, _)| *login == payer.login);
                scratch.of_device.extend(of_payer.map(|(_, key)| *key));
                device.remember(window, &scratch.of_device);
            }
        }
        self.tell_followers(walk, range, payers, behind, scratch);
        self.tally.duplicates.add(written.duplicates);
        self.count_duplicates(written.duplicates);
        let stored: u64 = payers.iter().map(|payer| payer.messages).sum();
        self.tally.messages.add(stored);
        self.talk.messages += stored;
        self.talk.replies.stored(last);
        Settled::Done
    }

    /// Writes the frames' entries into `batch`, which holds nothing else.
    fn write(
        &self,
        walk: &Walk,
        range: &Range<usize>,
        payers: &mut [Payer],
        windows: &[Option<MutexGuard<'_, Recent>>],
        batch: &mut Batch,
        scratch: &mut Scratch,
    ) -> Written {
        batch.clear();
        scratch.seen.clear();
        scratch.keys.clear();
        scratch.entries.clear();
        for payer in payers.iter_mut() {
            payer.messages = 0;
        }
        let mut written = Written::default();
        for span in walk.spans.get(range.clone()).into_iter().flatten() {
            if span.stores() {
                let at_us = self.channel.stamp(self.now_us);
                let minute = minute_of(at_us);
                written.crosses_minutes |= *written.minute.get_or_insert(minute) != minute;
                written.bytes += span.bytes as u64;
                if span.messages > 0 {
                    written.bytes += span.reply_bytes as u64;
                }
                self.write_parts(walk, span, at_us, payers, batch);
                written.duplicates +=
                    self.write_messages(walk, span, at_us, payers, windows, batch, scratch);
            }
            scratch.entries.push(batch.count());
        }
        written
    }

    /// What each payer's fragments since its last message come to with these frames: the most that
    /// they come to in between if that is too much, else what they come to behind the last frame.
    fn fragments(
        &self,
        walk: &Walk,
        range: &Range<usize>,
        payers: &[Payer],
        windows: &[Option<MutexGuard<'_, Recent>>],
    ) -> SmallVec<[usize; 1]> {
        let spans = walk.spans.get(range.clone()).unwrap_or_default();
        let before = |payer: &Payer, window: &Option<MutexGuard<'_, Recent>>| match window {
            Some(window) => window.fragment_bytes,
            None => self
                .talk
                .logins
                .get(usize::from(payer.login))
                .map_or(0, |known| known.fragment_bytes() as usize),
        };
        let come_to = |(payer, window): (&Payer, &Option<MutexGuard<'_, Recent>>)| {
            let mut sum = before(payer, window);
            for span in spans.iter().filter(|span| span.stores()) {
                if span.messages > 0 {
                    sum = 0;
                } else {
                    let events = walk.output.events.get(span.first..span.end);
                    let of_payer = events
                        .into_iter()
                        .flatten()
                        .filter_map(|event| match event {
                            Event::Part { login, range } if *login == payer.login => {
                                Some(range.len())
                            }
                            _ => None,
                        });
                    sum += of_payer.sum::<usize>();
                }
                if sum > FRAGMENT_BYTES_MAX {
                    break;
                }
            }
            sum
        };
        payers.iter().zip(windows).map(come_to).collect()
    }

    /// Telemetry takes in what was appended behind `behind`.
    fn renew_telemetry(
        &self,
        walk: &Walk,
        range: &Range<usize>,
        payers: &[Payer],
        behind: Position,
        scratch: &Scratch,
    ) {
        let now_ms = self.now_ms();
        let spans = walk.spans.get(range.clone()).unwrap_or_default();
        for payer in payers {
            let Some(device) = &payer.device else {
                continue;
            };
            let mut telemetry = device.telemetry();
            for (span, entries) in spans.iter().zip(&scratch.entries) {
                if span.messages == 0 {
                    continue;
                }
                let position = behind.plus(u64::from(*entries) - 1);
                let events = walk.output.events.get(span.first..span.end);
                for event in events.into_iter().flatten() {
                    if let Event::Message { login, range } = event
                        && *login == payer.login
                        && let Some(record) = walk.output.bytes.get(range.clone())
                    {
                        telemetry.update(record, position, now_ms);
                    }
                }
            }
        }
    }

    /// Tells followers of what was appended behind `behind`.
    fn tell_followers(
        &self,
        walk: &Walk,
        range: &Range<usize>,
        payers: &[Payer],
        behind: Position,
        scratch: &Scratch,
    ) {
        let router = &self.worker.deps().router;
        if !router.is_followed() {
            return;
        }
        let spans = walk.spans.get(range.clone()).unwrap_or_default();
        for payer in payers {
            for (span, entries) in spans.iter().zip(&scratch.entries) {
                if span.messages > 0 {
                    let position = behind.plus(u64::from(*entries) - 1);
                    router.appended(self.channel.id, payer.device_id, position);
                }
            }
        }
    }
}
