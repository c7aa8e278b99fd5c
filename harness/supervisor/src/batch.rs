//! Whether programs can be put into the scheduling class SCHED_BATCH here.
//!
//! `e2e-shim` uses `chrt` for this, because the call needs `unsafe`. A sandbox may refuse the call, and a small system
//! has no `chrt`, so this is checked once, and no control plane fails because of it.

use std::process::{Command, Stdio};

/// Returns why they cannot; `None` if they can. `path` is where `chrt` is searched for.
pub fn refused(path: &str) -> Option<String> {
    let mut command = Command::new("chrt");
    command.args(["-b", "0", "true"]).env_clear().env("PATH", path).stdin(Stdio::null());
    match command.output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
            Some(format!("`chrt -b 0 true` failed ({}): {first}", output.status))
        }
        Err(error) => Some(format!("chrt (package util-linux) does not start: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_chrt_that_is_missing_or_fails_is_told_of_with_its_words() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        assert!(refused(path).unwrap().contains("does not start"));
        let chrt = dir.path().join("chrt");
        let script = |text: &str| {
            fs::write(&chrt, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&chrt, Permissions::from_mode(0o755)).unwrap();
        };
        script("echo 'chrt: failed to set pid 0 policy: Operation not permitted' >&2; exit 1");
        let why = refused(path).unwrap();
        assert!(why.contains("Operation not permitted") && why.contains("exit status: 1"), "{why}");
        script(r#"[ "$*" = "-b 0 true" ]"#);
        assert_eq!(refused(path), None);
    }
}
