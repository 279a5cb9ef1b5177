//! One channel for every protocol: the first bytes say whose they are.

use crate::harness::{Setup, until};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;

#[test]
fn every_protocol_is_told_by_its_first_bytes_and_stored_under_its_own_device() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel_of("auto");
    for protocol in protocols::PROTOCOLS {
        let name = protocol.info.name;
        let talk = Talk::of(name).unwrap_or_else(|| panic!("{name} has no plain dialogue"));
        // many have the same ident: what tells them apart is the protocol
        let device = gateway.device_of(name, master, &talk.ident);
        let mut stream = TcpStream::connect(at).expect("a connection");
        stream.write_all(&talk.bytes).expect("it is sent");
        stream.shutdown(Shutdown::Write).expect("it is open");
        // it may hang up on the end of the stream
        drop(stream.read_to_end(&mut Vec::new()));
        until(&format!("a message of {name}"), || {
            !gateway.stored(device).is_empty()
        });
    }
    gateway.stop();
}

/// What a tracker says to its first message, and the ident of that.
struct Talk {
    bytes: Vec<u8>,
    ident: String,
}

impl Talk {
    /// Of the protocol's first dialogue that begins with a login and needs no settings.
    fn of(name: &str) -> Option<Self> {
        let folder = Path::new("fixtures").join(name);
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("its fixtures")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| {
                let file = path.file_name().and_then(|file| file.to_str());
                file.is_some_and(|file| !file.starts_with('_'))
            })
            .collect();
        files.sort();
        files.iter().find_map(|file| {
            let text = std::fs::read_to_string(file).expect("it is read");
            let mut lines = text
                .lines()
                .map(|line| serde_json::from_str(line).expect("JSON"));
            let head: Value = lines.next()?;
            let special = ["ident", "settings", "unregistered"];
            if special.iter().any(|key| head.get(key).is_some()) {
                return None;
            }
            let mut bytes = Vec::new();
            for line in lines {
                if let Some(hex) = line["hex"].as_str() {
                    bytes.extend(protocols::kit::hex::decode(hex).expect("hexadecimal"));
                } else if let Some(text) = line["text"].as_str() {
                    bytes.extend_from_slice(text.as_bytes());
                } else if let Some(ident) = line["message"]["ident"].as_str() {
                    let ident = ident.to_owned();
                    return Some(Self { bytes, ident });
                } else if line.get("login").is_none() && line.get("reply").is_none() {
                    return None;
                }
            }
            None
        })
    }
}
