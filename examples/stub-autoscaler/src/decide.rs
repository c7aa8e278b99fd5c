//! Which machines serve whom. No I/O and no clock: the same demand and machines give the same decision.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use anyhow::Context;
use api::inventory::{SeedMachine, SeedState};
use api::names;
use api::quantity::Amount;
use api::session::node_selector_requirement::Operator;
use api::session::{CapacityNeed, NodeSelectorRequirement};

/// Thousandths by resource name: whole numbers, so that sums are exact.
type Amounts = BTreeMap<String, i128>;

/// How a machine stands; those that serve before those that may come, in the order in which they are counted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    Configured,
    Configuring,
    Creating,
    Idle,
    Speculative,
    Draining,
}

/// A machine.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// Also the Node's name.
    pub(crate) id: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// As the inventory has it.
    pub(crate) resources: BTreeMap<String, String>,
    allocatable: Amounts,
    pub(crate) state: State,
    /// Whom it serves, or is to serve.
    pub(crate) cluster: Option<String>,
    /// The gang that it was taken for; empty for plain demand.
    pub(crate) group: String,
}

/// What one cluster needs of one kind of machine.
#[derive(Clone, Debug)]
pub(crate) struct Need {
    requirements: Vec<NodeSelectorRequirement>,
    /// Labels over whose values machines are spread.
    spread: Vec<String>,
    priority: i32,
    total: Amounts,
    /// The largest single Pod.
    unit: Amounts,
    group: String,
}

/// What is to be done, by machine.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Machines to bring, and for which cluster and gang.
    pub(crate) take: Vec<(usize, String, String)>,
    /// Machines that serve and that nobody needs.
    pub(crate) surplus: Vec<usize>,
    /// Needs that there are not enough machines for.
    pub(crate) short: usize,
}

impl Machine {
    /// Reads a machine of the inventory.
    ///
    /// # Errors
    /// When an amount is no quantity.
    pub(crate) fn read(seed: &SeedMachine) -> anyhow::Result<Self> {
        let mut labels = seed.labels.clone();
        labels.insert(names::INSTANCE_TYPE.to_owned(), seed.instance_type.clone());
        labels.insert(names::ZONE.to_owned(), seed.zone.clone());
        Ok(Self {
            id: seed.id.clone(),
            labels,
            resources: seed.allocatable.clone(),
            allocatable: amounts(&seed.allocatable).with_context(|| format!("machine {}", seed.id))?,
            state: match seed.state {
                SeedState::Idle => State::Idle,
                SeedState::Speculative => State::Speculative,
                SeedState::Configured => State::Configured,
            },
            cluster: seed.cluster.clone(),
            group: String::new(),
        })
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// Whether it serves the need or may be taken for it.
    fn is_on_offer(&self, cluster: &str, need: &Need) -> bool {
        let is_its = self.cluster.as_deref() == Some(cluster) && self.group == need.group;
        let free = match self.state {
            State::Configured | State::Configuring | State::Creating => is_its,
            State::Idle | State::Speculative => true,
            State::Draining => false,
        };
        free && need.requirements.iter().all(|requirement| self.meets(requirement))
            && need.unit.iter().all(|(name, unit)| *unit <= self.allocatable.get(name).copied().unwrap_or(0))
    }

    fn meets(&self, requirement: &NodeSelectorRequirement) -> bool {
        let value = self.label(&requirement.key);
        let is_listed = value.is_some_and(|value| requirement.values.iter().any(|listed| listed == value));
        match requirement.operator() {
            Operator::In => is_listed,
            Operator::NotIn => !is_listed,
            // Which value it is that machines share, `choose` sees to.
            Operator::Exists | Operator::Same => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Unspecified => false,
        }
    }
}

impl Need {
    /// Reads a need of a roll-up.
    ///
    /// # Errors
    /// When an amount is no quantity.
    pub(crate) fn read(need: &CapacityNeed) -> anyhow::Result<Self> {
        Ok(Self {
            requirements: need.requirements.clone(),
            spread: need.spread.iter().map(|term| term.topology_key.clone()).collect(),
            priority: need.priority,
            total: amounts(&need.aggregate_resources)?,
            unit: amounts(&need.min_unit)?,
            group: need.group.clone(),
        })
    }
}

fn amounts<'a>(texts: impl IntoIterator<Item = (&'a String, &'a String)>) -> anyhow::Result<Amounts> {
    let amount = |text: &str| anyhow::Ok(text.parse::<Amount>()?.milli());
    texts.into_iter().map(|(name, text)| Ok((name.clone(), amount(text)?))).collect()
}

/// Decides for all clusters, the most important needs first. A machine serves one need.
pub(crate) fn decide(machines: &[Machine], demand: &BTreeMap<String, Vec<Need>>) -> Decision {
    let mut needs: Vec<(&String, &Need)> =
        demand.iter().flat_map(|(cluster, needs)| needs.iter().map(move |need| (cluster, need))).collect();
    needs.sort_by_key(|(_, need)| Reverse(need.priority));
    let mut claimed = vec![false; machines.len()];
    let mut decision = Decision::default();
    for (cluster, need) in needs {
        let (chosen, is_enough) = choose(cluster, need, machines, &claimed);
        decision.short += usize::from(!is_enough);
        for i in chosen {
            claimed[i] = true;
            if matches!(machines[i].state, State::Idle | State::Speculative) {
                decision.take.push((i, cluster.clone(), need.group.clone()));
            }
        }
    }
    let is_surplus = |&i: &usize| {
        // Of a cluster that has not said yet what it needs, nothing is surplus.
        let is_known = machines[i].cluster.as_ref().is_some_and(|cluster| demand.contains_key(cluster));
        machines[i].state == State::Configured && !claimed[i] && is_known
    };
    decision.surplus = (0..machines.len()).filter(is_surplus).collect();
    decision
}

/// The machines for one need, and whether they are enough.
fn choose(cluster: &str, need: &Need, machines: &[Machine], claimed: &[bool]) -> (Vec<usize>, bool) {
    let mut offers: Vec<usize> =
        (0..machines.len()).filter(|&i| !claimed[i] && machines[i].is_on_offer(cluster, need)).collect();
    if let Some(same) = need.requirements.iter().find(|r| r.operator() == Operator::Same) {
        let home = home(&same.key, &offers, machines);
        offers.retain(|&i| machines[i].label(&same.key) == home);
    }
    let mut left = need.total.clone();
    let mut chosen: Vec<usize> = Vec::new();
    while left.values().any(|&amount| amount > 0) {
        // Where a need is spread, machines are taken from where it has the fewest; else first come, first served.
        let neighbours = |i: usize, key: &String| {
            chosen.iter().filter(|&&j| machines[j].label(key) == machines[i].label(key)).count()
        };
        let crowd = |i: usize| need.spread.iter().map(|key| neighbours(i, key)).max();
        let best = (0..offers.len()).min_by_key(|&at| (crowd(offers[at]), machines[offers[at]].state, at));
        let Some(best) = best else { return (chosen, false) };
        let machine = offers.remove(best);
        for (name, amount) in &mut left {
            *amount -= machines[machine].allocatable.get(name).copied().unwrap_or(0);
        }
        chosen.push(machine);
    }
    (chosen, true)
}

/// Where a gang lives: where it has machines already, else where the most are on offer.
fn home<'a>(key: &str, offers: &[usize], machines: &'a [Machine]) -> Option<&'a str> {
    if let Some(own) = offers.iter().map(|&i| &machines[i]).find(|machine| machine.cluster.is_some()) {
        return own.label(key);
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    offers.iter().filter_map(|&i| machines[i].label(key)).for_each(|at| *counts.entry(at).or_default() += 1);
    counts.into_iter().min_by_key(|&(_, count)| Reverse(count)).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Machines of one type with 10 CPUs each, one for each zone that is named.
    fn machines(zones: &str) -> Vec<Machine> {
        let machine = |(n, zone): (usize, char)| {
            let seed = json!({
                "id": format!("m-{n}"), "state": "Idle", "instanceType": "t", "zone": zone,
                "allocatable": {"cpu": "10"}, "capacityType": "OnDemand",
            });
            Machine::read(&serde_json::from_value(seed).unwrap()).unwrap()
        };
        zones.chars().enumerate().map(machine).collect()
    }

    fn need(cpus: &str) -> CapacityNeed {
        CapacityNeed {
            aggregate_resources: [("cpu".to_owned(), cpus.to_owned())].into(),
            min_unit: [("cpu".to_owned(), "1".to_owned())].into(),
            ..CapacityNeed::default()
        }
    }

    fn spread(cpus: &str) -> CapacityNeed {
        let zone = api::session::TopologySpread {
            topology_key: names::ZONE.to_owned(),
            ..api::session::TopologySpread::default()
        };
        CapacityNeed { spread: vec![zone], ..need(cpus) }
    }

    fn gang(name: &str, cpus: &str) -> CapacityNeed {
        let same = NodeSelectorRequirement {
            key: names::ZONE.to_owned(),
            operator: Operator::Same.into(),
            values: Vec::new(),
        };
        CapacityNeed { requirements: vec![same], group: name.to_owned(), ..need(cpus) }
    }

    fn demand(needs: &[(&str, CapacityNeed)]) -> BTreeMap<String, Vec<Need>> {
        let mut demand: BTreeMap<String, Vec<Need>> = BTreeMap::new();
        for (cluster, need) in needs {
            demand.entry((*cluster).to_owned()).or_default().push(Need::read(need).unwrap());
        }
        demand
    }

    /// Decides, and carries it out as if nothing took time.
    fn turn(machines: &mut [Machine], needs: &[(&str, CapacityNeed)]) -> Decision {
        let decision = decide(machines, &demand(needs));
        for (i, cluster, group) in &decision.take {
            let machine = &mut machines[*i];
            (machine.state, machine.cluster, machine.group) =
                (State::Configured, Some(cluster.clone()), group.clone());
        }
        decision
    }

    fn zones(machines: &[Machine], cluster: &str) -> String {
        let its = machines.iter().filter(|m| m.cluster.as_deref() == Some(cluster));
        its.map(|m| m.label(names::ZONE).unwrap()).collect()
    }

    #[test]
    fn as_many_machines_are_taken_as_the_sum_asks_for_and_no_more_the_next_time() {
        let mut machines = machines("aaaa");
        let taken = turn(&mut machines, &[("c", need("20500m"))]);
        assert_eq!((taken.take.len(), taken.short), (3, 0));
        assert_eq!(turn(&mut machines, &[("c", need("20500m"))]), Decision::default());
    }

    #[test]
    fn what_nobody_needs_is_surplus_but_nothing_of_a_silent_cluster() {
        let mut machines = machines("aaaa");
        turn(&mut machines, &[("c", need("20")), ("d", need("20"))]);
        let decision = turn(&mut machines, &[("c", need("5"))]);
        assert_eq!(decision, Decision { surplus: vec![1], ..Decision::default() });
    }

    #[test]
    fn machines_on_their_way_count_and_those_that_leave_do_not() {
        let mut machines = machines("aaa");
        turn(&mut machines, &[("c", need("20"))]);
        machines[0].state = State::Configuring;
        machines[1].state = State::Draining;
        assert_eq!(turn(&mut machines, &[("c", need("20"))]).take.len(), 1);
    }

    #[test]
    fn a_need_that_is_short_is_counted_and_has_what_there_is() {
        let mut machines = machines("a");
        let decision = turn(&mut machines, &[("c", need("20"))]);
        assert_eq!((decision.take.len(), decision.short), (1, 1));
        let too_large = CapacityNeed { min_unit: need("11").aggregate_resources, ..need("11") };
        assert_eq!(turn(&mut machines, &[("c", too_large)]).short, 1);
    }

    #[test]
    fn the_more_important_need_is_served_first() {
        let mut machines = machines("a");
        let important = CapacityNeed { priority: 1, ..need("1") };
        turn(&mut machines, &[("c", need("1")), ("d", important)]);
        assert_eq!(machines[0].cluster.as_deref(), Some("d"));
    }

    #[test]
    fn a_spread_need_has_as_many_machines_in_each_zone() {
        let mut machines = machines("aaabbbccc");
        // Two clusters that grow in turn: each still gets every zone.
        for cpus in ["5", "15", "25"] {
            turn(&mut machines, &[("c", spread(cpus)), ("d", spread(cpus))]);
        }
        assert_eq!((zones(&machines, "c"), zones(&machines, "d")), ("abc".to_owned(), "abc".to_owned()));
        assert_eq!(
            turn(&mut machines, &[("c", spread("25")), ("d", spread("25"))]),
            Decision::default(),
            "it rests"
        );
    }

    #[test]
    fn a_gang_stays_where_it_began_and_leaves_room_for_the_next() {
        let mut machines = machines("aabbb");
        for cpus in ["5", "15"] {
            turn(&mut machines, &[("c", gang("one", cpus)), ("c", gang("two", cpus))]);
        }
        let of = |gang: &str| -> Vec<_> {
            let its = machines.iter().filter(|m| m.group == gang);
            its.filter_map(|m| m.label(names::ZONE)).collect()
        };
        assert_eq!((of("one"), of("two")), (vec!["b", "b"], vec!["a", "a"]));
    }

    #[test]
    fn requirements_say_which_machines_will_do() {
        let mut machine = machines("a").remove(0);
        machine.labels.insert("k".to_owned(), "v".to_owned());
        let meets = |operator: Operator, key: &str| {
            let values = vec!["v".to_owned()];
            machine.meets(&NodeSelectorRequirement { key: key.to_owned(), operator: operator.into(), values })
        };
        let all = [Operator::In, Operator::NotIn, Operator::Exists, Operator::DoesNotExist];
        assert_eq!(all.map(|operator| meets(operator, "k")), [true, false, true, false]);
        assert_eq!(all.map(|operator| meets(operator, "other")), [false, true, false, true]);
    }
}
