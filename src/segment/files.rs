//! The file system as segments use it: a small trait, so that a test can stand between and lose
//! what was not synced, tear a write, or say that the disk is full.
//!
//! Nothing here caches or retries. `sync_data` and `sync_dir` are the only promises of durability.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A file system.
pub trait Files: Send + Sync + 'static {
    /// Makes an empty file for reading and writing; what had that name is gone.
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileOps>>;
    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Box<dyn FileOps>>;
    /// Gives a file another name, in the place of what had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// Makes a folder and those above it; one that exists is fine.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// The names of the files in a folder, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Bytes that may still be allocated where `dir` lies.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
    /// Takes the one lock of a folder; it is held until the answer is dropped. `None`: another
    /// process holds it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>>;
}

/// An open file.
#[expect(
    clippy::len_without_is_empty,
    reason = "a file's length is I/O; its emptiness is nobody's question"
)]
pub trait FileOps: Send + Sync {
    /// Fills `buffer` from `offset`; answers how much there was.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`, in one call where the system allows.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Allocates the first `length` bytes; they read as zero until written.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Cuts the file to `length`.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// The file's length.
    fn len(&self) -> io::Result<u64>;
}

/// Reads the `length` bytes at `offset`; fewer are an error.
pub fn read_exact_at(file: &dyn FileOps, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, offset)?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

/// A whole file, as far as there is one: a segment is cut to its length when it ends, which may be
/// while it is read.
pub fn read_whole(files: &dyn Files, path: &Path) -> io::Result<Vec<u8>> {
    let file = files.open(path)?;
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    let read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Puts `content` under `name` in `dir` so that after a power cut the name has the old content or
/// the new one, whole: temporary name, sync, rename, sync of the folder.
pub fn replace(files: &dyn Files, dir: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}{TEMPORARY}"));
    let file = files.create(&temporary)?;
    file.write_at(content, 0)?;
    file.sync_data()?;
    drop(file);
    files.rename(&temporary, &dir.join(name))?;
    files.sync_dir(dir)
}

/// Sees to it that the folder `dir` is there, and that its name and every name in it are durable: what a
/// process that was killed has done last may be in the page cache only, and a start acts on it.
pub fn make_dir(files: &dyn Files, dir: &Path) -> io::Result<()> {
    let is_missing = |above: &&Path| {
        let listed = files.list(above);
        listed.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    // those above it that are made with it have names to be kept, too
    let missing = dir.ancestors().take_while(is_missing).count();
    if missing > 0 {
        files.create_dir(dir)?;
    }
    for made in dir.ancestors().take(missing.max(1)) {
        let Some(parent) = made.parent() else { break };
        // of a path that is relative to where the process is
        let here = parent == Path::new("");
        match files.sync_dir(if here { Path::new(".") } else { parent }) {
            // who may not look into it has not made it either
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && missing == 0 => {}
            synced => synced?,
        }
    }
    files.sync_dir(dir)
}

/// How the name of a file ends that is not in use yet; such files are removed at the start.
pub const TEMPORARY: &str = ".tmp";

/// Is it the want of space, that may pass?
pub fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Is it the want of a file descriptor, of this process or of the machine, that may pass? No write
/// and no sync answers so: what was to be opened was not, and nothing has happened.
pub fn is_out_of_files(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    errno.is_some_and(|errno| matches!(errno, rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}

/// The machine's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsFiles;

impl Files for OsFiles {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileOps>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        Ok(Box::new(OsFile(file)))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FileOps>> {
        Ok(Box::new(OsFile(File::open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

struct OsFile(File);

impl FileOps for OsFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = buffer.get_mut(read..)
            && !rest.is_empty()
        {
            match self.0.read_at(rest, offset.saturating_add(read as u64)) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), 0, length) {
            // some file systems cannot; then the length alone is set and space is found by writing
            Err(rustix::io::Errno::OPNOTSUPP) => self.0.set_len(length),
            result => result.map_err(Into::into),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
