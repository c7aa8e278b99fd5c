//! The scratch directory: sockets, etcd data, keys, kubeconfigs; and the janitor that outlives us to remove it.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::Error;
use harness_processes::IN_ENGINE;
use harness_processes::birth::Recorded;

/// A private directory, removed at the end by us or, if we are killed, by the janitor.
pub struct Scratch {
    path: PathBuf,
    janitor: Recorded,
}

impl Scratch {
    /// Creates `/tmp/e2e-<8 hex digits>` (short, because socket paths end at 107 bytes) and starts its janitor, which
    /// also removes `announcement` if we cannot.
    ///
    /// # Errors
    /// When the directory already exists or cannot be created, or the janitor cannot be started.
    pub fn new(run_id: &str, janitor: &Path, announcement: &Path) -> Result<Self, Error> {
        let digest = Sha256::digest(format!("{run_id}/{}", std::process::id()));
        let short: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let path = PathBuf::from(format!("/tmp/e2e-{short}"));
        std::fs::DirBuilder::new().mode(0o700).create(&path).map_err(|e| {
            Error::Environment(format!("creating the scratch directory {}: {e}", path.display()))
        })?;
        let scratch = Self { path, janitor: Recorded::default() };
        let started = Command::new(janitor)
            .arg(std::process::id().to_string())
            .arg(&scratch.path)
            .arg(announcement)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .spawn();
        match started {
            Ok(child) => Ok(Self { janitor: Recorded::of(child.id()), ..scratch }),
            Err(error) => {
                scratch.remove();
                Err(Error::Environment(format!(
                    "starting {}: {error}; build it with `cargo build -p harness`",
                    janitor.display()
                )))
            }
        }
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its janitor.
    pub fn janitor(&self) -> &Recorded {
        &self.janitor
    }

    /// Removes it with all its content. It stays while something may be left in the container engine: it tells the
    /// janitor, which waits for an engine that does not answer, what to look for.
    pub fn remove(&self) {
        if self.path.join(IN_ENGINE).exists() {
            tracing::warn!(scratch = %self.path.display(), "left to the janitor, because something remains in the engine");
            return;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            tracing::warn!(scratch = %self.path.display(), %error, "cannot remove; the janitor will try");
        }
    }
}
