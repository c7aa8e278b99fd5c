//! `cargo xtask doctor`: what this machine has and lacks, and what to do about everything that is missing.

use std::process::{Command, Stdio};

use tools::{Options, Source, Toolset, nextest, programs_dir, refused_downloads};

use crate::{
    cargo, exit,
    host::{self, Finding, State},
    kind_host,
    tasks::{
        provider::{Provider, ProviderArgs},
        tools::ToolArgs,
    },
};

/// Arguments of `cargo xtask doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also read every control-plane tool in the cache and compare it with its recorded digest.
    #[arg(long)]
    verify: bool,

    #[command(flatten)]
    provider: ProviderArgs,
}

/// Runs the task. Returns 0 if runs are possible, otherwise the exit code for the environment.
pub fn run(args: &Args) -> anyhow::Result<u8> {
    let options = ToolArgs::default().options();
    let provider = args.provider.chosen()?;
    let tools = control_plane_tools(&options, provider, args.verify);
    let cached = tools.state == State::Good;
    let mut findings = vec![
        program("cargo", "cargo", &["--version"], true, "install Rust: https://rustup.rs"),
        go(&options, provider, cached),
        program("git", "git", &["--version"], false, "install git"),
    ];
    findings.extend(host::check(&cargo::runs_dir()?));
    if provider == Provider::Kind {
        findings.extend(kind_host::check());
    }
    if provider == Provider::Existing {
        findings.push(clusters(&args.provider));
    }
    findings.push(tools);
    findings.push(test_runner(&options));
    for finding in &findings {
        println!("{}", line(finding));
    }
    let lacking = findings.iter().filter(|finding| finding.state == State::Lacking).count();
    if lacking == 0 {
        println!("ready: `cargo xtask e2e dev-50` can run here");
        return Ok(0);
    }
    println!("{lacking} of {} checks failed", findings.len());
    Ok(exit::ENVIRONMENT)
}

fn line(finding: &Finding) -> String {
    let mark = match finding.state {
        State::Good => "ok  ",
        State::Poor => "poor",
        State::Lacking => "LACK",
    };
    let arrow = if finding.advice.is_empty() { "" } else { "\n       -> " };
    format!("{mark} {}: {}{arrow}{}", finding.name, finding.detail, finding.advice)
}

fn program(name: &'static str, program: &str, args: &[&str], needed: bool, advice: &str) -> Finding {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {
            Finding::good(name, String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => {
            let detail = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            Finding::poor(name, format!("does not answer: {detail}"), advice)
        }
        Err(error) if needed => Finding::lacking(name, format!("cannot be started: {error}"), advice),
        Err(error) => Finding::poor(name, format!("cannot be started: {error}"), advice),
    }
}

/// Checks for Go, which builds the tools once if they cannot be downloaded. The network is asked only if both Go and
/// the tools are missing.
fn go(options: &Options, provider: Provider, cached: bool) -> Finding {
    const NAME: &str = "go";
    const ADVICE: &str = "install Go 1.26 or newer: https://go.dev/dl (it builds the tools, once)";
    let found = program(NAME, "go", &["version"], false, ADVICE);
    if cached || found.state == State::Good {
        return found;
    }
    let refused = refused_downloads(options, provider.programs());
    judge_go(found, &refused.unwrap_or_else(|error| Some(error.to_string())))
}

/// Judges a missing Go when there are tools to build.
fn judge_go(found: Finding, refused: &Option<String>) -> Finding {
    match refused {
        None => Finding {
            detail: format!("{}; the release binaries can be downloaded", found.detail),
            advice: "nothing to do, except for kind's node image, cargo xtask bench, and without network"
                .into(),
            ..found
        },
        Some(reason) => Finding {
            state: State::Lacking,
            detail: format!("{}; nor can the release binaries be downloaded ({reason})", found.detail),
            ..found
        },
    }
}

/// Checks the tools without building any: a check-up must not take minutes.
fn control_plane_tools(options: &Options, provider: Provider, verify: bool) -> Finding {
    const NAME: &str = "control-plane tools";
    let dir = match programs_dir(options, provider.programs()) {
        Ok(dir) => dir,
        Err(error) => return Finding::lacking(NAME, error.to_string(), "set HOME or E2E_CACHE_DIR"),
    };
    if options.tools_dir.is_none() && !dir.exists() {
        let advice = "nothing to do: the first run downloads them, or builds them (about 6 minutes on 2 cores); \
                      `cargo xtask tools` does so now";
        return Finding::poor(NAME, format!("not cached yet ({})", dir.display()), advice);
    }
    let set = match Toolset::open_with(&dir, provider.programs()) {
        Ok(set) => set,
        Err(error) if options.tools_dir.is_some() => {
            return Finding::lacking(NAME, error.to_string(), "unset E2E_TOOLS_DIR");
        }
        Err(error) => {
            let advice = "nothing to do: the next run replaces it, or `cargo xtask tools` now";
            return Finding::poor(NAME, error.to_string(), advice);
        }
    };
    if options.pinned_only && set.tools.iter().any(|tool| tool.source == Source::Published) {
        let detail = format!(
            "{} holds programs whose digest is not pinned, which are not accepted when CI is set",
            dir.display()
        );
        return Finding::poor(
            NAME,
            detail,
            "nothing to do: the next run builds them (about 6 minutes on 2 cores)",
        );
    }
    // Without a record, the programs were only asked for their versions, and there is no digest to compare with.
    let recorded = set.tools.iter().all(|tool| tool.source != Source::Directory);
    if verify
        && recorded
        && let Err(error) = set.verify()
    {
        // Size and time match the record, otherwise opening the set would have failed. So no run would notice.
        return Finding::lacking(
            NAME,
            error.to_string(),
            format!("remove {}: no run would notice this", dir.display()),
        );
    }
    let checked = match (verify, recorded) {
        (false, _) => "",
        (true, true) => ", digests verified",
        (true, false) => ", not verified: no digests are recorded there",
    };
    Finding::good(NAME, format!("{} in {}{checked}", versions(&set), dir.display()))
}

/// Checks the kubeconfigs only. Whether a cluster fits is checked by `adopt`, which connects to it.
fn clusters(provider: &ProviderArgs) -> Finding {
    const NAME: &str = "existing clusters";
    match provider.kubeconfigs() {
        Ok(files) => {
            let count = files.map_or(0, |files| files.len());
            Finding::good(
                NAME,
                format!("{count} given; `cargo xtask adopt --kubeconfig FILE` says whether one fits"),
            )
        }
        Err(error) => Finding::lacking(NAME, format!("{error:#}"), "give --kubeconfig FILE for each cluster"),
    }
}

fn versions(set: &Toolset) -> String {
    let told = ["kube-apiserver", "etcd", "kwok"];
    let told = set.tools.iter().filter(|tool| told.contains(&tool.name.as_str()));
    told.map(|tool| format!("{} {}", tool.name, tool.version)).collect::<Vec<_>>().join(", ")
}

fn test_runner(options: &Options) -> Finding {
    const NAME: &str = "cargo-nextest";
    match nextest::find(options) {
        Ok(Some(found)) => Finding::good(NAME, format!("{} ({})", found.version, found.path.display())),
        Ok(None) => Finding::poor(
            NAME,
            "not there yet",
            "nothing to do: `cargo xtask ci` downloads it, or builds it (about 7 minutes on 2 cores, once); \
             `cargo xtask tools --nextest` does so now",
        ),
        Err(error) => Finding::poor(NAME, error.to_string(), "set HOME or E2E_CACHE_DIR"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_is_marked_and_followed_by_what_to_do() {
        let finding = program("go", "no-such-program-here", &[], true, "install Go");
        let text = line(&finding);
        assert!(text.starts_with("LACK go: cannot be started"), "{text}");
        assert!(text.ends_with("-> install Go"), "{text}");
        assert_eq!(program("go", "no-such-program-here", &[], false, "x").state, State::Poor);
    }

    #[test]
    fn go_is_lacking_only_where_the_binaries_cannot_be_downloaded() {
        let absent = || program("go", "no-such-program-here", &[], false, "install Go");
        let reachable = judge_go(absent(), &None);
        assert!(
            reachable.state == State::Poor && reachable.detail.contains("can be downloaded"),
            "{}",
            line(&reachable)
        );
        let closed = judge_go(absent(), &Some("etcd: github.com cannot be reached".to_owned()));
        let text = line(&closed);
        assert!(text.starts_with("LACK go: cannot be started") && text.contains("github.com"), "{text}");
        assert!(text.ends_with("-> install Go"), "{text}");
    }
}
