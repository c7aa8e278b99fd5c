//! Load that is refused, by anyone, is noticed within 15 s, reported in the words of the refusing side, and never
//! mistaken for a slow autoscaler, unless the autoscaler itself created what refuses.
//!
//! The refusals are played together on one control plane, each with its own workload. One whole run shows the effect on
//! a verdict. The others, which kill load-driver or wait for churn, run only at night.

mod injected;
mod refusals;
mod whole;

use anyhow::ensure;
use harness_model::record::event::Blame;
use libtest_mimic::{Arguments, Trial};

use crate::refusals::{Told, told};

/// Time within which missing load must be noticed, in seconds.
pub const NOTICED_WITHIN_S: f64 = 15.0;

fn main() -> std::process::ExitCode {
    let mut trials = told_in_time();
    let mut claim = |name: &str, claim: fn() -> anyhow::Result<()>| trials.push(suites::trial(name, claim));
    claim("load_driver_without_rights::cannot_create_and_says_so", forbidden);
    claim("load_driver_that_may_not_watch::ends_with_the_reason", blind);
    claim("missing_priority_class::voids_a_whole_run", || suites::block_on(whole::missing_priority_class()));
    claim("nightly_quota_of_the_autoscaler::fails_a_run", || suites::block_on(whole::quota_in_the_soak()));
    claim(
        "nightly_load_driver_killed_in_the_fill::voids_a_run",
        || suites::block_on(whole::killed_in_fill()),
    );
    claim("nightly_load_driver_killed_in_churn::voids_a_run", || suites::block_on(whole::killed_in_churn()));
    claim(
        "nightly_load_driver_killed_in_the_wave::voids_a_run",
        || suites::block_on(whole::killed_in_wave()),
    );
    suites::run(&Arguments::from_args(), trials)
}

/// The claim's subject, the workload's archetype, the words, the object, and the side at fault.
type Refusal = (&'static str, &'static str, &'static str, Option<&'static str>, Blame);

/// The refusals that controllers meet.
const REFUSALS: [Refusal; 5] = [
    (
        "denying_policy",
        "deployment",
        "ValidatingAdmissionPolicy 'no-deployments' with binding 'no-deployments' denied request: not today",
        Some("ValidatingAdmissionPolicy no-deployments"),
        Blame::Environment,
    ),
    (
        "missing_priority_class_of_a_stateful_set",
        "stateful-set",
        "no PriorityClass with name e2e-500 was found",
        None,
        Blame::Environment,
    ),
    (
        "failing_webhook",
        "batch",
        "failed calling webhook \"batch.example.com\"",
        Some("ValidatingWebhookConfiguration no-batch"),
        Blame::Environment,
    ),
    (
        "limit_range",
        "zone-spread",
        "minimum cpu usage per Container is 200m, but request is 100m",
        Some("LimitRange not-small"),
        Blame::Environment,
    ),
    (
        "quota_of_the_autoscaler",
        "service",
        "exceeded quota: few, requested: pods=1, used: pods=0, limited: pods=0",
        Some("ResourceQuota few"),
        Blame::Autoscaler,
    ),
];

fn told_in_time() -> Vec<Trial> {
    let claim = |(subject, archetype, words, object, by): Refusal| {
        let name = format!("{subject}::is_told_in_its_own_words_within_15_s");
        suites::trial(&name, move || {
            let all = told()?;
            let of_it = |told: &&Told| told.failed.what.contains(&format!("-{archetype}-"));
            let Some(Told { failed, after_s }) = all.refused.iter().find(of_it) else {
                anyhow::bail!("nothing was told of {archetype}: {:?}", all.refused);
            };
            ensure!(failed.message.contains(words), "{failed}");
            ensure!((failed.by, failed.object.as_deref()) == (by, object), "{failed:?}");
            ensure!(*after_s <= NOTICED_WITHIN_S, "told only after {after_s:.1} s: {failed}");
            Ok(())
        })
    };
    REFUSALS.into_iter().map(claim).collect()
}

fn forbidden() -> anyhow::Result<()> {
    let Told { failed, after_s } = told()?.forbidden;
    let words = "deployments.apps is forbidden: User \"e2e:load-driver\" cannot create resource";
    ensure!(failed.message.starts_with(words) && failed.what.starts_with("create Deployment"), "{failed}");
    ensure!(
        failed.by == Blame::Environment && after_s <= NOTICED_WITHIN_S,
        "{failed:?} after {after_s:.1} s"
    );
    Ok(())
}

fn blind() -> anyhow::Result<()> {
    let words = told()?.blind;
    let told = "cannot list Pods: pods is forbidden: User \\\"e2e:load-driver\\\"";
    ensure!(words.contains(told) || words.contains(&told.replace('\\', "")), "{words}");
    Ok(())
}
