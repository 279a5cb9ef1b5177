//! One channel for every protocol: the first bytes say whose they are.

use crate::harness::{Setup, until};
use crate::talk::Talk;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

#[test]
fn every_protocol_is_told_by_its_first_bytes_and_stored_under_its_own_device() {
    let gateway = Setup::new().start();
    let (master, _, at) = gateway.master_and_channel_of("auto");
    for protocol in protocols::PROTOCOLS {
        let name = protocol.info.name;
        let talks = Talk::all(name);
        let talk = talks
            .first()
            .unwrap_or_else(|| panic!("{name} has no plain dialogue"));
        // many have the same ident: what tells them apart is the protocol
        let device = gateway.device_of(name, master, &talk.ident);
        let mut stream = TcpStream::connect(at).expect("a connection");
        stream.write_all(&talk.reads.concat()).expect("it is sent");
        stream.shutdown(Shutdown::Write).expect("it is open");
        // it may hang up on the end of the stream
        drop(stream.read_to_end(&mut Vec::new()));
        until(&format!("a message of {name}"), || {
            !gateway.stored(device).is_empty()
        });
    }
    gateway.stop();
}
