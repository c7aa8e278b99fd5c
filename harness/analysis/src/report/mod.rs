//! A run as one page of HTML: the verdict, what it rests on, and pictures of what happened during the run.
//!
//! The page is self-contained: no network, no script. Its figures come from the summary and the evidence and, next to
//! the gates, from earlier summaries. Each picture has its figures in a table.

mod chart;
mod heat;
pub mod history;
mod series;
mod steps;
pub mod svg;
mod tables;

use std::fmt::Write;

use crate::judge::Evidence;
use crate::report::chart::{Chart, Look, Mark};
use crate::report::history::History;
use crate::report::series::Series;
use crate::report::steps::Steps;
use crate::report::svg::escape;
use harness_model::record::{Event, RunDir};
use harness_model::summary::Summary;

/// Returns the page of a run with the history of its gates; `dir` is searched for logs.
pub fn html(dir: &RunDir, summary: &Summary, evidence: &Evidence, history: &History) -> String {
    let title = format!("{} {}", summary.verdict.name(), summary.run_id);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{}</title><link rel=\"icon\" href=\"data:,\">\
         <style>\n{}</style></head><body>\n",
        escape(&title),
        include_str!("style.css")
    );
    out.push_str(&tables::head(summary));
    out.push_str(&tables::gates(summary, history));
    out.push_str(&tables::validity(summary));
    out.push_str("<h2>Over time</h2>\n");
    pictures(&mut out, evidence);
    out.push_str("<h2>Latency and packing</h2>\n");
    out.push_str(&tables::stages(summary));
    out.push_str(&tables::packing(summary));
    out.push_str(&tables::details(summary));
    out.push_str("<h2>Host, tools, logs</h2>\n");
    for facts in [&summary.host, &summary.tools] {
        let _ = writeln!(out, "<p class=\"note\">{}</p>", escape(&facts.to_string()));
    }
    let link = |path: &String| format!("<a href=\"{0}\">{0}</a>", escape(path));
    let links: Vec<String> = logs(dir).iter().map(link).collect();
    let _ = writeln!(out, "<p>{}</p>\n</body></html>", links.join(" · "));
    out
}

fn pictures(out: &mut String, evidence: &Evidence) {
    let steps = &Steps::of(evidence);
    let marks = &marks(evidence, steps);
    let mut draw = |title: &str, unit: &'static str, look: Look, series: Vec<Series>| {
        if !series.is_empty() {
            let title = title.to_owned();
            out.push_str(&Chart { title, unit, look, height: 170.0, series, steps, marks }.render());
        }
    };
    draw("Live Pods of all clusters", "Pods", Look::Lines, series::pods(evidence, steps, None));
    draw("Machines by state", "machines", Look::Stacked, series::machines(evidence, steps));
    draw("What the shard began", "actions per second", Look::Lines, series::actions(evidence, steps));
    draw("CPU", "cores", Look::Stacked, series::cpu(evidence, steps));
    draw("Resident memory", "MiB", Look::Stacked, series::memory(evidence, steps));
    draw(
        "Writes to the apiservers",
        "per second, as means between scrapes",
        Look::Stacked,
        series::writes(evidence, steps),
    );
    draw(
        "Scheduling attempts",
        "per second, as means between scrapes",
        Look::Lines,
        series::attempts(evidence, steps),
    );
    for new_capacity in [false, true] {
        out.push_str(&heat::map(evidence, steps, marks, new_capacity));
    }
    out.push_str("<div class=\"small\">");
    let mut clusters: Vec<&str> = evidence.pods.iter().map(|p| p.cluster.as_str()).collect();
    clusters.sort_unstable();
    clusters.dedup();
    for cluster in clusters {
        let series = series::pods(evidence, steps, Some(cluster));
        let title = format!("Live Pods of {cluster}");
        let chart =
            Chart { title, unit: "Pods", look: Look::Lines, height: 220.0, series, steps, marks: &[] };
        out.push_str(&chart.render());
    }
    out.push_str("</div>\n");
}

/// Returns marks for the phases, and for everything that should not have happened.
fn marks(evidence: &Evidence, steps: &Steps) -> Vec<Mark> {
    let mark = |stamped: &harness_model::record::Stamped| {
        let (text, is_fault) = match &stamped.event {
            Event::PhaseStarted { phase } => (phase.name().to_owned(), false),
            Event::ActuationResumed => ("shard acts".to_owned(), false),
            Event::WatchGap { cluster, kind } => (format!("a watch of {kind} in {cluster} has a gap"), true),
            Event::NodeNotReady { cluster, node } => (format!("{node} of {cluster} is not Ready"), true),
            Event::ProcessEnded { name, cluster, .. } => {
                (format!("{name} of {} ended", cluster.as_deref().unwrap_or("the run")), true)
            }
            Event::LoadFailed(failed) => (format!("load was not created in {}", failed.cluster), true),
            _ => return None,
        };
        Some(Mark { at_s: steps.seconds(stamped.at_us), text, is_fault })
    };
    evidence.events.iter().filter_map(mark).filter(|mark| mark.at_s >= 0.0).collect()
}

/// Returns the log files of the run, relative to its directory, in order.
fn logs(dir: &RunDir) -> Vec<String> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.logs()];
    while let Some(next) = dirs.pop() {
        for path in std::fs::read_dir(next).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                dirs.push(path);
            } else if let Ok(relative) = path.strip_prefix(dir.root()) {
                found.push(relative.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{made_up, weigh};
    use harness_model::summary::screen::measured;

    fn page() -> (Summary, String) {
        let evidence = made_up::evidence();
        let summary = weigh(&made_up::expect(), &evidence);
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("logs/c")).unwrap();
        std::fs::write(dir.path().join("logs/c/etcd.log"), "").unwrap();
        let page = html(&RunDir::new(dir.path()), &summary, &evidence, &History::default());
        (summary, page)
    }

    #[test]
    fn the_page_says_what_the_summary_says() {
        let (summary, page) = page();
        let page = page.replace("<wbr>", "");
        assert!(page.contains(&format!("pass\">{}</span> made-up", summary.verdict.name())));
        for gate in &summary.gates {
            let row = page.split("<tr>").find(|row| row.starts_with(&format!("<td>{}</td>", gate.metric)));
            let value = format!("<td>{} {}</td>", measured(gate.value), gate.unit);
            assert!(row.is_some_and(|row| row.contains(&value)), "{row:?} has no {value}");
        }
        for finding in &summary.validity {
            assert!(page.contains(&format!("<td>{}</td>", finding.rule)), "{}", finding.rule);
        }
        assert!(page.contains("<a href=\"logs/c/etcd.log\">"));
    }

    #[test]
    fn the_page_needs_nothing_but_itself() {
        let (_, page) = page();
        for foreign in ["<script", "src=", "http://", "https://", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        for picture in ["Live Pods of all clusters", "Machines by state", "CPU, cores", "Create to bind"] {
            assert!(page.contains(picture), "{picture}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert_eq!(page.matches("<figure").count(), page.matches("</figure>").count());
    }

    #[test]
    fn what_should_not_have_happened_is_marked() {
        let mut evidence = made_up::evidence();
        let gap = Event::WatchGap { cluster: "c".into(), kind: "<Pod>".into() };
        let stamped = harness_model::record::Stamped { at_us: evidence.end_us / 2, event: gap };
        evidence.events.insert(evidence.events.len() / 2, stamped);
        let summary = weigh(&made_up::expect(), &evidence);
        let page = html(&RunDir::new("no-such-run"), &summary, &evidence, &History::default());
        assert!(page.contains("<title>a watch of &lt;Pod&gt; in c has a gap</title>"));
        assert!(page.contains("INVALID"), "{}", summary.reason);
    }
}
