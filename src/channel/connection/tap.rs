//! What of a connection is kept as raw traffic, where its channel or its device asks for it.
//!
//! Asked once a read. A device is known with the read that names it: that read, and what was kept of
//! its frame before, is the first chunk. Nothing here waits, and nobody is charged.
//!
//! The label is made where the frame has just been settled, and everything it is made of is at hand.
//! What is sent goes under the label of what it answers: then all of that is far away again.

use super::Core;
use crate::ids::{AccountId, DeviceId};
use crate::raw::{Direction, Ended, Head, Label, RawTraffic};
use crate::router::CloseCode;

/// The raw traffic of one connection.
pub(super) struct Tap {
    /// The number of the last chunk.
    index: u32,
    /// What was true of the connection when it was last settled.
    head: Head,
    /// How the tracker ended it, if it did.
    pub(super) ended: Ended,
}

impl Tap {
    fn keep(&mut self, raw: &RawTraffic, direction: Direction, at_us: i64, bytes: &[u8]) {
        self.head.stamp(at_us, self.index, direction);
        raw.keep_under(&self.head, bytes);
    }
}

/// What a read was, for the tap behind it.
pub(super) struct Before {
    at_us: i64,
    /// Bytes of a frame that had begun, where nobody had named himself yet.
    begun: Vec<u8>,
    /// Bytes that had come before.
    received: u64,
}

impl Core {
    pub(super) fn is_tapped(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| aside.tap.is_some())
    }

    fn take_tap(&mut self) -> Option<Tap> {
        self.aside.as_mut()?.tap.take()
    }

    /// Asked before a read is decoded: `None` where nothing is kept at all.
    pub(super) fn before_read(&self) -> Option<Before> {
        if !self.worker.room.deps.raw.is_open() {
            return None;
        }
        let begun = self.begun.as_ref();
        let unnamed = !self.is_tapped() && self.talk.logins.is_empty();
        Some(Before {
            at_us: self.now_us,
            begun: begun
                .filter(|_| unnamed)
                .map_or_else(Vec::new, |begun| begun.bytes.clone()),
            received: self.talk.received,
        })
    }

    /// Keeps a read that was decoded, if it is asked for.
    pub(super) fn after_read(&mut self, before: &Before, read: &[u8]) {
        if !self.is_asked_for() {
            self.take_tap();
            return;
        }
        let head = Head::of(&self.label());
        let raw = &self.here.worker.room.deps.raw;
        let aside = self.aside.get_or_insert_default();
        let tap = if let Some(tap) = &mut aside.tap {
            tap.head = head;
            tap
        } else {
            let tap = aside.tap.insert(Tap {
                index: 0,
                head,
                ended: Ended::ByGateway,
            });
            let established_us = self.handle.established_us();
            tap.keep(raw, Direction::Connect, established_us, &[]);
            // what had come and was not asked for then shows as missing
            if before.received > before.begun.len() as u64 {
                tap.index += 1;
            }
            if !before.begun.is_empty() {
                tap.index += 1;
                tap.keep(raw, Direction::Received, before.at_us, &before.begun);
            }
            tap
        };
        if !read.is_empty() {
            tap.index += 1;
            tap.keep(raw, Direction::Received, before.at_us, read);
        }
    }

    /// A frame that had waited was settled: what it has changed is said of the chunks from now on.
    pub(super) fn label_anew(&mut self) {
        if self.is_tapped() {
            let head = Head::of(&self.label());
            if let Some(tap) = self.aside.as_mut().and_then(|aside| aside.tap.as_mut()) {
                tap.head = head;
            }
        }
    }

    /// Keeps what was sent, if what it answers was kept.
    pub(super) fn keep_sent(&mut self, sent: &[u8]) {
        if sent.is_empty() {
            return;
        }
        if let Some(tap) = self.aside.as_mut().and_then(|aside| aside.tap.as_mut()) {
            tap.index += 1;
            let raw = &self.here.worker.room.deps.raw;
            tap.keep(raw, Direction::Sent, self.now_us, sent);
        }
    }

    /// The tracker ended it, in this way.
    pub(super) fn ended_by_tracker(&mut self, how: Ended) {
        if let Some(tap) = self.aside.as_mut().and_then(|aside| aside.tap.as_mut()) {
            tap.ended = how;
        }
    }

    /// Keeps the end.
    pub(super) fn keep_end(&mut self, code: CloseCode) {
        if let Some(mut tap) = self.take_tap() {
            tap.index += 1;
            let label = Label {
                at_us: self.now_us,
                index: tap.index,
                ..self.label()
            };
            let raw = &self.worker.room.deps.raw;
            raw.keep_end(&label, code.number(), tap.ended);
        }
    }

    /// Does the channel ask for it, or the device that named itself last?
    fn is_asked_for(&self) -> bool {
        let raw = &self.worker.room.deps.raw;
        if raw.always() || self.channel.state.load().keep_packets {
            return true;
        }
        self.named_last()
            .is_some_and(crate::channel::logins::Known::keeps_packets)
    }

    fn named_last(&self) -> Option<&crate::channel::logins::Known> {
        let current = self.current.map(usize::from);
        current
            .and_then(|login| self.talk.logins.get(login))
            .or(self.talk.logins.last())
    }

    /// What is true of the connection now, to be stamped for each chunk.
    fn label(&self) -> Label<'_> {
        let channel = self.channel.state.load();
        let owner = channel.owner.id();
        let account_of = |known: &crate::channel::logins::Known| {
            let device = known.device.as_ref();
            device.map_or(owner, |device| device.state.load().account.id())
        };
        let known = self.named_last();
        let mut accounts = self.talk.logins.iter().map(account_of);
        let first = accounts.next();
        let shared = accounts.any(|account| Some(account) != first);
        let account: AccountId = match known {
            Some(known) if !shared => account_of(known),
            _ => owner,
        };
        let device = known.and_then(|known| known.device.as_ref());
        Label {
            at_us: self.now_us,
            connection: self.handle.id(),
            channel: self.channel.id,
            index: 0,
            direction: Direction::Connect,
            shared,
            protocol: self.protocol.map_or(0, |protocol| protocol.number),
            port: channel.port,
            device: device.map_or(DeviceId::NONE, |device| device.id),
            account,
            peer: self.handle.peer(),
            ident: known.map_or("", |known| known.ident.as_str()),
        }
    }
}
