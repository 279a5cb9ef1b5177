//! A sealed segment written again with other contents of the same length: what erasing needs.

use super::files::read_exact_at;
use super::format::{self, ENTRY_HEAD_BYTES, HEADER_BYTES, Header, read_entry};
use super::{FileOps, Files};
use std::io;
use std::path::Path;

/// Changes the content of an entry in its place: its sequence, its kind, its content. Was it
/// changed?
pub type Change<'a> = dyn FnMut(u64, u8, &mut [u8]) -> bool + 'a;

/// The bytes of the sealed segment at `path` after `change` has seen every entry; `None`: it left
/// all as they were. Every entry stays where it is, with its number; its header says that it was
/// written once more. Damage is an error of kind `InvalidData`.
pub fn rewritten(
    files: &dyn Files,
    path: &Path,
    change: &mut Change<'_>,
) -> io::Result<Option<Vec<u8>>> {
    let bad = |what| io::Error::new(io::ErrorKind::InvalidData, what);
    let file: Box<dyn FileOps> = files.open(path)?;
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = read_exact_at(file.as_ref(), 0, length)?;
    let mut header = Header::decode(&bytes).map_err(bad)?;
    let seed = header.seed();
    let mut at = HEADER_BYTES;
    let mut changed = false;
    loop {
        let entry = bytes.get(at..).and_then(|rest| read_entry(seed, rest));
        let entry = entry.ok_or_else(|| bad("a bad entry"))?;
        if entry.kind == format::KIND_FOOTER {
            break;
        }
        let (sequence, kind, whole) = (entry.sequence, entry.kind, entry.bytes());
        let bytes = &mut bytes[at..at + whole];
        if change(sequence, kind, &mut bytes[ENTRY_HEAD_BYTES..]) {
            changed = true;
            format::check_anew(seed, bytes);
        }
        at += whole;
    }
    if !changed {
        return Ok(None);
    }
    header.rewritten = header.rewritten.saturating_add(1);
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    Ok(Some(bytes))
}
