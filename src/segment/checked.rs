//! Small files that are replaced whole and checked whole: snapshots, bases, lists.
//!
//! A file is a head and blocks, each with a CRC, and a last empty block that says how many there
//! were: so neither writing nor reading holds more than a block in memory, and a file that is cut
//! anywhere does not read as a shorter one. After a power cut the name has the old content or the
//! new one.
//!
//! | file, little endian | bytes |
//! |---|---|
//! | magic, version | 6 + 2 |
//! | number that the user gives it (a position) | 8 |
//! | CRC of the above | 4 |
//! | each block: length, CRC of it and the block's place, content | 4 + 4 + length |
//! | end: 0, CRC, number of blocks | 4 + 4 + 8 |

use super::files::{FileOps, Files, TEMPORARY};
use super::format::{u32_at, u64_at};
use std::io;
use std::path::{Path, PathBuf};

/// Content of a block that is written as soon as there is so much.
const BLOCK_BYTES: usize = 256 * 1024;
/// A longer block is damage: it bounds what a damaged length can ask for.
const BLOCK_BYTES_MAX: usize = 16 * 1024 * 1024;
const HEAD_BYTES: usize = 20;

/// What kind of file, and which form of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// How it begins.
    pub magic: [u8; 6],
    /// Raised when the content's form changes.
    pub version: u16,
}

/// Writes a checked file. Until [`CheckedWriter::finish`] nobody sees it.
pub struct CheckedWriter<'f> {
    files: &'f dyn Files,
    dir: PathBuf,
    name: String,
    file: Box<dyn FileOps>,
    at: u64,
    block: Vec<u8>,
    blocks: u64,
}

impl<'f> CheckedWriter<'f> {
    /// Begins the file that will be `name` in `dir`.
    pub fn begin(
        files: &'f dyn Files,
        dir: &Path,
        name: &str,
        form: Form,
        number: u64,
    ) -> io::Result<Self> {
        let file = files.create(&dir.join(format!("{name}{TEMPORARY}")))?;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(&form.magic);
        head.extend_from_slice(&form.version.to_le_bytes());
        head.extend_from_slice(&number.to_le_bytes());
        let crc = crc32fast::hash(&head);
        head.extend_from_slice(&crc.to_le_bytes());
        file.write_at(&head, 0)?;
        Ok(Self {
            files,
            dir: dir.to_owned(),
            name: name.to_owned(),
            file,
            at: HEAD_BYTES as u64,
            block: Vec::new(),
            blocks: 0,
        })
    }

    /// Adds a piece of content, that will be in one block.
    pub fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        if !self.block.is_empty() && self.block.len().saturating_add(piece.len()) > BLOCK_BYTES {
            self.end_block()?;
        }
        self.block.extend_from_slice(piece);
        Ok(())
    }

    fn end_block(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(self.block.len()).map_err(io::Error::other)?;
        if self.block.len() > BLOCK_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut head = length.to_le_bytes().to_vec();
        head.extend_from_slice(&check(self.blocks, &self.block).to_le_bytes());
        self.file.write_at(&head, self.at)?;
        self.file.write_at(&self.block, self.at + 8)?;
        self.at += 8 + u64::from(length);
        self.blocks += 1;
        self.block.clear();
        Ok(())
    }

    /// Makes it durable under its name, in the place of what had it.
    pub fn finish(mut self) -> io::Result<()> {
        self.end_block()?;
        let mut end = 0u32.to_le_bytes().to_vec();
        let count = self.blocks.to_le_bytes();
        end.extend_from_slice(&check(self.blocks, &count).to_le_bytes());
        end.extend_from_slice(&count);
        self.file.write_at(&end, self.at)?;
        self.file.sync_data()?;
        let temporary = self.dir.join(format!("{}{TEMPORARY}", self.name));
        self.files.rename(&temporary, &self.dir.join(&self.name))?;
        self.files.sync_dir(&self.dir)
    }
}

/// Reads a checked file block by block.
pub struct CheckedReader {
    file: Box<dyn FileOps>,
    number: u64,
    version: u16,
    length: u64,
    at: u64,
    blocks: u64,
    ended: bool,
}

impl CheckedReader {
    /// Opens the file; `None`: there is none. Damage is an error of kind `InvalidData`.
    pub fn open(files: &dyn Files, path: &Path, magic: [u8; 6]) -> io::Result<Option<Self>> {
        let file = match files.open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = file.len()?;
        let mut head = [0; HEAD_BYTES];
        let read = file.read_at(&mut head, 0)?;
        if read < HEAD_BYTES || crc32fast::hash(&head[..16]) != u32_at(&head, 16) {
            return Err(bad(0, "its head is damaged"));
        }
        if head[..6] != magic {
            return Err(bad(0, "it is a file of another kind"));
        }
        Ok(Some(Self {
            file,
            number: u64_at(&head, 8),
            version: u16::from_le_bytes([head[6], head[7]]),
            length,
            at: HEAD_BYTES as u64,
            blocks: 0,
            ended: false,
        }))
    }

    /// The number that it was given.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// The version of its content's form.
    pub const fn version(&self) -> u16 {
        self.version
    }

    /// The next block; `None` behind the last one. What is not whole is an error of kind
    /// `InvalidData` that says where.
    pub fn next_block(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.ended {
            return Ok(None);
        }
        let at = self.at;
        let mut head = [0; 8];
        if self.file.read_at(&mut head, at)? < head.len() {
            return Err(bad(at, "it is cut off"));
        }
        let length = match u32_at(&head, 0) as usize {
            0 => 8,
            length => length,
        };
        if length > BLOCK_BYTES_MAX || at + 8 + length as u64 > self.length {
            return Err(bad(at, "a block goes beyond the file"));
        }
        let content = super::files::read_exact_at(self.file.as_ref(), at + 8, length)?;
        if check(self.blocks, &content) != u32_at(&head, 4) {
            return Err(bad(at, "a block's checksum is wrong"));
        }
        if u32_at(&head, 0) == 0 {
            self.ended = true;
            return if u64_at(&content, 0) == self.blocks {
                Ok(None)
            } else {
                Err(bad(at, "blocks are missing"))
            };
        }
        self.at += 8 + length as u64;
        self.blocks += 1;
        Ok(Some(content))
    }
}

fn check(place: u64, content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&place.to_le_bytes());
    hasher.update(content);
    hasher.finalize()
}

fn bad(at: u64, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("at byte {at}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::super::OsFiles;
    use super::*;

    const FORM: Form = Form {
        magic: *b"TGTEST",
        version: 3,
    };

    fn write(dir: &Path, pieces: &[Vec<u8>]) {
        let mut writer = CheckedWriter::begin(&OsFiles, dir, "it", FORM, 77).unwrap();
        for piece in pieces {
            writer.push(piece).unwrap();
        }
        writer.finish().unwrap();
    }

    fn read(path: &Path) -> io::Result<Vec<u8>> {
        let mut reader =
            CheckedReader::open(&OsFiles, path, FORM.magic)?.ok_or(io::ErrorKind::NotFound)?;
        assert_eq!((reader.number(), reader.version()), (77, 3));
        let mut all = Vec::new();
        while let Some(block) = reader.next_block()? {
            all.extend(block);
        }
        Ok(all)
    }

    #[test]
    fn it_reads_as_written_and_no_cut_or_changed_byte_passes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it");
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        write(dir.path(), &[]);
        assert!(read(&path).unwrap().is_empty());
        let pieces: Vec<Vec<u8>> = (0..40u8).map(|of| vec![of; 10_000]).collect();
        write(dir.path(), &pieces);
        assert_eq!(read(&path).unwrap(), pieces.concat());
        let whole = std::fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(997).chain([whole.len() - 1]) {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            std::fs::write(&path, &changed).unwrap();
            assert!(read(&path).is_err(), "byte {at}");
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(read(&path).is_err(), "cut at {at}");
        }
    }
}
