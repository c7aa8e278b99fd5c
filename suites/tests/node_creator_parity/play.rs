//! Plays stories, on a control plane without scheduler and kwok, so that only its creator changes a Node.
//!
//! A story begins with a new process and an empty cluster, so that its counters are the outcomes of this story and no
//! other. The stories of one program are played one after the other, those of the two programs in parallel.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use api::UpcomingNode;
use component::apiserver;
use component::poll::{self, Look};
use harness_model::components::{APISERVER, KWOK};
use harness_model::prometheus::Series;
use harness_planes::spec::{ClusterSpec, LeaseSpec};
use harness_supervisor::Client as Supervisor;
use harness_supervisor::protocol::Verb;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::Request;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::plane::machines;
use crate::program::{Kind, NODE_CREATOR, POD_SHIM, Program};
use crate::story::{Restart, Step, Story, Switch, Target};

const TICK: Duration = Duration::from_millis(20);
/// A program is at rest if counters and Nodes have not changed for this long: everything it does takes some
/// milliseconds, and the next retry of something that was refused may come later.
const AT_REST: Duration = Duration::from_millis(120);
/// Time for a program to notice a write to an UpcomingNode, or to a Node: twenty times what it takes. Not every write
/// has to be noticed.
const PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE_WITH_NODES: Duration = Duration::from_millis(500);
/// The same after a restart of the apiserver: watches come back after some seconds.
const PATIENCE_AFTER_RESTART: Duration = Duration::from_secs(60);
/// Only a bug reaches it.
const CEILING: Duration = Duration::from_secs(90);

/// The Node under the name of a story's machine after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// There is none.
    NoNode,
    /// A Node; the same as before, if there was one.
    Node,
    /// A different Node than before the step.
    AnotherNode,
}

/// The result of a story on one program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Played {
    /// The Node after each step.
    pub after: Vec<Standing>,
    /// The program's own series, over all processes of the story.
    pub metrics: Series,
    /// The Node at the end.
    pub node: Option<Node>,
    /// uid and resource version of the Node that another client created.
    pub foreign: Option<(String, String)>,
    /// uid of the UpcomingNode at the end.
    pub upcoming_uid: Option<String>,
    /// Names of all other Nodes.
    pub others: Vec<String>,
}

/// Results by story and program, or why there is none.
pub type Results = BTreeMap<String, BTreeMap<String, Result<Played, String>>>;

/// Plays all stories on both programs.
///
/// # Errors
/// When there is no control plane. A failure within a story is its result.
pub async fn play(stories: &[Story]) -> anyhow::Result<Results> {
    let supervisor = Supervisor::connect(&suites::supervisor_socket()?).await?;
    let cluster = |kind: &Kind| ClusterSpec { run_scheduler: false, ..ClusterSpec::named(kind.name) };
    let spec = LeaseSpec { clusters: vec![cluster(&NODE_CREATOR), cluster(&POD_SHIM)] };
    let lease = supervisor.lease(&spec).await?;
    let tell = async |kind: &'static Kind| {
        // kwok would write to Nodes, and only to those that have its annotation.
        supervisor.component(&lease.id, Some(kind.name), KWOK, Verb::Kill).await?;
        let cluster = lease.cluster(kind.name).context("the lease lacks a cluster that was asked for")?;
        let program = Program::new(kind, &supervisor, &lease.id, cluster, &[])?;
        let admin = component::client::connect_unlimited(&cluster.kubeconfigs["admin"]).await?;
        let mut player = Player {
            supervisor: supervisor.clone(),
            lease: lease.id.clone(),
            program,
            upcoming: Api::all(admin.clone()),
            nodes: Api::all(admin.clone()),
            admin,
        };
        let mut told = Vec::new();
        for story in stories {
            told.push((story.name.clone(), player.tell(story).await.map_err(|e| format!("{e:#}"))));
        }
        anyhow::Ok((kind.name, told))
    };
    let (creator, shim) = futures::try_join!(tell(&NODE_CREATOR), tell(&POD_SHIM))?;
    supervisor.release(&lease.id).await?;
    let mut results = Results::new();
    for (program, told) in [creator, shim] {
        for (story, played) in told {
            results.entry(story).or_default().insert(program.to_owned(), played);
        }
    }
    Ok(results)
}

struct Player {
    supervisor: Supervisor,
    lease: String,
    program: Program,
    admin: Client,
    upcoming: Api<UpcomingNode>,
    nodes: Api<Node>,
}

/// A snapshot of what a program may change.
#[derive(Clone, Debug, PartialEq)]
struct Scene {
    /// Outcomes counted by the running process.
    observations: f64,
    /// Name and resource version of each Node.
    nodes: Vec<(String, Option<String>)>,
}

impl Player {
    async fn tell(&mut self, story: &Story) -> anyhow::Result<Played> {
        self.begin().await.context("before its first step")?;
        let (upcoming, node) =
            (story.upcoming_node(), format!("{}{}", self.program.kind.node_prefix, story.machine_id()));
        let log = self.program.log_file();
        let (mut after, mut foreign, mut uid, mut restarted) = (Vec::new(), None, None, false);
        for (n, step) in story.steps.iter().enumerate() {
            let at = || format!("step {}, {step} (see {log})", n + 1);
            let before = if self.program.is_running() { self.program.observations().await? } else { 0.0 };
            if let Some(made) = self.act(step, &upcoming, &node).await.with_context(at)? {
                foreign = made.uid().zip(made.resource_version());
            }
            restarted |= matches!(step, Step::Apiserver(_));
            if self.program.is_running() && !matches!(step, Step::Apiserver(_)) {
                let before = if matches!(step, Step::Creator(_)) { 0.0 } else { before };
                self.rest(before, patience(step, restarted)).await.with_context(at)?;
            }
            let now = self.nodes.get_metadata_opt(&node).await.with_context(at)?.and_then(|n| n.uid());
            after.push(match (&uid, &now) {
                (_, None) => Standing::NoNode,
                (Some(was), Some(is)) if was != is => Standing::AnotherNode,
                _ => Standing::Node,
            });
            uid = now;
        }
        let all = self.nodes.list_metadata(&machines()).await?;
        Ok(Played {
            after,
            metrics: self.program.totals().await?,
            node: self.nodes.get_opt(&node).await?,
            foreign,
            upcoming_uid: self.upcoming.get_metadata_opt(&upcoming).await?.and_then(|u| u.uid()),
            others: all.iter().map(ResourceExt::name_any).filter(|name| *name != node).collect(),
        })
    }

    /// Empties the cluster and starts a new process.
    async fn begin(&mut self) -> anyhow::Result<()> {
        if self.program.is_running() {
            self.program.stop().await?;
        }
        self.program.forget();
        let (all, at_once) = (ListParams::default(), DeleteParams::default());
        self.upcoming.delete_collection(&at_once, &all).await.context("deleting all UpcomingNodes")?;
        self.nodes.delete_collection(&at_once, &all).await.context("deleting all Nodes")?;
        self.program.start().await
    }

    /// Executes a step. Returns the Node if the step creates one as another client.
    async fn act(&mut self, step: &Step, upcoming: &str, node: &str) -> anyhow::Result<Option<Node>> {
        match step {
            Step::Create(spec) => self.create(upcoming, spec).await?,
            Step::Phase(phase) => {
                let status = json!({"status": {"phase": phase}});
                apiserver::patch_status::<UpcomingNode>(&self.admin, None, upcoming, &status).await?;
            }
            Step::Phases(_) => anyhow::bail!("phases are taken apart when stories are loaded"),
            Step::Update(spec) => {
                apiserver::patch::<UpcomingNode>(&self.admin, None, upcoming, &json!({"spec": spec})).await?;
            }
            Step::Delete(Target::UpcomingNode) => {
                self.upcoming.delete(upcoming, &DeleteParams::default()).await?;
            }
            Step::Delete(Target::Node) => {
                self.nodes.delete(node, &DeleteParams::default()).await?;
            }
            Step::ForeignNode(content) => return self.make_node(node, content).await.map(Some),
            Step::Creator(Switch::Stop) => self.program.stop().await?,
            Step::Creator(Switch::Start) => self.program.start().await?,
            Step::Apiserver(Restart::Restart) => self.restart_apiserver().await?,
        }
        Ok(None)
    }

    /// Creates it exactly as in the story: the type would reject, or correct, what the schema accepts.
    async fn create(&self, name: &str, spec: &Value) -> anyhow::Result<()> {
        let object = json!({
            "apiVersion": UpcomingNode::api_version(&()), "kind": UpcomingNode::kind(&()),
            "metadata": {"name": name}, "spec": spec,
        });
        let request = Request::new(UpcomingNode::url_path(&(), None));
        let request = request.create(&PostParams::default(), serde_json::to_vec(&object)?)?;
        self.admin.request::<IgnoredAny>(request).await?;
        Ok(())
    }

    async fn make_node(&self, name: &str, content: &Value) -> anyhow::Result<Node> {
        let mut node: Node = serde_json::from_value(content.clone()).context("reading the Node")?;
        node.metadata.name = Some(name.to_owned());
        Ok(self.nodes.create(&PostParams::default(), &node).await?)
    }

    async fn restart_apiserver(&self) -> anyhow::Result<()> {
        for verb in [Verb::Kill, Verb::Start] {
            let cluster = Some(self.program.kind.name);
            self.supervisor.component(&self.lease, cluster, APISERVER, verb).await?;
        }
        let answers = || async {
            match self.admin.apiserver_version().await {
                Ok(_) => Look::Ready(()),
                Err(error) => Look::NotYet(error.to_string()),
            }
        };
        Ok(poll::until("the apiserver to answer again", TICK, CEILING, answers).await?)
    }

    /// Waits until the program has noticed the change (or had the time to) and is at rest.
    async fn rest(&self, before: f64, patience: Duration) -> anyhow::Result<()> {
        let begin = Instant::now();
        let last: RefCell<Option<(Scene, Instant)>> = RefCell::default();
        let (what, last) = (format!("{} to come to rest", self.program.kind.name), &last);
        poll::until(&what, TICK, CEILING, || async move {
            let scene = match self.scene().await {
                Ok(scene) => scene,
                Err(error) => return Look::NotYet(format!("{error:#}")),
            };
            let noticed = scene.observations > before || begin.elapsed() >= patience;
            let mut last = last.borrow_mut();
            match &*last {
                Some((same, since)) if *same == scene => {
                    if noticed && since.elapsed() >= AT_REST {
                        return Look::Ready(());
                    }
                }
                _ => *last = Some((scene.clone(), Instant::now())),
            }
            Look::NotYet(format!("{scene:?}"))
        })
        .await?;
        Ok(())
    }

    async fn scene(&self) -> anyhow::Result<Scene> {
        let nodes = self.nodes.list_metadata(&machines()).await?;
        Ok(Scene {
            observations: self.program.observations().await?,
            nodes: nodes.iter().map(|n| (n.name_any(), n.resource_version())).collect(),
        })
    }
}

fn patience(step: &Step, restarted: bool) -> Duration {
    match step {
        _ if restarted => PATIENCE_AFTER_RESTART,
        Step::ForeignNode(_) | Step::Delete(Target::Node) => PATIENCE_WITH_NODES,
        _ => PATIENCE,
    }
}
