//! Demand: many requests, few needs. No I/O.
//!
//! Requests are kept as counts of (profile, group, resources), so that a roll-up costs what the number of
//! distinct shapes costs, whatever the number of requests. The sums are exact.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use api::capacity_request::{CapacityRequestSpec, CoLocation};
use api::penalty;
use api::quantity::{self, Amount, ParseError, Resources};
use api::session::node_selector_requirement::Operator;
use api::session::topology_spread::WhenUnsatisfiable;
use api::session::{CapacityNeed, NodeSelectorRequirement, TopologySpread};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// What needs are merged by, within one cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Readable identity of the profile; see [`fingerprint`].
    pub fingerprint: String,
    /// Opaque: topology key, NUL, canonical selector; empty without co-location.
    pub group: String,
}

/// One request's share of the demand; hand it back to [`Book::remove`].
#[derive(Clone, Debug)]
pub struct Demand {
    key: Arc<Key>,
    unit: Arc<Resources>,
}

/// A request that cannot be part of a roll-up. It is left out, and not acknowledged.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// The shard knows In, NotIn, Exists and DoesNotExist.
    #[error(
        "requirement on {key} has operator {operator}; only In, NotIn, Exists and DoesNotExist are understood"
    )]
    Operator {
        /// Label key of the requirement.
        key: String,
        /// Its operator.
        operator: String,
    },
    /// An amount is no quantity.
    #[error("{field}: {source}")]
    Quantity {
        /// The field of the request's spec.
        field: String,
        /// What is wrong with it.
        source: ParseError,
    },
}

/// The demand of one cluster.
#[derive(Default)]
pub struct Book {
    shapes: BTreeMap<Arc<Key>, Shape>,
}

struct Shape {
    /// The need without its resources.
    template: CapacityNeed,
    /// How many requests ask for this much.
    units: BTreeMap<Arc<Resources>, u64>,
}

impl Book {
    /// Adds one request.
    ///
    /// # Errors
    /// When the request cannot be understood; the book is unchanged.
    pub fn add(&mut self, spec: &CapacityRequestSpec) -> Result<Demand, Error> {
        let unit = amounts(&spec.resources)?;
        let template = template(spec)?;
        let key = Key { fingerprint: fingerprint(&template), group: template.group.clone() };
        // Shapes repeat thousands of times: share what is there already.
        let key = match self.shapes.get_key_value(&key) {
            Some((known, _)) => known.clone(),
            None => Arc::new(key),
        };
        let shape =
            self.shapes.entry(key.clone()).or_insert_with(|| Shape { template, units: BTreeMap::new() });
        let unit = match shape.units.get_key_value(&unit) {
            Some((known, _)) => known.clone(),
            None => Arc::new(unit),
        };
        *shape.units.entry(unit.clone()).or_default() += 1;
        Ok(Demand { key, unit })
    }

    /// Takes one request's share out again.
    pub fn remove(&mut self, demand: &Demand) {
        let shape = self.shapes.get_mut(&demand.key).expect("a demand must come from this book");
        let count = shape.units.get_mut(&demand.unit).expect("a demand must come from this book");
        *count -= 1;
        if *count == 0 {
            shape.units.remove(&demand.unit);
            if shape.units.is_empty() {
                self.shapes.remove(&demand.key);
            }
        }
    }

    /// All needs, in the order of their keys.
    pub fn needs(&self) -> Vec<CapacityNeed> {
        self.shapes.values().map(Shape::need).collect()
    }
}

impl Shape {
    fn need(&self) -> CapacityNeed {
        let mut total = Resources::new();
        let mut largest = Resources::new();
        for (unit, &count) in &self.units {
            for (name, &amount) in &**unit {
                *total.entry(name.clone()).or_default() += amount * count;
            }
            quantity::raise(&mut largest, unit);
        }
        let wire = |resources: Resources| {
            resources.into_iter().map(|(name, amount)| (name, amount.to_string())).collect()
        };
        CapacityNeed { aggregate_resources: wire(total), min_unit: wire(largest), ..self.template.clone() }
    }
}

/// The profile's identity: requirements, spread, priority and penalty buckets, and no resources (ADR-0027).
///
/// `p=<prio>|ipb=<n>|rpb=<n>|reqs=<key>:<op>:<v,v>;...|spr=<key>:<skew>:<when>;...`, values sorted,
/// requirements sorted by (key, operator number).
pub fn fingerprint(need: &CapacityNeed) -> String {
    let mut text = format!(
        "p={}|ipb={}|rpb={}|reqs=",
        need.priority, need.interruption_penalty_bucket, need.reclamation_penalty_bucket
    );
    // Writing to a String cannot fail.
    for (i, r) in need.requirements.iter().enumerate() {
        let separator = if i == 0 { "" } else { ";" };
        let _ = write!(text, "{separator}{}:{}:{}", r.key, r.operator, r.values.join(","));
    }
    text.push_str("|spr=");
    for (i, s) in need.spread.iter().enumerate() {
        let separator = if i == 0 { "" } else { ";" };
        let _ = write!(text, "{separator}{}:{}:{}", s.topology_key, s.max_skew, s.when_unsatisfiable);
    }
    text
}

/// A request's need without its resources, in normal form.
fn template(spec: &CapacityRequestSpec) -> Result<CapacityNeed, Error> {
    let mut requirements = Vec::with_capacity(spec.requirements.len() + 1);
    for r in &spec.requirements {
        let operator = match r.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => return Err(Error::Operator { key: r.key.clone(), operator: other.to_owned() }),
        };
        let mut values = r.values.clone().unwrap_or_default();
        values.sort_unstable();
        requirements.push(NodeSelectorRequirement { key: r.key.clone(), operator: operator.into(), values });
    }
    let mut group = String::new();
    if let Some(co_location) = &spec.co_location {
        let key = co_location.topology_key.clone();
        requirements.push(NodeSelectorRequirement { key, operator: Operator::Same.into(), values: vec![] });
        group = group_of(co_location);
    }
    requirements.sort_by(|a, b| (&a.key, a.operator, &a.values).cmp(&(&b.key, b.operator, &b.values)));
    let mut spread: Vec<_> = spec
        .topology_spread
        .iter()
        .filter(|term| term.when_unsatisfiable != "ScheduleAnyway")
        .map(|term| TopologySpread {
            topology_key: term.topology_key.clone(),
            max_skew: term.max_skew,
            when_unsatisfiable: WhenUnsatisfiable::DoNotSchedule.into(),
        })
        .collect();
    spread.sort_by(|a, b| (&a.topology_key, a.max_skew).cmp(&(&b.topology_key, b.max_skew)));
    Ok(CapacityNeed {
        requirements,
        priority: spec.priority,
        spread,
        interruption_penalty_bucket: bucket("interruptionPenalty", spec.interruption_penalty.as_ref())?,
        reclamation_penalty_bucket: bucket("reclamationPenalty", spec.reclamation_penalty.as_ref())?,
        group,
        ..CapacityNeed::default()
    })
}

fn bucket(field: &str, dollars: Option<&Quantity>) -> Result<i32, Error> {
    let dollars = dollars.map(|quantity| parse(field, quantity)).transpose()?;
    Ok(penalty::bucket(dollars.map(Amount::to_f64)).into())
}

fn amounts(raw: &BTreeMap<String, Quantity>) -> Result<Resources, Error> {
    raw.iter()
        .map(|(name, quantity)| Ok((name.clone(), parse(&format!("resources.{name}"), quantity)?)))
        .collect()
}

fn parse(field: &str, quantity: &Quantity) -> Result<Amount, Error> {
    quantity.0.parse().map_err(|source| Error::Quantity { field: field.to_owned(), source })
}

fn group_of(co_location: &CoLocation) -> String {
    let selector = co_location.label_selector.as_ref().map(canonical_selector).unwrap_or_default();
    format!("{}\0{selector}", co_location.topology_key)
}

/// One text per meaning: labels in key order, then expressions in order of their text.
fn canonical_selector(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten().map(|(key, value)| format!("{key}={value}"));
    let mut expressions: Vec<_> = selector
        .match_expressions
        .iter()
        .flatten()
        .map(|e| {
            let mut values = e.values.clone().unwrap_or_default();
            values.sort_unstable();
            format!("{} {} ({})", e.key, e.operator, values.join(","))
        })
        .collect();
    expressions.sort_unstable();
    labels.chain(expressions).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
#[path = "rollup_tests.rs"]
mod tests;
