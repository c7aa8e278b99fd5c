//! `e2e-runc ARGS...`: runc for a host that lacks a capability. See `tools::runc`.
//!
//! Docker calls it instead of runc (`--add-runtime`). It changes what runc will read and then becomes runc.

use std::{
    ffi::OsString,
    fs,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use serde_json::Value;
use tools::runc::{Described, Means};

/// Exit code when runc could not be started (the shells' "not found").
const NOT_STARTED: u8 = 127;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(described) = Described::of_call(&args)
        && let Err(error) = restrict(&described)
    {
        // runc may succeed nevertheless, and gives a better error message if it does not.
        eprintln!("Warning: e2e-runc leaves {} unchanged: {error}", described.path().display());
    }
    let error = Command::new("runc").args(args).exec();
    eprintln!("Error: e2e-runc cannot start runc: {error}");
    ExitCode::from(NOT_STARTED)
}

fn restrict(described: &Described) -> std::io::Result<()> {
    let means = Means::own()?;
    if means.lacking().is_empty() {
        return Ok(());
    }
    let mut description: Value = serde_json::from_slice(&fs::read(described.path())?)?;
    means.restrict(described, &mut description);
    fs::write(described.path(), serde_json::to_vec(&description)?)
}
