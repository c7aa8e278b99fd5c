//! The judge: recomputes a verdict from the files of a run directory alone.
//!
//! Validity comes before the verdict: a run whose measurement cannot be trusted is neither good nor bad.

pub mod cpu;
pub mod digest;
pub mod eviction;
pub mod evidence;
pub mod expect;
pub mod gates;
pub mod held;
pub mod holds;
pub mod kubelets;
pub mod latency;
pub mod limiter;
pub mod load;
pub mod measure;
pub mod packing;
pub mod refused;
pub mod validity;

#[cfg(test)]
pub(crate) mod made_up;
#[cfg(test)]
mod tests;

pub use crate::judge::evidence::Evidence;
pub use crate::judge::expect::Expect;

use std::collections::BTreeMap;

use crate::speed;
use harness_model::record::event::{End, Phase};
use harness_model::record::{RunDir, lines};
use harness_model::summary::{
    self, CpuAccount, Outcome, PodAccount, SCHEMA_VERSION, StuckPod, Summary, Verdict,
};

/// Seconds after which an unbound Pod is listed.
const STUCK_AFTER_S: u64 = 60;
/// Longest list of such Pods.
pub const STUCK_LISTED_MAX: usize = 50;

/// Why a run directory cannot be judged at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It does not exist.
    #[error("{0} is not a run directory; `ls target/e2e` lists the runs")]
    NoRun(std::path::PathBuf),
    /// A file is missing or broken.
    #[error(transparent)]
    File(#[from] lines::Error),
    /// The profile, plan or ranges cannot be understood.
    #[error("{0}")]
    Expectation(String),
    /// The run ended before there was anything to judge.
    #[error("the run in {0} ended before its first event")]
    Empty(std::path::PathBuf),
}

/// Judges a run directory.
///
/// # Errors
/// As for [`load()`].
pub fn judge(dir: &RunDir) -> Result<Summary, Error> {
    let (expect, evidence) = load(dir)?;
    Ok(weigh(&expect, &evidence))
}

/// Reads a run directory: what was expected, and what happened.
///
/// # Errors
/// When files that every run has are missing or broken.
pub fn load(dir: &RunDir) -> Result<(Expect, Evidence), Error> {
    if !dir.events().exists() {
        return Err(Error::NoRun(dir.root().to_owned()));
    }
    Ok((Expect::load(dir)?, Evidence::load(dir)?))
}

/// Judges evidence that is already in memory.
pub fn weigh(expect: &Expect, evidence: &Evidence) -> Summary {
    let validity = validity::check(expect, evidence);
    let metrics = measure::all(expect, evidence);
    let mut host_speed = speed::account(evidence);
    // Control planes that run elsewhere do not depend on the speed of this host.
    if let Some(speed) = host_speed.as_mut().filter(|_| !expect.theirs) {
        speed.normalised = speed::normalise(speed, evidence, &metrics);
    }
    let here = speed::at_this_speed(expect, host_speed.as_ref(), &metrics);
    let mut gates = gates::check(&here, &metrics);
    speed::note_gates(&mut gates, expect, host_speed.as_ref(), &metrics);
    let (verdict, mut reason) = verdict(expect, evidence, &validity, &gates);
    // The reason must name the autoscaler that the verdict is about.
    if let Some(name) = summary::autoscaler(&evidence.host) {
        reason = format!("{reason}; the autoscaler is `{name}`, not the reference");
    }
    if let Some(told) = host_speed.as_ref().and_then(speed::told) {
        reason = format!("{reason}; {told}");
    }
    let machines = packing::account(expect, evidence);
    let mut summary = Summary {
        schema_version: SCHEMA_VERSION,
        run_id: evidence.run_id.clone(),
        profile: expect.profile.clone(),
        seed: expect.seed,
        started: evidence.started(),
        verdict,
        reason,
        validity,
        gates,
        metrics,
        phases_s: evidence.phases_s(),
        pods: pod_accounts(expect, evidence),
        stages: latency::stages(evidence),
        packing: machines.packing,
        utilisation: machines.utilisation,
        // Without the control planes, neither shares nor a bottleneck can be determined.
        cpu: if expect.theirs { CpuAccount::default() } else { cpu::account(evidence) },
        host_speed,
        held_back: held::back(expect, evidence),
        not_shown: evidence.not_shown(),
        memory_mib: cpu::memory(evidence),
        stuck_pods: stuck_pods(evidence),
        plan_digest: expect.plan_digest.clone(),
        outcome_digest: String::new(),
        host: evidence.host.clone(),
        tools: evidence.tools.clone(),
    };
    summary.outcome_digest = digest::outcome(&summary, evidence);
    summary
}

fn verdict(
    expect: &Expect,
    evidence: &Evidence,
    validity: &[harness_model::summary::Finding],
    gates: &[harness_model::summary::Gate],
) -> (Verdict, String) {
    if evidence.end == Some(End::Interrupted) {
        return (Verdict::Interrupted, "the run was interrupted".into());
    }
    let broken: Vec<_> = validity.iter().filter(|f| !f.ok).collect();
    if let Some(first) = broken.first() {
        let more = if broken.len() > 1 { format!(" (and {} more)", broken.len() - 1) } else { String::new() };
        return (Verdict::Invalid, format!("{}: {}{more}", first.rule, first.detail));
    }
    if let Some(refused) = load::refused_by_the_autoscaler(evidence) {
        return (Verdict::Fail, refused.to_string());
    }
    if evidence.end == Some(End::GoalMissed) {
        return (
            Verdict::Fail,
            evidence.end_reason.clone().unwrap_or_else(|| "a phase missed its goal".into()),
        );
    }
    let (inapplicable, gates): (Vec<_>, Vec<_>) =
        gates.iter().partition(|g| g.outcome == Outcome::NotApplicable);
    let failed: Vec<_> = gates.iter().filter(|g| g.outcome != Outcome::Pass).collect();
    if let Some(first) = failed.first() {
        let names: Vec<_> = failed.iter().map(|g| g.metric.as_str()).collect();
        let value = first.value.map_or_else(|| "not measured".into(), |v| format!("{v:.3} {}", first.unit));
        return (
            Verdict::Fail,
            format!(
                "{} of {} gates failed: {} ({} is {value}){}",
                failed.len(),
                gates.len(),
                names.join(", "),
                first.metric,
                not_judged(expect) + &basis(expect)
            ),
        );
    }
    let mut reason = format!("valid, and all {} gates passed", gates.len());
    if !inapplicable.is_empty() {
        let names: Vec<_> = inapplicable.iter().map(|g| g.metric.as_str()).collect();
        reason = format!("{reason} that apply; not applicable: {}", names.join(", "));
    }
    (Verdict::Pass, reason + &not_judged(expect) + &basis(expect))
}

/// Lists the metrics that have neither an objective nor a range.
fn not_judged(expect: &Expect) -> String {
    let names = gates::not_judged(expect);
    if names.is_empty() {
        return String::new();
    }
    format!("; measured but not judged, because they have no objective or range: {}", names.join(", "))
}

/// Describes what the gates are based on if no range is calibrated for such a machine yet.
fn basis(expect: &Expect) -> String {
    if expect.is_calibrated {
        return String::new();
    }
    let machine = expect.machine_class.as_deref().unwrap_or("the machine, which was not recorded");
    let beside = if expect.ranges.is_empty() { "" } else { " and placeholders" };
    format!("; judged by objectives (SLOs){beside} alone: no range is calibrated for {machine}")
}

fn pod_accounts(expect: &Expect, evidence: &Evidence) -> BTreeMap<String, PodAccount> {
    let mut accounts: BTreeMap<String, PodAccount> =
        expect.clusters.iter().map(|c| (c.clone(), PodAccount::default())).collect();
    for pod in &evidence.pods {
        let account = accounts.entry(pod.cluster.clone()).or_default();
        account.created += 1;
        match (pod.is_live(), pod.bound_us) {
            (false, _) => account.deleted += 1,
            (true, Some(_)) => account.bound += 1,
            (true, None) => account.pending += 1,
        }
    }
    accounts
}

fn stuck_pods(evidence: &Evidence) -> Vec<StuckPod> {
    let unbound_s = |p: &harness_model::record::PodRecord| p.unbound_us(evidence.end_us) / 1_000_000;
    let mut stuck: Vec<StuckPod> = evidence
        .pods
        .iter()
        .filter(|p| unbound_s(p) > STUCK_AFTER_S)
        .map(|p| StuckPod {
            cluster: p.cluster.clone(),
            pod: p.name.clone(),
            unbound_s: unbound_s(p),
            bound: p.bound_us.is_some(),
            reason: p.reason.clone().unwrap_or_else(|| "the scheduler said nothing".into()),
        })
        .collect();
    stuck.sort_by_key(|p| (p.bound, std::cmp::Reverse(p.unbound_s), p.pod.clone()));
    stuck.truncate(STUCK_LISTED_MAX);
    stuck
}

/// The phases whose Pods are measured.
pub const MEASURED: [Phase; 2] = [Phase::Fill, Phase::Soak];
