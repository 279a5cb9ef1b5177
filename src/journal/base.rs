//! The base of the audit: what the segments that are gone had counted.

use crate::account::Totals;
use crate::ids::AccountId;
use crate::segment::Files;
use crate::segment::checked::{CheckedReader, CheckedWriter, Form};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The name of the audit's base in the journal's folder.
pub const BASE: &str = "audit.base";
/// How its file begins.
pub const BASE_FORM: Form = Form {
    magic: *b"TGBASE",
    version: 1,
};

/// What the segments that are gone had counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// The number of the last entry in it.
    pub last: u64,
    /// The totals of every account and its branch up to there.
    pub accounts: BTreeMap<AccountId, Totals>,
}

impl Base {
    /// Reads it; where none was written yet it is empty.
    pub fn load(files: &dyn Files, dir: &Path) -> io::Result<Self> {
        let Some(mut reader) = CheckedReader::open(files, &dir.join(BASE), BASE_FORM.magic)? else {
            return Ok(Self::default());
        };
        let wrong = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        if reader.version() != BASE_FORM.version {
            return Err(wrong("a newer version wrote it"));
        }
        let mut base = Self {
            last: reader.number(),
            accounts: BTreeMap::new(),
        };
        while let Some(block) = reader.next_block()? {
            let mut rest = block.as_slice();
            while let Some((head, after)) = rest.split_first_chunk::<9>() {
                let (id, count) = head.split_first_chunk::<8>().expect("nine bytes");
                let count = usize::from(count[0]);
                let numbers = after
                    .get(..count * 8)
                    .ok_or_else(|| wrong("a row of it is cut short"))?;
                let numbers: Vec<u64> = numbers
                    .as_chunks()
                    .0
                    .iter()
                    .map(|number| u64::from_le_bytes(*number))
                    .collect();
                base.accounts.insert(
                    AccountId(u64::from_le_bytes(*id)),
                    Totals::from_slice(&numbers),
                );
                rest = &after[count * 8..];
            }
        }
        Ok(base)
    }

    pub(super) fn store(&self, files: &dyn Files, dir: &Path) -> io::Result<()> {
        let mut writer = CheckedWriter::begin(files, dir, BASE, BASE_FORM, self.last)?;
        for (id, totals) in &self.accounts {
            let numbers = totals.to_array();
            let mut row = id.0.to_le_bytes().to_vec();
            row.push(u8::try_from(numbers.len()).expect("there are few numbers"));
            for number in numbers {
                row.extend_from_slice(&number.to_le_bytes());
            }
            writer.push(&row)?;
        }
        writer.finish()
    }
}
