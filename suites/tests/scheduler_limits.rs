//! Client-side limits are detected and named, and not mistaken for the scheduler's speed (design, measuring rules).
//!
//! One control plane, Nodes first, one Deployment; the rate is computed from receipts on our own watch.

use std::path::PathBuf;

use anyhow::ensure;
use harness_analysis::judge::limiter::limiter;
use harness_planes::spec::{ClusterSpec, LeaseSpec};
use harness_supervisor::Client as Supervisor;
use libtest_mimic::Arguments;
use suites::nodes_first::{Load, bind, make_nodes};

const PODS: usize = 900;
const PODS_PER_NODE: usize = 100;
/// Binds left out at the start: the limiter's burst (100 by default) passes at once.
const WARM_UP_PODS: usize = 250;

fn main() -> std::process::ExitCode {
    let trials = vec![
        suites::trial("default_qps::binds_50_pods_per_second_and_the_limiter_is_named", || {
            let (rate_per_s, named) = suites::block_on(bind_rate("default-qps.yaml"))?;
            ensure!((48.0..=52.0).contains(&rate_per_s), "bound {rate_per_s:.1} Pods/s instead of 50 ± 2");
            let expected = "client limit of kube-scheduler: 50 requests/s";
            ensure!(named.as_deref() == Some(expected), "named {named:?} instead of {expected:?}");
            Ok(())
        }),
        suites::trial("explicit_qps::binds_faster_and_no_limiter_is_named", || {
            let (rate_per_s, named) = suites::block_on(bind_rate("most-allocated.yaml"))?;
            ensure!(rate_per_s > 60.0, "bound only {rate_per_s:.1} Pods/s with the limits lifted");
            ensure!(named.is_none(), "named {named:?} at {rate_per_s:.1} Pods/s");
            Ok(())
        }),
    ];
    suites::run(&Arguments::from_args(), trials)
}

/// Returns binds per second after the warm-up, and the limit that matches this rate.
async fn bind_rate(scheduler_config: &str) -> anyhow::Result<(f64, Option<String>)> {
    let supervisor = Supervisor::connect(&suites::supervisor_socket()?).await?;
    let cluster =
        ClusterSpec { scheduler_config: PathBuf::from(scheduler_config), ..ClusterSpec::named("limits") };
    let lease = supervisor.lease(&LeaseSpec { clusters: vec![cluster] }).await?;
    let cluster = &lease.clusters[0];
    let admin = component::client::connect_unlimited(&cluster.kubeconfigs["admin"]).await?;

    make_nodes(&admin, PODS.div_ceil(PODS_PER_NODE), PODS_PER_NODE).await?;
    let binds = bind(&admin, Load { name: "load", replicas: PODS, scheduler: None }).await?;
    let (first, last) = (binds[WARM_UP_PODS].at, binds[PODS - 1].at);
    let rate_per_s = (PODS - 1 - WARM_UP_PODS) as f64 / (last - first).as_secs_f64();
    let named = limiter(rate_per_s, &cluster.read_back);
    supervisor.release(&lease.id).await?;
    Ok((rate_per_s, named))
}
