//! Every path: method, what a token needs for it, what it calls. The router, the OpenAPI page and
//! the test of who may what all read this one table.

use super::access::Right;
use super::answer::{Answer, Error};
use super::call::Call;
use super::edit::Mode;
use super::items::{self, Kind};
use super::{commands, doctor, live, messages, packets, records, register, statements};
use axum::http::Method;
use std::sync::{Arc, LazyLock};

/// What a route calls.
pub(super) type Handler = fn(&Arc<Call>) -> Result<Answer, Error>;

/// One method of one path.
pub(super) struct Route {
    pub(super) method: Method,
    /// Segments; `{...}` stands for a selector.
    pub(super) path: &'static str,
    pub(super) right: Right,
    pub(super) what: &'static str,
    pub(super) call: Handler,
}

impl Route {
    /// Is the answer to these selectors made from a few looks into memory? Then no thread is
    /// changed for it.
    pub(super) fn is_quick(&self, selectors: &[String]) -> bool {
        const QUICK: [&str; 6] = [
            "auth/info",
            "gw/channels/{channels}",
            "gw/devices/{devices}",
            "gw/devices/{devices}/telemetry",
            "gw/devices/{devices}/telemetry/{telemetry}",
            "platform/customer",
        ];
        self.method == Method::GET
            && QUICK.contains(&self.path)
            && selectors
                .first()
                .is_none_or(|id| id.bytes().all(|byte| byte.is_ascii_digit()))
    }
}

impl Route {
    /// Do its rows come as lines, tables and tracks too?
    pub(super) fn has_forms(&self) -> bool {
        const MESSAGES: [&str; 2] = [
            "gw/channels/{channels}/messages",
            "gw/devices/{devices}/messages",
        ];
        self.method == Method::GET && MESSAGES.contains(&self.path)
    }
}

const fn route(
    method: Method,
    path: &'static str,
    right: Right,
    what: &'static str,
    call: Handler,
) -> Route {
    Route {
        method,
        path,
        right,
        what,
        call,
    }
}

const CHANNELS: &str = "gw/channels";
const DEVICES: &str = "gw/devices";

/// Of an item of its own.
const fn own(uri: &'static str) -> Right {
    Right::Of(uri, None)
}

/// Of what hangs on one.
const fn sub(uri: &'static str, name: &'static str) -> Right {
    Right::Of(uri, Some(name))
}

/// All of them.
#[rustfmt::skip]
pub(super) static ROUTES: &[Route] = &[
    route(Method::GET, "auth/info", Right::Any, "What the token is", |c| Ok(items::auth_info(c))),
    // accounts
    route(Method::GET, "platform/customer", Right::Master, "The account itself", items::customer),
    route(Method::PUT, "platform/customer", Right::Master, "Change the account itself", |c| items::change_customer(c, Mode::Put)),
    route(Method::PATCH, "platform/customer", Right::Master, "Change the account itself", |c| items::change_customer(c, Mode::Patch)),
    route(Method::POST, "platform/subaccounts", Right::Master, "Make subaccounts", |c| items::create(c, Kind::Account)),
    route(Method::GET, "platform/subaccounts/{subaccounts}", Right::Master, "Subaccounts", |c| items::list(c, Kind::Account)),
    route(Method::PUT, "platform/subaccounts/{subaccounts}", Right::Master, "Change subaccounts", |c| items::change(c, Kind::Account, Mode::Put)),
    route(Method::PATCH, "platform/subaccounts/{subaccounts}", Right::Master, "Merge into subaccounts", |c| items::change(c, Kind::Account, Mode::Patch)),
    route(Method::DELETE, "platform/subaccounts/{subaccounts}", Right::Master, "Delete subaccounts that own nothing", |c| items::remove(c, Kind::Account)),
    route(Method::GET, "platform/subaccounts/{subaccounts}/logs", Right::Master, "What happened to subaccounts", |c| records::item_logs(c, Kind::Account)),
    route(Method::GET, "platform/customer/logs", Right::Master, "What happened in the account", records::customer_logs),
    route(Method::GET, "platform/customer/statistics", Right::Master, "What the account and its branch used", records::statistics),
    route(Method::GET, "platform/customer/statements", Right::Master, "What the account and its branch used by day, chained by hash", statements::statements),
    route(Method::GET, "platform/deleted/{deleted}", Right::Master, "The recycle bin", records::deleted),
    route(Method::POST, "platform/deleted/{deleted}/restore", Right::Master, "Bring deleted items back", records::restore),
    // limits
    route(Method::POST, "platform/limits", Right::Master, "Make limits", |c| items::create(c, Kind::Limit)),
    route(Method::GET, "platform/limits/{limits}", Right::Master, "Limits", |c| items::list(c, Kind::Limit)),
    route(Method::PUT, "platform/limits/{limits}", Right::Master, "Change limits; in force at once", |c| items::change(c, Kind::Limit, Mode::Put)),
    route(Method::PATCH, "platform/limits/{limits}", Right::Master, "Merge into limits", |c| items::change(c, Kind::Limit, Mode::Patch)),
    route(Method::GET, "platform/limits/{limits}/logs", Right::Master, "What happened to limits", |c| records::item_logs(c, Kind::Limit)),
    route(Method::DELETE, "platform/limits/{limits}", Right::Master, "Delete limits that nobody is attached to", |c| items::remove(c, Kind::Limit)),
    // tokens
    route(Method::POST, "platform/tokens", Right::Master, "Make tokens; each key is shown once", |c| items::create(c, Kind::Token)),
    route(Method::GET, "platform/tokens/{tokens}", Right::Master, "Tokens", |c| items::list(c, Kind::Token)),
    route(Method::PUT, "platform/tokens/{tokens}", Right::Master, "Change tokens", |c| items::change(c, Kind::Token, Mode::Put)),
    route(Method::PATCH, "platform/tokens/{tokens}", Right::Master, "Merge into tokens", |c| items::change(c, Kind::Token, Mode::Patch)),
    route(Method::GET, "platform/tokens/{tokens}/logs", Right::Master, "What happened to tokens", |c| records::item_logs(c, Kind::Token)),
    route(Method::DELETE, "platform/tokens/{tokens}", Right::Master, "Delete tokens", |c| items::remove(c, Kind::Token)),
    // what the program knows
    route(Method::GET, "gw/channel-protocols/{protocols}", Right::Any, "Protocols", records::protocols),
    route(Method::GET, "gw/channel-protocols/{protocols}/device-types/{types}", Right::Any, "Device types of protocols", records::device_types),
    route(Method::GET, "gw/message-parameters/{parameters}", Right::Any, "Names, types and units in messages", |c| Ok(records::message_parameters(c))),
    // channels
    route(Method::POST, "gw/channels", own(CHANNELS), "Make channels", |c| items::create(c, Kind::Channel)),
    route(Method::GET, "gw/channels/{channels}", own(CHANNELS), "Channels", |c| items::list(c, Kind::Channel)),
    route(Method::PUT, "gw/channels/{channels}", own(CHANNELS), "Change channels", |c| items::change(c, Kind::Channel, Mode::Put)),
    route(Method::PATCH, "gw/channels/{channels}", own(CHANNELS), "Merge into channels", |c| items::change(c, Kind::Channel, Mode::Patch)),
    route(Method::GET, "gw/channels/{channels}/logs", sub(CHANNELS, "logs"), "What happened to channels", |c| records::item_logs(c, Kind::Channel)),
    route(Method::DELETE, "gw/channels/{channels}", own(CHANNELS), "Delete channels", |c| items::remove(c, Kind::Channel)),
    route(Method::PUT, "gw/channels/{channels}/cid", own(CHANNELS), "Move channels to another account", |c| items::relocate(c, Kind::Channel)),
    route(Method::GET, "gw/channels/{channels}/connections/{connections}", sub(CHANNELS, "connections"), "Open connections", |c| live::list_connections(c, Kind::Channel)),
    route(Method::DELETE, "gw/channels/{channels}/connections/{connections}", sub(CHANNELS, "connections"), "Close connections", |c| live::close_connections(c, Kind::Channel)),
    route(Method::GET, "gw/channels/{channels}/idents/{idents}", sub(CHANNELS, "idents"), "Idents that no device has", live::idents),
    route(Method::GET, "gw/channels/{channels}/idents", sub(CHANNELS, "idents"), "Idents that no device has", live::idents),
    route(Method::GET, "gw/channels/{channels}/idents/{idents}/packets", sub(CHANNELS, "packets"), "Raw traffic of idents", packets::of_channels),
    route(Method::GET, "gw/channels/{channels}/idents/{idents}/doctor", sub(CHANNELS, "doctor"), "Why the data of idents does not arrive", doctor::of_idents),
    route(Method::GET, "gw/channels/{channels}/messages", sub(CHANNELS, "messages"), "Messages of the buffer, by time or like a queue", messages::of_channels),
    route(Method::DELETE, "gw/channels/{channels}/messages", sub(CHANNELS, "messages"), "Clear the buffer", messages::clear_channels),
    // devices
    route(Method::POST, "gw/devices", own(DEVICES), "Make devices", |c| items::create(c, Kind::Device)),
    route(Method::GET, "gw/devices/{devices}", own(DEVICES), "Devices", |c| items::list(c, Kind::Device)),
    route(Method::PUT, "gw/devices/{devices}", own(DEVICES), "Change devices", |c| items::change(c, Kind::Device, Mode::Put)),
    route(Method::PATCH, "gw/devices/{devices}", own(DEVICES), "Merge into devices", |c| items::change(c, Kind::Device, Mode::Patch)),
    route(Method::GET, "gw/devices/{devices}/logs", sub(DEVICES, "logs"), "What happened to devices", |c| records::item_logs(c, Kind::Device)),
    route(Method::DELETE, "gw/devices/{devices}", own(DEVICES), "Delete devices", |c| items::remove(c, Kind::Device)),
    route(Method::PUT, "gw/devices/{devices}/cid", own(DEVICES), "Move devices to another account", |c| items::relocate(c, Kind::Device)),
    route(Method::GET, "gw/devices/{devices}/connections/{connections}", sub(DEVICES, "connections"), "Open connections", |c| live::list_connections(c, Kind::Device)),
    route(Method::DELETE, "gw/devices/{devices}/connections/{connections}", sub(DEVICES, "connections"), "Close connections", |c| live::close_connections(c, Kind::Device)),
    route(Method::GET, "gw/devices/{devices}/packets", sub(DEVICES, "packets"), "Raw traffic of devices", packets::of_devices),
    route(Method::GET, "gw/devices/{devices}/doctor", sub(DEVICES, "doctor"), "Why the data of devices does not arrive; who is silent", doctor::of_devices),
    route(Method::POST, "gw/devices/{devices}/commands", sub(DEVICES, "commands"), "Send commands now, and wait for the answers", commands::at_once),
    route(Method::POST, "gw/devices/{devices}/commands-queue", sub(DEVICES, "commands-queue"), "Leave commands for devices", commands::queue),
    route(Method::GET, "gw/devices/{devices}/commands-queue", sub(DEVICES, "commands-queue"), "Commands that wait", commands::queued),
    route(Method::GET, "gw/devices/{devices}/commands-queue/{commands}", sub(DEVICES, "commands-queue"), "Commands that wait", commands::queued),
    route(Method::DELETE, "gw/devices/{devices}/commands-queue/{commands}", sub(DEVICES, "commands-queue"), "Take commands back", commands::cancel),
    route(Method::GET, "gw/devices/{devices}/commands-result", sub(DEVICES, "commands-result"), "What became of commands", commands::results),
    route(Method::GET, "gw/devices/{devices}/commands-result/{commands}", sub(DEVICES, "commands-result"), "What became of commands", commands::results),
    route(Method::GET, "gw/devices/{devices}/messages", sub(DEVICES, "messages"), "Messages, by the device's time", messages::of_devices),
    route(Method::POST, "gw/devices/{devices}/messages", sub(DEVICES, "messages"), "Register messages", register::messages),
    route(Method::DELETE, "gw/devices/{devices}/messages", sub(DEVICES, "messages"), "Delete messages, or erase them for good", messages::delete_of_devices),
    route(Method::GET, "gw/devices/{devices}/telemetry/{telemetry}", sub(DEVICES, "telemetry"), "The newest value of parameters", live::telemetry),
    route(Method::GET, "gw/devices/{devices}/telemetry", sub(DEVICES, "telemetry"), "The newest value of each parameter", live::telemetry),
    route(Method::GET, "gw/devices/{devices}/settings/{settings}", sub(DEVICES, "settings"), "Settings of devices: there are none", live::settings),
    route(Method::DELETE, "gw/devices/{devices}/telemetry/{telemetry}", sub(DEVICES, "telemetry"), "Forget parameters", live::forget_telemetry),
];

/// What a path and a method lead to.
pub(super) enum Found {
    /// This route, with the selectors of the path.
    Route(&'static Route, Vec<String>),
    /// The path is there, the method is not: what is.
    Methods(Vec<&'static str>),
    /// There is no such path.
    Nothing,
}

/// The paths of all routes in segments.
static PARTS: LazyLock<Vec<Vec<&'static str>>> = LazyLock::new(|| {
    let parts = |route: &Route| route.path.split('/').collect();
    ROUTES.iter().map(parts).collect()
});

/// Looks a path up; `segments` are decoded.
pub(super) fn find(method: &Method, segments: &[String]) -> Found {
    let mut methods = Vec::new();
    for (route, parts) in ROUTES.iter().zip(PARTS.iter()) {
        if is_of(parts, segments) {
            if route.method == *method {
                let parts = parts.iter().zip(segments);
                let selectors = parts.filter(|(part, _)| part.starts_with('{'));
                return Found::Route(route, selectors.map(|(_, given)| given.clone()).collect());
            }
            methods.push(route.method.as_str());
        }
    }
    if methods.is_empty() {
        Found::Nothing
    } else {
        Found::Methods(methods)
    }
}

fn is_of(parts: &[&str], segments: &[String]) -> bool {
    let mut pairs = parts.iter().zip(segments);
    parts.len() == segments.len()
        && pairs.all(|(part, segment)| part.starts_with('{') || part == segment)
}
