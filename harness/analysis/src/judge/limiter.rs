//! Names the client-side limit that holds a rate down.
//!
//! Such limits can be mistaken for the speed of a system: two published benchmarks report kube-scheduler's default of
//! 50 requests per second as its throughput.

use std::collections::BTreeMap;

use serde_json::Value;

/// A rate this close to a limit, relative to the limit, counts as held down by it.
const TOLERANCE: f64 = 0.05;

/// Returns the limit, as read back from `/configz` of the running components, that holds down `rate_per_s`.
///
/// `read_back` is what a lease records: settings by component.
pub fn limiter(rate_per_s: f64, read_back: &BTreeMap<String, Value>) -> Option<String> {
    let limits = read_back.iter().flat_map(|(component, settings)| {
        let scheduler = settings.pointer("/clientConnection/qps");
        let kcm = settings.get("/Generic/ClientConnection/qps");
        let qps = scheduler.or(kcm).and_then(Value::as_f64);
        qps.map(|qps| (component, qps))
    });
    limits
        .filter(|(_, qps)| (rate_per_s - qps).abs() <= TOLERANCE * qps)
        .map(|(component, qps)| format!("client limit of {component}: {qps} requests/s"))
        .next()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rate_at_a_limit_names_it_and_another_rate_does_not() {
        let read_back = BTreeMap::from([
            ("kube-scheduler".to_owned(), json!({"clientConnection": {"qps": 50.0, "burst": 100}})),
            ("kube-controller-manager".to_owned(), json!({"/Generic/ClientConnection/qps": 1000.0})),
        ]);
        assert_eq!(limiter(50.9, &read_back).unwrap(), "client limit of kube-scheduler: 50 requests/s");
        assert_eq!(
            limiter(990.0, &read_back).unwrap(),
            "client limit of kube-controller-manager: 1000 requests/s"
        );
        assert_eq!(limiter(145.0, &read_back), None);
    }
}
