//! Shared by the tests of whole runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Returns the root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository")
}

/// Returns `pid program` of all processes that have a run id in their environment.
pub fn processes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let dir = entry.path();
        let Some(pid) = dir.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else { continue };
        // A process may end after it was listed and before it is read.
        let Ok(environ) = fs::read(dir.join("environ")) else { continue };
        if environ.split(|&b| b == 0).any(|variable| variable.starts_with(b"E2E_RUN_ID=")) {
            let executable = fs::read_link(dir.join("exe")).unwrap_or_default();
            let name = executable.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.insert(format!("{pid} {name}"));
        }
    }
    found
}

/// Whether runs use kind clusters; they read the same variable.
pub fn is_on_kind() -> bool {
    std::env::var("E2E_PROVIDER").is_ok_and(|provider| provider == "kind")
}

/// Returns the lines that `docker ARGS` printed.
pub fn docker(args: &[&str]) -> Vec<String> {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
