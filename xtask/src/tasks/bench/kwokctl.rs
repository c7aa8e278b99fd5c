//! Compares one of our control planes with a cluster that kwokctl creates from the same programs, measured in turn.

use std::{path::Path, process::Command};

use anyhow::{Context, bail, ensure};
use tools::{Options, Toolset, kwokctl, run_quietly};

use super::{
    Figure, Goal,
    load::{Cluster, Measured, NODES, PODS},
    place::Place,
    spread,
};
use crate::cargo::workspace_root;

/// Our Pods per second have to be at least this many times those of a kwokctl cluster without limits on requests per
/// second.
const RATIO_MIN: f64 = 1.4;
/// The cluster's name in kwokctl.
const NAME: &str = "bench";
/// The scheduler file that both have: the cost of a decision is not part of the comparison.
const SCHEDULER_CONFIG: &str = "fixtures/scheduler/most-allocated.yaml";
/// The configuration file that kwokctl gets in addition to its command line.
const CONFIG: &str = "fixtures/kwokctl/kwokctl.yaml";

/// The program that creates a cluster.
#[derive(Clone, Copy)]
enum Maker<'a> {
    /// The project's supervisor, in this directory of programs.
    Ours(&'a Path),
    /// This kwokctl.
    Kwokctl(&'a Path),
}

/// Measures both in turn, the given number of times each.
///
/// # Errors
/// When a cluster does not start, does not take the load, or leaves something behind.
pub fn compare(rounds: u16, bin_dir: &Path, tools: &Toolset, options: &Options) -> anyhow::Result<Figure> {
    let kwokctl = kwokctl::ensure(options)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        for maker in [Maker::Ours(bin_dir), Maker::Kwokctl(&kwokctl)] {
            let measured = measure(maker, tools, options)?;
            let (name, all) = match maker {
                Maker::Ours(_) => ("ours", &mut ours),
                Maker::Kwokctl(_) => ("kwokctl's", &mut theirs),
            };
            let Measured { pods_per_s, cpu_ms_per_pod } = measured;
            eprintln!(
                "round {round} of {rounds}: {name} {pods_per_s:.1} Pods/s, {cpu_ms_per_pod:.1} ms CPU per Pod"
            );
            all.push(measured);
        }
    }
    figure(&ours, &theirs)
}

fn measure(maker: Maker, tools: &Toolset, options: &Options) -> anyhow::Result<Measured> {
    let place = Place::new()?;
    let kubeconfig = match maker {
        Maker::Ours(bin_dir) => ours(&place, bin_dir, tools)?,
        Maker::Kwokctl(program) => theirs(&place, program, tools, options)?,
    };
    let cluster = Cluster { place: &place, kubectl: tools.path("kubectl"), kubeconfig: kubeconfig.into() };
    let measured = cluster.measure()?;
    place.close()?;
    Ok(measured)
}

/// Starts one of our control planes and returns its administrator's kubeconfig.
fn ours(place: &Place, bin_dir: &Path, tools: &Toolset) -> anyhow::Result<String> {
    let mut command = Command::new(bin_dir.join("e2e-supervisor"));
    command.args(["up", "--clusters", "1", "--state-dir"]).arg(place.ours());
    command.env("E2E_TOOLS_DIR", &tools.dir).env("E2E_PROVIDER", "local").env("E2E_RUN_ID", place.run_id());
    let output = command.output().context("cannot start e2e-supervisor")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "our control plane does not start: {}", complaint.trim());
    kubeconfig_in(&String::from_utf8_lossy(&output.stdout))
}

/// Returns the path at the end of the first cluster's line in the output of `up`.
fn kubeconfig_in(answer: &str) -> anyhow::Result<String> {
    let line = answer.lines().find(|line| line.contains("  ready after "));
    let path = line.and_then(|line| line.rsplit("  ").next());
    path.map(str::to_owned).with_context(|| format!("`e2e-supervisor up` names no kubeconfig: {answer}"))
}

/// Makes kwokctl create a cluster from our programs and returns its administrator's kubeconfig.
fn theirs(place: &Place, program: &Path, tools: &Toolset, options: &Options) -> anyhow::Result<String> {
    let (root, home) = (workspace_root(), place.path());
    let workdir = home.join("kwok");
    let mut command = Command::new(program);
    command.args(["create", "cluster", "--name", NAME, "--timeout", "180s"]);
    command.arg("--config").arg(root.join(CONFIG));
    command.arg("--kube-scheduler-config").arg(root.join(SCHEDULER_CONFIG));
    for (flag, tool) in [
        ("--etcd-binary", "etcd"),
        ("--kube-apiserver-binary", "kube-apiserver"),
        ("--kube-controller-manager-binary", "kube-controller-manager"),
        ("--kube-scheduler-binary", "kube-scheduler"),
        ("--kwok-controller-binary", "kwok"),
    ] {
        command.arg(flag).arg(tools.path(tool));
    }
    // Nothing of the user's is read or written. Everything that it starts inherits this and can be found by the run id.
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("NO_PROXY", "*");
    command.env("HOME", home).env("KUBECONFIG", home.join("kubeconfig")).env("KWOK_WORKDIR", &workdir);
    command.env("KWOK_KUBECTL_BINARY", tools.path("kubectl")).env("E2E_RUN_ID", place.run_id());
    let failed = run_quietly(&mut command, "create a cluster with kwokctl", options.progress);
    if let Some(output) = failed.context("cannot start kwokctl")? {
        bail!("kwokctl did not create a cluster:\n{output}");
    }
    let kubeconfig = workdir.join("clusters").join(NAME).join("kubeconfig.yaml");
    ensure!(kubeconfig.is_file(), "kwokctl did not write {}", kubeconfig.display());
    Ok(kubeconfig.display().to_string())
}

fn figure(ours: &[Measured], theirs: &[Measured]) -> anyhow::Result<Figure> {
    let of =
        |all: &[Measured], value: fn(&Measured) -> f64| spread(&all.iter().map(value).collect::<Vec<_>>());
    let rate = |all: &[Measured]| of(all, |measured| measured.pods_per_s);
    let told = |all: &[Measured]| -> anyhow::Result<String> {
        let (rate, cpu) = (rate(all)?, of(all, |measured| measured.cpu_ms_per_pod)?);
        let (median, min, max) = (rate.median, rate.min, rate.max);
        Ok(format!("{median:.1} Pods/s ({min:.1} to {max:.1}) at {:.1} ms CPU per Pod", cpu.median))
    };
    Ok(Figure {
        name: "10,000 Pods to Running, beside kwokctl's cluster",
        value: rate(ours)?.median / rate(theirs)?.median,
        goal: Goal::AtLeast(RATIO_MIN),
        unit: "x",
        note: format!(
            "{PODS} Pods on {NODES} Nodes, medians of {} in turn: ours {}, kwokctl's {}",
            ours.len(),
            told(ours)?,
            told(theirs)?
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubeconfig_is_found_in_the_answer_of_up() {
        let answer = "run up-1 (/t/up-1)\n  kwok-cluster-0  ready after 900 ms  /tmp/e2e 1/admin.kubeconfig\nnext: x\n";
        assert_eq!(kubeconfig_in(answer).unwrap(), "/tmp/e2e 1/admin.kubeconfig");
        assert!(kubeconfig_in("nothing").is_err());
    }

    #[test]
    fn the_ratio_is_of_medians_and_has_to_be_large() {
        let measured =
            |rates: [f64; 3]| rates.map(|pods_per_s| Measured { pods_per_s, cpu_ms_per_pod: 10.0 });
        let figure = figure(&measured([300.0, 100.0, 150.0]), &measured([50.0, 100.0, 200.0])).unwrap();
        assert!((figure.value - 1.5).abs() < 1e-9 && figure.is_reached(), "{}", figure.note);
        assert!(figure.note.contains("ours 150.0 Pods/s (100.0 to 300.0)"), "{}", figure.note);
    }

    #[test]
    fn of_an_even_number_of_rounds_the_median_is_the_mean_of_the_two_in_the_middle() {
        let measured = |pods_per_s| Measured { pods_per_s, cpu_ms_per_pod: 10.0 };
        let figure = figure(&[300.0, 100.0].map(measured), &[100.0, 60.0].map(measured)).unwrap();
        assert!((figure.value - 2.5).abs() < 1e-9, "200 over 80, not 300 over 100: {}", figure.note);
        assert!(figure.note.contains("ours 200.0 Pods/s"), "{}", figure.note);
        assert!(super::figure(&[], &[]).is_err(), "nothing measured is no figure");
    }

    #[test]
    fn both_have_the_scheduler_file_that_a_control_plane_has_by_default() {
        for path in [SCHEDULER_CONFIG, CONFIG] {
            assert!(workspace_root().join(path).is_file(), "{path}");
        }
    }
}
