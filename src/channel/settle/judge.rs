//! Who is let in: the verdict on each login of a frame, and what follows an admission.
//!
//! It decides from memory only, and again with each frame while a login is not admitted. It refuses
//! to answer: what a verdict means for the frame is the walk's to say.

use std::rc::Rc;
use std::sync::Arc;

use protocols::{Acks, Cause};

use super::{Limit, Met, limit_of_refusal};
use crate::account::{Account, Blocked, Dimension, Policy, Refusal, Tree};
use crate::channel::bounds::{ACCOUNT_TURN_MS, RETRY_MS, TAKEOVER_WINDOW_MS};
use crate::channel::connection::{Core, Parking, Walk};
use crate::channel::events::{Happened, Who};
use crate::channel::frames::Span;
use crate::channel::logins::{Seat, Standing, Still};
use crate::channel::storms::Turn;
use crate::ids::ConnectionId;
use crate::journal::{ConnectionWas, Note};
use crate::registry::DeviceHandle;
use crate::registry::items::{Takeover, UnknownPolicy};
use crate::router::CloseCode;

impl Core {
    /// Judges everybody that the frame at `walk.at` is from.
    pub(super) fn admit(&mut self, walk: &Walk) -> Met {
        let stores = walk.spans.get(walk.at).is_some_and(Span::stores);
        let logins = self.logins_of(walk);
        if logins.is_empty() {
            return Met::Refused(Cause::Unknown, None);
        }
        for login in logins {
            match self.judge(login, stores) {
                Met::Nothing => {}
                // who shares a connection is not ended for another one's sake
                Met::Refused(cause, _) if self.carries_others(login) => {
                    return Met::Refused(cause, None);
                }
                met => return met,
            }
        }
        Met::Nothing
    }

    /// Has another device of several been admitted on this connection?
    fn carries_others(&self, login: u16) -> bool {
        let shared = self.protocol.is_some_and(|protocol| protocol.info.shared);
        let mut others = self.talk.logins.iter().enumerate();
        shared && others.any(|(at, known)| at != usize::from(login) && known.is_admitted())
    }

    /// A refused login is answered once in its time. One that comes back sooner waits; on a
    /// connection of several idents none does, because the others would wait with it.
    pub(super) fn came_back_soon(
        &mut self,
        walk: &Walk,
        cause: Cause,
        code: Option<CloseCode>,
    ) -> Option<Parking> {
        let protocol = self.protocol.filter(|protocol| !protocol.info.shared)?;
        let login = *self.logins_of(walk).first()?;
        let now_ms = self.now_ms();
        let bounds = &self.worker.room.deps.bounds;
        let (every_ms, identify_ms) = (bounds.refused_login_ms, bounds.identify_ms);
        let known = self.talk.logins.get_mut(usize::from(login))?;
        if known.answered {
            return None;
        }
        let storms = &self.here.worker.room.storms;
        let key = (self.here.channel.id, protocol.number, known.ident.clone());
        match storms.may_answer(key, now_ms, every_ms) {
            Ok(()) => {
                known.answered = true;
                None
            }
            Err(retry_ms) => Some(Parking {
                cause,
                retry_ms: retry_ms.max(now_ms + 1),
                until_ms: if self.is_identified() {
                    now_ms + identify_ms
                } else {
                    self.identify_until_ms()
                },
                code: code.unwrap_or(CloseCode::Authentication),
                tell: false,
            }),
        }
    }

    /// Counts that this connection wants a device that another has. If that was so too often lately,
    /// it is told, once in its time; until when it shall wait, unix ms.
    fn contends(&self, login: u16, device: &DeviceHandle) -> Option<i64> {
        let now_ms = self.now_ms();
        let most = self.worker.deps().bounds.takeovers_max;
        let Turn::NotBefore { at_ms, tell } =
            self.worker.room.storms.take_over(device.id, now_ms, most)
        else {
            return None;
        };
        let known = self.talk.logins.get(usize::from(login))?;
        if let Some(takeovers) = tell {
            self.worker.room.seldom().flaps.increment(1);
            let connection = self.handle.id();
            tracing::warn!(%connection, device = %device.id, takeovers, "connections contend for a device");
            let who = Who {
                ident: known.ident.clone(),
                device: device.id,
                account: device.state.load().account.id(),
            };
            self.tell(Happened::Flaps { who, takeovers });
        }
        Some(at_ms)
    }

    /// May this connection take the device over from the one that it is on? If not yet, until when
    /// it waits.
    fn slowed(&self, login: u16, device: &DeviceHandle) -> Option<Parking> {
        let deps = self.worker.deps();
        let present = device.present();
        if !present.is_some() || present == self.handle.id() || !deps.router.lives(present) {
            return None;
        }
        let at_ms = self.contends(login, device)?;
        let now_ms = self.now_ms();
        Some(Parking {
            cause: Cause::Busy,
            // the other one may be gone before
            retry_ms: at_ms.min(now_ms + RETRY_MS),
            until_ms: now_ms + 2 * TAKEOVER_WINDOW_MS,
            code: CloseCode::IdentCollision,
            tell: false,
        })
    }

    /// Do too many devices of this account come on new connections at once? Then until when it waits.
    /// A connection counts once, however many idents it carries.
    fn waits_for_turn(&mut self, account: &Account) -> Option<Parking> {
        if self.had_turn {
            return None;
        }
        let now_ms = self.now_ms();
        let given_ms = self.aside.as_ref().and_then(|aside| aside.turn_ms);
        let turn_ms = given_ms.or_else(|| {
            let room = &self.worker.room;
            let most = room.deps.bounds.account_logins_max;
            room.storms.log_in(account.id(), now_ms, most).err()
        });
        let Some(turn_ms) = turn_ms.filter(|at_ms| now_ms < *at_ms) else {
            self.had_turn = true;
            return None;
        };
        self.aside().turn_ms = Some(turn_ms);
        Some(Parking {
            cause: Cause::Busy,
            retry_ms: turn_ms,
            until_ms: now_ms + ACCOUNT_TURN_MS,
            code: CloseCode::ChannelBlocked,
            tell: false,
        })
    }

    /// May what this login sends be stored?
    fn judge(&mut self, login: u16, stores: bool) -> Met {
        let worker = Rc::clone(&self.worker);
        let deps = worker.deps();
        let Some(protocol) = self.protocol else {
            return Met::Refused(Cause::Unknown, None);
        };
        let channel = self.channel.state.load_full();
        if channel.gone || !channel.enabled {
            self.end_at_once(CloseCode::ChannelChanged);
            return Met::Ends;
        }
        let Some(known) = self.talk.logins.get_mut(usize::from(login)) else {
            return Met::Refused(Cause::Unknown, None);
        };
        match known.still() {
            Still::Good => return Met::Nothing,
            Still::Changed(code) => {
                self.end_at_once(code);
                return Met::Ends;
            }
            Still::Open => {}
        }
        let resolved = known.resolve(&deps.registry, &self.here.channel, protocol.number);
        let resolved = resolved.map(Arc::clone);
        let subject = self.aside.as_ref().and_then(|aside| aside.subject.as_ref());
        if let (Some(subject), Some(tls)) = (subject, &channel.item.tls) {
            let state = resolved.as_ref().map(|device| device.state.load());
            let account = state.as_ref().map(|state| &state.account);
            if !subject.speaks_for(tls.client_binds, protocol, &known.ident, account) {
                return Met::Refused(Cause::Secret, Some(CloseCode::Authentication));
            }
        }
        let Some(device) = resolved else {
            return match channel.unknown {
                UnknownPolicy::Store => {
                    known.standing = Standing::Guest(channel.owner.clone());
                    // the channel's owner pays for it: no stranger, and no identify deadline
                    self.identified();
                    Met::Nothing
                }
                UnknownPolicy::Close => {
                    Met::Refused(Cause::Unknown, Some(CloseCode::Authentication))
                }
                UnknownPolicy::Hold if protocol.info.acks == Acks::None && stores => {
                    Met::ParkUnknown
                }
                UnknownPolicy::Hold => Met::Refused(Cause::Unknown, None),
            };
        };
        let seen = device.state.changes();
        let state = device.state.load_full();
        if let Err(cause) = known.shows_secret_of(&state) {
            return Met::Refused(cause, Some(CloseCode::Authentication));
        }
        if !state.enabled || !state.account.enabled_chain() {
            return Met::Refused(Cause::Blocked, Some(CloseCode::DeviceDisabled));
        }
        if self.talk.replies.has_lost() {
            // a later ack would speak for what was refused: it has to come back and send it again
            self.end_at_once(CloseCode::DeviceChanged);
            return Met::Ends;
        }
        if known.was_read_by_defaults(protocol.info, &state) {
            // registered since it logged in: it comes back and is read as its device says
            self.end_at_once(CloseCode::DeviceChanged);
            return Met::Ends;
        }
        // known, whatever the limits say: no stranger, and no identify deadline
        self.identified();
        let stops = &Dimension::OF_LOGINS;
        if let Some(blocked) = state.account.blocked_for(stops, self.now_us)
            && !is_let_in(&blocked, deps.registry.tree())
        {
            return Met::Limit(self.limit_of(&blocked, state.account.id()));
        }
        if let Some(parking) = self.waits_for_turn(&state.account) {
            return Met::Slowed(parking);
        }
        let seat = match Seat::take(&state.account) {
            Ok(seat) => seat,
            Err(refusal) if refusal.disabled => {
                return Met::Refused(Cause::Blocked, Some(CloseCode::DeviceDisabled));
            }
            Err(refusal) => {
                if channel.takeover == Takeover::Newest
                    && let Some(met) = self.take_place_over(login, &device, &refusal)
                {
                    return met;
                }
                self.log_refusal(&refusal, Some(state.account.id()));
                return Met::Limit(Limit {
                    // a connection cannot be thrown away and acked
                    policy: Policy::Hold,
                    ..limit_of_refusal(&refusal)
                });
            }
        };
        let id = self.handle.id();
        let before = match channel.takeover {
            Takeover::Newest => {
                if let Some(parking) = self.slowed(login, &device) {
                    return Met::Slowed(parking);
                }
                device.take_over(id)
            }
            Takeover::Keep => match device.occupy(id) {
                Ok(()) => ConnectionId::NONE,
                Err(other) if deps.router.lives(other) => {
                    // it does not get it, and that it wants it is told all the same
                    let known = self.talk.logins.get_mut(usize::from(login));
                    if known.is_some_and(|known| !std::mem::replace(&mut known.contended, true)) {
                        _ = self.contends(login, &device);
                    }
                    return Met::Refused(Cause::Busy, Some(CloseCode::IdentCollision));
                }
                Err(_) => device.take_over(id),
            },
        };
        if let Some(known) = self.talk.logins.get_mut(usize::from(login)) {
            known.admit(seat, &state, seen);
        }
        self.admitted(login, &device, before);
        // a channel that has changed closes the connections that it finds its devices on: what it
        // did not find there yet is found here
        if !deps.registry.serves_now(&self.channel, &device) {
            self.end_at_once(CloseCode::DeviceChanged);
            return Met::Ends;
        }
        Met::Nothing
    }

    /// There is no place for another connection, but the device has one, on the connection that it
    /// was on before: that one ends, and this one waits for its place. Else a tracker that comes
    /// back would wait until its dead connection is noticed.
    fn take_place_over(
        &mut self,
        login: u16,
        device: &DeviceHandle,
        refusal: &Refusal,
    ) -> Option<Met> {
        let worker = Rc::clone(&self.worker);
        let router = &worker.deps().router;
        let before = device.present();
        // under a limit that was lowered one place given back makes no room
        let makes_room = u64::try_from(refusal.cap).is_ok_and(|cap| cap >= refusal.used.max(1));
        if !makes_room || before == self.handle.id() || !router.lives(before) {
            return None;
        }
        if let Some(parking) = self.slowed(login, device) {
            return Some(Met::Slowed(parking));
        }
        if router.evict(before, device.id, CloseCode::IdentCollision) {
            worker.room.seldom().takeovers.increment(1);
            let known = self.talk.logins.get(usize::from(login))?;
            let who = Who {
                ident: known.ident.clone(),
                device: device.id,
                account: device.state.load().account.id(),
            };
            self.tell(Happened::TakenOver { who, from: before });
        }
        let now_ms = self.now_ms();
        Some(Met::Slowed(Parking {
            cause: Cause::Limit,
            retry_ms: now_ms + RETRY_MS,
            until_ms: now_ms + i64::from(refusal.park_ms_max),
            code: CloseCode::ChannelBlocked,
            tell: true,
        }))
    }

    /// The device is on this connection from now on.
    fn admitted(&mut self, login: u16, device: &Arc<DeviceHandle>, before: ConnectionId) {
        let Some(known) = self.talk.logins.get(usize::from(login)) else {
            return;
        };
        let who = known.who();
        self.settle_in();
        self.tally.logins.add(1);
        self.command_due |= self.worker.deps().router.commands().any();
        let carried: Arc<DeviceHandle> = Arc::clone(device);
        self.handle.carry(carried, who.account);
        let worker = Rc::clone(&self.worker);
        if before.is_some() && before != self.handle.id() {
            let router = &worker.deps().router;
            if router.evict(before, device.id, CloseCode::IdentCollision) {
                worker.room.seldom().takeovers.increment(1);
                self.tell(Happened::TakenOver {
                    who: who.clone(),
                    from: before,
                });
            }
        }
        worker.notes.borrow_mut().add(&Note::Connection {
            at_us: self.now_us,
            connection: self.handle.id(),
            channel: self.channel.id,
            peer: self.handle.peer(),
            ident: Some(&who.ident),
            device: device.id,
            account: who.account,
            was: ConnectionWas::Opened,
        });
        self.tell(Happened::Identified(who));
    }
}

/// Under the policy `drop` a login does not wait for the end of a block: what it sends is thrown away
/// and acked, as if it had come before. Only a connection can be neither.
fn is_let_in(blocked: &Blocked, tree: &Tree) -> bool {
    let drops = |account: Account| account.rules().policy == Policy::Drop;
    blocked.dimension != Dimension::ChannelConnections
        && tree.account(blocked.account).is_some_and(drops)
}
