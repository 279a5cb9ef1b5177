//! The idents that came to a channel and that no device has: what a person looks at who installs
//! a tracker. Bounded: the one not seen for the longest goes first.

use crate::ids::Ident;
use std::collections::BTreeMap;

/// The most idents that one channel remembers.
pub const UNKNOWN_IDENTS_MAX: usize = 1000;
/// So much of the last frame is remembered; the rest is cut off.
pub const UNKNOWN_FRAME_BYTES_MAX: usize = 512;
/// The longest record that is remembered as what the last frame says; a longer one is not.
pub const UNKNOWN_RECORD_BYTES_MAX: usize = 1024;

/// An ident that no device has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unknown {
    /// The stored number of the protocol it was spoken in.
    pub protocol: u16,
    /// The name it gave itself.
    pub ident: Ident,
    /// When it came first, unix us.
    pub first_seen_us: i64,
    /// When it came last, unix us.
    pub last_seen_us: i64,
    /// How many frames came under it.
    pub count: u64,
    /// The beginning of its last frame.
    pub frame: Box<[u8]>,
    /// How long that frame was.
    pub frame_bytes: usize,
    /// The first record of the last frame that had one, as the decoder encoded it.
    pub record: Option<Box<[u8]>>,
}

/// The unknown idents of one channel.
#[derive(Debug, Default)]
pub struct UnknownList {
    entries: BTreeMap<(u16, Ident), (u64, Unknown)>,
    by_turn: BTreeMap<u64, (u16, Ident)>,
    turn: u64,
    forgotten: u64,
}

impl UnknownList {
    /// A frame came under an ident that no device has. `record`: the first record in it, if the
    /// decoder found one.
    pub fn note(
        &mut self,
        protocol: u16,
        ident: &Ident,
        now_us: i64,
        frame: &[u8],
        record: Option<&[u8]>,
    ) {
        self.turn += 1;
        let key = (protocol, ident.clone());
        let (turn, entry) = self.entries.entry(key.clone()).or_insert_with(|| {
            let unknown = Unknown {
                protocol,
                ident: ident.clone(),
                first_seen_us: now_us,
                last_seen_us: now_us,
                count: 0,
                frame: Box::default(),
                frame_bytes: 0,
                record: None,
            };
            (0, unknown)
        });
        self.by_turn.remove(turn);
        *turn = self.turn;
        self.by_turn.insert(self.turn, key);
        entry.last_seen_us = now_us;
        entry.count = entry.count.saturating_add(1);
        entry.frame_bytes = frame.len();
        entry.frame = frame.get(..UNKNOWN_FRAME_BYTES_MAX).unwrap_or(frame).into();
        if let Some(record) = record.filter(|record| record.len() <= UNKNOWN_RECORD_BYTES_MAX) {
            entry.record = Some(record.into());
        }
        if self.entries.len() > UNKNOWN_IDENTS_MAX
            && let Some((_, oldest)) = self.by_turn.pop_first()
        {
            self.entries.remove(&oldest);
            self.forgotten += 1;
        }
    }

    /// Someone registered it.
    pub fn forget(&mut self, protocol: u16, ident: &Ident) {
        if let Some((turn, _)) = self.entries.remove(&(protocol, ident.clone())) {
            self.by_turn.remove(&turn);
        }
    }

    /// What is remembered, the one seen last first.
    pub fn list(&self) -> Vec<Unknown> {
        self.by_turn
            .values()
            .rev()
            .filter_map(|key| self.entries.get(key))
            .map(|(_, unknown)| unknown.clone())
            .collect()
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is none remembered?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many had to go because of the bound.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_bounded_and_the_one_not_seen_for_the_longest_goes() {
        let mut list = UnknownList::default();
        let ident = |n: usize| Ident::new(&n.to_string()).unwrap();
        for n in 0..UNKNOWN_IDENTS_MAX {
            list.note(1, &ident(n), 10, &[0; 600], Some(&[1, 2]));
        }
        list.note(1, &ident(0), 20, b"again", None);
        list.note(1, &ident(5000), 30, b"new", None);
        assert_eq!((list.len(), list.forgotten()), (UNKNOWN_IDENTS_MAX, 1));
        let listed = list.list();
        assert_eq!(listed[0].ident, ident(5000));
        assert_eq!(listed[1].ident, ident(0));
        assert_eq!((listed[1].first_seen_us, listed[1].last_seen_us), (10, 20));
        assert_eq!(
            (listed[1].count, listed[1].frame.as_ref()),
            (2, &b"again"[..])
        );
        assert_eq!(listed[1].record.as_deref(), Some(&[1, 2][..]));
        assert_eq!(listed[2].frame.len(), UNKNOWN_FRAME_BYTES_MAX);
        assert!(!listed.iter().any(|unknown| unknown.ident == ident(1)));
        list.forget(1, &ident(5000));
        assert_eq!(list.len(), UNKNOWN_IDENTS_MAX - 1);
        assert_eq!(list.by_turn.len(), list.entries.len());
    }
}
