//! Claims over runs of the whole chain: what was requested, and how full it became.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use harness_analysis::judge::packing;
use harness_model::record::{Event, Phase};
use harness_model::summary::screen::histogram;
use libtest_mimic::Trial;
use serde_json::json;
use suites::snapshot;

use crate::chain::{BARE, CONSTRAINTS, DEPLOYMENTS, Run, STATEFUL_SETS, Variant};

/// Pods of one kind in one run, and the constraints on them.
#[derive(Clone, Copy)]
struct Subject {
    name: &'static str,
    variant: &'static Variant,
    archetype: &'static str,
    /// Pods of one gang.
    gang: Option<u64>,
    /// Zones over which they spread evenly.
    zones: u64,
    /// Maximum number of misplaced Pods after half of all Pods were churned. A controller immediately replaces a Pod
    /// that is being deleted, while its room is still taken. The replacement goes to the next Node, and the hole stays
    /// until another Pod arrives.
    misplaced_max: u64,
}

const PLAIN: Subject =
    Subject { name: "", variant: &BARE, archetype: "deployment", gang: None, zones: 1, misplaced_max: 0 };

const SUBJECTS: [Subject; 5] = [
    Subject { name: "bare_pods", ..PLAIN },
    Subject { name: "stateful_sets", variant: &STATEFUL_SETS, archetype: "stateful-set", ..PLAIN },
    Subject { name: "deployments", variant: &DEPLOYMENTS, misplaced_max: 15, ..PLAIN },
    Subject {
        name: "gangs",
        variant: &CONSTRAINTS,
        archetype: "gang",
        gang: Some(60),
        misplaced_max: 4,
        ..PLAIN
    },
    Subject {
        name: "zone_spread_pods",
        variant: &CONSTRAINTS,
        archetype: "zone-spread",
        zones: 3,
        misplaced_max: 4,
        ..PLAIN
    },
];

pub fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut claim = |subject: Subject, sentence: &str, claim: fn(&Subject, &Run) -> anyhow::Result<()>| {
        let name = format!("{}::{sentence}", subject.name);
        trials.push(suites::trial(&name, move || claim(&subject, &Run::of(subject.variant)?)));
    };
    for subject in SUBJECTS {
        let asks = match subject.gang {
            Some(_) => "ask_for_what_each_gang_rounds_up_to",
            None => "ask_for_pods_over_density_rounded_up",
        };
        let fills = match (subject.gang, subject.zones) {
            (Some(_), _) => "leave_only_the_room_that_rounding_forces",
            (None, 1) => "fill_every_node_but_the_last_after_the_ramp",
            _ => "fill_every_node_but_the_last_of_each_zone_after_the_ramp",
        };
        claim(subject, asks, asked_for_exactly);
        claim(subject, fills, packed_after_the_ramp);
        claim(subject, "never_take_more_than_allocatable_of_a_node", never_over_allocatable);
        claim(subject, "stay_packed_while_half_of_them_are_churned", packed_after_churn);
    }
    claim(SUBJECTS[3], "sit_in_one_rack_each", gangs_share_a_rack);
    claim(SUBJECTS[4], "keep_their_zones_even", zones_are_even);
    trials
}

impl Subject {
    fn pods(&self) -> u64 {
        self.variant.pods.iter().filter(|(name, _)| *name == self.archetype).map(|(_, pods)| pods).sum()
    }

    /// Returns the Pods on each machine, the fullest first, if nothing but the constraint prevents packing.
    fn packed(&self) -> Vec<u64> {
        let density = self.variant.density;
        let full = |pods: u64| {
            let machines = pods.div_ceil(density);
            (0..machines).map(move |n| density.min(pods - n * density))
        };
        let (pods, zones) = (self.pods(), self.zones);
        // Zones differ by at most one Pod.
        let mut nodes: Vec<u64> = (0..zones).flat_map(|zone| full((pods + zone) / zones)).collect();
        if let Some(gang) = self.gang {
            // Each gang needs whole machines, but all gangs share them.
            nodes.resize((pods / gang * gang.div_ceil(density)) as usize, 0);
        }
        nodes.sort_unstable_by(|a, b| b.cmp(a));
        nodes
    }
}

/// Returns the number of Pods that would have to move to turn `found` into `packed` (both the fullest first).
fn misplaced(packed: &[u64], found: &[u64]) -> u64 {
    packed.iter().zip(found).map(|(wanted, there)| wanted.saturating_sub(*there)).sum()
}

fn asked_for_exactly(subject: &Subject, run: &Run) -> anyhow::Result<()> {
    let needed = subject.packed().len();
    let nodes = run.zones(subject.archetype);
    let place = run.dir.root().display();
    let asked: BTreeSet<&str> =
        run.evidence.bootstraps.iter().map(|(_, _, machine)| machine.as_str()).collect();
    let mine = |machine: &&&str| nodes.keys().any(|(_, name)| *name == **machine);
    let asked = asked.iter().filter(mine).count();
    ensure!(asked == needed, "{asked} machines were bootstrapped instead of {needed}; see {place}");
    ensure!(nodes.len() == needed, "{} Nodes came instead of {needed}; see {place}", nodes.len());
    let gone = run.evidence.nodes.iter().find(|n| n.gone_us.is_some() || n.draining_us.is_some());
    ensure!(gone.is_none(), "{gone:?} was given back, although demand never changed");
    let claimed = claimed_by_needs(run)?;
    let all: usize = run.evidence.nodes.iter().filter(|n| n.created_us.is_some()).count();
    ensure!(claimed == all, "the shard's Needs claim {claimed} machines, {all} are there; see {place}");
    let packing = run.summary.packing.iter().find(|p| p.archetype == subject.archetype);
    let packing = packing.context("the summary does not know these machines")?;
    let told = [packing.nodes, packing.nodes_asked_max, packing.planned];
    ensure!(
        told == [needed as u64; 3],
        "the summary says {told:?} (there, asked for, planned), not {needed}"
    );
    Ok(())
}

/// Returns the number of machines that the shard reports as claimed by its Needs when everything is quiet.
fn claimed_by_needs(run: &Run) -> anyhow::Result<usize> {
    let account = run.evidence.events.iter().rev().find_map(|stamped| match &stamped.event {
        Event::ShardAccount { needs, .. } => Some(needs),
        _ => None,
    });
    let needs = account.and_then(|needs| needs.as_array()).context("the shard's account is missing")?;
    let machines = |need: &serde_json::Value| need["machines"].as_u64().context("a Need without machines");
    Ok(needs.iter().map(machines).sum::<anyhow::Result<u64>>()? as usize)
}

fn packed_after_the_ramp(subject: &Subject, run: &Run) -> anyhow::Result<()> {
    let found = run.pods_per_node(subject.archetype, run.after_the_ramp_us()?);
    let wanted = subject.packed();
    ensure!(
        found == wanted,
        "Pods per Node are {found:?} instead of {wanted:?}; see {}",
        run.dir.root().display()
    );
    let mut nodes: BTreeMap<u64, u64> = BTreeMap::new();
    found.into_iter().for_each(|pods| *nodes.entry(pods).or_default() += 1);
    let seen = json!({
        "Pods": subject.pods(),
        "Pods that a machine holds": subject.variant.density,
        "machines": wanted.len(),
        "Nodes by Pods on them after the ramp": histogram(&nodes),
    });
    snapshot(&format!("density-{}", subject.name.replace('_', "-")), &seen);
    Ok(())
}

/// Covers the whole run: each bind and each end of a Pod, in the order in which the watch reported them.
fn never_over_allocatable(subject: &Subject, run: &Run) -> anyhow::Result<()> {
    let nodes = run.zones(subject.archetype);
    let mut fullest: BTreeMap<String, f64> = BTreeMap::new();
    for (key, usage) in packing::usage(&run.expect, &run.evidence) {
        if !nodes.contains_key(&key) {
            continue;
        }
        for resource in ["cpu", "memory", "pods"] {
            ensure!(usage.allocatable.contains_key(resource), "{key:?} has no allocatable {resource}");
        }
        for (resource, most) in &usage.most {
            let all = usage.allocatable.get(resource).copied().unwrap_or(0);
            ensure!(*most <= all, "{key:?}: Pods took {most} of {all} thousandths of {resource}");
            let share = fullest.entry(resource.clone()).or_default();
            *share = share.max(*most as f64 / all as f64);
        }
    }
    // Otherwise the sum would be of something else.
    ensure!(fullest.get("cpu") == Some(&1.0), "no Node was ever full: {fullest:?}");
    Ok(())
}

fn packed_after_churn(subject: &Subject, run: &Run) -> anyhow::Result<()> {
    let (from, to) = run.evidence.window(Phase::Soak).context("there was no soak")?;
    let churned =
        |p: &&harness_model::record::PodRecord| p.deleting_us.is_some_and(|t| (from..=to).contains(&t));
    let churned = run.evidence.pods.iter().filter(churned).count() as u64;
    let half = subject.variant.pods.iter().map(|(_, pods)| pods).sum::<u64>() / 2;
    ensure!(churned >= half, "only {churned} Pods were churned, half of them are {half}");
    let (found, wanted) = (run.pods_per_node(subject.archetype, run.evidence.end_us), subject.packed());
    ensure!(found.iter().sum::<u64>() == subject.pods(), "{found:?} are not {} Pods", subject.pods());
    let misplaced = misplaced(&wanted, &found);
    ensure!(
        misplaced <= subject.misplaced_max,
        "{misplaced} Pods are out of place (at most {}): {found:?} instead of {wanted:?}; see {}",
        subject.misplaced_max,
        run.dir.root().display()
    );
    Ok(())
}

fn gangs_share_a_rack(subject: &Subject, run: &Run) -> anyhow::Result<()> {
    let zones = run.zones(subject.archetype);
    let mut of_gang: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for pod in run.evidence.pods.iter().filter(|p| p.archetype == subject.archetype) {
        let Some(node) = &pod.node else { continue };
        let zone = zones.get(&(pod.cluster.as_str(), node.as_str())).context("a Pod on a foreign Node")?;
        of_gang.entry(&pod.workload).or_default().insert(zone);
    }
    ensure!(of_gang.len() == 3, "there were {} gangs", of_gang.len());
    // The catalog has one rack per zone.
    ensure!(of_gang.values().all(|zones| zones.len() == 1), "a gang is torn apart: {of_gang:?}");
    Ok(())
}

fn zones_are_even(subject: &Subject, run: &Run) -> anyhow::Result<()> {
    let zones = run.zones(subject.archetype);
    for (when, at_us) in [("after the ramp", run.after_the_ramp_us()?), ("in the end", run.evidence.end_us)] {
        let mut pods: BTreeMap<&str, u64> = BTreeMap::new();
        for (node, count) in packing::pods_per_node(&run.evidence, at_us) {
            if let Some(zone) = zones.get(&node) {
                *pods.entry(zone).or_default() += count;
            }
        }
        ensure!(pods.len() == 3, "{when} there are {} zones", pods.len());
        let (least, most) = (pods.values().min(), pods.values().max());
        let skew = most.zip(least).map_or(0, |(most, least)| most - least);
        ensure!(skew <= 1, "{when} the zones differ by {skew} Pods: {pods:?}");
    }
    Ok(())
}
