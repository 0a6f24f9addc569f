//! Makes file operations of the server fail: a library that is loaded before libc, and a file that
//! controls it.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

pub const EAGAIN: i64 = 11;
pub const EIO: i64 = 5;
pub const ENOSPC: i64 = 28;
pub const EROFS: i64 = 30;

pub const WRITE: i64 = 1;
pub const SYNC: i64 = 2;
pub const TRUNCATE: i64 = 4;
pub const LOCK: i64 = 8;

/// Which operations fail, and how.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    pub name: &'static str,
    pub errno: i64,
    pub kinds: i64,
    /// All operations fail from the first one on, rather than only one.
    pub lasting: bool,
    /// A failed write stores half of its bytes.
    pub torn: bool,
}

pub struct Shim {
    folder: TempDir,
    control: File,
}

impl Shim {
    /// Compiles the library, or returns the reason why not.
    pub fn build() -> Result<Self, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/storage_faults/shim.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(folder.path().join("shim.so"))
            .arg(source)
            .arg("-ldl")
            .output();
        match compiled {
            Ok(output) if output.status.success() => {}
            Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => return Err(format!("cc does not run: {error}")),
        }
        let path = folder.path().join("control");
        std::fs::write(&path, [0; 56]).expect("writes");
        let control = OpenOptions::new().read(true).write(true).open(path).expect("opens");
        Ok(Self { folder, control })
    }

    /// The environment of a process with faults in its operations on `database`.
    pub fn environment(&self, database: &Path) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("LD_PRELOAD", self.folder.path().join("shim.so")),
            ("FAULT_CONTROL", self.folder.path().join("control")),
            ("FAULT_PATH", database.to_owned()),
        ]
    }

    /// Makes the `first` operation fail, counted from 1.
    pub fn arm(&self, mode: Mode, first: i64) {
        self.set(0, 0);
        let times = if mode.lasting { i64::MAX } else { 1 };
        let values = [times, mode.errno, mode.kinds, i64::from(mode.torn), 0, 0];
        for (index, value) in values.into_iter().enumerate() {
            self.set(index + 1, value);
        }
        self.set(0, first);
    }

    /// Ends the faults and returns their number.
    pub fn disarm(&self) -> i64 {
        self.set(0, 0);
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, 48).expect("reads");
        i64::from_ne_bytes(bytes)
    }

    fn set(&self, index: usize, value: i64) {
        let place = u64::try_from(index * 8).expect("a place");
        self.control.write_all_at(&value.to_ne_bytes(), place).expect("writes");
    }
}
