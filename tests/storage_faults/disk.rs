//! A small disk: a separate tmpfs, which only root can mount.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

pub struct Disk(TempDir);

impl Disk {
    /// Mounts it, or returns the reason why not.
    pub fn mount(megabytes: usize) -> Result<Self, String> {
        let folder =
            tempfile::Builder::new().prefix("callscope-disk.").tempdir().expect("a folder");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "callscope-test"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Ok(Self(folder)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(format!("mount does not run: {error}")),
        }
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills the disk up to `room` bytes.
    pub fn fill(&self, room: u64) {
        let mut filler = File::create(self.path().join("filler")).expect("a file");
        while filler.write_all(&[1; 65536]).is_ok() {}
        let length = filler.metadata().expect("a length").len();
        filler.set_len(length.saturating_sub(room)).expect("shrinks");
    }

    pub fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).expect("removes");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}
