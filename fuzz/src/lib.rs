//! What the fuzz targets share: a file to give arbitrary bytes to code that takes a path.

use std::path::{Path, PathBuf};

/// A path of this process and extension, in memory where the system has such a folder.
pub struct ScratchFile {
    path: PathBuf,
}

impl ScratchFile {
    /// Chooses the path; writes nothing.
    #[must_use]
    pub fn new(extension: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let name = format!("portolan-fuzz-{}.{extension}", std::process::id());
        Self { path: folder.join(name) }
    }

    /// Replaces the file by a new one with these bytes. A new inode each time: an open map of
    /// the old one stays as it was.
    ///
    /// # Panics
    /// When the file cannot be written: a fault of the machine, which must end the run.
    pub fn fill(&self, bytes: &[u8]) -> &Path {
        self.remove();
        std::fs::write(&self.path, bytes).expect("the scratch file is writable");
        &self.path
    }

    fn remove(&self) {
        // Absent before the first fill.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Drop for ScratchFile {
    fn drop(&mut self) {
        self.remove();
    }
}
