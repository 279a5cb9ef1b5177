//! The one value that everything about a device hangs on while the gateway runs.

use super::identity::{Claim, Path};
use super::items::DeviceItem;
use super::recent::{Budget, Recent, RecordKey};
use super::telemetry::Telemetry;
use crate::account::Account;
use crate::ids::{ConnectionId, DeviceId, Epoch, Ident};
use arc_swap::{ArcSwap, Guard};
use protocols::Settings;
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};

static DEFAULTS: LazyLock<Arc<Settings>> = LazyLock::new(Arc::default);

/// What is said of a device now. Swapped whole by every change.
#[derive(Clone)]
pub struct DeviceState {
    /// The account that owns it and pays for it.
    pub account: Account,
    /// How often it has changed its account.
    pub epoch: Epoch,
    /// A disabled device is not admitted.
    pub enabled: bool,
    /// What its decoder may depend on.
    pub settings: Arc<Settings>,
    /// It was deleted, or goes by another ident now: whoever still holds the handle lets go.
    pub gone: bool,
    /// All of it, as it is stored.
    pub item: Arc<DeviceItem>,
}

impl DeviceState {
    /// The state of a stored device. Settings that cannot be read (an older build knew more) are
    /// the defaults: a device that is decoded by default beats a gateway that does not start.
    pub fn new(item: Arc<DeviceItem>, account: Account) -> Self {
        let settings = if item.settings.is_empty() {
            Arc::clone(&DEFAULTS)
        } else {
            item.settings.checked().map(Arc::new).unwrap_or_default()
        };
        Self {
            account,
            epoch: item.epoch,
            enabled: item.enabled,
            settings,
            gone: false,
            item,
        }
    }
}

/// A [`DeviceState`] that is swapped whole, and how often it was.
pub struct Watched {
    state: ArcSwap<DeviceState>,
    changes: AtomicU32,
}

impl Watched {
    fn new(state: DeviceState) -> Self {
        Self {
            state: ArcSwap::from_pointee(state),
            changes: AtomicU32::new(0),
        }
    }

    /// As it is now.
    pub fn load(&self) -> Guard<Arc<DeviceState>> {
        self.state.load()
    }

    /// The same, to keep.
    pub fn load_full(&self) -> Arc<DeviceState> {
        self.state.load_full()
    }

    /// It is this from now on.
    pub fn store(&self, state: Arc<DeviceState>) {
        self.state.store(state);
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// Rises with each change: what was found to hold at a number, asked for before the state was
    /// loaded, holds while it is the same. Every frame asks this, which stands beside what else the
    /// frame touches of its device, instead of going where the state is.
    pub fn changes(&self) -> u32 {
        self.changes.load(Ordering::Acquire)
    }
}

/// A device while the gateway runs. There is one for each registration of an ident: a change of
/// protocol or ident makes a new one and leaves the old one `gone`.
pub struct DeviceHandle {
    /// Whose handle it is.
    pub id: DeviceId,
    /// The stored number of its protocol.
    pub protocol: u16,
    /// Its name on the wire.
    pub ident: Ident,
    /// What is said of it now.
    pub state: Watched,
    present: AtomicU64,
    recent: Mutex<Recent>,
    telemetry: Mutex<Telemetry>,
    budget: Arc<Budget>,
}

impl DeviceHandle {
    pub(super) fn new(state: DeviceState, budget: Arc<Budget>) -> Self {
        Self {
            id: state.item.id,
            protocol: state.item.protocol,
            ident: state.item.ident.clone(),
            state: Watched::new(state),
            present: AtomicU64::new(0),
            recent: Mutex::default(),
            telemetry: Mutex::default(),
            budget,
        }
    }

    /// The connection that it is on, if any.
    pub fn present(&self) -> ConnectionId {
        ConnectionId(self.present.load(Ordering::Acquire))
    }

    /// It is on `connection` from now on; gives back the one before.
    pub fn take_over(&self, connection: ConnectionId) -> ConnectionId {
        ConnectionId(self.present.swap(connection.0, Ordering::AcqRel))
    }

    /// It is on `connection` from now on, unless it is on another: which, then.
    pub fn occupy(&self, connection: ConnectionId) -> Result<(), ConnectionId> {
        match self
            .present
            .compare_exchange(0, connection.0, Ordering::AcqRel, Ordering::Acquire)
        {
            Ok(_) => Ok(()),
            Err(other) if other == connection.0 => Ok(()),
            Err(other) => Err(ConnectionId(other)),
        }
    }

    /// It left `connection`, if it was still there.
    pub fn leave(&self, connection: ConnectionId) -> bool {
        self.present
            .compare_exchange(connection.0, 0, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    /// What it sent lately. Hold it from the look-up to [`DeviceHandle::remember`], so that two
    /// connections cannot store the same record; never across an await, never two at once except
    /// in ascending order of the ids. Telemetry takes in what is appended before it is let go: who
    /// takes it finds there what every entry of the device says that is durable by then.
    pub fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn try_recent(&self) -> Option<MutexGuard<'_, Recent>> {
        match self.recent.try_lock() {
            Ok(recent) => Some(recent),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Remembers the records of a frame, lets the window go, and gives up other devices' windows if all
    /// together are too much.
    pub fn remember(self: &Arc<Self>, mut recent: MutexGuard<'_, Recent>, keys: &[RecordKey]) {
        let overdrawn = self.budget.remember(self, &mut recent, keys);
        drop(recent);
        self.budget.settle(&overdrawn);
    }

    /// The newest value of each parameter. Taken while [`DeviceHandle::recent`] is held, or without
    /// it; never the other way round.
    pub fn telemetry(&self) -> MutexGuard<'_, Telemetry> {
        self.telemetry
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of the commands that its protocol has.
    pub fn commands(&self) -> &'static [&'static str] {
        protocols::by_number(self.protocol).map_or(&[], |protocol| protocol.info.commands)
    }

    /// From its account up to the master.
    pub fn path(&self) -> Path {
        path_of(&self.state.load().account)
    }

    /// What identity needs to know of it, with the path that it would have.
    pub fn claim<'a>(&'a self, path: &'a Path) -> Claim<'a> {
        Claim {
            protocol: self.protocol,
            ident: &self.ident,
            path,
        }
    }
}

/// From an account up to its master.
pub(super) fn path_of(account: &Account) -> Path {
    account.chain().map(Account::id).collect()
}

impl Drop for DeviceHandle {
    fn drop(&mut self) {
        let recent = self
            .recent
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        self.budget.release(recent);
    }
}

impl fmt::Debug for DeviceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceHandle({} {})", self.id, self.ident)
    }
}
