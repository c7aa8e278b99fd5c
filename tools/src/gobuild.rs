//! Builds pinned programs from source, with `go build` in a copy of the pinning module.

mod patch;

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    error::Error,
    pins::{ModulePin, ToolPin},
    progress::ProgressMode,
    quiet::run_quietly,
};

/// Builds `tools` of the module into `target`.
///
/// The module is written to `workdir` first, so that the source tree is not changed and its `go.sum` decides.
pub(crate) fn build(
    module: &ModulePin,
    tools: &[&ToolPin],
    workdir: &Path,
    target: &Path,
    offline: bool,
    progress: ProgressMode,
) -> Result<(), Error> {
    let dir = workdir.join(format!("module-{}", module.name));
    fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
    let sources = module.sources.iter().map(|(name, content)| (name.as_str(), content));
    for (name, content) in sources.chain([("go.mod", &module.go_mod), ("go.sum", &module.go_sum)]) {
        fs::write(dir.join(name), content).map_err(Error::io("write", dir.join(name)))?;
    }
    if !tools.is_empty() {
        patch::apply(module, tools, &dir, offline)?;
    }
    for tool in tools {
        let mut command = go(&dir, offline);
        // With -v, each package is named as it is compiled, which gives the progress.
        command.args(["build", "-v", "-trimpath", "-ldflags", &module.ldflags, "-tags", &module.tags, "-o"]);
        command.arg(target.join(&tool.name)).arg(&tool.package);
        let label = format!("build {} {} from source", tool.name, module.version);
        match run_quietly(&mut command, &label, progress) {
            Ok(None) => {}
            Ok(Some(output)) => {
                return Err(Error::BuildFailed {
                    what: format!("{} {}", tool.name, module.version),
                    command: format!("go build {} (module {})", tool.package, module.name),
                    output,
                    offline,
                });
            }
            Err(error) => return Err(not_run(module, tools, error)),
        }
    }
    Ok(())
}

/// Whether Go is installed.
pub(crate) fn has_go() -> bool {
    let mut go = Command::new("go");
    go.arg("version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    go.status().is_ok_and(|status| status.success())
}

/// Returns the error when Go could not be run for these programs of a module.
fn not_run(module: &ModulePin, tools: &[&ToolPin], error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::NoGo {
            missing: tools.iter().map(|tool| tool.name.clone()).collect(),
            go: module.go_version().to_owned(),
        },
        _ => Error::io("run", "go")(error),
    }
}

fn go(dir: &Path, offline: bool) -> Command {
    let mut command = Command::new("go");
    command.current_dir(dir).stdin(Stdio::null());
    // The environment must not change what is built.
    command
        .env("CGO_ENABLED", "0")
        .env("GO111MODULE", "on")
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly");
    command.env_remove("GOOS").env_remove("GOARCH");
    if offline {
        command.env("GOPROXY", "off").env("GOSUMDB", "off").env("GOTOOLCHAIN", "local").env("GOVCS", "*:off");
        command.env("GOFLAGS", "-mod=mod").env("GOTELEMETRY", "off");
    }
    command
}
