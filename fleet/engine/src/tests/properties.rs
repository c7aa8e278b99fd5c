//! Properties of any run: nothing lost, nothing illegal, and silence once demand is steady.

use proptest::prelude::*;

use super::world::{World, demand, machines, same, spread};
use crate::{Kind, Machine, State};
use api::session::CapacityNeed;

const SHAPES: [&str; 3] = ["small", "large", "gpu"];

fn any_need() -> impl Strategy<Value = CapacityNeed> {
    (0..SHAPES.len(), 0..200u32, 0..3i32, 0..3u8).prop_map(|(shape, cpu, priority, kind)| {
        let mut need = demand(SHAPES[shape], &cpu.to_string());
        need.priority = priority;
        match kind {
            0 => need,
            1 => spread(need, 1),
            _ => same(need, api::names::RACK, &format!("g{cpu}")),
        }
    })
}

fn any_rollup() -> impl Strategy<Value = Vec<CapacityNeed>> {
    prop::collection::vec(any_need(), 0..6)
}

fn world() -> World {
    let mut seed = machines("s", 24, "small", "8", 3);
    seed.extend(machines("l", 12, "large", "32", 3));
    seed.extend(machines("g", 12, "gpu", "4", 2));
    World::new(seed)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn machines_are_conserved_and_every_action_is_legal(
        rollups in prop::collection::vec((any_rollup(), any_rollup()), 1..6),
    ) {
        let mut world = world();
        let total = world.inventory.len();
        for (a, b) in rollups {
            world.rollup("a", a);
            world.rollup("b", b);
            for _ in 0..3 {
                // `cycle` panics on an illegal edge.
                let decisions = world.cycle();
                let mut ids: Vec<_> = decisions.actions.iter().map(|x| x.machine.clone()).collect();
                ids.sort();
                ids.dedup();
                prop_assert_eq!(ids.len(), decisions.actions.len(), "one action per machine");
                let mut claimed: Vec<_> =
                    decisions.needs.iter().flat_map(|n| n.machines.clone()).collect();
                let claims = claimed.len();
                claimed.sort();
                claimed.dedup();
                prop_assert_eq!(claimed.len(), claims, "one Need per machine");
                prop_assert_eq!(world.inventory.len(), total);
                let bound = |m: &Machine| (m.state == State::Configured) == m.cluster.is_some();
                prop_assert!(world.inventory.iter().all(bound), "a cluster binds Configured ones only");
            }
        }
    }

    #[test]
    fn steady_demand_comes_to_rest(a in any_rollup(), b in any_rollup()) {
        let mut world = world();
        world.policy.reclaim_cap_fraction = 0.0;
        world.rollup("a", a);
        world.rollup("b", b);
        // Preemption works its way down one priority at a time.
        for _ in 0..40 {
            world.cycle();
        }
        let late: Vec<_> = (0..10).flat_map(|_| world.cycle().actions).collect();
        prop_assert!(late.is_empty(), "still acting: {:?}", late);
    }

    #[test]
    fn the_same_inputs_give_the_same_decisions(a in any_rollup()) {
        let (mut one, mut two) = (world(), world());
        one.rollup("a", a.clone());
        two.rollup("a", a);
        prop_assert_eq!(one.decide().actions, two.decide().actions);
    }

    #[test]
    fn a_plain_need_gets_the_ceiling_of_its_demand(cpu in 1..192u32) {
        let mut world = world();
        world.rollup("a", vec![demand("small", &cpu.to_string())]);
        let decisions = world.cycle();
        let expected = cpu.div_ceil(8) as usize;
        prop_assert!(decisions.actions.iter().all(|x| x.kind == Kind::Bootstrap));
        prop_assert_eq!(decisions.actions.len(), expected);
    }
}
