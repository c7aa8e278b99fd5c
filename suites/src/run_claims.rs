//! Claims over the directory of a finished run, which `dev_50` and `dev_500` have in common.
//!
//! They only judge. The scenario is run by xtask or by the setup script, where its output can be seen.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use harness_analysis::judge::{self, Evidence, Expect, digest, gates};
use harness_model::plan::Plan;
use harness_model::prometheus::{self, label};
use harness_model::record::{Event, Phase, RunDir};
use harness_model::summary::{Gate, Outcome, Summary, Verdict};
use libtest_mimic::Trial;
use serde_json::{Value, json};

/// A profile whose runs are judged.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// Its name.
    pub name: &'static str,
    /// Environment variable that holds the run directory.
    pub variable: &'static str,
    /// Whether the claim that no Pod waits for a minute also covers the fill. A fill that keeps all cores busy for a
    /// quarter of an hour delays some Pods: a spread Pod waits for the next machine of one particular zone.
    pub fill_is_gentle: bool,
}

/// The time from which a Pod has waited for long.
const LONG_US: u64 = 60_000_000;

/// Returns all claims about a run of the profile.
pub fn trials(profile: Profile) -> Vec<Trial> {
    let mut trials = Vec::new();
    let mut claim = |name: &str, claim: fn(&Run) -> anyhow::Result<()>| {
        trials.push(crate::trial(name, move || claim(&Run::load(profile)?)));
    };
    claim("run::is_valid", is_valid);
    claim("run::passes", passes);
    claim("run::verdicts_are_the_expected_set", verdict_set);
    claim("samples::of_each_control_plane_begin_before_the_fill", sampled_before_fill);
    claim("plan::is_the_expected_one", plan_is_expected);
    claim("pods::all_are_bound", all_bound);
    claim("pods::add_up_per_uid", pods_add_up);
    if profile.fill_is_gentle {
        claim("pods::none_was_unbound_for_a_minute", none_stuck);
    }
    claim("pods::none_of_the_soak_was_unbound_for_a_minute", none_stuck_in_soak);
    claim("pods::those_unbound_for_a_minute_are_listed_with_the_reason", stuck_are_listed);
    claim("ledger::declared_live_and_requested_agree", ledger_exact);
    claim("machines::per_need_are_as_planned", machines_as_planned);
    claim("machines::hold_no_more_than_density", density_is_kept);
    claim("machines::hold_all_declared_pods", machines_hold_all);
    claim("node_creator::may_not_touch_pods", node_creator_rights);
    claim("node_creator::never_asked_for_pods", node_creator_never_asked);
    claim("summary::matches_its_schema", summary_matches_schema);
    claim("judge::repeats_its_verdict_from_files", verdict_repeats);
    claim("judge::repeats_the_outcome_digest", digest_repeats);
    for metric in gates::ALWAYS.into_iter().chain(gates::WITH_CHURN).chain(gates::WITH_WAVE) {
        let claim = move || gate_holds(&Run::load(profile)?, metric);
        trials.push(crate::trial(&format!("gate::{metric}_holds"), claim));
    }
    trials
}

/// A run directory and what was read from it.
struct Run {
    profile: Profile,
    dir: RunDir,
    summary: Summary,
    plan: Plan,
}

impl Run {
    fn load(profile: Profile) -> anyhow::Result<Self> {
        let Some(path) = std::env::var_os(profile.variable).map(PathBuf::from) else {
            bail!(
                "{} is not set: these claims judge a run that has ended; type `cargo xtask e2e {name}`, or point \
                 the variable at a run directory (target/e2e/...)",
                profile.variable,
                name = profile.name
            );
        };
        let dir = RunDir::new(&path);
        let missing = || format!("{} holds no finished run of {}", path.display(), profile.name);
        let summary: Summary = dir.read_json(&dir.summary()).with_context(missing)?;
        let plan: Plan = dir.read_json(&dir.plan()).with_context(missing)?;
        ensure!(
            summary.profile == profile.name,
            "{} is a run of {}, not of {}",
            path.display(),
            summary.profile,
            profile.name
        );
        Ok(Self { profile, dir, summary, plan })
    }

    fn evidence(&self) -> anyhow::Result<Evidence> {
        Evidence::load(&self.dir).context("reading the run's evidence")
    }

    fn snapshot(&self, name: &str, value: &Value) {
        crate::snapshot(&format!("{}-{name}", self.profile.name), value);
    }
}

fn is_valid(run: &Run) -> anyhow::Result<()> {
    ensure!(!run.summary.validity.is_empty(), "no rule of validity was checked");
    let broken: Vec<String> =
        run.summary.validity.iter().filter(|f| !f.ok).map(|f| format!("{}: {}", f.rule, f.detail)).collect();
    ensure!(broken.is_empty(), "{}", broken.join("; "));
    Ok(())
}

fn passes(run: &Run) -> anyhow::Result<()> {
    ensure!(run.summary.verdict == Verdict::Pass, "{}: {}", run.summary.verdict.name(), run.summary.reason);
    let not_shown = &run.summary.not_shown;
    ensure!(not_shown.is_empty(), "metrics that are read and were never shown: {}", not_shown.join("; "));
    Ok(())
}

/// Without such a sample, start-up CPU of a control plane would be counted as part of the fill.
fn sampled_before_fill(run: &Run) -> anyhow::Result<()> {
    let evidence = run.evidence()?;
    let (fill_us, _) = evidence.window(Phase::Fill).context("there was no fill")?;
    let mut first_us: BTreeMap<Option<&str>, u64> = BTreeMap::new();
    for sample in &evidence.samples {
        for process in sample.processes.iter().filter(|process| process.name == "kube-apiserver") {
            first_us.entry(process.cluster.as_deref()).or_insert(sample.at_us);
        }
    }
    ensure!(!first_us.is_empty(), "no kube-apiserver was sampled");
    let late: Vec<_> = first_us.iter().filter(|(_, at)| fill_us < **at).collect();
    ensure!(late.is_empty(), "first samples after the fill began at {fill_us} us: {late:?}");
    Ok(())
}

fn verdict_set(run: &Run) -> anyhow::Result<()> {
    let gates: BTreeMap<_, _> = run.summary.gates.iter().map(|g| (&g.metric, g.outcome)).collect();
    let validity: BTreeMap<_, _> = run.summary.validity.iter().map(|f| (&f.rule, f.ok)).collect();
    run.snapshot("verdicts", &json!({ "gates": gates, "validity": validity }));
    Ok(())
}

fn plan_is_expected(run: &Run) -> anyhow::Result<()> {
    let clusters: Vec<Value> = run
        .plan
        .clusters
        .iter()
        .map(|c| {
            json!({
                "name": c.name,
                "pods": c.pods,
                "objects": c.workloads.len(),
                "needs": c.needs.iter().map(|n| (n.name.clone(), (n.pods, n.machines))).collect::<BTreeMap<_, _>>(),
            })
        })
        .collect();
    let seeded: BTreeMap<_, _> = run.plan.shapes.iter().collect();
    run.snapshot("plan", &json!({ "clusters": clusters, "shapes": seeded, "totals": run.plan.totals }));
    Ok(())
}

fn all_bound(run: &Run) -> anyhow::Result<()> {
    let bound: u64 = run.summary.pods.values().map(|p| p.bound).sum();
    let pending: u64 = run.summary.pods.values().map(|p| p.pending).sum();
    let target = run.plan.profile.total_pods();
    ensure!(bound == target && pending == 0, "{bound} of {target} Pods are bound, {pending} are pending");
    Ok(())
}

fn pods_add_up(run: &Run) -> anyhow::Result<()> {
    ensure!(
        run.summary.pods.len() == run.plan.clusters.len(),
        "clusters are missing: {:?}",
        run.summary.pods
    );
    for (cluster, p) in &run.summary.pods {
        ensure!(p.created == p.bound + p.pending + p.deleted, "{cluster}: {p:?} does not add up");
        ensure!(p.created > 0, "{cluster}: no Pod was seen");
    }
    Ok(())
}

fn none_stuck(run: &Run) -> anyhow::Result<()> {
    let stuck = &run.summary.stuck_pods;
    if let Some(first) = stuck.first() {
        bail!("{} Pods, first {} for {} s: {}", stuck.len(), first.pod, first.unbound_s, first.reason);
    }
    Ok(())
}

fn none_stuck_in_soak(run: &Run) -> anyhow::Result<()> {
    let evidence = run.evidence()?;
    let (from, to) = evidence.window(Phase::Soak).context("there was no soak")?;
    let born: Vec<_> = evidence.pods.iter().filter(|p| (from..to).contains(&p.created_us)).collect();
    ensure!(!born.is_empty(), "void: no Pod was born in the soak");
    let stuck = born.iter().filter(|p| p.unbound_us(evidence.end_us) > LONG_US).count();
    ensure!(stuck == 0, "{stuck} of {} Pods", born.len());
    Ok(())
}

fn stuck_are_listed(run: &Run) -> anyhow::Result<()> {
    let evidence = run.evidence()?;
    // In whole seconds, as they are listed.
    let stuck = evidence.pods.iter().filter(|p| p.unbound_us(evidence.end_us) >= LONG_US + 1_000_000).count();
    let listed = &run.summary.stuck_pods;
    ensure!(
        listed.len() == stuck.min(judge::STUCK_LISTED_MAX),
        "{stuck} Pods waited, {} are listed",
        listed.len()
    );
    let silent = listed.iter().find(|p| p.reason.is_empty());
    ensure!(silent.is_none(), "listed without a reason: {silent:?}");
    Ok(())
}

fn ledger_exact(run: &Run) -> anyhow::Result<()> {
    let mut points: BTreeMap<String, u64> = BTreeMap::new();
    for stamped in run.evidence()?.events {
        if let Event::QuietPoint { cluster, phase, declared, live, requests, .. } = stamped.event {
            ensure!(
                declared == live && live == requests,
                "{cluster} in {}: {declared} declared, {live} live, {requests} requested",
                phase.name()
            );
            *points.entry(cluster).or_default() += 1;
        }
    }
    for cluster in &run.plan.clusters {
        let n = points.get(&cluster.name).copied().unwrap_or_default();
        ensure!(n >= 3, "{}: only {n} quiet points", cluster.name);
    }
    Ok(())
}

fn machines_as_planned(run: &Run) -> anyhow::Result<()> {
    let mut planned: BTreeMap<String, u64> = BTreeMap::new();
    for cluster in &run.plan.clusters {
        for need in &cluster.needs {
            *planned.entry(format!("{}/{}", cluster.name, need.archetype)).or_default() +=
                u64::from(need.machines);
        }
    }
    let there: BTreeMap<String, u64> =
        run.summary.packing.iter().map(|p| (format!("{}/{}", p.cluster, p.archetype), p.nodes)).collect();
    ensure!(there == planned, "machines {there:?} instead of {planned:?}");
    run.snapshot("machines", &json!(there));
    Ok(())
}

fn density_is_kept(run: &Run) -> anyhow::Result<()> {
    ensure!(!run.summary.packing.is_empty(), "no machine was counted");
    for p in &run.summary.packing {
        let fullest = p.pods_per_node.keys().max().copied().unwrap_or_default();
        ensure!(
            fullest <= p.density,
            "{} {}: a Node holds {fullest} Pods, the density is {}",
            p.cluster,
            p.archetype,
            p.density
        );
    }
    Ok(())
}

fn machines_hold_all(run: &Run) -> anyhow::Result<()> {
    for cluster in &run.plan.clusters {
        let on_nodes: u64 = run
            .summary
            .packing
            .iter()
            .filter(|p| p.cluster == cluster.name)
            .flat_map(|p| &p.pods_per_node)
            .map(|(pods, nodes)| pods * nodes)
            .sum();
        let declared = u64::from(cluster.pods);
        ensure!(
            on_nodes == declared,
            "{}: {on_nodes} Pods are on Nodes, {declared} are declared",
            cluster.name
        );
    }
    Ok(())
}

fn node_creator_rights(run: &Run) -> anyhow::Result<()> {
    let mut reviews = 0;
    for stamped in run.evidence()?.events {
        if let Event::Access { cluster, user, verb, resource, allowed } = stamped.event {
            ensure!(!allowed, "{cluster}: {user} may {verb} {resource}");
            reviews += 1;
        }
    }
    ensure!(reviews >= 6 * run.plan.clusters.len(), "only {reviews} rights were reviewed");
    Ok(())
}

fn node_creator_never_asked(run: &Run) -> anyhow::Result<()> {
    let evidence = run.evidence()?;
    let mut apiservers = 0;
    for (cluster, timeline) in evidence.timelines("kube-apiserver") {
        let series = timeline.at(evidence.end_us).context("an apiserver was never scraped")?;
        // node-creator may not touch Pods, so all its requests for Pods would be answered with 403. No other user lacks
        // a right to Pods that it uses, and a request that the policy about kwok refuses is answered with 422.
        let refused = |key: &str| label(key, "resource") == Some("pods") && label(key, "code") == Some("403");
        let requests = || prometheus::of(&series, "apiserver_request_total");
        let refusals: Vec<_> = requests().filter(|(key, count)| *count > 0.0 && refused(key)).collect();
        ensure!(
            refusals.is_empty(),
            "{}: requests for Pods were forbidden: {refusals:?}",
            cluster.unwrap_or("?")
        );
        ensure!(requests().count() > 0, "the apiserver's own count of requests is missing");
        apiservers += 1;
    }
    ensure!(apiservers == run.plan.clusters.len(), "{apiservers} apiservers were scraped");
    Ok(())
}

fn summary_matches_schema(run: &Run) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(run.dir.summary()).context("reading summary.json")?;
    let raw: Value = serde_json::from_str(&text).context("parsing summary.json")?;
    // The schema is generated from the type, which accepts no unknown field: a summary that is unchanged after a round
    // trip through the type matches the schema.
    let typed: Summary = serde_json::from_value(raw.clone()).context("reading summary.json as a summary")?;
    ensure!(serde_json::to_value(&typed)? == raw, "summary.json has fields that the schema does not know");
    let checked_in = harness_model::profile::fixtures_dir().join("schemas/summary.json");
    let schema = std::fs::read_to_string(&checked_in).context("reading the schema")?;
    ensure!(
        schema == harness_model::summary::schema::summary_json(),
        "the schema is stale; run `cargo xtask codegen`"
    );
    Ok(())
}

fn verdict_repeats(run: &Run) -> anyhow::Result<()> {
    let again = judge::judge(&run.dir).context("judging the files again")?;
    // Compares bytes, not values: reading a decimal fraction may change its last bit.
    let mut text = serde_json::to_string_pretty(&again).context("serialising the summary")?;
    text.push('\n');
    let recorded = std::fs::read_to_string(run.dir.summary()).context("reading summary.json")?;
    let differs = text.lines().zip(recorded.lines()).find(|(now, then)| now != then);
    if let Some((now, then)) = differs {
        bail!("summary.json says `{}`, the files say `{}`", then.trim(), now.trim());
    }
    ensure!(text == recorded, "summary.json and the files differ in length");
    Ok(())
}

fn digest_repeats(run: &Run) -> anyhow::Result<()> {
    let evidence = run.evidence()?;
    let expect = Expect::load(&run.dir).context("reading plan and ranges")?;
    let again = digest::outcome(&judge::weigh(&expect, &evidence), &evidence);
    ensure!(again == run.summary.outcome_digest, "{again} instead of {}", run.summary.outcome_digest);
    ensure!(run.summary.plan_digest == run.plan.digest(), "the plan's digest is not that of plan.json");
    Ok(())
}

fn gate_holds(run: &Run, metric: &str) -> anyhow::Result<()> {
    let gate: &Gate = run
        .summary
        .gates
        .iter()
        .find(|g| g.metric == metric)
        .with_context(|| format!("{metric} was not gated"))?;
    ensure!(gate.outcome == Outcome::Pass, "{}", harness_model::summary::screen::gate_line(gate));
    Ok(())
}
