//! A run directory, and what the model makes of its plan.

use std::path::Path;

use anyhow::Context;
use harness_analysis::judge::Evidence;
use harness_model::plan::Plan;
use harness_model::record::RunDir;
use serde::Serialize;
use sim::beside::{self, Course};
use sim::{Report, plot};

pub struct Beside {
    name: String,
    plan: Plan,
    evidence: Evidence,
    predicted: Report,
}

#[derive(Serialize)]
struct Courses {
    predicted: Course,
    seen: Course,
}

impl Beside {
    pub fn load(run: &Path) -> anyhow::Result<Self> {
        let dir = RunDir::new(run);
        let plan: Plan = dir.read_json(&dir.plan())?;
        let evidence = Evidence::load(&dir)?;
        let predicted = beside::predict(plan.clone())?;
        Ok(Self { name: dir.run_id(), plan, evidence, predicted })
    }

    pub fn tell(self, json: bool, out: Option<&Path>) -> anyhow::Result<u8> {
        let courses = Courses {
            predicted: Course::predicted(&self.predicted),
            seen: Course::seen(&self.plan, &self.evidence),
        };
        let text = serde_json::to_string_pretty(&courses).context("the courses do not serialise")?;
        if json {
            println!("{text}");
        } else {
            print!("{}", screen(&self.name, &courses));
        }
        if let Some(dir) = out {
            let seen = beside::picture(&self.name, &self.plan, &self.evidence);
            let (predicted, seen) = (plot::svg(&(&self.predicted).into()), plot::svg(&seen));
            crate::write(dir, &[("beside.json", text), ("predicted.svg", predicted), ("seen.svg", seen)])?;
        }
        Ok(0)
    }
}

fn screen(name: &str, courses: &Courses) -> String {
    let waves = |waves: &[u64]| match waves {
        [] => "none".to_owned(),
        waves => waves.iter().map(u64::to_string).collect::<Vec<_>>().join(", "),
    };
    let row = |who: &str, course: &Course| {
        let (back, came) = (waves(&course.given_back), waves(&course.acquired));
        format!("  {who:<18} given back: {back}; acquired: {came}; serving in the end: {}\n", course.serving)
    };
    format!(
        "{name}: machines by the cycle that decided on them\n{}{}",
        row("predicted", &courses.predicted),
        row("on control planes", &courses.seen)
    )
}
