//! The idents of one connection and the verdict on each.
//!
//! The decoder asks at [`Lookup::identify`] for settings only; whether a login is admitted is judged
//! when its frame is settled, from memory, and again with every frame while it is not. So a device
//! that is registered meanwhile is admitted with its very next frame, and a frame that was parked is
//! judged by what holds when it goes on.

use std::cell::Cell;
use std::sync::Arc;

use protocols::{Cause, Info, Lookup, Setting, Settings};
use smallvec::SmallVec;

use crate::account::{Account, Dimension, Refusal};
use crate::ids::{DeviceId, Epoch, Ident};
use crate::registry::{ChannelHandle, DeviceHandle, DeviceState, Registry};
use crate::router::{CloseCode, Device};

use super::events::Who;

/// What a login is at present.
pub(super) enum Standing {
    /// Not admitted.
    Outside,
    /// No device has it, and the channel keeps what it sends: the channel's owner pays.
    Guest(Account),
    /// The device is on this connection. It has a place among the connections of the account whose it
    /// was when it was admitted, and who pays.
    Admitted(Seat),
}

/// A place among an account's connections; given back when dropped.
pub(super) struct Seat(Account);

impl Seat {
    pub(super) fn take(account: &Account) -> Result<Self, Refusal> {
        let held = account.acquire(Dimension::ChannelConnections, 1)?;
        // what this guard says in one word
        held.keep();
        Ok(Self(account.clone()))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.release(Dimension::ChannelConnections, 1);
    }
}

impl Device for DeviceHandle {
    fn id(&self) -> DeviceId {
        self.id
    }

    fn ident(&self) -> &Ident {
        &self.ident
    }
}

/// What few logins have.
#[derive(Default)]
struct Seldom {
    /// The secret it showed last.
    shown: Option<Box<str>>,
    /// Bytes of fragments kept since its last message, where there is no device to hang them on.
    fragment_bytes: u32,
}

/// One login.
pub(super) struct Known {
    pub(super) ident: Ident,
    seldom: Option<Box<Seldom>>,
    pub(super) device: Option<Arc<DeviceHandle>>,
    pub(super) standing: Standing,
    /// How often the device had changed its account when it was admitted.
    epoch: Epoch,
    /// How often the device had changed at all when its admission was last found to hold.
    seen: Cell<u32>,
    /// Its raw traffic was kept then.
    keeps: Cell<bool>,
    /// The decoder had a device's settings when it last named itself.
    pub(super) given: bool,
    /// It has been told its refusal: on one connection it may be told again with every frame.
    pub(super) answered: bool,
    /// It wanted a device that another connection keeps, and that was counted.
    pub(super) contended: bool,
}

/// How an admitted login stands with what holds now.
pub(super) enum Still {
    /// As when it was admitted.
    Good,
    /// It was changed under it: close with this code.
    Changed(CloseCode),
    /// It has to be judged.
    Open,
}

impl Known {
    fn new(ident: &Ident) -> Self {
        Self {
            ident: ident.clone(),
            seldom: None,
            device: None,
            standing: Standing::Outside,
            epoch: Epoch::default(),
            seen: Cell::new(0),
            keeps: Cell::new(false),
            given: false,
            answered: false,
            contended: false,
        }
    }

    pub(super) fn is_admitted(&self) -> bool {
        matches!(self.standing, Standing::Admitted(_))
    }

    /// It is admitted as the device was when it had changed so often.
    pub(super) fn admit(&mut self, seat: Seat, state: &DeviceState, changes: u32) {
        self.standing = Standing::Admitted(seat);
        self.epoch = state.epoch;
        self.seen.set(changes);
        self.keeps.set(state.item.keep_packets);
    }

    pub(super) fn still(&self) -> Still {
        let (Standing::Admitted(_), Some(device)) = (&self.standing, &self.device) else {
            return Still::Open;
        };
        let changes = device.state.changes();
        if changes == self.seen.get() {
            return Still::Good;
        }
        let state = device.state.load();
        if state.gone || state.epoch != self.epoch {
            Still::Changed(CloseCode::DeviceChanged)
        } else if !state.enabled {
            Still::Changed(CloseCode::DeviceDisabled)
        } else {
            self.seen.set(changes);
            self.keeps.set(state.item.keep_packets);
            Still::Good
        }
    }

    /// Who pays for what it sends, once it is admitted or a guest.
    pub(super) fn account(&self) -> Option<&Account> {
        match &self.standing {
            Standing::Outside => None,
            Standing::Guest(account) | Standing::Admitted(Seat(account)) => Some(account),
        }
    }

    pub(super) fn device_id(&self) -> DeviceId {
        match (&self.standing, &self.device) {
            (Standing::Admitted(_), Some(device)) => device.id,
            _ => DeviceId::NONE,
        }
    }

    /// How often its device had changed when its admission was last found to hold.
    pub(super) fn seen(&self) -> u32 {
        self.seen.get()
    }

    pub(super) fn epoch(&self) -> Epoch {
        if self.is_admitted() {
            self.epoch
        } else {
            Epoch::default()
        }
    }

    /// Is its device's raw traffic kept? Where the device says so is far from what else a frame touches
    /// of it: it is read when the device has changed.
    pub(super) fn keeps_packets(&self) -> bool {
        let Some(device) = &self.device else {
            return false;
        };
        if self.is_admitted() && device.state.changes() == self.seen.get() {
            self.keeps.get()
        } else {
            device.state.load().item.keep_packets
        }
    }

    pub(super) fn fragment_bytes(&self) -> u32 {
        let seldom = self.seldom.as_ref();
        seldom.map_or(0, |seldom| seldom.fragment_bytes)
    }

    pub(super) fn set_fragment_bytes(&mut self, bytes: u32) {
        if bytes != self.fragment_bytes() {
            self.seldom.get_or_insert_default().fragment_bytes = bytes;
        }
    }

    pub(super) fn who(&self) -> Who {
        Who {
            ident: self.ident.clone(),
            device: self.device_id(),
            account: self.account().map(Account::id).unwrap_or_default(),
        }
    }

    /// The device that the ident names now.
    pub(super) fn resolve(
        &mut self,
        registry: &Registry,
        channel: &ChannelHandle,
        protocol: u16,
    ) -> Option<&Arc<DeviceHandle>> {
        let stale = self
            .device
            .as_ref()
            .is_none_or(|device| device.state.load().gone);
        if stale || !self.is_admitted() {
            self.device = registry.resolve(channel, protocol, &self.ident);
        }
        self.device.as_ref()
    }

    /// Has the decoder read it by defaults, though its device says what decoding depends on?
    pub(super) fn was_read_by_defaults(&self, info: &Info, state: &DeviceState) -> bool {
        let settings = &state.settings;
        let says = |setting: &Setting| match setting {
            Setting::Model => settings.model.is_some(),
            Setting::Format => settings.format.is_some(),
            Setting::TimeZone => settings.time_zone.is_some(),
            // compared here, not read by it
            Setting::Password => false,
        };
        !self.given && info.settings.iter().any(says)
    }

    /// Is this device's secret what the login showed?
    pub(super) fn shows_secret_of(&self, state: &DeviceState) -> Result<(), Cause> {
        let Some(password) = &state.settings.password else {
            return Ok(());
        };
        let seldom = self.seldom.as_ref();
        let shown = seldom.and_then(|seldom| seldom.shown.as_deref());
        let shown = shown.unwrap_or_default();
        // takes the same time wherever they differ
        let differ = password.len() != shown.len()
            || password
                .bytes()
                .zip(shown.bytes())
                .fold(0, |differ, (a, b)| differ | (a ^ b))
                != 0;
        if differ { Err(Cause::Secret) } else { Ok(()) }
    }
}

/// All logins of a connection, by the decoder's number.
pub(super) type Logins = SmallVec<[Known; 1]>;

/// The decoder's look at the registry during one feed.
pub(super) struct Resolver<'a> {
    pub(super) registry: &'a Registry,
    pub(super) channel: &'a ChannelHandle,
    pub(super) protocol: u16,
    pub(super) logins: &'a mut Logins,
}

impl Lookup for Resolver<'_> {
    fn choose(&mut self, candidates: &[Ident]) -> usize {
        let names_one = |ident: &Ident| {
            self.registry
                .resolve(self.channel, self.protocol, ident)
                .is_some()
        };
        candidates.iter().position(names_one).unwrap_or(0)
    }

    fn identify(
        &mut self,
        login: u16,
        ident: &Ident,
        secret: Option<&str>,
    ) -> Option<Arc<Settings>> {
        let index = usize::from(login);
        match self.logins.get_mut(index) {
            None => self.logins.push(Known::new(ident)),
            // the frame that gave the number away before was rejected: nobody has heard of it
            Some(known) if known.ident != *ident => *known = Known::new(ident),
            Some(_) => {}
        }
        let known = self.logins.get_mut(index)?;
        if let Some(secret) = secret {
            known.seldom.get_or_insert_default().shown = Some(secret.into());
        }
        let device = known
            .resolve(self.registry, self.channel, self.protocol)
            .map(Arc::clone);
        known.given = device.is_some();
        let device = device?;
        Some(Arc::clone(&device.state.load().settings))
    }
}
