//! Demand: many requests, few needs. No I/O.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use api::capacity_request::CapacityRequestSpec;
use api::quantity::{self, Amount, Resources};
use api::session::node_selector_requirement::Operator;
use api::session::topology_spread::WhenUnsatisfiable;
use api::session::{CapacityNeed, NodeSelectorRequirement, TopologySpread};
use api::{names, penalty};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// What one request adds to the demand.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    /// Equal for requests that are added up: all that a request says, but for its resources.
    key: String,
    /// The same for the wire.
    template: CapacityNeed,
    unit: Resources,
}

impl Share {
    /// Reads a request.
    ///
    /// # Errors
    /// When it says something that no need can say.
    pub(crate) fn of(spec: &CapacityRequestSpec) -> anyhow::Result<Self> {
        let parse = |(name, quantity): (&String, &Quantity)| -> anyhow::Result<(String, Amount)> {
            Ok((name.clone(), quantity.0.parse().with_context(|| format!("resources.{name}"))?))
        };
        let unit = spec.resources.iter().map(parse).collect::<anyhow::Result<_>>()?;
        let rest = CapacityRequestSpec { resources: BTreeMap::new(), ..spec.clone() };
        Ok(Self { key: serde_json::to_string(&rest)?, template: template(&rest)?, unit })
    }
}

/// Adds up requests to needs: how much in all, and the largest single one.
pub(crate) fn roll_up<'a>(shares: impl Iterator<Item = &'a Share>) -> Vec<CapacityNeed> {
    let mut sums: BTreeMap<&str, (&Share, Resources, Resources)> = BTreeMap::new();
    for share in shares {
        let (_, total, largest) =
            sums.entry(&share.key).or_insert_with(|| (share, Resources::new(), Resources::new()));
        quantity::add(total, &share.unit);
        quantity::raise(largest, &share.unit);
    }
    let texts = |resources: Resources| resources.into_iter().map(|(k, amount)| (k, amount.to_string()));
    sums.into_values()
        .map(|(share, total, largest)| CapacityNeed {
            aggregate_resources: texts(total).collect(),
            min_unit: texts(largest).collect(),
            ..share.template.clone()
        })
        .collect()
}

fn template(spec: &CapacityRequestSpec) -> anyhow::Result<CapacityNeed> {
    let mut requirements = Vec::new();
    for r in &spec.requirements {
        let operator = match r.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => bail!("the requirement on {} has the operator {other}, which no need can have", r.key),
        };
        requirements.push(requirement(&r.key, operator, r.values.clone().unwrap_or_default()));
    }
    let mut group = String::new();
    if let Some(gang) = &spec.co_location {
        requirements.push(requirement(&gang.topology_key, Operator::Same, Vec::new()));
        group = serde_json::to_string(gang)?;
    }
    let spread = |term: &api::capacity_request::TopologySpread| TopologySpread {
        topology_key: term.topology_key.clone(),
        max_skew: term.max_skew,
        when_unsatisfiable: WhenUnsatisfiable::DoNotSchedule.into(),
    };
    Ok(CapacityNeed {
        requirements,
        priority: spec.priority,
        spread: spec.topology_spread.iter().map(spread).collect(),
        interruption_penalty_bucket: bucket(names::INTERRUPTION_PENALTY, &spec.interruption_penalty)?,
        reclamation_penalty_bucket: bucket(names::RECLAMATION_PENALTY, &spec.reclamation_penalty)?,
        group,
        ..CapacityNeed::default()
    })
}

fn requirement(key: &str, operator: Operator, values: Vec<String>) -> NodeSelectorRequirement {
    NodeSelectorRequirement { key: key.to_owned(), operator: operator.into(), values }
}

fn bucket(what: &'static str, dollars: &Option<Quantity>) -> anyhow::Result<i32> {
    let dollars = dollars.as_ref().map(|dollars| dollars.0.parse::<Amount>()).transpose().context(what)?;
    Ok(penalty::bucket(dollars.map(Amount::to_f64)).into())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn share(spec: Value) -> Share {
        let mut whole = json!({"priority": 0, "resources": {"cpu": "400m"}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Share::of(&serde_json::from_value(whole).unwrap()).unwrap()
    }

    #[test]
    fn requests_of_one_kind_become_one_need() {
        let shares = [
            share(json!({})),
            share(json!({"resources": {"cpu": "1", "memory": "1Gi"}})),
            share(json!({"priority": 7})),
        ];
        let needs = roll_up(shares.iter());
        assert_eq!(needs.len(), 2);
        let plain = needs.iter().find(|need| need.priority == 0).unwrap();
        assert_eq!(plain.aggregate_resources["cpu"], "1400m");
        assert_eq!((plain.min_unit["cpu"].as_str(), plain.min_unit["memory"].as_str()), ("1", "1Gi"));
    }

    #[test]
    fn each_gang_is_a_need_of_its_own_whose_machines_share_a_label() {
        let gang = |name: &str| {
            let selector = json!({"matchLabels": {"gang": name}});
            share(json!({"coLocation": {"topologyKey": "rack", "labelSelector": selector}}))
        };
        let shares = [gang("a"), gang("b"), gang("a")];
        let needs = roll_up(shares.iter());
        let totals: Vec<&str> = needs.iter().map(|need| need.aggregate_resources["cpu"].as_str()).collect();
        assert_eq!(totals, ["800m", "400m"]);
        assert_eq!(needs[0].requirements, [requirement("rack", Operator::Same, Vec::new())]);
        assert_ne!(needs[0].group, needs[1].group);
    }

    #[test]
    fn an_unknown_operator_is_refused_by_name() {
        let spec = json!({"priority": 0, "resources": {"cpu": "1"}, "requirements": [{"key": "k", "operator": "Gt"}]});
        let error = Share::of(&serde_json::from_value(spec).unwrap()).unwrap_err().to_string();
        assert!(error.contains('k') && error.contains("Gt"), "{error}");
    }
}
