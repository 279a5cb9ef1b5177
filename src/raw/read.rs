//! Reading back: the connections in which what is asked for named itself, and their chunks.
//!
//! Two passes over the segments of the time asked for: a connection is known by whoever named
//! himself on it, and what came before that is wanted too. The cost is that of the segments, which
//! the budget bounds.

use super::log::{RawTraffic, first_time};
use super::packet::{self, Label, Packet};
use crate::ids::{AccountId, ConnectionId};
use crate::segment::{Segment, SegmentEntries};
use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Chunks of several threads stand in another order than in time by less than this.
const DISORDER_US: i64 = 60_000_000;

/// What to read back.
pub struct Query<'a> {
    /// From this time on, unix us.
    pub from_us: i64,
    /// Up to and with this time, unix us.
    pub to_us: i64,
    /// Which: a connection is read with all its chunks once one of them is.
    pub wanted: &'a dyn Fn(&Label<'_>) -> bool,
    /// What of which account may be seen.
    pub seen: &'a dyn Fn(AccountId) -> bool,
}

/// Why nothing can be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nothing is kept here.
    #[error("no raw traffic is kept: packets.budget in the configuration is 0")]
    Off,
    /// The folder cannot be used.
    #[error("raw traffic cannot be used: {0}")]
    Failed(String),
    /// The disk says no, or what it has is damaged.
    #[error("raw traffic cannot be read: {0}")]
    Io(#[from] io::Error),
}

impl RawTraffic {
    /// Shows `take` what is asked for, in the order in which it was kept (of one connection: as it
    /// came), until it breaks off. Blocks on the disk.
    pub fn visit(
        &self,
        query: &Query<'_>,
        take: &mut dyn FnMut(Packet) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let segments = self.segments_of(query)?;
        let connections = self.connections(query, &segments)?;
        for segment in &segments {
            let Some(mut entries) = self.entries(segment)? else {
                continue;
            };
            while let Some((_, entry)) = entries.next()? {
                if let Some(packet) = self.shown(entry.content, query, &connections)
                    && take(packet).is_break()
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The `count` first or, in `reverse`, last chunks, the last ones first; fewer if they come to
    /// more than `bytes`.
    pub fn read(
        &self,
        query: &Query<'_>,
        count: usize,
        bytes: usize,
        reverse: bool,
    ) -> Result<Vec<Packet>, ReadError> {
        let mut found = Vec::new();
        let mut weight = 0usize;
        if !reverse {
            self.visit(query, &mut |packet| {
                weight = weight.saturating_add(packet.weight());
                found.push(packet);
                if found.len() >= count || weight >= bytes {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            found.truncate(count);
            return Ok(found);
        }
        let segments = self.segments_of(query)?;
        let connections = self.connections(query, &segments)?;
        for segment in segments.iter().rev() {
            let Some(mut entries) = self.entries(segment)? else {
                continue;
            };
            let mut here = std::collections::VecDeque::new();
            let mut here_bytes = 0usize;
            while let Some((_, entry)) = entries.next()? {
                let Some(packet) = self.shown(entry.content, query, &connections) else {
                    continue;
                };
                here_bytes += packet.weight();
                here.push_back(packet);
                // only the last ones are asked for
                while here.len() > count - found.len().min(count)
                    || (here_bytes > bytes.saturating_sub(weight) && here.len() > 1)
                {
                    let Some(first) = here.pop_front() else { break };
                    here_bytes -= first.weight();
                }
            }
            weight += here_bytes;
            found.extend(here.into_iter().rev());
            if found.len() >= count || weight >= bytes {
                break;
            }
        }
        found.truncate(count);
        Ok(found)
    }

    /// The segments that may hold something of the time asked for.
    fn segments_of(&self, query: &Query<'_>) -> Result<Vec<Arc<Segment>>, ReadError> {
        if let Some(why) = self.failed() {
            // what was written before is there
            if self.catalog.segments().is_empty() {
                return Err(ReadError::Failed(why));
            }
        } else if self.options.budget_bytes == 0 {
            return Err(ReadError::Off);
        }
        self.flush();
        let all = self.catalog.segments();
        let firsts: Vec<_> = all
            .iter()
            .map(|segment| first_time(segment, self.files.as_ref()))
            .collect();
        let mut wanted = Vec::new();
        for (index, segment) in all.iter().enumerate() {
            let begins = firsts.get(index).copied().flatten().unwrap_or(i64::MIN);
            let ends = firsts.get(index + 1).copied().flatten().unwrap_or(i64::MAX);
            if begins.saturating_sub(DISORDER_US) <= query.to_us
                && ends.saturating_add(DISORDER_US) >= query.from_us
            {
                wanted.push(Arc::clone(segment));
            }
        }
        Ok(wanted)
    }

    /// The connections that are asked for and may be seen.
    fn connections(
        &self,
        query: &Query<'_>,
        segments: &[Arc<Segment>],
    ) -> Result<HashSet<ConnectionId>, ReadError> {
        let mut connections = HashSet::new();
        for segment in segments {
            let Some(mut entries) = self.entries(segment)? else {
                continue;
            };
            while let Some((_, entry)) = entries.next()? {
                if let Some((label, _)) = packet::read(entry.content)
                    && !connections.contains(&label.connection)
                    && self.is_in_time(&label, query)
                    && (query.wanted)(&label)
                    && (query.seen)(label.account)
                {
                    connections.insert(label.connection);
                }
            }
        }
        Ok(connections)
    }

    fn is_in_time(&self, label: &Label<'_>, query: &Query<'_>) -> bool {
        let oldest_us = self.clock.now_us().saturating_sub(self.options.keep_us);
        (query.from_us.max(oldest_us)..=query.to_us).contains(&label.at_us)
    }

    /// The chunk, if it is to be shown.
    fn shown(
        &self,
        content: &[u8],
        query: &Query<'_>,
        connections: &HashSet<ConnectionId>,
    ) -> Option<Packet> {
        let (label, bytes) = packet::read(content)?;
        let wanted = connections.contains(&label.connection) && self.is_in_time(&label, query);
        // what came before the one who may be seen had named himself is his too
        let before = label.ident.is_empty() && !label.shared;
        (wanted && (before || (query.seen)(label.account))).then(|| Packet::of(&label, bytes))
    }

    fn entries(&self, segment: &Segment) -> Result<Option<SegmentEntries>, ReadError> {
        match segment.entries(self.files.as_ref(), 0) {
            Ok(entries) => Ok(Some(entries)),
            // retention took it meanwhile
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}
