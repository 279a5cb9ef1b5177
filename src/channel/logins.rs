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

use crate::account::{Account, Held};
use crate::ids::{DeviceId, Epoch, Ident};
use crate::registry::{ChannelHandle, DeviceHandle, DeviceState, Registry};
use crate::router::CloseCode;

use super::events::Who;

/// What a login is at present.
pub(super) enum Standing {
    /// Not admitted.
    Outside,
    /// No device has it, and the channel keeps what it sends: the channel's owner pays.
    Guest(Account),
    /// The device is on this connection.
    Admitted {
        /// Whose it was when it was admitted, and who pays.
        account: Account,
        /// How often it had changed its account then.
        epoch: Epoch,
        /// How often it had changed at all when this was last found to hold.
        seen: Cell<u32>,
        /// Its place among the account's connections.
        _held: Held,
    },
}

/// One login.
pub(super) struct Known {
    pub(super) ident: Ident,
    /// The secret it showed last.
    shown: Option<Box<str>>,
    pub(super) device: Option<Arc<DeviceHandle>>,
    pub(super) standing: Standing,
    /// The decoder had a device's settings when it last named itself.
    pub(super) given: bool,
    /// It has been told its refusal: on one connection it may be told again with every frame.
    pub(super) answered: bool,
    /// It wanted a device that another connection keeps, and that was counted.
    pub(super) contended: bool,
    /// Bytes of fragments kept since its last message, where there is no device to hang them on.
    pub(super) fragment_bytes: u32,
    /// Whether its device's raw traffic is kept, and how often the device had changed when that was
    /// asked last.
    packets: Cell<Option<(u32, bool)>>,
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
    pub(super) fn is_admitted(&self) -> bool {
        matches!(self.standing, Standing::Admitted { .. })
    }

    pub(super) fn still(&self) -> Still {
        let (Standing::Admitted { epoch, seen, .. }, Some(device)) = (&self.standing, &self.device)
        else {
            return Still::Open;
        };
        let changes = device.state.changes();
        if changes == seen.get() {
            return Still::Good;
        }
        let state = device.state.load();
        if state.gone || state.epoch != *epoch {
            Still::Changed(CloseCode::DeviceChanged)
        } else if !state.enabled {
            Still::Changed(CloseCode::DeviceDisabled)
        } else {
            seen.set(changes);
            Still::Good
        }
    }

    /// Who pays for what it sends, once it is admitted or a guest.
    pub(super) fn account(&self) -> Option<&Account> {
        match &self.standing {
            Standing::Outside => None,
            Standing::Guest(account) | Standing::Admitted { account, .. } => Some(account),
        }
    }

    pub(super) fn device_id(&self) -> DeviceId {
        match (&self.standing, &self.device) {
            (Standing::Admitted { .. }, Some(device)) => device.id,
            _ => DeviceId::NONE,
        }
    }

    /// See [`Standing::Admitted`].
    pub(super) fn seen(&self) -> u32 {
        match &self.standing {
            Standing::Admitted { seen, .. } => seen.get(),
            _ => 0,
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        match &self.standing {
            Standing::Admitted { epoch, .. } => *epoch,
            _ => Epoch::default(),
        }
    }

    /// Is its device's raw traffic kept? Where the device says so is far from what else a frame touches
    /// of it: it is read when the device has changed.
    pub(super) fn keeps_packets(&self) -> bool {
        let Some(device) = &self.device else {
            return false;
        };
        let changes = device.state.changes();
        match self.packets.get() {
            Some((seen, keeps)) if seen == changes => keeps,
            _ => {
                let keeps = device.state.load().item.keep_packets;
                self.packets.set(Some((changes, keeps)));
                keeps
            }
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
            self.packets.set(None);
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
        let shown = self.shown.as_deref().unwrap_or_default();
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
        let stranger = || Known {
            ident: ident.clone(),
            shown: None,
            device: None,
            standing: Standing::Outside,
            given: false,
            answered: false,
            contended: false,
            fragment_bytes: 0,
            packets: Cell::new(None),
        };
        match self.logins.get_mut(index) {
            None => self.logins.push(stranger()),
            // the frame that gave the number away before was rejected: nobody has heard of it
            Some(known) if known.ident != *ident => *known = stranger(),
            Some(_) => {}
        }
        let known = self.logins.get_mut(index)?;
        if let Some(secret) = secret {
            known.shown = Some(secret.into());
        }
        let device = known
            .resolve(self.registry, self.channel, self.protocol)
            .map(Arc::clone);
        known.given = device.is_some();
        let device = device?;
        Some(Arc::clone(&device.state.load().settings))
    }
}
