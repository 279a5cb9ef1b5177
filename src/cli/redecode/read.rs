//! Both sides from the files of the data directory, and the devices' settings from the gateway.

use super::super::client::Client;
use super::super::gateway::JOURNAL_DIR;
use super::super::{Exit, Failure};
use crate::archive::{self, Archive};
use crate::ids::ConnectionId;
use crate::journal::{ARCHIVES_DIR, EntryRef};
use crate::raw::{Packet, RAW_DIR};
use crate::replay::redecode::{DeviceSettings, Stored};
use crate::segment::{self, OsFiles};
use compact_str::CompactString;
use protocols::Settings;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was stored is held in memory: at most so much of it.
const STORED_BYTES_MAX: usize = 1 << 30;
/// The archives may be merged while they are read: then they are read again, so often at most.
const TRIES: u32 = 5;
const HOUR_US: i64 = 3_600_000_000;

/// The versions of decoders that made what was stored, by protocol; 0: it was not written down.
pub(super) type Versions = BTreeMap<u16, BTreeSet<u16>>;

/// What is asked for.
pub(super) struct Wanted {
    pub(super) from_us: i64,
    pub(super) to_us: i64,
    pub(super) protocol: Option<u16>,
}

impl Wanted {
    pub(super) fn is_of(&self, protocol: u16) -> bool {
        self.protocol.is_none_or(|only| only == protocol)
    }

    /// Of what was stored: a connection's frames may be stored a little after its chunks were kept.
    fn stores(&self, at_us: i64) -> bool {
        (self.from_us..=self.to_us.saturating_add(HOUR_US)).contains(&at_us)
    }
}

/// What was stored in the time asked for.
pub(super) struct ReadBack {
    pub(super) stored: Stored,
    pub(super) versions: Versions,
    /// Of what was before it there is nothing to compare with.
    pub(super) since_us: i64,
}

/// The devices' settings, as they are now.
pub(super) async fn settings(dir: &Path) -> Result<Arc<DeviceSettings>, Failure> {
    asked_of(Client::of(dir).await?).await
}

/// The same, of a gateway that runs.
pub(super) async fn settings_of_running(dir: &Path) -> Result<Arc<DeviceSettings>, Failure> {
    asked_of(Client::of_running(dir).await?).await
}

async fn asked_of(client: Client) -> Result<Arc<DeviceSettings>, Failure> {
    let rows = client
        .result("/gw/devices/all?fields=protocol_id,configuration")
        .await;
    client.close().await;
    Ok(Arc::new(settings_of(&rows?)))
}

/// What was stored: of archives what the journal's segments do not reach back to, then those.
pub(super) fn stored(dir: &Path, wanted: &Wanted) -> Result<ReadBack, Failure> {
    let journal = dir.join(JOURNAL_DIR);
    let mut back = ReadBack {
        stored: Stored::default(),
        versions: Versions::new(),
        since_us: i64::MAX,
    };
    let oldest = segments(&journal)?
        .first()
        .map_or(u64::MAX, |(first, _)| *first);
    archived(&journal.join(ARCHIVES_DIR), oldest, wanted, &mut back)?;
    entries(&journal, &mut |kind, version, content| {
        let Some(EntryRef::Frame(frame)) = EntryRef::read(kind, version, content) else {
            return;
        };
        back.since_us = back.since_us.min(frame.meta.at_us);
        let is_full = back.stored.bytes() > STORED_BYTES_MAX;
        if is_full || !wanted.stores(frame.meta.at_us) || !wanted.is_of(frame.meta.protocol) {
            return;
        }
        let versions = back.versions.entry(frame.meta.protocol).or_default();
        versions.insert(frame.meta.decoder_version);
        for part in frame.parts() {
            for record in part.records() {
                back.stored.push(frame.meta.connection, part.ident, record);
            }
        }
    })?;
    if back.stored.bytes() > STORED_BYTES_MAX {
        return Err(too_much());
    }
    back.since_us = match back.since_us {
        i64::MAX => i64::MIN,
        // a connection's login comes before the first of its frames that is stored
        oldest_us => oldest_us.saturating_sub(HOUR_US),
    };
    Ok(back)
}

fn too_much() -> Failure {
    Failure::new(Exit::Usage, "more than 1 GiB was stored in that time")
        .hint("narrow it by --from and --to, or by --protocol")
}

/// A message of an archive, with its place in the journal.
type Placed = ((u64, u32), CompactString, Vec<u8>);

/// What archives have of entries before `oldest`, connection by connection in the journal's order.
fn archived(dir: &Path, oldest: u64, wanted: &Wanted, back: &mut ReadBack) -> Result<(), Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let failed =
            |error: &io::Error| Failure::new(Exit::Io, format_args!("{}: {error}", dir.display()));
        let (view, _) = archive::listed(&OsFiles, dir).map_err(|error| failed(&error))?;
        let mut found = Archived::default();
        let read = view
            .archives
            .iter()
            .filter(|archive| archive.totals().sequence.0 < oldest)
            .try_for_each(|archive| found.read(archive, oldest, wanted));
        match read {
            Ok(()) if found.bytes > STORED_BYTES_MAX => return Err(too_much()),
            Ok(()) => {
                found.hand_over(back);
                return Ok(());
            }
            // merged meanwhile: another one has it now
            Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
            Err(error) => {
                return Err(failed(&error).hint("`tollgate verify` says which file is damaged"));
            }
        }
    }
}

#[derive(Default)]
struct Archived {
    by_connection: HashMap<ConnectionId, Vec<Placed>>,
    versions: Versions,
    since_us: Option<i64>,
    bytes: usize,
}

impl Archived {
    fn read(&mut self, archive: &Arc<Archive>, oldest: u64, wanted: &Wanted) -> io::Result<()> {
        let (first_us, last_us) = archive.totals().at_us;
        self.since_us = Some(self.since_us.map_or(first_us, |since| since.min(first_us)));
        if last_us < wanted.from_us || first_us > wanted.to_us.saturating_add(HOUR_US) {
            return Ok(());
        }
        let mut scan = archive.scan(&OsFiles)?;
        while let Some(block) = scan.next_block()? {
            for message in block.messages() {
                let origin = &message.origin;
                let is_wanted = message.sequence < oldest
                    && wanted.stores(message.at_us)
                    && wanted.is_of(origin.protocol);
                if !is_wanted {
                    continue;
                }
                let versions = self.versions.entry(origin.protocol).or_default();
                versions.insert(origin.decoder_version);
                self.bytes += message.record.len() + origin.ident.len();
                let place = (message.sequence, message.index);
                let ident = CompactString::new(origin.ident);
                let placed = (place, ident, message.record.to_vec());
                self.by_connection
                    .entry(origin.connection)
                    .or_default()
                    .push(placed);
            }
            if self.bytes > STORED_BYTES_MAX {
                return Ok(());
            }
        }
        Ok(())
    }

    fn hand_over(self, back: &mut ReadBack) {
        back.versions = self.versions;
        back.since_us = self.since_us.unwrap_or(i64::MAX);
        let mut connections: Vec<_> = self.by_connection.into_iter().collect();
        connections.sort_unstable_by_key(|(connection, _)| *connection);
        for (connection, mut placed) in connections {
            placed.sort_unstable_by_key(|(place, ..)| *place);
            for (_, ident, record) in &placed {
                back.stored.push(connection, ident, record);
            }
        }
    }
}

/// Kept raw traffic of the time asked for and from `since_us` on.
pub(super) fn chunks(
    dir: &Path,
    wanted: &Wanted,
    since_us: i64,
    take: &mut dyn FnMut(&Packet),
) -> Result<(), Failure> {
    entries(&dir.join(RAW_DIR), &mut |kind, version, content| {
        let Some(packet) = Packet::read(kind, version, content) else {
            return;
        };
        let in_time = (since_us..=wanted.to_us).contains(&packet.at_us);
        if in_time && (packet.protocol == 0 || wanted.is_of(packet.protocol)) {
            take(&packet);
        }
    })
}

/// The segments of a folder, by their first entries.
fn segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, Failure> {
    let failed =
        |error: io::Error| Failure::new(Exit::Io, format_args!("{}: {error}", dir.display()));
    let listed = match std::fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut segments: Vec<(u64, PathBuf)> = Vec::new();
    for file in listed {
        let path = file.map_err(failed)?.path();
        let name = path.file_stem().and_then(|name| name.to_str());
        if path.extension().is_some_and(|kind| kind == "seg")
            && let Some(first) = name.and_then(|name| name.parse().ok())
        {
            segments.push((first, path));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Shows every entry of a log, in order; what a segment has lost is skipped.
fn entries(dir: &Path, take: &mut dyn FnMut(u8, u8, &[u8])) -> Result<(), Failure> {
    let segments = segments(dir)?;
    let last = segments.len().saturating_sub(1);
    for (index, (first, path)) in segments.iter().enumerate() {
        let examined = segment::examine(&OsFiles, path, *first, index == last, &mut |_, entry| {
            take(entry.kind, entry.version, entry.content);
        });
        match examined {
            Ok(_) => {}
            // retention took it meanwhile
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let what = format_args!("{}: {error}", path.display());
                return Err(Failure::new(Exit::Io, what));
            }
        }
    }
    Ok(())
}

fn settings_of(rows: &[Value]) -> DeviceSettings {
    let mut all = DeviceSettings::new();
    for row in rows {
        let protocol = row["protocol_id"]
            .as_u64()
            .and_then(|id| u16::try_from(id).ok());
        let configuration = &row["configuration"];
        let Some(protocol) = protocol.and_then(protocols::by_number) else {
            continue;
        };
        let ident = configuration["ident"].as_str().unwrap_or_default();
        let Ok(ident) = protocol.ident(ident) else {
            continue;
        };
        let mut settings = Settings::default();
        for key in ["model", "format", "time_zone"] {
            if let Some(value) = configuration[key].as_str() {
                // what cannot be read was refused when it was written
                drop(settings.set(key, value));
            }
        }
        all.insert((protocol.number, ident), Arc::new(settings));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::{Archives, Origin, Stored as Message};
    use crate::ids::{AccountId, ChannelId, DeviceId};

    /// Messages of two connections, in the order of archives: by device and time. The second of a
    /// connection has an older time than the first, one is of an entry that a segment has too.
    const MESSAGES: [(u64, i64, u64, u64, u16); 4] = [
        (1, 1_000, 12, 5, 4),
        (1, 2_000, 11, 5, 3),
        (2, 1_000, 13, 6, 4),
        (2, 9_000, 99, 6, 4),
    ];

    #[test]
    fn archives_are_read_connection_by_connection_in_the_journals_order() {
        let dir = tempfile::tempdir().expect("a folder");
        let archives = Archives::open(Arc::new(OsFiles), dir.path(), 0, false).expect("opens");
        let mut writer = archives.begin(20_000, 2).expect("a disk");
        let records: Vec<[u8; 1]> = MESSAGES
            .iter()
            .map(|one| [one.2.to_le_bytes()[0]])
            .collect();
        for ((device, time_ms, sequence, connection, version), record) in
            MESSAGES.into_iter().zip(&records)
        {
            let message = Message {
                device: DeviceId(device),
                time_ms,
                sequence,
                index: 0,
                at_us: 1_728_000_000_000_000 + time_ms * 1000,
                origin: Origin {
                    connection: ConnectionId(connection),
                    channel: ChannelId(7),
                    account: AccountId(3),
                    protocol: 1,
                    decoder_version: version,
                    peer: "192.0.2.1:1".parse().expect("an address"),
                    ident: "someone",
                },
                record,
            };
            writer.push(&message).expect("a disk");
        }
        let written = writer.finish().expect("a disk").expect("something");
        archives
            .commit(99, vec![written], &BTreeSet::new())
            .expect("a disk");
        let read = |protocol| {
            let wanted = Wanted {
                from_us: i64::MIN,
                to_us: i64::MAX,
                protocol,
            };
            let mut back = ReadBack {
                stored: Stored::default(),
                versions: Versions::new(),
                since_us: i64::MAX,
            };
            archived(dir.path(), 99, &wanted, &mut back).expect("readable");
            back
        };
        let back = read(Some(1));
        let of = |connection| back.stored.of(ConnectionId(connection));
        assert_eq!(of(5), [("someone", &[11][..]), ("someone", &[12][..])]);
        assert_eq!(of(6), [("someone", &[13][..])], "the other is a segment's");
        assert_eq!(back.versions[&1], BTreeSet::from([3, 4]));
        assert_eq!(back.since_us, 1_728_000_001_000_000);
        assert_eq!(read(Some(2)).stored.bytes(), 0);
    }
}
