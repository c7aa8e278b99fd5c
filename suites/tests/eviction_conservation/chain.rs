//! The runs of the whole chain that the claims read: one profile with variations.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, ensure};
use harness_analysis::judge::evidence::Action;
use harness_analysis::judge::{Evidence, eviction};
use harness_model::plan::Plan;
use harness_model::record::{Event, Phase, PodRecord, RunDir};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use suites::scenarios::{Ended, Scenario, runs};

/// Rules of validity that the evidence depends on. Others are about speed, and about all Pods existing at the end: the
/// contrasts have neither.
const NEEDED: [&str; 4] = ["completed", "components_alive", "watches_without_gap", "ledger_agrees_with_list"];

/// What a run varies in the profile `eviction`.
#[derive(Clone, Copy, Debug)]
pub struct Variant {
    pub name: &'static str,
    pub density: u64,
    pub shapes: &'static [Shape],
    pub set: &'static [&'static str],
}

/// Pods of one archetype, and the machines over which they are spread evenly at the start.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub archetype: &'static str,
    pub pods: u64,
    pub configured: u64,
    pub idle: u64,
}

const DEPLOYMENT: Shape = Shape { archetype: "deployment", pods: 175, configured: 25, idle: 6 };
/// Three Needs, so that newly drawn Pods shift demand from one to another. Each is three Pods above a whole number of
/// machines, because up to three may be between one controller's deletion and its creation when a roll-up comes.
const MIX: &[Shape] = &[
    Shape { archetype: "deployment", pods: 88, configured: 25, idle: 8 },
    Shape { archetype: "service", pods: 58, configured: 17, idle: 8 },
    Shape { archetype: "batch", pods: 33, configured: 10, idle: 8 },
];
const PLAIN: Variant = Variant { name: "", density: 10, shapes: &[DEPLOYMENT], set: &[] };

/// The cure. No roll-up comes in the middle of the wave: it would see the moment between a Pod's eviction and its
/// replacement, which is a separate claim (`moving`). In parallel with seven other runs, a wave took up to 25 s.
pub const MANAGED: Variant = Variant {
    name: "managed",
    shapes: &[DEPLOYMENT, Shape { archetype: "stateful-set", pods: 66, configured: 9, idle: 3 }],
    set: &["operator.rollupInterval=40s", "phases.soak=140s"],
    ..PLAIN
};

/// The disease: each roll-up sees everything that the previous wave destroyed.
pub const BARE: Variant = Variant {
    name: "bare",
    set: &[
        "workloads=bare",
        "loadDriver.bareTopUp=false",
        "operator.rollupInterval=10s",
        "phases.settle=6s",
        "phases.soak=55s",
        "phases.quiesce=1s",
    ],
    ..PLAIN
};

/// The disease as upstream had it: lost Pods are replaced by Pods of a newly drawn object.
pub const TOPPED_UP: Variant = Variant {
    name: "bare-topped-up",
    density: 5,
    shapes: MIX,
    set: &[
        "workloads=bare",
        "loadDriver.bareFreshDraws=true",
        "churnPerMinute=0.5",
        "phases.settle=6s",
        "phases.soak=55s",
        "phases.quiesce=1s",
    ],
};

/// The same load, owned by controllers.
pub const CHURNED: Variant = Variant {
    name: "managed-churned",
    density: 5,
    shapes: MIX,
    set: &["churnPerMinute=0.5", "phases.soak=55s"],
};

/// Three scalings by a fifth, up and down.
pub const SWUNG: Variant = Variant {
    name: "managed-swung",
    set: &["demandWave={archetype: deployment, replicas: 30, period: 24s}", "phases.soak=36s"],
    ..PLAIN
};

pub const CAPPED: Variant = Variant {
    name: "capped",
    density: 2,
    shapes: &[Shape { archetype: "deployment", pods: 149, configured: 100, idle: 0 }],
    set: &["shard.reclaimCapFraction=0.05", "operator.rollupInterval=20s", "phases.soak=1s"],
};

pub const UNSCHEDULABLE_ONLY: Variant = Variant {
    name: "unschedulable-only",
    set: &[
        "unschedulablePodController.crMode=unschedulable-only",
        "churnPerMinute=0.5",
        "phases.settle=6s",
        "phases.soak=55s",
        "phases.quiesce=1s",
    ],
    ..PLAIN
};

pub const UNWAITED: Variant = Variant {
    name: "unwaited",
    set: &["shard.waitForEviction=false", "phases.settle=6s", "phases.soak=10s", "phases.quiesce=1s"],
    ..PLAIN
};

pub const FAKE_NAMES: Variant = Variant {
    name: "fake-names",
    set: &["nodeCreator.nodeNamePrefix=fake-", "phases.settle=6s", "phases.soak=10s", "phases.quiesce=1s"],
    ..PLAIN
};

/// A deleted Pod stays Terminating until after the next roll-up, like one with a grace period.
pub const ON_GONE: Variant = Variant {
    name: "on-gone",
    set: &[
        "unschedulablePodController.crRelease=on-gone",
        "controlPlane.podTermination=6s",
        "operator.rollupInterval=4s",
        "phases.soak=1s",
    ],
    ..PLAIN
};

pub const BUDGETED: Variant = Variant {
    name: "budget-of-three",
    set: &["disruptionBudget={maxUnavailable: 3}", "operator.rollupInterval=5s", "phases.soak=1s"],
    ..PLAIN
};

/// No Pod may be evicted. Demand rises when the drains have failed.
pub const REFUSED: Variant = Variant {
    name: "budget-of-none",
    set: &[
        "disruptionBudget={maxUnavailable: 0}",
        "shard.reclaimGrace=8s",
        "demandWave={archetype: deployment, replicas: 30, period: 2m}",
        "phases.soak=20s",
        "phases.quiesce=1s",
    ],
    ..PLAIN
};

/// Ordered by duration, the longest first.
const ALL: [Variant; 12] = [
    MANAGED,
    BARE,
    CHURNED,
    TOPPED_UP,
    UNSCHEDULABLE_ONLY,
    SWUNG,
    CAPPED,
    REFUSED,
    BUDGETED,
    ON_GONE,
    UNWAITED,
    FAKE_NAMES,
];

/// Number of control planes that two cores can keep up with.
const AT_ONCE: usize = 6;

impl Shape {
    /// Returns the number of machines beyond what the Pods need.
    pub fn surplus(&self, density: u64) -> u64 {
        self.configured - self.pods.div_ceil(density)
    }
}

impl Variant {
    pub fn pods(&self) -> u64 {
        self.shapes.iter().map(|s| s.pods).sum()
    }

    /// Returns the number of machines beyond what the Pods need.
    pub fn surplus(&self) -> u64 {
        self.shapes.iter().map(|s| s.surplus(self.density)).sum()
    }

    /// Returns the least number of evictions for removing the surplus: Pods are spread evenly over all machines.
    pub fn evictions_min(&self) -> u64 {
        self.shapes.iter().map(|s| s.surplus(self.density) * (s.pods / s.configured)).sum()
    }

    fn scenario(&self) -> Scenario {
        let map = |value: fn(&Shape) -> u64| {
            let entries: Vec<String> =
                self.shapes.iter().map(|s| format!("{}: {}", s.archetype, value(s))).collect();
            format!("{{{}}}", entries.join(", "))
        };
        let mut overrides = vec![
            format!("density={}", self.density),
            format!("podsPerCluster={}", self.pods()),
            format!("podsPerArchetype={}", map(|s| s.pods)),
            format!("inventory.configuredPerShape={}", map(|s| s.configured)),
            format!("inventory.idlePerShape={}", map(|s| s.idle)),
        ];
        overrides.extend(self.set.iter().map(|set| (*set).to_owned()));
        Scenario { name: self.name.to_owned(), profile: "eviction".to_owned(), overrides }
    }
}

/// Returns a claim about the run of a variant.
pub fn claim(name: &str, variant: &'static Variant, claim: fn(&Run) -> anyhow::Result<()>) -> Trial {
    suites::trial(name, move || {
        let run = Run::of(variant)?;
        claim(&run).with_context(|| format!("see {}", run.dir.root().display()))
    })
}

/// A finished run.
pub struct Run {
    pub variant: &'static Variant,
    pub dir: RunDir,
    pub plan: Plan,
    pub evidence: Evidence,
}

impl Run {
    /// Returns the run of a variant. All variants are run in parallel, by the first trial that needs any.
    pub fn of(variant: &'static Variant) -> anyhow::Result<Self> {
        let runs = runs("eviction_conservation", &ALL.map(|variant| variant.scenario()), AT_ONCE)?;
        let ended = runs.get(variant.name).with_context(|| format!("there is no run {}", variant.name))?;
        Self::load(variant, ended.as_ref().map_err(|reason| anyhow::Error::msg(reason.clone()))?)
    }

    fn load(variant: &'static Variant, dir: &Path) -> anyhow::Result<Self> {
        let Ended { dir, evidence, .. } = Ended::load(dir, &NEEDED)?;
        let unseen = evidence.pods.iter().filter(|p| p.preexisting).count();
        ensure!(unseen == 0, "the run in {} missed the creation of {unseen} Pods", dir.root().display());
        let run = Self { variant, plan: dir.read_json(&dir.plan())?, dir, evidence };
        run.started_alike()?;
        Ok(run)
    }

    /// Checks the start: without Pods on every machine, the surplus would be empty, and removing it would prove
    /// nothing.
    fn started_alike(&self) -> anyhow::Result<()> {
        let resumed_us = self.resumed_us()?;
        for shape in self.variant.shapes {
            let mut pods: BTreeMap<&str, u64> = BTreeMap::new();
            let at_the_start = |p: &&PodRecord| {
                p.archetype == shape.archetype && p.bound_us.is_some_and(|at| at < resumed_us)
            };
            for pod in self.evidence.pods.iter().filter(at_the_start) {
                *pods.entry(pod.node.as_deref().unwrap_or_default()).or_default() += 1;
            }
            let alike = [shape.pods / shape.configured, shape.pods.div_ceil(shape.configured)];
            ensure!(
                pods.len() as u64 == shape.configured && pods.values().all(|n| alike.contains(n)),
                "void: Pods of {} were not bound alike to {} machines: {pods:?}",
                shape.archetype,
                shape.configured
            );
        }
        Ok(())
    }

    /// Returns the time when the shard began to act.
    pub fn resumed_us(&self) -> anyhow::Result<u64> {
        let resumed = self.evidence.events.iter().find(|e| e.event == Event::ActuationResumed);
        // Its first action may be slightly earlier than our record of the event.
        let first = self.evidence.actions.iter().map(|a| a.started_us).min();
        let resumed_us = resumed.context("the shard was never told to act")?.at_us;
        Ok(first.map_or(resumed_us, |first| first.min(resumed_us)))
    }

    /// Returns the window from the first action to the end of the observation.
    pub fn acting(&self) -> anyhow::Result<(u64, u64)> {
        Ok((self.resumed_us()?, self.evidence.end_us))
    }

    pub fn soak(&self) -> anyhow::Result<(u64, u64)> {
        self.evidence.window(Phase::Soak).context("there was no soak")
    }

    /// Returns the successful actions of a kind, in the order of their start.
    pub fn done(&self, kind: &str) -> Vec<&Action> {
        self.evidence.actions.iter().filter(|a| a.kind == kind && a.outcome == "success").collect()
    }

    /// Returns the sizes of the waves of a kind of action, in order.
    pub fn waves(&self, kind: &str) -> Vec<u64> {
        self.evidence.waves(&[kind])
    }

    /// Returns the machines that were removed at any time.
    pub fn reclaimed(&self) -> BTreeSet<&str> {
        let away = self.evidence.actions.iter().filter(|a| matches!(a.kind.as_str(), "Reclaim" | "Preempt"));
        away.map(|a| a.machine.as_str()).collect()
    }

    /// Returns the requests for `pods/eviction` since the fill by response code, as the apiserver counted them.
    pub fn evictions(&self) -> anyhow::Result<BTreeMap<u16, u64>> {
        let (start, _) = self.evidence.window(Phase::Fill).context("there was no fill")?;
        let answers = eviction::answers(&self.evidence, (start, self.evidence.end_us));
        answers.context("the apiserver's request counts were not scraped before the fill and after")
    }

    /// Returns the number of evictions that were granted.
    pub fn granted(&self) -> anyhow::Result<u64> {
        Ok(self.evictions()?.into_iter().filter(|(code, _)| (200..300).contains(code)).map(|(_, n)| n).sum())
    }

    /// The run is void unless machines with Pods on them were emptied by eviction.
    pub fn was_evicted(&self) -> anyhow::Result<()> {
        let (granted, least) = (self.granted()?, self.variant.evictions_min());
        ensure!(
            granted >= least,
            "void: {granted} evictions were granted, fewer than {least} (surplus × Pods on each)"
        );
        Ok(())
    }

    /// Returns the number of the shard's cycles in a window.
    pub fn cycles(&self, window: (u64, u64)) -> anyhow::Result<u64> {
        let (_, shard) = self.evidence.timelines("shard").next().context("the shard was not scraped")?;
        let count = |at_us: u64| {
            let series = shard.at(at_us).context("no scrape of the shard")?;
            series.get("bigfleet_shard_cycles_total").copied().context("the shard counts no cycles")
        };
        Ok((count(window.1)? - count(window.0)?) as u64)
    }

    /// Returns the live Pods at the end.
    pub fn live_at_the_end(&self) -> impl Iterator<Item = &PodRecord> {
        self.evidence.pods.iter().filter(|p| p.is_live())
    }

    /// Stores a measured figure in the run directory, where people look for it. No claim depends on the file.
    pub fn figure(&self, name: &str, value: Value) -> anyhow::Result<()> {
        let figures = self.dir.root().join("figures");
        std::fs::create_dir_all(&figures).with_context(|| format!("creating {}", figures.display()))?;
        let text = json!({ "run": self.variant.name, "figure": name, "value": value });
        eprintln!("{text}");
        Ok(self.dir.write_json(&figures.join(format!("{name}.json")), &text)?)
    }
}
