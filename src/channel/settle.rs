//! What becomes of decoded frames: judged, charged, appended, answered, or made to wait.
//!
//! Consecutive frames of one admitted login are taken together: written into one batch, charged
//! once, appended at once. If together they do not fit, they are taken one by one, so that what fits
//! is admitted. There is no await from the charge to the append, and the devices' windows of
//! duplicates are held meanwhile, so that two connections cannot store the same record.
//!
//! What it refuses, and how: an unknown ident by its channel's policy, a wrong secret and a disabled
//! device at once, a limit by the refusing account's policy (parked, or dropped behind a durable
//! entry). Every refused frame is counted: as `unidentified` while nobody is admitted, as `refused`
//! of the device's account otherwise.

use std::ops::Range;
use std::rc::Rc;
use std::sync::{Arc, MutexGuard};

use protocols::{Acks, Cause, Event, Record, Reply};
use smallvec::SmallVec;

use crate::account::{Account, Blocked, Cost, Dimension, Policy, Refusal, Totals};
use crate::ids::{ConnectionId, DeviceId, Epoch, Ident, Position, minute_of};
use crate::journal::{Batch, ConnectionWas, FrameMeta, FrameWriter, Note, PartMeta};
use crate::metrics::names;
use crate::registry::items::{Takeover, UnknownPolicy};
use crate::registry::{DeviceHandle, Recent, RecordKey};
use crate::router::{Carried, CloseCode};

use super::bounds::{BATCH_BYTES_MAX, FRAGMENT_BYTES_MAX, RETRY_MS, TAKEOVER_WINDOW_MS};
use super::connection::{Core, Parking, Wait, Walk};
use super::events::{Happened, Who};
use super::frames::{Login, Span};
use super::logins::{Standing, Still};
use super::storms::Turn;
use super::worker::Scratch;

/// What is written besides the records, at most: for one frame, for each login in it.
const ENTRY_BYTES: usize = 256;

/// What a login or a frame met.
enum Met {
    /// Nothing: it goes on.
    Nothing,
    /// It is refused and that is that; perhaps the connection ends.
    Refused(Cause, Option<CloseCode>),
    /// A limit of the chain.
    Limit(Limit),
    /// Nobody has registered it, and there is no answer to tell it so.
    ParkUnknown,
    /// It comes too often: it waits.
    Slowed(Parking),
    /// The connection ends; what it has is let lie.
    Ends,
}

/// A limit that stands against a frame.
struct Limit {
    dimension: Dimension,
    level: u8,
    policy: Policy,
    park_ms_max: u32,
    /// When it may be over, unix us.
    until_us: Option<i64>,
}

/// What became of frames that were settled together.
enum Settled {
    Done,
    /// The journal's queue has no room for so many bytes.
    NoRoom(usize),
    /// Together they do not fit, or belong to two minutes: one by one.
    Apart,
    /// A device is another account's, or gone, since it logged in: none of it may be stored.
    Changed,
    /// More fragments than a device may have without a message.
    Fragments,
    Limit(Limit),
    Refused(Refusal),
}

/// Who pays for frames that are settled together.
struct Payer {
    login: u16,
    ident: Ident,
    device: Option<Arc<DeviceHandle>>,
    device_id: DeviceId,
    account: Account,
    epoch: Epoch,
    messages: u64,
}

impl Core {
    /// Goes through the frames from `walk.at` on. `None`: all are done with, or the connection ends.
    pub(super) fn walk(&mut self, walk: &mut Walk, raw: Option<&[u8]>) -> Option<Wait> {
        let wait = self.walk_on(walk, raw);
        // room that was not needed is others' while this one waits
        self.permit = None;
        wait
    }

    fn walk_on(&mut self, walk: &mut Walk, raw: Option<&[u8]>) -> Option<Wait> {
        while walk.at < walk.spans.len() && !self.is_ending() {
            let mut end = self.run_of(walk);
            if end == walk.at {
                match self.admit(walk) {
                    Met::Nothing => end = walk.at + 1,
                    Met::Refused(cause, code) => {
                        if let Some(parking) = self.came_back_soon(walk, cause, code) {
                            if let Cause::Unknown = cause {
                                self.note_unknown(walk, raw);
                            }
                            return Some(Wait::Parked(parking));
                        }
                        self.refuse_frame(walk, cause, raw);
                        walk.at += 1;
                        if let Some(code) = code {
                            self.end_gracefully(code);
                        }
                        continue;
                    }
                    Met::Limit(limit) => {
                        if let Some(wait) = self.meet(walk, &limit) {
                            return Some(wait);
                        }
                        continue;
                    }
                    Met::ParkUnknown => {
                        self.note_unknown(walk, raw);
                        return Some(Wait::Parked(Parking {
                            cause: Cause::Unknown,
                            retry_ms: self.now_ms() + RETRY_MS,
                            until_ms: self.identify_until_ms(),
                            code: CloseCode::Authentication,
                            tell: true,
                        }));
                    }
                    Met::Slowed(parking) => return Some(Wait::Parked(parking)),
                    Met::Ends => return None,
                }
            }
            match self.settle(walk, walk.at..end) {
                Settled::Done => walk.at = end,
                Settled::NoRoom(bytes) => return Some(Wait::Room { bytes }),
                Settled::Apart => walk.singly_until = end,
                Settled::Changed => {
                    self.end_at_once(CloseCode::DeviceChanged);
                    return None;
                }
                Settled::Limit(_) | Settled::Refused(_) | Settled::Fragments
                    if end - walk.at > 1 =>
                {
                    walk.singly_until = end;
                }
                Settled::Limit(limit) => {
                    if let Some(wait) = self.meet(walk, &limit) {
                        return Some(wait);
                    }
                }
                Settled::Fragments => {
                    self.refuse_frame(walk, Cause::Busy, None);
                    walk.at += 1;
                    self.end_gracefully(CloseCode::DeviceBlocked);
                }
                Settled::Refused(refusal) => {
                    if let Some(wait) = self.meet_refusal(walk, &refusal) {
                        return Some(wait);
                    }
                }
            }
        }
        None
    }

    /// Behind the last frame of those from `walk.at` on that can be settled together: all of one
    /// login that is admitted and still good. `walk.at` itself if the first cannot.
    fn run_of(&self, walk: &Walk) -> usize {
        let mut end = walk.at;
        let mut payer = None;
        let mut bytes = 0;
        let singly = walk.at < walk.singly_until;
        for span in walk.spans.iter().skip(walk.at) {
            let login = match span.login {
                Login::One(login) => login,
                Login::None => match payer.or(self.current) {
                    Some(login) => login,
                    None => break,
                },
                Login::Several => break,
            };
            let other = payer.is_some_and(|payer| payer != login);
            bytes += span.record_bytes + ENTRY_BYTES;
            if other || (end > walk.at && bytes > BATCH_BYTES_MAX) || !self.is_good(login) {
                break;
            }
            payer = Some(login);
            end += 1;
            if singly {
                break;
            }
        }
        end
    }

    fn is_good(&self, login: u16) -> bool {
        self.logins
            .get(usize::from(login))
            .is_some_and(|known| matches!(known.still(), Still::Good))
    }

    /// The logins that the frame at `walk.at` is from.
    fn logins_of(&self, walk: &Walk) -> SmallVec<[u16; 1]> {
        let mut logins = SmallVec::new();
        let Some(span) = walk.spans.get(walk.at) else {
            return logins;
        };
        match span.login {
            Login::None => logins.extend(self.current),
            Login::One(login) => logins.push(login),
            Login::Several => {
                let events = walk.output.events.get(span.first..span.end);
                for event in events.into_iter().flatten() {
                    if let Event::Login { login, .. }
                    | Event::Message { login, .. }
                    | Event::Part { login, .. } = event
                        && !logins.contains(login)
                    {
                        logins.push(*login);
                    }
                }
            }
        }
        logins
    }

    /// Judges everybody that the frame at `walk.at` is from.
    fn admit(&mut self, walk: &Walk) -> Met {
        let stores = walk.spans.get(walk.at).is_some_and(Span::stores);
        let logins = self.logins_of(walk);
        if logins.is_empty() {
            return Met::Refused(Cause::Unknown, None);
        }
        for login in logins {
            match self.judge(login, stores) {
                Met::Nothing => {}
                met => return met,
            }
        }
        Met::Nothing
    }

    /// A refused login is answered once in its time. One that comes back sooner waits; on a
    /// connection of several idents none does, because the others would wait with it.
    fn came_back_soon(
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
        let known = self.logins.get_mut(usize::from(login))?;
        if known.answered {
            return None;
        }
        let storms = &self.worker.room.storms;
        match storms.may_answer(protocol.number, &known.ident, now_ms, every_ms) {
            Ok(()) => {
                known.answered = true;
                None
            }
            Err(retry_ms) => Some(Parking {
                cause,
                retry_ms: retry_ms.max(now_ms + 1),
                until_ms: match &self.stranger {
                    Some(_) => self.identify_until_ms(),
                    None => now_ms + identify_ms,
                },
                code: code.unwrap_or(CloseCode::Authentication),
                tell: false,
            }),
        }
    }

    /// May this connection take the device over from the one that it is on? If not yet, until when
    /// it waits.
    fn slowed(&self, login: u16, device: &DeviceHandle) -> Option<Parking> {
        let deps = self.worker.deps();
        let present = device.present();
        if !present.is_some() || present == self.handle.id() || !deps.router.lives(present) {
            return None;
        }
        let now_ms = self.now_ms();
        let most = deps.bounds.takeovers_max;
        let Turn::NotBefore { at_ms, tell } =
            self.worker.room.storms.take_over(device.id, now_ms, most)
        else {
            return None;
        };
        let known = self.logins.get(usize::from(login))?;
        if let Some(takeovers) = tell {
            self.worker.room.seldom().flaps.increment(1);
            tracing::warn!(device = %device.id, takeovers, "a device changes hands too often");
            let who = Who {
                ident: known.ident.clone(),
                device: device.id,
                account: device.state.load().account.id(),
            };
            self.tell(Happened::Flaps { who, takeovers });
        }
        Some(Parking {
            cause: Cause::Busy,
            // the other one may be gone before
            retry_ms: at_ms.min(now_ms + RETRY_MS),
            until_ms: now_ms + 2 * TAKEOVER_WINDOW_MS,
            code: CloseCode::IdentCollision,
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
        let Some(known) = self.logins.get_mut(usize::from(login)) else {
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
        let resolved = known.resolve(&deps.registry, &self.channel, protocol.number);
        let resolved = resolved.map(Arc::clone);
        if let (Some(subject), Some(tls)) = (&self.subject, &channel.item.tls) {
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
                    self.stranger = None;
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
        let state = device.state.load_full();
        if let Err(cause) = known.shows_secret_of(&state) {
            return Met::Refused(cause, Some(CloseCode::Authentication));
        }
        if !state.enabled || !state.account.enabled_chain() {
            return Met::Refused(Cause::Blocked, Some(CloseCode::DeviceDisabled));
        }
        if self.replies.has_lost() {
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
        self.stranger = None;
        if let Some(blocked) = state.account.blocked(self.now_us) {
            return Met::Limit(self.limit_of(&blocked));
        }
        let held = match state.account.acquire(Dimension::ChannelConnections, 1) {
            Ok(held) => held,
            Err(refusal) if refusal.disabled => {
                return Met::Refused(Cause::Blocked, Some(CloseCode::DeviceDisabled));
            }
            Err(refusal) => {
                if channel.takeover == Takeover::Newest
                    && let Some(met) = self.take_place_over(login, &device, &refusal)
                {
                    return met;
                }
                self.log_refusal(&refusal);
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
                    return Met::Refused(Cause::Busy, Some(CloseCode::IdentCollision));
                }
                Err(_) => device.take_over(id),
            },
        };
        self.admitted(login, &device, &state.account, held, state.epoch, before);
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
            let known = self.logins.get(usize::from(login))?;
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
    fn admitted(
        &mut self,
        login: u16,
        device: &Arc<DeviceHandle>,
        account: &Account,
        held: crate::account::Held,
        epoch: Epoch,
        before: ConnectionId,
    ) {
        let Some(known) = self.logins.get_mut(usize::from(login)) else {
            return;
        };
        known.standing = Standing::Admitted {
            account: account.clone(),
            epoch,
            _held: held,
        };
        let who = known.who();
        self.tally.logins.add(1);
        self.handle.carry(Carried {
            ident: who.ident.clone(),
            device: device.id,
            account: account.id(),
        });
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
            account: account.id(),
            was: ConnectionWas::Opened,
        });
        self.tell(Happened::Identified(who));
    }

    fn limit_of(&self, blocked: &Blocked) -> Limit {
        let tree = self.worker.deps().registry.tree();
        let at = tree.account(blocked.account);
        let rules = at.as_ref().map(Account::rules).unwrap_or_default();
        Limit {
            dimension: blocked.dimension,
            level: at.as_ref().map_or(0, Account::level),
            policy: rules.policy,
            park_ms_max: rules.park_ms_max,
            until_us: Some(blocked.until_us),
        }
    }

    /// A refusal is counted, and blocks the account that refused: journaled and told once.
    fn log_refusal(&self, refusal: &Refusal) {
        self.worker.count(
            &names::REFUSALS,
            refusal.dimension.name(),
            refusal.policy.name(),
        );
        if let Some(until_us) = refusal.block(self.now_us) {
            self.worker.notes.borrow_mut().add(&Note::Blocked {
                at_us: self.now_us,
                account: refusal.account,
                dimension: refusal.dimension.number(),
                until_us,
            });
            if let Some(who) = self.logins.last().map(super::logins::Known::who) {
                self.tell(Happened::Blocked {
                    who,
                    account: refusal.account,
                    dimension: refusal.dimension,
                    until_us,
                });
            }
        }
    }

    /// The tree has refused the frame at `walk.at`.
    fn meet_refusal(&mut self, walk: &mut Walk, refusal: &Refusal) -> Option<Wait> {
        self.log_refusal(refusal);
        let code = if refusal.disabled {
            CloseCode::DeviceDisabled
        } else if refusal.too_large {
            let who = self.logins_of(walk).first().copied().and_then(|login| {
                let known = self.logins.get(usize::from(login))?;
                Some(known.who())
            });
            if let Some(who) = who {
                self.tell(Happened::TooLarge {
                    who,
                    account: refusal.account,
                    dimension: refusal.dimension,
                    asked: refusal.asked,
                    cap: refusal.cap,
                });
            }
            CloseCode::DeviceBlocked
        } else {
            return self.meet(walk, &limit_of_refusal(refusal));
        };
        let cause = if refusal.disabled {
            Cause::Blocked
        } else {
            Cause::Limit
        };
        self.refuse_frame(walk, cause, None);
        walk.at += 1;
        self.end_gracefully(code);
        None
    }

    /// A limit stands against the frame at `walk.at`: it waits, or is thrown away and acked.
    fn meet(&mut self, walk: &mut Walk, limit: &Limit) -> Option<Wait> {
        let admitted = self
            .logins_of(walk)
            .iter()
            .all(|login| self.is_good(*login));
        if limit.policy == Policy::Drop && admitted {
            return self.drop_frame(walk, limit);
        }
        let now_ms = self.now_ms();
        let until_ms = limit.until_us.map(|us| us.div_euclid(1_000) + 1);
        Some(Wait::Parked(Parking {
            cause: Cause::Limit,
            retry_ms: until_ms.unwrap_or(now_ms + RETRY_MS).max(now_ms + 1),
            until_ms: now_ms + i64::from(limit.park_ms_max),
            code: CloseCode::ChannelBlocked,
            tell: true,
        }))
    }

    /// Policy `drop`: what flespi does. Acked and thrown away, behind a durable entry that says so.
    fn drop_frame(&mut self, walk: &mut Walk, limit: &Limit) -> Option<Wait> {
        let span = walk.spans.get(walk.at)?.clone();
        let mut batch = self.worker.batch.take();
        batch.clear();
        let at_us = self.channel.stamp(self.now_us);
        let mut left = (span.bytes, span.reply_bytes);
        for login in self.logins_of(walk) {
            let Some(known) = self.logins.get(usize::from(login)) else {
                continue;
            };
            let events = walk.output.events.get(span.first..span.end);
            let of_login =
                |event: &&Event| matches!(event, Event::Message { login: of, .. } if *of == login);
            let messages = events.into_iter().flatten().filter(of_login).count();
            let (bytes_in, bytes_out) = std::mem::take(&mut left);
            Note::Dropped {
                at_us,
                channel: self.channel.id,
                ident: &known.ident,
                device: known.device_id(),
                account: known.account().map(Account::id).unwrap_or_default(),
                bytes_in: saturated(bytes_in),
                bytes_out: saturated(bytes_out),
                messages: saturated(messages),
                dimension: limit.dimension.number(),
                level: limit.level,
            }
            .write(&mut batch);
            self.tally.dropped.add(messages as u64);
        }
        let bytes = batch.len();
        let Some(permit) = self.room(bytes) else {
            self.worker.batch.replace(batch);
            return Some(Wait::Room { bytes });
        };
        let position = self.worker.append(permit, &mut batch, self.now_us);
        self.worker.batch.replace(batch);
        self.replies.stored(position);
        self.answer(walk, walk.at, false);
        walk.at += 1;
        None
    }

    /// Room in the journal's queue: what was waited for, or what there is now.
    fn room(&mut self, bytes: usize) -> Option<crate::journal::Permit> {
        let kept = self.permit.take().filter(|permit| permit.bytes() >= bytes);
        kept.or_else(|| self.worker.deps().journal.try_permit(bytes))
    }

    /// Settles frames that are all of admitted logins (or guests): charge, append, answer.
    fn settle(&mut self, walk: &mut Walk, range: Range<usize>) -> Settled {
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
                .find_map(|payer| payer.account.blocked(self.now_us));
            if let Some(blocked) = blocked {
                return Settled::Limit(self.limit_of(&blocked));
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

    fn payers_of(&self, walk: &Walk, range: &Range<usize>) -> SmallVec<[Payer; 1]> {
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
                let known = self.logins.get(usize::from(login))?;
                Some(Payer {
                    login,
                    ident: known.ident.clone(),
                    device: known.device.clone().filter(|_| known.is_admitted()),
                    device_id: known.device_id(),
                    account: known.account()?.clone(),
                    epoch: known.epoch(),
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
        walk: &Walk,
        range: &Range<usize>,
        payers: &mut SmallVec<[Payer; 1]>,
        batch: &mut Batch,
        scratch: &mut Scratch,
    ) -> Settled {
        batch.clear();
        scratch.seen.clear();
        scratch.keys.clear();
        scratch.entries.clear();
        let devices: SmallVec<[Option<Arc<DeviceHandle>>; 1]> =
            payers.iter().map(|payer| payer.device.clone()).collect();
        let mut windows: SmallVec<[Option<MutexGuard<'_, Recent>>; 1]> = devices
            .iter()
            .map(|device| device.as_ref().map(|device| device.recent()))
            .collect();
        // a device is moved under its window: what is looked at now holds until the append
        let changed = |payer: &Payer| {
            payer.device.as_ref().is_some_and(|device| {
                let state = device.state.load();
                state.gone || state.epoch != payer.epoch
            })
        };
        if payers.iter().any(changed) {
            return Settled::Changed;
        }
        let fragments = self.fragments(walk, range, payers, &windows);
        if fragments.iter().any(|bytes| *bytes > FRAGMENT_BYTES_MAX) {
            return Settled::Fragments;
        }
        let mut bytes = 0u64;
        let mut first_us = None;
        let mut last_us = 0;
        let mut duplicates = 0;
        for span in walk.spans.get(range.clone()).into_iter().flatten() {
            if span.stores() {
                let at_us = self.channel.stamp(self.now_us);
                first_us.get_or_insert(at_us);
                last_us = at_us;
                bytes += span.bytes as u64;
                if span.messages > 0 {
                    bytes += span.reply_bytes as u64;
                }
                self.write_parts(walk, span, at_us, payers, batch);
                duplicates +=
                    self.write_messages(walk, span, at_us, payers, &windows, batch, scratch);
            }
            scratch.entries.push(batch.count());
        }
        let Some(first_us) = first_us else {
            return Settled::Done;
        };
        let minute = minute_of(first_us);
        if minute != minute_of(last_us) && range.len() > 1 {
            return Settled::Apart;
        }
        let Some(permit) = self.room(batch.len()) else {
            return Settled::NoRoom(batch.len());
        };
        let charged = match &payers[..] {
            [payer] => payer.account.charge(
                minute,
                Cost {
                    bytes,
                    messages: payer.messages,
                },
            ),
            several => {
                let parts: SmallVec<[(Account, u64); 4]> = several
                    .iter()
                    .map(|payer| (payer.account.clone(), payer.messages))
                    .collect();
                let tree = self.worker.deps().registry.tree();
                tree.charge_union(minute, bytes, &parts)
            }
        };
        if let Err(refusal) = charged {
            self.permit = Some(permit);
            return Settled::Refused(refusal);
        }
        let count = u64::from(batch.count());
        let last = self.worker.append(permit, batch, self.now_us);
        let behind = Position::from_raw((last.raw() + 1).saturating_sub(count));
        // under the windows: a snapshot of telemetry waits for them
        self.renew_telemetry(walk, range, payers, behind, scratch);
        for ((payer, window), kept) in payers.iter().zip(&mut windows).zip(fragments) {
            if let (None, Some(known)) = (&window, self.logins.get_mut(usize::from(payer.login))) {
                known.fragment_bytes = saturated(kept);
            }
            if let (Some(device), Some(mut window)) = (&payer.device, window.take()) {
                window.fragment_bytes = kept;
                scratch.of_device.clear();
                let of_payer = scratch
                    .keys
                    .iter()
                    .filter(|(login, _)| *login == payer.login);
                scratch.of_device.extend(of_payer.map(|(_, key)| *key));
                // the last one's place stands for all: an ack never waits for less
                device.remember(window, &scratch.of_device, last);
            }
        }
        self.tell_followers(walk, range, payers, behind, scratch);
        self.tally.duplicates.add(duplicates);
        let stored: u64 = payers.iter().map(|payer| payer.messages).sum();
        self.tally.messages.add(stored);
        self.messages += stored;
        self.replies.stored(last);
        Settled::Done
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
                .logins
                .get(usize::from(payer.login))
                .map_or(0, |known| known.fragment_bytes as usize),
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

    fn write_parts(
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
    fn write_messages(
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
                    let again = window.find(key).is_some() || !scratch.seen.insert(told);
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

    /// Takes the frame's replies and what is to be counted of it. `charged`: it is not a frame that
    /// was thrown away.
    fn answer(&mut self, walk: &mut Walk, index: usize, charged: bool) {
        let Some(span) = walk.spans.get(index) else {
            return;
        };
        let span = span.clone();
        if let Some(login) = span.last {
            self.current = Some(login);
        }
        if span.stores() && charged {
            self.tally.frames.add(1);
        }
        let mut usage = 0;
        if !span.stores() {
            usage = span.bytes + span.reply_bytes;
        } else if span.messages == 0 {
            usage = span.reply_bytes;
        }
        if usage > 0
            && charged
            && let Some(account) = self.present_account()
        {
            let cost = Cost {
                bytes: usage as u64,
                messages: 0,
            };
            account.charge_unchecked(minute_of(self.now_us), cost);
            let deltas = Totals {
                usage_bytes: usage as u64,
                ..Totals::default()
            };
            let id = account.id();
            let mut notes = self.worker.notes.borrow_mut();
            notes.usage(id, self.now_us, deltas);
        }
        self.send_on(walk, &span);
    }

    /// Who pays for what names nobody.
    fn present_account(&self) -> Option<&Account> {
        self.logins.get(usize::from(self.current?))?.account()
    }

    /// Hands the frame's replies to the queue, and counts its rejects.
    fn send_on(&mut self, walk: &mut Walk, span: &Span) {
        let mark = u64::try_from(self.now_us).unwrap_or(0);
        let events = walk.output.events.get_mut(span.first..span.end);
        for event in events.into_iter().flatten() {
            match event {
                Event::Reply(reply) => {
                    let reply = std::mem::replace(reply, Reply::open(bytes::Bytes::new()));
                    self.replies.push(reply, mark);
                }
                Event::Rejected(reject) => {
                    let name = self.protocol.map_or("", |protocol| protocol.info.name);
                    self.worker.count(&names::REJECTS, name, reject.what);
                }
                _ => {}
            }
        }
    }

    /// The frame at `walk.at` is refused for good: counted, and answered with its refusals.
    pub(super) fn refuse_frame(&mut self, walk: &mut Walk, cause: Cause, raw: Option<&[u8]>) {
        let Some(span) = walk.spans.get(walk.at).cloned() else {
            return;
        };
        if let Cause::Unknown = cause {
            self.note_unknown(walk, raw);
        }
        let payer = match cause {
            // whoever it says it is: nobody who could be made to pay
            Cause::Unknown | Cause::Secret => None,
            _ => self.logins_of(walk).first().copied().and_then(|login| {
                let known = self.logins.get(usize::from(login))?;
                let device = known.device.as_ref()?;
                Some(device.state.load().account.id())
            }),
        };
        if let Some(account) = payer {
            self.tally.refused.add(span.bytes as u64);
            let deltas = Totals {
                refused_bytes: span.bytes as u64,
                ..Totals::default()
            };
            let mut notes = self.worker.notes.borrow_mut();
            notes.usage(account, self.now_us, deltas);
        } else {
            self.tally.unidentified.add(span.bytes as u64);
        }
        if span.last.is_some() {
            self.current = span.last;
        }
        if span.login != Login::None || span.gated {
            self.worker.count(&names::REFUSED_FRAMES, cause.name(), "");
        }
        // also what names nobody stands under a login that is not admitted
        if span.login != Login::None || span.gated {
            self.replies.refuse_login(cause);
        }
        if span.stores() {
            self.replies.refuse_messages(cause);
        }
        self.send_on(walk, &span);
    }

    /// Remembers the unknown idents of the frame at `walk.at` on the channel.
    fn note_unknown(&self, walk: &Walk, raw: Option<&[u8]>) {
        let (Some(protocol), Some(span)) = (self.protocol, walk.spans.get(walk.at)) else {
            return;
        };
        if span.login == Login::None && !span.stores() {
            return;
        }
        let frame = raw
            .and_then(|raw| raw.get(span.offset..span.offset + span.bytes))
            .unwrap_or_default();
        let events = walk
            .output
            .events
            .get(span.first..span.end)
            .unwrap_or_default();
        for login in self.logins_of(walk) {
            let Some(known) = self.logins.get(usize::from(login)) else {
                continue;
            };
            if known.device.is_some() {
                continue;
            }
            let record = events.iter().find_map(|event| match event {
                Event::Message { login: of, range } if *of == login => {
                    walk.output.bytes.get(range.clone())
                }
                _ => None,
            });
            self.channel
                .unknown()
                .note(protocol.number, &known.ident, self.now_us, frame, record);
        }
    }
}

fn limit_of_refusal(refusal: &Refusal) -> Limit {
    Limit {
        dimension: refusal.dimension,
        level: refusal.level,
        policy: refusal.policy,
        park_ms_max: refusal.park_ms_max,
        until_us: refusal.resets_at_us,
    }
}

/// Lengths on the wire are far below 4 GiB.
fn saturated(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
