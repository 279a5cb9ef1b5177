//! What is told of frames that cannot be read and of logins that are refused: to answer why data did
//! not arrive. Bounded: [`REJECTS_TOLD_MAX`] rejects a connection, one refusal a login in
//! [`REFUSAL_TOLD_MS`], and `TOLD_PER_S_MAX` of both a worker in a second; beyond it they are
//! counted in metrics only.

use protocols::{Cause, Event, Fatal};

use super::{Core, Walk};
use crate::account::Dimension;
use crate::channel::events::{Happened, Lost, Who};
use crate::channel::frames::Login;
use crate::channel::logins::Known;
use crate::ids::DeviceId;

/// So many rejects of one connection are told.
const REJECTS_TOLD_MAX: u32 = 8;
/// A login that is refused is told of once in so long.
const REFUSAL_TOLD_MS: i64 = 60_000;
/// So many bytes of a frame are told with its reject, or of a lost stream.
const HEAD_BYTES_MAX: usize = 64;

impl Core {
    /// Tells what of a read could not be read. `raw`: its bytes, if they are still at hand.
    pub(super) fn tell_rejects(&mut self, walk: &Walk, raw: Option<&[u8]>) {
        let rejected = |event: &Event| matches!(event, Event::Rejected(_));
        if !walk.output.events.iter().any(rejected) {
            return;
        }
        for span in &walk.spans {
            let events = walk.output.events.get(span.first..span.end);
            for event in events.into_iter().flatten() {
                let Event::Rejected(reject) = event else {
                    continue;
                };
                if self.aside().rejects_told >= REJECTS_TOLD_MAX
                    || !self.worker.may_tell(self.now_us)
                {
                    return;
                }
                self.aside().rejects_told += 1;
                let login = match span.login {
                    Login::One(login) => Some(login),
                    _ => self.current,
                };
                let known = login
                    .and_then(|login| self.talk.logins.get(usize::from(login)))
                    .or(self.talk.logins.last());
                let frame = raw
                    .and_then(|raw| raw.get(span.offset..span.offset + span.bytes))
                    .unwrap_or_default();
                self.tell(Happened::Rejected {
                    who: known.map(named),
                    what: reject.what,
                    why: reject.why,
                    at: reject.at,
                    byte: frame.get(reject.at).copied(),
                    frame: frame.get(..HEAD_BYTES_MAX).unwrap_or(frame).into(),
                });
            }
        }
    }

    /// Tells that what this login sends is refused. `limit`: the dimension, and the level of the
    /// account that refused.
    pub(in crate::channel) fn tell_refused(
        &mut self,
        login: Option<u16>,
        cause: Cause,
        limit: Option<(Dimension, u8)>,
    ) {
        let now_ms = self.now_ms();
        let Some(login) = login else { return };
        let told = self.aside().refusal_told;
        let told = told.filter(|(of, at_ms)| *of == login && now_ms - at_ms < REFUSAL_TOLD_MS);
        let Some(known) = self
            .talk
            .logins
            .get(usize::from(login))
            .filter(|_| told.is_none())
        else {
            return;
        };
        let who = named(known);
        let device = known.device.as_ref();
        let own = device.map(|device| device.state.load().account.level());
        self.aside().refusal_told = Some((login, now_ms));
        if self.worker.may_tell(self.now_us) {
            let limit = limit
                .map(|(dimension, level)| (dimension, own.unwrap_or(level).saturating_sub(level)));
            self.tell(Happened::Refused { who, cause, limit });
        }
    }

    /// The stream is lost: why, and how it began.
    pub(super) fn lose(&mut self, fatal: &Fatal, input: &[u8]) {
        let why = format!("{}: {} at byte {}", fatal.what, fatal.why, fatal.at);
        self.lose_because(why, input);
    }

    pub(super) fn lose_because(&mut self, why: String, input: &[u8]) {
        let head = input.get(..HEAD_BYTES_MAX).unwrap_or(input).into();
        let lost = &mut self.aside().lost;
        lost.get_or_insert_with(|| Box::new(Lost { why, head }));
    }
}

/// Whom a login names, admitted or not.
fn named(known: &Known) -> Who {
    let device = known.device.as_ref();
    Who {
        ident: known.ident.clone(),
        device: device.map_or(DeviceId::NONE, |device| device.id),
        account: device.map_or_else(Default::default, |device| device.state.load().account.id()),
    }
}
