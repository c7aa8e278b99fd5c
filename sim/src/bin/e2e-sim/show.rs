//! A report for people.

use std::fmt::Write;

use sim::Report;
use sim::counters::Counters;

/// Most lines of the table of cycles.
const LINES: usize = 24;

pub fn screen(report: &Report) -> String {
    let mut out = String::new();
    let size = &report.size;
    let _ = writeln!(
        out,
        "{}: {} clusters, {} machines, {} Pods, {} Needs; {} cycles of {} s, seed {}",
        report.scenario,
        size.clusters,
        size.machines,
        size.pods,
        size.needs,
        report.cycles.len(),
        report.cycle_interval_seconds,
        report.seed
    );
    out.push_str(
        "  cycle bootstr provis reclaim preempt delete  config    bound  pending  evicted     lost  short\n",
    );
    let told: Vec<&Counters> = told(&report.cycles);
    let mut before = 0;
    for c in told {
        if c.cycle > before + 1 {
            out.push_str("    ...\n");
        }
        before = c.cycle;
        let _ = writeln!(
            out,
            "{:7} {:7} {:6} {:7} {:7} {:6} {:7} {:8} {:8} {:8} {:8} {:6}",
            c.cycle,
            c.bootstraps,
            c.provisions,
            c.reclaims,
            c.preempts,
            c.deletes,
            c.configured,
            c.bound,
            c.pending,
            c.evicted,
            c.lost,
            c.shortfalls
        );
    }
    let totals = &report.totals;
    let rest = match report.converged_at_cycle {
        Some(cycle) => format!("at rest from cycle {cycle} on"),
        None => "never at rest".into(),
    };
    let _ = writeln!(
        out,
        "{} actions ({} in the last {} cycles), {rest}; {} Pods evicted, {} lost",
        totals.churn, totals.churn_in_window, report.window, totals.evicted, totals.lost
    );
    for finding in &report.expectations {
        let mark = if finding.holds { '+' } else { 'x' };
        let _ = writeln!(out, "{mark} {}; found {}", finding.expected, finding.found);
    }
    out
}

/// The cycles worth a line: the first, the last, and those that act, as far as they fit.
fn told(cycles: &[Counters]) -> Vec<&Counters> {
    let last = cycles.last().map_or(0, |c| c.cycle);
    let acts = |c: &&Counters| c.cycle == 1 || c.cycle == last || c.churn() > 0 || c.evicted > 0;
    let told: Vec<&Counters> = cycles.iter().filter(acts).collect();
    let head = told.len().min(LINES);
    let tail = told.len().saturating_sub(4).max(head);
    told[..head].iter().chain(&told[tail..]).copied().collect()
}
