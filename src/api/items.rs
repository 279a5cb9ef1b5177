//! GET, POST, PUT, PATCH and DELETE of items, and their moves: one set of calls for all kinds.

use super::State;
use super::answer::{Answer, Error};
use super::call::Call;
use super::dto::{self, Wants};
use super::edit::{self, Mode};
use super::selector::Selector;
use crate::account::Dimension;
use crate::control::{NewToken, WriteError, Written};
use crate::ids::{AccountId, ChannelId, DeviceId, LimitId, TokenId, minute_of};
use crate::registry::{Item, ItemId, Rerouted, Write};
use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::sync::Arc;

/// A kind of item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Account,
    Limit,
    Token,
    Channel,
    Device,
}

impl Kind {
    pub(super) const fn id(self, id: u64) -> ItemId {
        match self {
            Self::Account => ItemId::Account(AccountId(id)),
            Self::Limit => ItemId::Limit(LimitId(id)),
            Self::Token => ItemId::Token(TokenId(id)),
            Self::Channel => ItemId::Channel(ChannelId(id)),
            Self::Device => ItemId::Device(DeviceId(id)),
        }
    }

    /// Every id of the kind, ascending; devices, of which there may be very many, piece by piece.
    fn all(self, state: &Arc<State>) -> Ids {
        /// Devices of one look.
        const PIECE: usize = 256;
        let registry = state.control.registry();
        let ids: Vec<u64> = match self {
            Self::Account => registry.accounts().iter().map(|item| item.id.0).collect(),
            Self::Limit => registry.limits().iter().map(|item| item.id.0).collect(),
            Self::Token => registry.tokens().iter().map(|item| item.id.0).collect(),
            Self::Channel => registry.channels().iter().map(|item| item.id.0).collect(),
            Self::Device => {
                let state = Arc::clone(state);
                let mut after = DeviceId(0);
                let pieces = std::iter::from_fn(move || {
                    let piece = state.control.registry().device_ids(after, PIECE);
                    after = *piece.last()?;
                    Some(piece)
                });
                return Box::new(pieces.flatten().map(|id| id.0));
            }
        };
        Box::new(ids.into_iter())
    }
}

/// Ids, found while they are asked for.
pub(super) type Ids = Box<dyn Iterator<Item = u64> + Send>;

/// What a selector chose.
pub(super) struct Chosen {
    pub(super) ids: Vec<u64>,
    pub(super) errors: Vec<Error>,
}

/// What a selector chooses while the answer is sent.
pub(super) struct Choosing {
    pub(super) ids: Ids,
    pub(super) errors: Vec<Error>,
    /// There is at least one item, or all that fit were asked for, of which there may be none.
    pub(super) good: bool,
}

impl Call {
    /// The account whose item it is, if the caller sees it: of an account itself.
    pub(super) fn sees(&self, id: ItemId) -> Option<AccountId> {
        let registry = self.state.control.registry();
        let account = match id {
            ItemId::Account(id) => {
                registry.account(id)?;
                // a caller is no item of its own
                if id == self.caller.root {
                    return None;
                }
                id
            }
            ItemId::Limit(id) => registry.limit(id)?.cid,
            ItemId::Token(id) => registry.token(id)?.cid,
            ItemId::Channel(id) => registry.channel(id)?.state.load().owner.id(),
            ItemId::Device(id) => registry.device(id)?.state.load().account.id(),
        };
        let seen = registry.manages(self.caller.root, account)
            && self
                .ids
                .as_ref()
                .is_none_or(|ids| ids.binary_search(&id.number()).is_ok());
        seen.then_some(account)
    }

    /// The items of a kind that the selector at `index` of the path means.
    pub(super) fn choose(self: &Arc<Self>, kind: Kind, index: usize) -> Result<Chosen, Error> {
        let choosing = self.choosing(kind, index)?;
        Ok(Chosen {
            ids: choosing.ids.collect(),
            errors: choosing.errors,
        })
    }

    /// The same for answers that are made while they are sent: the first is there before the last
    /// is found.
    pub(super) fn choosing(self: &Arc<Self>, kind: Kind, index: usize) -> Result<Choosing, Error> {
        let selector = self.selector(index)?;
        let mut errors = Vec::new();
        let (ids, any): (Ids, bool) = match &selector {
            Selector::Ids { ids, .. } => {
                let mut seen = Vec::with_capacity(ids.len());
                let mut known = HashSet::with_capacity(ids.len());
                for &id in ids {
                    if self.sees(kind.id(id)).is_none() {
                        errors.push(Error::missing(id));
                    } else if known.insert(id) {
                        seen.push(id);
                    }
                }
                if !selector.is_plain() {
                    seen.retain(|&id| self.fits(kind, id, &selector));
                }
                let any = !seen.is_empty();
                (Box::new(seen.into_iter()), any)
            }
            Selector::All { .. } | Selector::Where(_) => {
                let call = Arc::clone(self);
                let found = kind.all(&self.state).filter(move |&id| {
                    call.sees(kind.id(id)).is_some()
                        && (selector.is_plain() || call.fits(kind, id, &selector))
                });
                (Box::new(found), true)
            }
        };
        Ok(Choosing {
            good: any || errors.is_empty(),
            ids,
            errors,
        })
    }

    /// Does an item fit what a selector says beside ids?
    fn fits(&self, kind: Kind, id: u64, selector: &Selector) -> bool {
        let item = self.state.control.registry().item(kind.id(id));
        item.is_some_and(|item| {
            selector.fits_with(&|name| {
                let sheet = dto::show(&self.state, &item, &Wants::one(name));
                super::expression::look_up(&Value::Object(sheet), name).cloned()
            })
        })
    }

    /// The fields that the call wants to see.
    pub(super) fn wants(&self) -> Wants {
        Wants::new(self.query.fields.clone(), self.secrets)
    }

    pub(super) fn refused(&self, error: &WriteError, id: Option<u64>) -> Vec<Error> {
        // what is above the caller's own account is not the caller's to see, whoever it acts for
        let viewer = self.caller.account.clone();
        Error::of_write(error, id, viewer.as_ref())
    }

    /// The account that a new item belongs to.
    fn owner(&self) -> Result<AccountId, Error> {
        if self.caller.root.is_some() {
            Ok(self.caller.root)
        } else {
            Err(Error::field(
                "x-flespi-cid",
                "says in which account: the operator has none",
            ))
        }
    }

    fn shown(&self, item: &Item) -> Map<String, Value> {
        dto::show(&self.state, item, &self.wants())
    }
}

/// GET of items.
pub(super) fn list(call: &Arc<Call>, kind: Kind) -> Result<Answer, Error> {
    let choosing = call.choosing(kind, 0)?;
    let paged = call.query.limit.is_some() || call.query.offset > 0;
    let mut ids = choosing.ids;
    let mut total = 0;
    if paged {
        // the answer says how many there are
        let all: Vec<u64> = ids.collect();
        total = all.len();
        let limit = call.query.limit.unwrap_or(usize::MAX);
        ids = Box::new(all.into_iter().skip(call.query.offset).take(limit));
    }
    let wants = call.wants();
    let (mut single, mut revision) = (None, None);
    let mut begun: Vec<u64> = ids.by_ref().take(2).collect();
    if let [one] = begun.as_slice() {
        let seen = dto::look(&call.state, kind.id(*one), &wants);
        (revision, single) = seen.unzip();
        begun.clear();
    }
    let ids = begun.into_iter().chain(ids);
    let shared = Arc::clone(call);
    let rows = ids.filter_map(move |id| {
        // what was deleted meanwhile is left out
        let (_, sheet) = dto::look(&shared.state, kind.id(id), &wants)?;
        Some(sheet)
    });
    let rows = single.take().into_iter().chain(rows);
    let rows = rows.map(|sheet| Ok(Value::Object(sheet)));
    let mut answer = Answer::rows(rows).tagged(revision);
    answer.good = choosing.good;
    answer.errors = choosing.errors;
    if paged {
        answer = answer.with(
            "pagination",
            json!({
                "limit": call.query.limit,
                "offset": call.query.offset,
                "count": total,
            }),
        );
    }
    Ok(answer)
}

/// A new item of a kind as the body has it.
fn fresh(call: &Call, kind: Kind, body: &Value) -> Result<Item, Vec<Error>> {
    let Value::Object(body) = body else {
        return Err(vec![Error::bad("an item must be an object")]);
    };
    let mut item = match kind {
        // the operator makes masters
        Kind::Account => Item::Account(edit::new_account(call.caller.root)),
        Kind::Limit => Item::Limit(edit::new_limit(call.owner().map_err(|e| vec![e])?)),
        Kind::Token => Item::Token(edit::new_token(call.owner().map_err(|e| vec![e])?)),
        Kind::Channel => Item::Channel(edit::new_channel(call.owner().map_err(|e| vec![e])?)),
        Kind::Device => Item::Device(edit::new_device(call.owner().map_err(|e| vec![e])?)),
    };
    edit::apply(&mut item, body, Mode::Create).map_err(|error| call.refused(&error, None))?;
    Ok(item)
}

/// POST: makes items, each decided by itself.
pub(super) fn create(call: &Arc<Call>, kind: Kind) -> Result<Answer, Error> {
    if call.ids.is_some() {
        return Err(Error::forbidden("action is not permitted by ACL"));
    }
    let control = &call.state.control;
    let scope = call.caller.scope();
    let mut rows: Vec<Option<Value>> = Vec::new();
    let mut errors = Vec::new();
    let mut writes = Vec::new();
    let mut places = Vec::new();
    for (place, body) in call.objects()?.into_iter().enumerate() {
        rows.push(None);
        match fresh(call, kind, body) {
            Ok(Item::Token(token)) if !call.query.dry_run => {
                let new = NewToken {
                    cid: token.cid,
                    access: token.access,
                    info: token.info,
                    ttl_s: token.ttl_s,
                    expire_s: token.expire_s,
                    disabled: !token.enabled,
                    ips: token.ips,
                    metadata: token.metadata,
                };
                match control.create_token(scope, new) {
                    Ok((token, key)) => {
                        let mut sheet = call.shown(&Item::Token(token));
                        sheet.insert("key".into(), key.into());
                        rows[place] = Some(Value::Object(sheet));
                    }
                    Err(error) => errors.extend(call.refused(&error, None)),
                }
            }
            Ok(item) if call.query.dry_run => {
                match control.dry_run(scope, Write::Put(item), None) {
                    Ok(written) => rows[place] = Some(told(call, &written, true)),
                    Err(error) => errors.extend(call.refused(&error, None)),
                }
            }
            Ok(item) => {
                places.push(place);
                writes.push((Write::Put(item), None));
            }
            Err(wrong) => errors.extend(wrong),
        }
    }
    for (place, result) in places.into_iter().zip(control.write_many(scope, writes)) {
        match result {
            Ok(written) => rows[place] = Some(told(call, &written, false)),
            Err(error) => errors.extend(call.refused(&error, None)),
        }
    }
    let rows: Vec<Value> = rows.into_iter().flatten().collect();
    Ok(Answer::list(rows, errors))
}

/// The row of a write: the item, and what is served differently if it is.
fn told(call: &Call, written: &Written, dry_run: bool) -> Value {
    let mut sheet = call.shown(&written.item);
    if dry_run && written.before.is_none() && !matches!(written.item, Item::Account(_)) {
        // no id is taken by a dry run
        sheet.shift_remove("id");
    }
    routed(&mut sheet, &written.item, &written.rerouted, dry_run);
    if dry_run {
        let blocked = would_block(call, &written.item);
        if !blocked.is_empty() {
            sheet.insert("would_block".into(), blocked.into());
        }
    }
    Value::Object(sheet)
}

/// So many devices are named that are routed otherwise; there may be more.
const REROUTED_SHOWN_MAX: usize = 1000;

pub(super) fn routed(
    sheet: &mut Map<String, Value>,
    item: &Item,
    rerouted: &Rerouted,
    dry_run: bool,
) {
    let is_channel = matches!(item, Item::Channel(_));
    let told = dry_run || is_channel && rerouted.count() > 0;
    if !told {
        return;
    }
    let shown = |ids: &[DeviceId]| -> Value {
        ids.iter().take(REROUTED_SHOWN_MAX).map(|id| id.0).collect()
    };
    sheet.insert(
        "rerouted".into(),
        json!({
            "count": rerouted.count(),
            "lost": shown(&rerouted.lost),
            "gained": shown(&rerouted.gained),
        }),
    );
}

/// The accounts that use more than the limit would allow.
fn would_block(call: &Call, item: &Item) -> Vec<Value> {
    let registry = call.state.control.registry();
    let minute = minute_of(call.state.control.clock().now_us());
    let (accounts, limit) = match item {
        Item::Limit(limit) => {
            let accounts = registry.accounts();
            let attached = accounts.iter().filter(|a| a.limit_id == limit.id);
            (attached.map(|a| a.id).collect::<Vec<_>>(), limit.clone())
        }
        Item::Account(account) if account.limit_id.is_some() => {
            match registry.limit(account.limit_id) {
                Some(limit) => (vec![account.id], (*limit).clone()),
                None => return Vec::new(),
            }
        }
        _ => return Vec::new(),
    };
    let caps = limit.rules().caps;
    let mut found = Vec::new();
    for id in accounts {
        if !registry.manages(call.caller.root, id) {
            continue;
        }
        let Some(node) = registry.tree().account(id) else {
            continue;
        };
        for dimension in Dimension::ALL {
            let used = node.admitted(dimension, minute);
            if u64::try_from(caps.get(dimension)).is_ok_and(|cap| used > cap) {
                found.push(json!({
                    "cid": id, "limit": dimension.name(), "used": used, "cap": caps.get(dimension),
                }));
            }
        }
    }
    found
}

/// What no item of the kind takes: told though the selector chose none. A device's `configuration`
/// hangs on its type and is passed over.
fn never_fits(call: &Call, kind: Kind, body: &Map<String, Value>, mode: Mode) -> Vec<Error> {
    let owner = call.caller.root;
    let mut body = body.clone();
    let mut item = match kind {
        Kind::Account => Item::Account(edit::new_account(owner)),
        Kind::Limit => Item::Limit(edit::new_limit(owner)),
        Kind::Token => Item::Token(edit::new_token(owner)),
        Kind::Channel => Item::Channel(edit::new_channel(owner)),
        Kind::Device => {
            body.retain(|name, value| name != "configuration" || !value.is_object());
            let mut device = edit::new_device(owner);
            let any = crate::registry::types::device_types().next();
            device.device_type_id = any.map_or(0, |kind| kind.id);
            Item::Device(device)
        }
    };
    if let Err(error) = edit::apply(&mut item, &body, mode) {
        return call.refused(&error, None);
    }
    // of the item as a whole only what the body says counts
    let wrong = crate::registry::validate(&item);
    // `tls.key` and `allow[0]` are of `tls` and `allow`
    let said = |field: &str| body.contains_key(field.split(['.', '[']).next().unwrap_or_default());
    wrong
        .iter()
        .filter(|wrong| said(&wrong.field))
        .map(|wrong| Error::field(&wrong.field, &wrong.problem))
        .collect()
}

/// PUT and PATCH: one object for every chosen item.
pub(super) fn change(call: &Arc<Call>, kind: Kind, mode: Mode) -> Result<Answer, Error> {
    let body = call.object()?;
    let chosen = call.choose(kind, 0)?;
    let (mut rows, mut errors) = (Vec::new(), chosen.errors);
    let (control, scope) = (&call.state.control, call.caller.scope());
    if chosen.ids.is_empty() && errors.is_empty() {
        return Ok(Answer::errors(never_fits(call, kind, body, mode)));
    }
    let mut revision = None;
    for id in chosen.ids {
        let mut edit = |item: &mut Item| {
            let changes = dto::changes(&call.state, item, body);
            edit::apply(item, &changes, mode)
        };
        let item = kind.id(id);
        let done = if call.query.dry_run {
            control.change_dry_run(scope, item, call.if_match, &mut edit)
        } else {
            control.change(scope, item, call.if_match, &mut edit)
        };
        match done {
            Ok(written) => {
                revision = Some(written.item.stamp().revision.0);
                rows.push(told(call, &written, call.query.dry_run));
            }
            Err(error) => errors.extend(call.refused(&error, Some(id))),
        }
    }
    let tag = revision.filter(|_| rows.len() == 1);
    Ok(Answer::list(rows, errors).tagged(tag))
}

/// DELETE.
pub(super) fn remove(call: &Arc<Call>, kind: Kind) -> Result<Answer, Error> {
    let chosen = call.choose(kind, 0)?;
    let (mut rows, mut errors) = (Vec::new(), chosen.errors);
    let (control, scope) = (&call.state.control, call.caller.scope());
    for id in chosen.ids {
        let write = Write::Remove(kind.id(id));
        let done = if call.query.dry_run {
            control.dry_run(scope, write, call.if_match)
        } else {
            control.write(scope, write, call.if_match)
        };
        match done {
            Ok(written) => {
                let mut sheet = Map::new();
                sheet.insert("id".into(), id.into());
                routed(
                    &mut sheet,
                    &written.item,
                    &written.rerouted,
                    call.query.dry_run,
                );
                rows.push(Value::Object(sheet));
            }
            Err(error) => errors.extend(call.refused(&error, Some(id))),
        }
    }
    Ok(Answer::list(rows, errors))
}

/// PUT of an item's `cid`.
pub(super) fn relocate(call: &Arc<Call>, kind: Kind) -> Result<Answer, Error> {
    let body = call.object()?;
    let mut to = None;
    for (name, value) in body {
        let id = edit::whole_of(value).and_then(|id| u64::try_from(id).ok());
        match (name.as_str(), id) {
            ("cid", Some(id)) => to = Some(AccountId(id)),
            ("cid", None) => return Err(Error::field("cid", "must be the id of an account")),
            _ => return Err(Error::field(name.as_str(), "field is not allowed")),
        }
    }
    let to = to.ok_or_else(|| Error::field("cid", "is missing"))?;
    let chosen = call.choose(kind, 0)?;
    let (mut rows, mut errors) = (Vec::new(), chosen.errors);
    let mut revision = None;
    for id in chosen.ids {
        let moved = call.state.control.move_item(
            call.caller.scope(),
            kind.id(id),
            to,
            call.if_match,
            call.query.dry_run,
        );
        match moved {
            Ok(moved) => {
                revision = Some(moved.item.stamp().revision.0);
                let mut sheet = call.shown(&moved.item);
                routed(&mut sheet, &moved.item, &moved.rerouted, call.query.dry_run);
                rows.push(Value::Object(sheet));
            }
            Err(error) => errors.extend(call.refused(&error, Some(id))),
        }
    }
    let tag = revision.filter(|_| rows.len() == 1);
    Ok(Answer::list(rows, errors).tagged(tag))
}

/// The account that the call acts for, as its owner sees it.
pub(super) fn customer(call: &Arc<Call>) -> Result<Answer, Error> {
    let account = call
        .state
        .control
        .registry()
        .account(call.owner()?)
        .ok_or_else(|| Error::missing(call.caller.root.0))?;
    let revision = account.stamp.revision.0;
    let item = Item::Account((*account).clone());
    let mut sheet = call.shown(&item);
    blind(call, &mut sheet);
    Ok(Answer::list(vec![Value::Object(sheet)], Vec::new()).tagged(Some(revision)))
}

/// What is above the caller is not the caller's to see: neither the owner nor the limit's id.
fn blind(call: &Call, sheet: &mut Map<String, Value>) {
    let own = call
        .caller
        .token
        .as_ref()
        .is_some_and(|token| token.cid == call.caller.root);
    if !own {
        return;
    }
    for name in ["owner_id", "limit_id"] {
        sheet.shift_remove(name);
    }
    if sheet.contains_key("cid") {
        sheet.insert("cid".into(), call.caller.root.0.into());
    }
}

/// PUT of it: an account may change its own name, email and metadata.
pub(super) fn change_customer(call: &Arc<Call>, mode: Mode) -> Result<Answer, Error> {
    let body = call.object()?;
    let root = call.owner()?;
    let mut edit = |item: &mut Item| edit::apply(item, body, mode);
    let id = ItemId::Account(root);
    let (control, scope) = (&call.state.control, call.caller.scope());
    let done = if call.query.dry_run {
        control.change_dry_run(scope, id, call.if_match, &mut edit)
    } else {
        control.change(scope, id, call.if_match, &mut edit)
    };
    Ok(match done {
        Ok(written) => {
            let mut sheet = call.shown(&written.item);
            blind(call, &mut sheet);
            let revision = written.item.stamp().revision.0;
            Answer::list(vec![Value::Object(sheet)], Vec::new()).tagged(Some(revision))
        }
        Err(error) => Answer::errors(call.refused(&error, Some(root.0))),
    })
}

/// GET of what a token is.
pub(super) fn auth_info(call: &Arc<Call>) -> Answer {
    let Some(token) = &call.caller.token else {
        let operator =
            json!({ "cid": 0, "enabled": true, "access": { "type": 1 }, "operator": true });
        return Answer::list(vec![operator], Vec::new());
    };
    let sheet = call.shown(&Item::Token((**token).clone()));
    Answer::list(vec![Value::Object(sheet)], Vec::new())
}
