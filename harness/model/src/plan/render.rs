//! A plan as text for people.

use std::fmt::Write as _;

use super::Plan;
use super::memory::Model;

impl Plan {
    /// Returns a screen of text: what a run creates, needs and uses on a machine, and how long it takes on that many
    /// cores.
    pub fn render(&self, cores: usize, memory: &Model) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write(&mut out, cores, memory);
        out
    }

    fn write(&self, out: &mut String, cores: usize, memory: &Model) -> std::fmt::Result {
        let (p, t) = (&self.profile, &self.totals);
        writeln!(out, "{}: {}", p.name, p.description)?;
        writeln!(
            out,
            "  {} clusters x {} Pods = {} Pods in {} objects; density {}, catalog {}, seed {}",
            p.clusters, p.pods_per_cluster, t.pods, t.objects, p.density, p.catalog, p.seed
        )?;
        for given in &self.overrides {
            writeln!(out, "  --set {given}")?;
        }
        let machines = range(self.machines_quiet(&self.clusters));
        writeln!(
            out,
            "  {machines} machines ({} at the peak of the wave, never fewer than {}), {} seeded\n",
            t.machines_max, t.machines_lower_bound, t.seeded
        )?;
        if let Some(cluster) = self.clusters.first() {
            writeln!(out, "Needs of {} (other clusters: {} Pods each)", cluster.name, p.pods_per_cluster)?;
            writeln!(out, "  {:<44} {:>7} {:>9} {:>8}  {:>7}", "need", "Pods", "machines", "exact", "wave")?;
            for n in &cluster.needs {
                let wave = if n.machines_min == n.machines_max {
                    "-".to_owned()
                } else {
                    format!("{}..{}", n.machines_min, n.machines_max)
                };
                writeln!(
                    out,
                    "  {:<44} {:>7} {:>9} {:>8.2}  {:>7}",
                    n.name,
                    n.pods,
                    range(n.machines_quiet(p, &self.catalog)),
                    n.machines_exact,
                    wave
                )?;
            }
            writeln!(
                out,
                "  {:<44} {:>7} {:>9}\n",
                "sum",
                cluster.pods,
                range(self.machines_quiet([cluster]))
            )?;
        }
        writeln!(out, "Machines by shape")?;
        writeln!(
            out,
            "  {:<22} {:<22} {:>9} {:>7} {:>6} {:>11} {:>12}",
            "shape", "instance types", "Pods each", "needed", "idle", "configured", "speculative"
        )?;
        for (name, s) in &self.shapes {
            let types = s.instance_types.join(",");
            writeln!(
                out,
                "  {name:<22} {types:<22} {:>9} {:>7} {:>6} {:>11} {:>12}",
                s.pods_per_machine, s.needed, s.idle, s.configured, s.speculative
            )?;
        }
        let e = &self.estimate;
        writeln!(
            out,
            "\nEstimate: {:.1} GiB of memory ({}); on {cores} cores the fill takes {}, the run {}",
            memory.mib() / 1024.0,
            memory.formula(),
            minutes(e.ramp_seconds(cores)),
            minutes(e.total_seconds(cores))
        )?;
        writeln!(out, "Digest: {}", self.digest())
    }
}

/// Formats one number, or a range of two.
fn range((fewest, most): (u32, u32)) -> String {
    if fewest == most { fewest.to_string() } else { format!("{fewest}–{most}") }
}

fn minutes(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    if whole < 90 { format!("{whole} s") } else { format!("{} min {:02} s", whole / 60, whole % 60) }
}
