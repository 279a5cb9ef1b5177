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
//!
//! | file | what it is for |
//! |---|---|
//! | this one | the walk through the frames of a read |
//! | `judge` | who is let in |
//! | `store` | frames together: charge and append |
//! | `entries` | the bytes of their entries |
//! | `limits` | what a limit means for a frame |
//! | `answer` | what leaves, and what is counted |

mod answer;
mod entries;
mod judge;
mod limits;
mod store;

use std::sync::Arc;

use protocols::{Cause, Event};
use smallvec::SmallVec;

use crate::account::{Account, Dimension, Policy, Refusal};
use crate::ids::{DeviceId, Epoch, Ident};
use crate::registry::DeviceHandle;
use crate::router::CloseCode;

use super::bounds::{BATCH_BYTES_MAX, RETRY_MS};
use super::connection::{Core, Parking, Wait, Walk};
use super::frames::Login;
use super::logins::Still;

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
    /// How often the device had changed when it was found to be good.
    seen: u32,
    messages: u64,
}

impl Core {
    /// Goes through the frames from `walk.at` on. `None`: all are done with, or the connection ends.
    pub(super) fn walk(&mut self, walk: &mut Walk, raw: Option<&[u8]>) -> Option<Wait> {
        let wait = self.walk_on(walk, raw);
        // room that was not needed is others' while this one waits
        walk.permit = None;
        wait
    }

    fn walk_on(&mut self, walk: &mut Walk, raw: Option<&[u8]>) -> Option<Wait> {
        while walk.at < walk.spans.len() && !self.is_ending() {
            let mut end = self.run_of(walk);
            if end == walk.at {
                match self.admit(walk) {
                    Met::Nothing => end = walk.at + 1,
                    Met::Refused(cause, code) => {
                        self.tell_refused(self.logins_of(walk).first().copied(), cause, None);
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
                        let login = self.logins_of(walk).first().copied();
                        self.tell_refused(login, Cause::Unknown, None);
                        self.note_unknown(walk, raw);
                        return Some(Wait::Parked(Parking {
                            cause: Cause::Unknown,
                            retry_ms: self.now_ms() + RETRY_MS,
                            until_ms: self.identify_until_ms(),
                            code: CloseCode::Authentication,
                            tell: true,
                        }));
                    }
                    Met::Slowed(parking) => {
                        let login = self.logins_of(walk).first().copied();
                        self.tell_refused(login, parking.cause, None);
                        return Some(Wait::Parked(parking));
                    }
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
        self.talk
            .logins
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
