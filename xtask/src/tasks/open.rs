//! `cargo xtask open`: draws the report of a run again and opens it for the user.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use tools::ProgressMode;

use crate::{cargo, engine, exit};

/// How long an opener may take to report that it failed. An opener that is itself a browser runs until it is closed.
const PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of `cargo xtask open`.
#[derive(Debug, clap::Args)]
#[command(after_help = exit::HELP)]
pub struct Args {
    /// A run directory [default: target/e2e/latest].
    run: Option<PathBuf>,
}

/// Runs the task. If nothing can be opened, that is not a failure: the address is printed instead.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let run = match &args.run {
        Some(run) => run.clone(),
        None => cargo::runs_dir()?.join("latest"),
    };
    let mut command = Command::new(cargo::build_bins(false, ProgressMode::Auto)?.join("e2e-scenario"));
    let output = command.arg("report").arg(run).stderr(Stdio::inherit()).output();
    let output = output.context("cannot start e2e-scenario")?;
    if !output.status.success() {
        return Ok(exit::of(output.status));
    }
    let page = PathBuf::from(OsStr::from_bytes(output.stdout.trim_ascii_end()));
    match opener(&|name| env::var_os(name)).and_then(|program| show(&program, &page)) {
        Ok(()) => println!("opened {}", page.display()),
        Err(why) => {
            println!("{}", url(&page));
            eprintln!("not opened: {why}");
        }
    }
    Ok(0)
}

/// Returns the program that opens files, or why nothing can be opened here.
fn opener(variable: &dyn Fn(&str) -> Option<OsString>) -> Result<PathBuf, String> {
    let is_set = |name| variable(name).is_some_and(|value| !value.is_empty());
    if !is_set("DISPLAY") && !is_set("WAYLAND_DISPLAY") {
        return Err("there is no display (neither DISPLAY nor WAYLAND_DISPLAY is set)".to_owned());
    }
    let path = variable("PATH").unwrap_or_default();
    let found = engine::find_program_in(env::split_paths(&path), "xdg-open");
    found.ok_or_else(|| "there is no xdg-open on PATH (package xdg-utils)".to_owned())
}

/// Makes the program open the page. `Err` says why it did not.
fn show(program: &Path, page: &Path) -> Result<(), String> {
    let name = program.display();
    // In its own process group: Ctrl-C at this terminal should not close the user's browser.
    let child = Command::new(program).arg(page).stdin(Stdio::null()).process_group(0).spawn();
    let mut child = child.map_err(|error| format!("{name} does not start: {error}"))?;
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("{name} failed ({status})")),
            Ok(None) => thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(format!("cannot wait for {name}: {error}")),
        }
    }
    Ok(())
}

/// Returns `file:///…`, with every character escaped that has a meaning in an address.
fn url(path: &Path) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let escaped = path
        .as_os_str()
        .as_bytes()
        .iter()
        .map(|byte| if is_plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") });
    format!("file://{}", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    fn without_variables(_: &str) -> Option<OsString> {
        None
    }

    /// Creates a program called `xdg-open` that consists of this script.
    fn stand_in(dir: &Path, script: &str) -> PathBuf {
        let path = dir.join("xdg-open");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn without_a_display_or_an_opener_it_is_said_why() {
        assert!(opener(&without_variables).unwrap_err().contains("no display"));
        let dir = tempfile::tempdir().unwrap();
        let on_display = |name: &str| match name {
            "DISPLAY" => Some(":0".into()),
            "PATH" => Some(dir.path().into()),
            _ => None,
        };
        assert!(opener(&on_display).unwrap_err().contains("no xdg-open"));
        fs::write(dir.path().join("xdg-open"), "").unwrap();
        assert!(opener(&on_display).is_err(), "what cannot be executed is no program");
        let program = stand_in(dir.path(), "true");
        assert_eq!(opener(&on_display).unwrap(), program);
        let empty = |name: &str| if name == "DISPLAY" { Some(OsString::new()) } else { on_display(name) };
        assert!(opener(&empty).unwrap_err().contains("no display"));
    }

    #[test]
    fn the_page_is_opened_and_a_failing_opener_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let told = dir.path().join("told");
        let program = stand_in(dir.path(), &format!("echo \"$1\" > {}", told.display()));
        show(&program, Path::new("/x/report.html")).unwrap();
        assert_eq!(fs::read_to_string(told).unwrap(), "/x/report.html\n");
        let failing = stand_in(dir.path(), "exit 3");
        let why = show(&failing, Path::new("/x")).unwrap_err();
        assert!(why.contains("xdg-open failed") && why.contains('3'), "{why}");
        assert!(show(&dir.path().join("none"), Path::new("/x")).unwrap_err().contains("does not start"));
    }

    #[test]
    fn an_address_escapes_what_has_a_meaning_there() {
        assert_eq!(url(Path::new("/a b/50%#?/ü.html")), "file:///a%20b/50%25%23%3F/%C3%BC.html");
    }
}
