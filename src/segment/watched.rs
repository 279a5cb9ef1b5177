//! The machine's files with somebody who is asked before every call: tests count calls by it, and
//! let some of them wait or fail.
//!
//! It changes nothing that is let through, and no gateway opens it.

use super::files::{FileOps, Files, OsFiles};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A call of a file system, with the path that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call<'a> {
    /// [`Files::create`].
    Create(&'a Path),
    /// [`Files::open`].
    Open(&'a Path),
    /// [`Files::rename`], by the name that goes.
    Rename(&'a Path),
    /// [`Files::unlink`].
    Unlink(&'a Path),
    /// [`Files::create_dir`].
    CreateDir(&'a Path),
    /// [`Files::sync_dir`].
    SyncDir(&'a Path),
    /// [`Files::list`].
    List(&'a Path),
    /// [`Files::free_space`].
    FreeSpace(&'a Path),
    /// [`Files::lock`].
    Lock(&'a Path),
    /// [`FileOps::read_at`], by the name under which the file was made or opened.
    Read(&'a Path),
    /// [`FileOps::write_at`].
    Write(&'a Path),
    /// [`FileOps::allocate`].
    Allocate(&'a Path),
    /// [`FileOps::truncate`].
    Truncate(&'a Path),
    /// [`FileOps::sync_data`].
    Sync(&'a Path),
    /// [`FileOps::len`].
    Length(&'a Path),
}

/// Who is asked: what he answers with an error fails by it, and does nothing.
pub type Ask = dyn Fn(Call<'_>) -> io::Result<()> + Send + Sync;

/// [`OsFiles`], watched.
#[derive(Clone)]
pub struct Watched(Arc<Ask>);

impl Watched {
    /// Files of which `ask` hears each call before it is made.
    pub fn by(ask: impl Fn(Call<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }

    fn opened(&self, path: &Path, file: Box<dyn FileOps>) -> Box<dyn FileOps> {
        Box::new(WatchedFile {
            file,
            path: path.to_owned(),
            ask: Arc::clone(&self.0),
        })
    }
}

impl Files for Watched {
    fn create(&self, path: &Path) -> io::Result<Box<dyn FileOps>> {
        (self.0)(Call::Create(path))?;
        Ok(self.opened(path, OsFiles.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn FileOps>> {
        (self.0)(Call::Open(path))?;
        Ok(self.opened(path, OsFiles.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        (self.0)(Call::Rename(from))?;
        OsFiles.rename(from, to)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        (self.0)(Call::Unlink(path))?;
        OsFiles.unlink(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        (self.0)(Call::CreateDir(dir))?;
        OsFiles.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        (self.0)(Call::SyncDir(dir))?;
        OsFiles.sync_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        (self.0)(Call::List(dir))?;
        OsFiles.list(dir)
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        (self.0)(Call::FreeSpace(dir))?;
        OsFiles.free_space(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Send + Sync>>> {
        (self.0)(Call::Lock(path))?;
        OsFiles.lock(path)
    }
}

struct WatchedFile {
    file: Box<dyn FileOps>,
    path: PathBuf,
    ask: Arc<Ask>,
}

impl FileOps for WatchedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (self.ask)(Call::Read(&self.path))?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        (self.ask)(Call::Write(&self.path))?;
        self.file.write_at(bytes, offset)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        (self.ask)(Call::Allocate(&self.path))?;
        self.file.allocate(length)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        (self.ask)(Call::Truncate(&self.path))?;
        self.file.truncate(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        (self.ask)(Call::Sync(&self.path))?;
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        (self.ask)(Call::Length(&self.path))?;
        self.file.len()
    }
}
