//! What a change of an item sets off: check, store, publish, close connections, log. The one place
//! that orchestrates.
//!
//! Every write runs through the same steps, one writer at a time:
//!
//! 1. check: is the caller allowed, do the fields fit, would one ident name two devices, has the
//!    limit room (a count is taken by a guard that gives back if the write fails);
//! 2. store: one transaction, durable;
//! 3. publish: the registry's memory, from which logins are answered;
//! 4. close what is served differently now (code 15), wake what is parked, open or close listeners;
//! 5. log the event, and answer.
//!
//! It refuses to parse JSON (the API does), to read sockets, and to change what the configuration
//! file owns. Calls block on the disk: from an owner thread or `spawn_blocking` only.

mod bin;
mod commands;
mod declare;
mod effects;
mod erase;
mod error;
mod marks;
mod moves;
mod over;
mod ports;
mod register;
mod snapshot;
mod tokens;
mod usage;

pub use bin::KEPT_US as BIN_KEPT_US;
pub use commands::{COMMAND_BYTES_MAX, CommandRefused};
pub use error::WriteError;
pub use marks::ACCESSED_EVERY_US;
pub use moves::{Moved, TELEMETRY_AHEAD_MS_MAX};
pub use register::{RegisterError, Registered};
pub use snapshot::{SNAPSHOT, SNAPSHOT_BYTES, SNAPSHOT_FORM, TelemetryKeeper};
pub use tokens::{KEY_CHARACTERS, NewToken, key_hash};
pub use usage::USAGE_EVERY_US;

use crate::events::Events;
use crate::ids::{
    AccountId, ChannelId, Clock, DeviceId, Ident, LimitId, Position, Revision, TokenId,
};
use crate::journal::{Batch, Journal, Note, Permit};
use crate::registry::items::{ChannelItem, Source, Stamp};
use crate::registry::{Effect, Item, ItemId, Registry, Rerouted, Write};
use crate::router::Router;
use crate::store::{Commit, Kind, Store, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a write waits for the journal to take and keep its entry before it answers all the
/// same (the item is durable by then; the journal's own health says what is wrong).
const JOURNAL_WAIT: Duration = Duration::from_secs(10);
/// The most new devices that are checked and made durable together.
pub const CREATED_TOGETHER_MAX: usize = 1000;

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    /// The account that it manages with its branch; [`AccountId::NONE`]: all of them (the
    /// operator, the configuration file).
    pub root: AccountId,
    /// Through what.
    pub source: Source,
}

impl Scope {
    /// The operator of the gateway.
    pub const OPERATOR: Self = Self {
        root: AccountId::NONE,
        source: Source::Api,
    };
    /// The configuration file.
    pub const FILE: Self = Self {
        root: AccountId::NONE,
        source: Source::File,
    };

    /// A user of an account.
    pub const fn of(root: AccountId) -> Self {
        Self {
            root,
            source: Source::Api,
        }
    }
}

/// Who opens and closes the listeners of channels: the channel room, which control may not name.
pub trait Listeners: Send + Sync {
    /// Opens the channel's listener, or makes the open one follow the channel's state (port,
    /// enabled or not). `None`: the channel is disabled and has none.
    fn open(&self, channel: ChannelId) -> Result<Option<SocketAddr>, std::io::Error>;

    /// Would it be listened on as it says? Asked before it is written, for what a listener stands
    /// on besides its port: the files of its certificate.
    fn check(&self, _channel: &ChannelItem) -> Result<(), String> {
        Ok(())
    }

    /// Closes its listener; open connections are closed through the router.
    fn close(&self, channel: ChannelId);
}

/// What control must be told.
#[derive(Debug, Clone)]
pub struct Options {
    /// The host in the URIs of new channels.
    pub public_host: String,
    /// The range that ports of new channels come from, both ends in it.
    pub ports: (u16, u16),
    /// The least time between a device's creation or move and its next move.
    pub move_interval: Duration,
}

/// The rooms that control brings together.
pub struct Parts {
    /// The items at rest.
    pub store: Store,
    /// The items in memory.
    pub registry: Arc<Registry>,
    /// The live connections.
    pub router: Arc<Router>,
    /// The durable log.
    pub journal: Journal,
    /// The log of what happened.
    pub events: Arc<Events>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who listens.
    pub listeners: Arc<dyn Listeners>,
    /// The settings.
    pub options: Options,
}

/// Writes items. One per gateway, shared by reference count.
pub struct Control {
    store: Mutex<Store>,
    registry: Arc<Registry>,
    router: Arc<Router>,
    journal: Journal,
    events: Arc<Events>,
    clock: Arc<dyn Clock>,
    listeners: Arc<dyn Listeners>,
    options: Options,
    secret: [u8; 32],
    marks: marks::Marks,
    usage: usage::Usage,
    over: over::Over,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The item as it is now; of a removal, as it was.
    pub item: Item,
    /// The item as it was; `None` if it was made.
    pub before: Option<Item>,
    /// The devices that are served differently now.
    pub rerouted: Rerouted,
}

/// A deleted item in the recycle bin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deleted {
    /// Its number in the bin.
    pub id: u64,
    /// `account`, `limit`, `token`, `channel` or `device`.
    pub what: String,
    /// The id it had.
    pub item_id: u64,
    /// Whose it was.
    pub cid: AccountId,
    /// When it was deleted, unix us.
    pub deleted_us: i64,
    /// All of it.
    pub item: Value,
}

/// A write that was checked and waits to be made durable.
struct Staged {
    at: usize,
    write: Write,
    effect: Effect,
}

impl Control {
    /// Brings the rooms together. The items are in the registry's memory already; the
    /// installation's secret is made if this is its first start.
    pub fn new(parts: Parts) -> Result<Self, StoreError> {
        let secret = tokens::installation_secret(&parts.store)?;
        let Parts {
            store,
            registry,
            router,
            journal,
            events,
            clock,
            listeners,
            options,
        } = parts;
        let marks = marks::Marks::load(&store)?;
        let store = Mutex::new(store);
        let control = Self {
            store,
            registry,
            router,
            journal,
            events,
            clock,
            listeners,
            options,
            secret,
            marks,
            usage: usage::Usage::default(),
            over: over::Over::default(),
        };
        control.lift_outlived();
        control.recount();
        control.load_commands(&control.writer())?;
        Ok(control)
    }

    /// The items in memory.
    pub const fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The live connections.
    pub const fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// The durable log.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The log of what happened.
    pub const fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// The time.
    pub const fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The settings.
    pub const fn options(&self) -> &Options {
        &self.options
    }

    /// Writes one item: an item whose id is 0 is made. `if_match`: only if it still has that
    /// revision.
    pub fn write(
        &self,
        scope: Scope,
        write: Write,
        if_match: Option<Revision>,
    ) -> Result<Written, WriteError> {
        let mut results = self.write_many(scope, vec![(write, if_match)]);
        results.pop().expect("one write has one result")
    }

    /// Writes several, each decided by itself. New devices are made durable together.
    pub fn write_many(
        &self,
        scope: Scope,
        writes: Vec<(Write, Option<Revision>)>,
    ) -> Vec<Result<Written, WriteError>> {
        let store = self.writer();
        let mut results: Vec<Option<Result<Written, WriteError>>> = Vec::new();
        results.resize_with(writes.len(), || None);
        let mut staged: Vec<Staged> = Vec::new();
        let mut names = HashSet::new();
        for (at, (write, if_match)) in writes.into_iter().enumerate() {
            let alone = !is_new_device(&write);
            if alone || staged.len() >= CREATED_TOGETHER_MAX || collides(&names, &write) {
                self.flush(&store, &mut staged, &mut results);
                names.clear();
            }
            match self.checked(&store, scope, write, if_match, staged.len()) {
                Ok((write, effect)) => {
                    names.extend(name_of(&write));
                    staged.push(Staged { at, write, effect });
                }
                Err(error) => results[at] = Some(Err(error)),
            }
            if alone {
                self.flush(&store, &mut staged, &mut results);
            }
        }
        self.flush(&store, &mut staged, &mut results);
        drop(store);
        results
            .into_iter()
            .map(|result| result.expect("every write was decided or flushed"))
            .collect()
    }

    /// What a write would do, without doing it.
    pub fn dry_run(
        &self,
        scope: Scope,
        write: Write,
        if_match: Option<Revision>,
    ) -> Result<Written, WriteError> {
        let store = self.writer();
        let (write, effect) = self.checked(&store, scope, write, if_match, 0)?;
        drop(store);
        Ok(written(
            write,
            effect.before.clone(),
            effect.rerouted.clone(),
        ))
    }

    /// Changes an item by `edit`. What identifies it (id, owner, source) stays as it is.
    pub fn change(
        &self,
        scope: Scope,
        id: ItemId,
        if_match: Option<Revision>,
        edit: &mut dyn FnMut(&mut Item) -> Result<(), WriteError>,
    ) -> Result<Written, WriteError> {
        // the revision that is edited is the one that is written over, or the write is tried again
        loop {
            let item = self.edited(scope, id, edit)?;
            let known = if_match.unwrap_or(item.stamp().revision);
            // what changes nothing is written by nobody: a second run of a script is free
            if item.stamp().revision == known && self.registry.item(id).as_ref() == Some(&item) {
                return Ok(Written {
                    before: Some(item.clone()),
                    item,
                    rerouted: Rerouted::default(),
                });
            }
            match self.write(scope, Write::Put(item), Some(known)) {
                Err(WriteError::Stale { .. }) if if_match.is_none() => {}
                done => return done,
            }
        }
    }

    /// What [`Control::change`] would do, without doing it.
    pub fn change_dry_run(
        &self,
        scope: Scope,
        id: ItemId,
        if_match: Option<Revision>,
        edit: &mut dyn FnMut(&mut Item) -> Result<(), WriteError>,
    ) -> Result<Written, WriteError> {
        let item = self.edited(scope, id, edit)?;
        self.dry_run(scope, Write::Put(item), if_match)
    }

    fn edited(
        &self,
        scope: Scope,
        id: ItemId,
        edit: &mut dyn FnMut(&mut Item) -> Result<(), WriteError>,
    ) -> Result<Item, WriteError> {
        let missing = WriteError::NotFound { id: id.number() };
        let mut item = self.registry.item(id).ok_or_else(|| missing.clone())?;
        if !self.manages(scope, &item) {
            return Err(missing);
        }
        edit(&mut item)?;
        Ok(item)
    }

    /// Steps 1: what may be asked of the item alone, then the registry's rules.
    fn checked(
        &self,
        store: &Store,
        scope: Scope,
        mut write: Write,
        if_match: Option<Revision>,
        ahead: usize,
    ) -> Result<(Write, Effect), WriteError> {
        let now_us = self.clock.now_us();
        if let Write::Put(item) = &mut write
            && item.id().number() == 0
        {
            // nothing may be made in an account that the caller does not manage
            if !self.registry.manages(scope.root, item.cid()) {
                return Err(WriteError::NotFound { id: item.cid().0 });
            }
            let next = store.next_id(item.id().kind())? + ahead as u64;
            number(item, next);
            *item.stamp_mut() = Stamp::new(now_us, scope.source);
            if let Item::Channel(channel) = item {
                self.give_port(channel)?;
            }
        } else {
            let id = write.id();
            let missing = WriteError::NotFound { id: id.number() };
            let before = self.registry.item(id).ok_or_else(|| missing.clone())?;
            if !self.manages(scope, &before) {
                return Err(missing);
            }
            if before.stamp().source == Source::File && scope.source != Source::File {
                return Err(WriteError::FileOwned);
            }
            let revision = before.stamp().revision;
            if if_match.is_some_and(|known| known != revision) {
                return Err(WriteError::Stale {
                    revision: revision.0,
                });
            }
            Self::check_own_account(scope, &before, &write)?;
            self.check_way_in(&before, &write)?;
            if let Write::Put(item) = &mut write {
                if item.cid() != before.cid() {
                    return Err(WriteError::field("cid", "an item is moved by its /cid"));
                }
                *item.stamp_mut() = before.stamp().changed(now_us);
                item.stamp_mut().source = before.stamp().source;
            }
        }
        let effect = self.registry.check(&write, scope.root)?;
        if let Some(problem) = self.tls_problem(&write, effect.before.as_ref()) {
            return Err(WriteError::field("tls", problem));
        }
        Ok((write, effect))
    }

    /// What stands against the certificate that a channel is to have from now on.
    fn tls_problem(&self, write: &Write, before: Option<&Item>) -> Option<String> {
        let Write::Put(Item::Channel(after)) = write else {
            return None;
        };
        // as it was is no matter of this write
        if matches!(before, Some(Item::Channel(before)) if before.tls == after.tls) {
            return None;
        }
        self.listeners.check(after).err()
    }

    /// An account's limit and whether it is enabled are its parent's to say, and it cannot delete
    /// itself.
    fn check_own_account(scope: Scope, before: &Item, write: &Write) -> Result<(), WriteError> {
        let Item::Account(before) = before else {
            return Ok(());
        };
        if before.id != scope.root {
            return Ok(());
        }
        match write {
            Write::Put(Item::Account(after)) if after.limit_id != before.limit_id => Err(
                WriteError::field("limit_id", "an account's limit is its parent's to say"),
            ),
            Write::Put(Item::Account(after)) if after.enabled != before.enabled => Err(
                WriteError::field("enabled", "an account is enabled by its parent"),
            ),
            Write::Remove(_) => Err(WriteError::NotFound { id: before.id.0 }),
            Write::Put(_) => Ok(()),
        }
    }

    /// Is the item in the scope's branch? An account manages itself.
    fn manages(&self, scope: Scope, item: &Item) -> bool {
        let account = match item {
            Item::Account(account) => account.id,
            other => other.cid(),
        };
        self.registry.manages(scope.root, account)
    }

    /// Steps 2 to 5 of what is staged.
    fn flush(
        &self,
        store: &Store,
        staged: &mut Vec<Staged>,
        results: &mut [Option<Result<Written, WriteError>>],
    ) {
        if staged.is_empty() {
            return;
        }
        let now_us = self.clock.now_us();
        let mut commit = Commit::new();
        let binned = staged.iter().try_fold(0, |ahead, one| {
            one.write.stage(&one.effect, now_us, &mut commit);
            self.bin(store, &mut commit, &one.effect, &one.write, ahead)
        });
        let durable = binned
            .map_err(WriteError::from)
            .and_then(|_| store.commit(&commit).map_err(WriteError::from));
        for one in staged.drain(..) {
            results[one.at] = Some(match &durable {
                Ok(()) => self.publish(store, &one.write, one.effect),
                Err(error) => Err(error.clone()),
            });
        }
    }

    /// Adds a removed item to the recycle bin, in the commit that removes it. Tokens are not
    /// kept: a key that was taken away stays away.
    fn bin(
        &self,
        store: &Store,
        commit: &mut Commit,
        effect: &Effect,
        write: &Write,
        ahead: u64,
    ) -> Result<u64, StoreError> {
        let (Write::Remove(id), Some(before)) = (write, &effect.before) else {
            return Ok(ahead);
        };
        let item = match before {
            Item::Account(item) => serde_json::to_value(item),
            Item::Limit(item) => serde_json::to_value(item),
            Item::Channel(item) => serde_json::to_value(item),
            Item::Device(item) => serde_json::to_value(item),
            Item::Token(_) => return Ok(ahead),
        };
        let deleted = Deleted {
            id: store.next_id(Kind::Deleted)? + ahead,
            what: id.what().to_owned(),
            item_id: id.number(),
            cid: before.cid(),
            deleted_us: self.clock.now_us(),
            item: item.unwrap_or_default(),
        };
        commit.create(Kind::Deleted, deleted.id, &deleted);
        Ok(ahead + 1)
    }

    /// One writer at a time.
    fn writer(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the store, for what is not kept in memory (the recycle bin).
    pub fn stored<T>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        read(&self.writer())
    }

    /// Room in the journal's queue, waited for within [`JOURNAL_WAIT`]. `None`: the journal cannot
    /// take it.
    fn permit(&self, bytes: usize) -> Option<Permit> {
        let until = Instant::now() + JOURNAL_WAIT;
        loop {
            if let Some(permit) = self.journal.try_permit(bytes) {
                return Some(permit);
            }
            if self.journal.failed().is_some() || Instant::now() >= until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Appends an entry to the journal.
    fn note(&self, note: &Note<'_>) -> Option<Position> {
        let mut batch = Batch::new();
        note.write(&mut batch);
        let permit = self.permit(batch.len())?;
        Some(self.journal.append(permit, &mut batch))
    }

    /// Waits until `position` is durable, within [`JOURNAL_WAIT`].
    fn wait_durable(&self, position: Position) {
        let until = Instant::now() + JOURNAL_WAIT;
        while self.journal.durable() < position
            && self.journal.failed().is_none()
            && Instant::now() < until
        {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

fn written(write: Write, before: Option<Item>, rerouted: Rerouted) -> Written {
    let item = match (write, &before) {
        (Write::Put(item), _) => item,
        (Write::Remove(_), Some(before)) => before.clone(),
        (Write::Remove(_), None) => unreachable!("a removal was checked to have an item"),
    };
    Written {
        item,
        before,
        rerouted,
    }
}

fn is_device(write: &Write) -> bool {
    matches!(write, Write::Put(Item::Device(_)))
}

fn is_new_device(write: &Write) -> bool {
    matches!(write, Write::Put(Item::Device(device)) if !device.id.is_some())
}

/// What a device is found by.
fn name_of(write: &Write) -> Option<(u16, Ident)> {
    match write {
        Write::Put(Item::Device(device)) => Some((device.protocol, device.ident.clone())),
        _ => None,
    }
}

/// Could the write be refused because of one that is staged and not published yet? `names` are
/// those of what is staged.
fn collides(names: &HashSet<(u16, Ident)>, write: &Write) -> bool {
    name_of(write).is_some_and(|name| names.contains(&name))
}

/// Gives a new item its id.
fn number(item: &mut Item, id: u64) {
    match item {
        Item::Account(item) => item.id = AccountId(id),
        Item::Limit(item) => item.id = LimitId(id),
        Item::Channel(item) => item.id = ChannelId(id),
        Item::Device(item) => item.id = DeviceId(id),
        Item::Token(item) => item.id = TokenId(id),
    }
}
