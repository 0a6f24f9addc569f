//! The destination of an export: standard output, or a file that appears only when it is complete.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

const BUFFER: usize = 128 << 10;

/// The requested destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    StandardOutput,
    File { path: PathBuf, overwrite: bool },
}

/// A destination in use.
pub struct Destination {
    /// The file, and the partial file that is renamed to it.
    file: Option<(PathBuf, PathBuf)>,
    overwrite: bool,
}

/// The writer for rows.
pub enum Output {
    Plain(BufWriter<Box<dyn Sink>>),
    Gzip(GzEncoder<BufWriter<Box<dyn Sink>>>),
}

/// The final writer of bytes.
pub trait Sink: Write + Send {
    /// Waits until a file is on the disk.
    fn sync(&self) -> io::Result<()>;
}

impl Sink for File {
    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Sink for io::Stdout {
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Destination {
    /// Opens a target. Fails if the file exists, unless it may be overwritten.
    pub fn open(target: Target, gzip: bool) -> io::Result<(Self, Output)> {
        let (sink, destination): (Box<dyn Sink>, Self) = match target {
            Target::StandardOutput => {
                (Box::new(io::stdout()), Self { file: None, overwrite: false })
            }
            Target::File { path, overwrite } => {
                if !overwrite && path.try_exists()? {
                    return Err(exists());
                }
                let partial = partial(&path);
                let file = create(&partial)?;
                (Box::new(file), Self { file: Some((path, partial)), overwrite })
            }
        };
        let sink = BufWriter::with_capacity(BUFFER, sink);
        let output = match gzip {
            true => Output::Gzip(GzEncoder::new(sink, Compression::default())),
            false => Output::Plain(sink),
        };
        Ok((destination, output))
    }

    /// Completes the output; then the file gets its name.
    pub fn finish(mut self, output: Output) -> io::Result<()> {
        let sink = match output {
            Output::Plain(sink) => sink,
            Output::Gzip(encoder) => encoder.finish()?,
        };
        sink.into_inner().map_err(io::IntoInnerError::into_error)?.sync()?;
        let Some((path, partial)) = &self.file else { return Ok(()) };
        if self.overwrite {
            std::fs::rename(partial, path)?;
        } else {
            // Fails if the file was created meanwhile. Without hard links, the check is not atomic.
            match std::fs::hard_link(partial, path) {
                Ok(()) => std::fs::remove_file(partial)?,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(exists()),
                Err(_) if path.try_exists()? => return Err(exists()),
                Err(_) => std::fs::rename(partial, path)?,
            }
        }
        self.file = None;
        Ok(())
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if let Some((_, partial)) = &self.file {
            // An incomplete file is useless.
            let _ = std::fs::remove_file(partial);
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(sink) => sink.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(sink) => sink.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }
}

fn exists() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "the file exists; --force overwrites it")
}

fn partial(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

/// Readable by its owner only: it contains keys and prompts.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options.open(path)
}
