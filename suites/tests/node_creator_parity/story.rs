//! Life stories of UpcomingNodes, as defined in `fixtures/stories/stories.yaml`.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, ensure};
use api::upcoming_node::UpcomingNodePhase;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One story.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Story {
    /// Name of trial and snapshot.
    pub name: String,
    /// What it shows, in a sentence.
    pub shows: String,
    /// Name of the UpcomingNode, if it matters.
    #[serde(default)]
    upcoming_node: Option<String>,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Step {
    /// The UpcomingNode is created with this spec, and without a status.
    Create(Value),
    /// Its phase is set.
    Phase(UpcomingNodePhase),
    /// Its phase is set several times; split into single steps when stories are loaded.
    Phases(Vec<UpcomingNodePhase>),
    /// This is merged into its spec.
    Update(Value),
    /// Something is deleted.
    Delete(Target),
    /// Another client creates a Node with the name that the program would use.
    ForeignNode(Value),
    /// The program is stopped or started again.
    Creator(Switch),
    /// kube-apiserver is killed and started again.
    Apiserver(Restart),
}

/// What is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Target {
    /// The UpcomingNode.
    UpcomingNode,
    /// The Node of its name, by another client.
    Node,
}

/// What is done to the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Switch {
    /// SIGTERM.
    Stop,
    /// A new process.
    Start,
}

/// What is done to kube-apiserver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Restart {
    /// SIGKILL and a new process.
    Restart,
}

impl Story {
    /// Returns the name of its UpcomingNode.
    pub fn upcoming_node(&self) -> String {
        let ordinary = || api::names::upcoming_node_name(&self.name.replace('_', "-"));
        self.upcoming_node.clone().unwrap_or_else(ordinary)
    }

    /// Returns the machine id in that name; the whole name if it does not have the `un-` form.
    pub fn machine_id(&self) -> String {
        let name = self.upcoming_node();
        api::names::machine_id(&name).unwrap_or(&name).to_owned()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create(spec) => write!(f, "create {spec}"),
            Self::Phase(phase) => write!(f, "phase {phase:?}"),
            Self::Phases(phases) => write!(f, "phases {phases:?}"),
            Self::Update(spec) => write!(f, "update {spec}"),
            Self::Delete(Target::UpcomingNode) => write!(f, "delete the UpcomingNode"),
            Self::Delete(Target::Node) => write!(f, "somebody else deletes the Node"),
            Self::ForeignNode(node) => write!(f, "somebody else makes a Node {node}"),
            Self::Creator(Switch::Stop) => write!(f, "the program ends"),
            Self::Creator(Switch::Start) => write!(f, "the program starts"),
            Self::Apiserver(Restart::Restart) => write!(f, "kube-apiserver is killed and starts"),
        }
    }
}

/// Loads all stories.
///
/// # Errors
/// When the file is unreadable or not a list of stories, a name occurs twice, or a story has no steps.
pub fn load() -> anyhow::Result<Vec<Story>> {
    let mut stories: Vec<Story> = fixture("stories.yaml")?;
    let mut names = BTreeSet::new();
    for story in &mut stories {
        ensure!(names.insert(story.name.clone()), "stories.yaml: two stories are named {}", story.name);
        ensure!(!story.steps.is_empty(), "stories.yaml: {} has no steps", story.name);
        story.steps = std::mem::take(&mut story.steps).into_iter().flat_map(taken_apart).collect();
    }
    Ok(stories)
}

fn taken_apart(step: Step) -> Vec<Step> {
    match step {
        Step::Phases(phases) => phases.into_iter().map(Step::Phase).collect(),
        other => vec![other],
    }
}

/// Loads a file of `fixtures/stories`.
///
/// # Errors
/// When it is unreadable or does not have the expected content.
pub fn fixture<T: DeserializeOwned>(name: &str) -> anyhow::Result<T> {
    let path = harness_model::profile::fixtures_dir().join("stories").join(name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let document: Value =
        serde_saphyr::from_str(&text).with_context(|| format!("{} is no YAML document", path.display()))?;
    serde_json::from_value(document).with_context(|| format!("{} is not as expected", path.display()))
}

/// Checks that the stories together go through every phase and every transition between two of them.
///
/// # Errors
/// When they do not; the error names what is missing.
pub fn cover_every_transition(stories: &[Story]) -> anyhow::Result<()> {
    use UpcomingNodePhase::{Drained, Draining, Failed, Launched, Provisioning, Ready, Registered};
    let all = [Provisioning, Launched, Registered, Ready, Draining, Drained, Failed];
    let mut told = BTreeSet::new();
    for story in stories {
        let mut now = None;
        for step in &story.steps {
            match step {
                Step::Create(_) => now = None,
                Step::Phase(next) => {
                    told.insert((now, *next));
                    now = Some(*next);
                }
                _ => {}
            }
        }
    }
    let from = std::iter::once(None).chain(all.map(Some));
    let possible = from.flat_map(|from| all.map(|to| (from, to))).filter(|(from, to)| *from != Some(*to));
    let missing: Vec<String> = possible
        .filter(|transition| !told.contains(transition))
        .map(|(from, to)| format!("{} to {to:?}", from.map_or("none".to_owned(), |f| format!("{f:?}"))))
        .collect();
    ensure!(missing.is_empty(), "no story goes from {}", missing.join(", from "));
    Ok(())
}
