//! The plan and the engine compute the same: both are compared with `fixtures/arithmetic.yaml`.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use harness_model::plan::{machines_exact, machines_whole};
use harness_model::profile::fixtures_dir;
use libtest_mimic::Trial;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    cases: Vec<Case>,
}

/// One machine shape, the Pods of each Need, and the machines that all Needs take together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    machine: BTreeMap<String, String>,
    needs: Vec<Vec<Pods>>,
    machines: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pods {
    pods: u32,
    requests: BTreeMap<String, String>,
}

pub fn trials() -> Vec<Trial> {
    vec![suites::trial("arithmetic::the_plan_takes_as_many_machines_as_the_table_says", table_holds)]
}

fn table_holds() -> anyhow::Result<()> {
    let file = fixtures_dir().join("arithmetic.yaml");
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let table: Table =
        serde_saphyr::from_str(&text).with_context(|| format!("parsing {}", file.display()))?;
    ensure!(table.cases.len() >= 10, "only {} cases", table.cases.len());
    for case in &table.cases {
        let machines = |pods: &Vec<Pods>| {
            let pods: Vec<_> = pods.iter().map(|p| (&p.requests, p.pods)).collect();
            machines_whole(machines_exact(&pods, &case.machine))
        };
        let planned: u32 = case.needs.iter().map(machines).sum();
        ensure!(planned == case.machines, "{}: {planned} machines instead of {}", case.name, case.machines);
    }
    Ok(())
}
