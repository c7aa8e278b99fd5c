//! A comparison of sets as text.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Comparison, EFFECT_MIN, Finding, RESAMPLES, SHARE_MIN, SetFigure, Unlike};
use crate::compare::{Group, Head};
use harness_model::summary::screen::number;
use harness_model::summary::stats::Spread;

/// Runs per set below which an interval is little more than the range of the values.
const RUNS_FEW: usize = 5;

/// Renders the whole comparison, without colour. It shows all metrics, and the other figures that differ.
pub fn render(comparison: &Comparison) -> String {
    let mut out = String::new();
    set('A', &comparison.a, &mut out);
    set('B', &comparison.b, &mut out);
    if comparison.unlike.is_empty() {
        let _ = writeln!(out, "\n  plan, tools and machine class: the same in all runs");
        let _ = writeln!(out, "  host speed index: {}", comparison.host_speed_index);
    } else {
        let _ = writeln!(out, "\n  different, but compared anyway\n{}", unlike(&comparison.unlike));
    }
    let head = ["A median", "B median", "B/A", "95 % interval", "noise", "effect"];
    let [a, b, ratio, interval, noise, effect] = head;
    let _ = writeln!(out, "\n  {:<48} {a:>10} {b:>10} {ratio:>7} {interval:>15} {noise:>9} {effect:>7}", "");
    for group in comparison.figures.chunk_by(|x, y| x.group == y.group) {
        figures(group, &mut out);
    }
    legend(comparison, &mut out);
    out
}

/// Lists what differs between runs, with the runs that have each value.
pub fn unlike(unlike: &[Unlike]) -> String {
    let mut lines = Vec::new();
    for Unlike { what, values } in unlike {
        lines.push(format!("    {what}:"));
        lines.extend(values.iter().map(|(value, runs)| format!("      {value}: {}", runs.join(", "))));
    }
    lines.join("\n")
}

fn set(letter: char, heads: &[Head], out: &mut String) {
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    heads.iter().for_each(|head| *verdicts.entry(head.verdict.name()).or_default() += 1);
    let verdicts: Vec<String> = verdicts.iter().map(|(name, n)| format!("{n} {name}")).collect();
    let _ = writeln!(out, "{letter}  {} runs: {}", heads.len(), verdicts.join(", "));
    for head in heads {
        let _ = writeln!(out, "   {}  {}, seed {}", head.run_dir.display(), head.started, head.seed);
    }
}

fn figures(group: &[SetFigure], out: &mut String) {
    let differs = |f: &SetFigure| matches!(f.finding, Finding::Lower | Finding::Higher);
    let shown: Vec<&SetFigure> =
        group.iter().filter(|f| matches!(f.group, Group::Metrics | Group::Speed) || differs(f)).collect();
    let title = group.first().map_or("", |f| f.group.title());
    let _ = match (shown.len(), group.len() - shown.len()) {
        (0, hidden) => writeln!(out, "  {title}: none of {hidden} differs by more than noise"),
        (_, 0) => writeln!(out, "  {title}"),
        (_, hidden) => writeln!(out, "  {title} ({hidden} more do not differ by more than noise)"),
    };
    for figure in shown {
        let _ = writeln!(out, "{}", line(figure).trim_end());
    }
}

fn line(figure: &SetFigure) -> String {
    let median = |spread: Option<Spread>| spread.map_or_else(|| "-".to_owned(), |s| number(s.median));
    let (ratio, interval) = figure.ratio.map_or_else(<(String, String)>::default, |r| {
        (format!("{:.3}", r.value), format!("{:.3}..{:.3}", r.low, r.high))
    });
    let word = match figure.finding {
        Finding::Same => "the same".to_owned(),
        Finding::WithinNoise => String::new(),
        Finding::Lower => "lower".to_owned(),
        Finding::Higher => "higher".to_owned(),
        Finding::Unknown => {
            let n = |spread: Option<Spread>| spread.map_or(0, |s| s.n);
            format!("measured in {} and {} runs only", n(figure.a), n(figure.b))
        }
    };
    format!(
        "    {:<46} {:>10} {:>10} {ratio:>7} {interval:>15} {:>9} {:>7}  {word}",
        format!("{} {}", figure.name, figure.unit),
        median(figure.a),
        median(figure.b),
        figure.noise.map_or_else(String::new, number),
        figure.effect.map_or_else(String::new, |effect| format!("{effect:+.1}")),
    )
}

fn legend(comparison: &Comparison, out: &mut String) {
    let _ = writeln!(
        out,
        "\n  B/A: ratio of the medians; interval: 95 % over {RESAMPLES} draws from both sets; noise: standard\n  \
         deviation within the sets; effect: difference of the medians in noises. Higher or lower: the interval\n  \
         leaves out 1, the effect is above {EFFECT_MIN}, and the difference {:.0} % or more. Among this many figures some\n  \
         are so by chance.",
        SHARE_MIN * 100.0
    );
    let fewest = comparison.a.len().min(comparison.b.len());
    if fewest < RUNS_FEW {
        let _ =
            writeln!(out, "  With {fewest} runs in a set the intervals are crude; take {RUNS_FEW} or more.");
    }
}
