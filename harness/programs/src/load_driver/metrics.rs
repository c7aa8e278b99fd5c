//! load-driver's metrics. `cr_*` are upstream's names from the time when load was CapacityRequests: `active`
//! counts declared replicas, `created` workload objects, `deleted` Pods deleted by churn.

use super::world::Totals;

/// Makes all series appear, and sets the target.
pub fn start(target: u32) {
    metrics::gauge!("scaletest_loadgen_cr_target").set(target);
    metrics::counter!("scaletest_loadgen_cr_created_total").increment(0);
    metrics::counter!("scaletest_loadgen_cr_deleted_total").increment(0);
    for kind in ["create", "scale", "delete", "bind"] {
        metrics::counter!("scaletest_loadgen_errors_total", "kind" => kind).increment(0);
    }
    metrics::gauge!("scaletest_loadgen_steady_state").set(0);
    totals(Totals::default());
}

/// Declared replicas, live Pods, bound Pods.
pub fn totals(totals: Totals) {
    metrics::gauge!("scaletest_loadgen_cr_active").set(totals.declared);
    metrics::gauge!("scaletest_loadgen_declared_replicas").set(totals.declared);
    metrics::gauge!("scaletest_loadgen_live_pods").set(totals.live);
    metrics::gauge!("scaletest_loadgen_bound_pods").set(totals.bound);
}

/// A workload object was created.
pub fn object_created() {
    metrics::counter!("scaletest_loadgen_cr_created_total").increment(1);
}

/// A Pod was deleted.
pub fn pod_deleted() {
    metrics::counter!("scaletest_loadgen_cr_deleted_total").increment(1);
}

/// A request failed.
pub fn failed(kind: &'static str) {
    metrics::counter!("scaletest_loadgen_errors_total", "kind" => kind).increment(1);
}

/// The fill is over.
pub fn steady() {
    metrics::gauge!("scaletest_loadgen_steady_state").set(1);
}
