//! `cargo xtask adopt`: shows what a run does to a cluster and asks its owner, whose consent is recorded as a label.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use k8s_openapi::api::core::v1::{Namespace, Node};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use super::cleanup::Limits;
use super::given::Given;
use super::hold::Hold;
use super::record::{self, Held, NAMESPACE, State, whose};
use super::sweep::Extent;
use super::{ADOPTED, RUN, guard, servers, tidy};
use crate::{Error, manifests};
use harness_model::plan::template;
use harness_model::profile::fixtures_dir;

/// Options of `adopt`.
#[derive(Args, Clone, Debug)]
pub struct Adopt {
    /// A kubeconfig whose user has the rights of cluster-admin; no other file is read.
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,
    /// The context to use [default: the current one, as for runs].
    #[arg(long)]
    pub context: Option<String>,
    /// Do not ask for confirmation.
    #[arg(long)]
    pub yes: bool,
    /// Remove the label, after removing what killed runs have left.
    #[arg(long, conflicts_with = "yes")]
    pub release: bool,
}

/// Shows the cluster and what a run creates there, asks, and sets the label; or removes it.
///
/// # Errors
/// When the cluster cannot be read or is in use, there is no terminal to ask on, or what a run has left does not go
/// away.
pub async fn adopt(options: &Adopt) -> Result<String, Error> {
    let given = Given::read(&options.kubeconfig, options.context.as_deref())?;
    // Holds a copy of the kubeconfig for as long as this takes.
    let dir = tempfile::tempdir().map_err(|e| Error::Environment(format!("creating a directory: {e}")))?;
    let client = given.connect(dir.path()).await?;
    if options.release {
        return release(&given, &client).await;
    }
    let (_, adopted) = guard::identity(&client).await?;
    let shown = show(&given, &client).await?;
    if adopted {
        return Ok(format!("{shown}\nThe cluster already has the label.\n{}", next(&given, options)));
    }
    if !options.yes {
        eprintln!("{shown}");
        ask()?;
    }
    label(&client, Some("true")).await?;
    let shown = if options.yes { format!("{shown}\n") } else { String::new() };
    Ok(format!("{shown}Adopted: {NAMESPACE} has the label {ADOPTED}=true.\n{}", next(&given, options)))
}

fn next(given: &Given, options: &Adopt) -> String {
    let path = given.path.display();
    let mut text = format!(
        "next: cargo xtask e2e dev-50 --provider existing --kubeconfig {path} --kubeconfig ...\n\
         undo: cargo xtask adopt --release --kubeconfig {path}\n"
    );
    if options.context.is_some() {
        let _ = writeln!(
            text,
            "Runs use a file's current context; to create a file for {0}: kubectl config view --minify --flatten \
             --context {0} >FILE",
            given.context
        );
    }
    text
}

/// Asks on the terminal.
fn ask() -> Result<(), Error> {
    let refused =
        |why: &str| Error::Usage(format!("{why}; nothing was changed. --yes adopts without asking"));
    if !std::io::stdin().is_terminal() {
        return Err(refused("there is no terminal to ask on"));
    }
    eprint!("Let runs do this there? Type yes: ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    read.map_err(|e| Error::Environment(format!("reading the answer: {e}")))?;
    if answer.trim() == "yes" { Ok(()) } else { Err(refused("not adopted")) }
}

async fn release(given: &Given, client: &Client) -> Result<String, Error> {
    let say = |text: &str| eprintln!("{}: {text}", given.server());
    let (over, extent) = match record::look(client, &say).await? {
        State::InUse(by) => {
            let advice = "stop it first (`cargo xtask down`)";
            return Err(Error::Environment(format!("{} is in use by {by}; {advice}", given.server())));
        }
        State::Over(old) | State::Unclear(old) => (Some(old), Extent::Everything),
        State::Free => (None, Extent::Installed),
    };
    let was_over = over.is_some();
    if was_over {
        say("removing what an earlier run left behind");
    }
    // The Lease is claimed for this process, so that no other one takes the cluster in the meantime.
    let mark = format!("e2e-release-{}", std::process::id());
    let hold = Hold::keep(client, Held::claim(client, &mark, over.as_deref()).await?);
    tidy::clear(client, hold, extent, Limits::from_env()?, &say).await.map_err(|why| {
        let left = tidy::left_behind("the cluster", given.server(), &given.path, &why);
        Error::LeftBehind(format!("{left}; its label stays until then"))
    })?;
    let mut text = String::new();
    if was_over {
        text.push_str("Removed what an earlier run had left behind.\n");
    }
    let (_, adopted) = guard::identity(client).await?;
    if !adopted {
        return Ok(format!("{text}{} does not carry the label.\n", given.server()));
    }
    label(client, None).await?;
    Ok(format!("{text}Released: {NAMESPACE} of {} no longer has our label.\n", given.server()))
}

/// Sets or removes the label.
async fn label(client: &Client, value: Option<&str>) -> Result<(), Error> {
    let api: Api<Namespace> = Api::all(client.clone());
    let patch = json!({"metadata": {"labels": {(ADOPTED): value}}});
    let patched = api.patch_metadata(NAMESPACE, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map(drop).map_err(|e| Error::Environment(format!("labelling the Namespace {NAMESPACE}: {e}")))
}

/// Describes the cluster, what a run creates there, and what prevents a run.
async fn show(given: &Given, client: &Client) -> Result<String, Error> {
    let failed =
        |what: &str, e: kube::Error| Error::Environment(format!("{what} of {}: {e}", given.server()));
    let version = client.apiserver_version().await.map_err(|e| failed("the version", e))?;
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await;
    let nodes = nodes.map_err(|e| failed("the Nodes", e))?.items;
    let mut text = format!("{} (context {}, {})\n", given.server(), given.context, version.git_version);
    line(&mut text, format_args!("  Nodes: {}", names(nodes.iter().map(ResourceExt::name_any))));
    for (component, path) in servers::find(client).await {
        match path {
            Ok(_) => line(&mut text, format_args!("  {component}: /metrics and /configz can be read")),
            Err(why) => line(&mut text, format_args!("  {}", servers::consequence(component, &why))),
        }
    }
    text.push_str("\nA run creates there, and removes at the end, however it ends:\n");
    for (kind, names_of) in installed(&fixtures_dir())? {
        line(&mut text, format_args!("  {kind}: {}", names(names_of.into_iter())));
    }
    text.push_str(&of_the_run());
    let obstacles = match record::glance(client).await? {
        State::Free => guard::obstacles(client, &fixtures_dir()).await?,
        State::InUse(by) => vec![format!("it is in use by {by}")],
        State::Unclear(lease) => vec![format!(
            "it has the record of {}, which cannot be seen from here; a run watches whether it is renewed",
            whose(&lease)
        )],
        State::Over(_) => Vec::new(),
    };
    text.push_str("\nIt needs the rights of cluster-admin, and a cluster that has nothing else to do.\n");
    match &obstacles[..] {
        [] => text.push_str("Nothing stands in its way.\n"),
        some => {
            text.push_str("No run uses the cluster while this is so:\n");
            some.iter().for_each(|obstacle| line(&mut text, format_args!("  - {obstacle}")));
        }
    }
    Ok(text)
}

/// Lists what exists only during a run.
fn of_the_run() -> String {
    let load = template::NAMESPACE;
    format!(
        "  Deployments, StatefulSets, PodDisruptionBudgets and their Pods in the namespace {load}\n\
         \x20 (label {}), tens of thousands of them\n\
         \x20 Nodes with the annotation {}={}, simulated by a kwok on this machine; Pods that\n\
         \x20 are bound to them never run and are removed with them, yours too\n\
         \x20 custom resources of the kinds above\n\
         \x20 the taint {RUN}:NoSchedule on your real Nodes; Pods already there stay\n\
         \x20 the Lease {NAMESPACE}/e2e-run, which names the run\n\
         Events about these stay until the apiserver drops them.\n",
        api::names::WORKLOAD,
        api::names::KWOK_NODE,
        api::names::KWOK_FAKE,
    )
}

/// Returns the names of what is installed, by kind.
fn installed(fixtures: &Path) -> Result<BTreeMap<String, Vec<String>>, Error> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in manifests::files(fixtures)? {
        for object in manifests::objects(&file)? {
            let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
            all.entry(kind).or_default().push(object.name_any());
        }
    }
    Ok(all)
}

fn names(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    writeln!(text, "{content}").expect("writing to a string must succeed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_installed_is_shown() {
        let all = installed(&fixtures_dir()).unwrap();
        assert!(
            all["CustomResourceDefinition"].contains(&"capacityrequests.bigfleet.lucy.sh".to_owned()),
            "{all:?}"
        );
        assert!(all["ClusterRole"].contains(&"e2e-kwok".to_owned()), "{all:?}");
        assert!(of_the_run().contains(api::names::WORKLOAD));
    }
}
