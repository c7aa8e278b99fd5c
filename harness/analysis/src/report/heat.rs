//! How long binding took, over time: a column per step, a row per order of magnitude.

use std::fmt::Write;

use crate::judge::Evidence;
use crate::judge::latency::{NodeIndex, needed_new_capacity};
use crate::report::chart::{Mark, TOP, TimeAxis, open_svg};
use crate::report::steps::Steps;
use crate::report::svg::{escape, text};

/// Upper ends of the rows, seconds; anything that took longer is in one more row.
const ROWS_S: [f64; 10] = [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0];
const ROW: f64 = 15.0;
/// Most columns of the map: fewer than steps, so that a column is wide enough to be seen.
const COLUMNS_MAX: usize = 120;

/// Draws the map of the Pods that had to wait for a machine, or of those that did not.
pub fn map(evidence: &Evidence, steps: &Steps, marks: &[Mark], new_capacity: bool) -> String {
    let title = match new_capacity {
        true => "Create to bind, Pods that needed a new machine",
        false => "Create to bind, Pods for which there was room",
    };
    let per_column = steps.count().div_ceil(COLUMNS_MAX);
    let columns = steps.count().div_ceil(per_column);
    let counts = counts(evidence, steps, per_column, columns, new_capacity);
    let most = counts.iter().flatten().copied().max().unwrap_or(0);
    let mut out =
        format!("<figure><figcaption>{title}, by when they were created; darker: more Pods</figcaption>");
    let bottom = TOP + ROW * counts.len() as f64;
    open_svg(&mut out, title, bottom + 24.0);
    let axis = TimeAxis::new(steps);
    let column_s = steps.step_s() * per_column as f64;
    for (row, counts) in counts.iter().enumerate() {
        let y = bottom - ROW * (row + 1) as f64;
        text(&mut out, 50.0, y + 11.0, "end", &words(row));
        for (column, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (from, to) = (axis.x(column as f64 * column_s), axis.x((column + 1) as f64 * column_s));
            // Logarithmic, so that one Pod among thousands can be seen.
            let shade = (0.25 + 0.75 * (*count as f64).ln_1p() / (most as f64).ln_1p()).min(1.0);
            let _ = write!(
                out,
                "<rect class=\"s0\" fill-opacity=\"{shade:.2}\" x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" \
                 height=\"{:.1}\"><title>{count} Pods, {} s</title></rect>",
                to - from,
                ROW - 1.0,
                words(row)
            );
        }
    }
    axis.draw(&mut out, bottom, marks);
    let pods: u64 = counts.iter().flatten().sum();
    let _ = writeln!(out, "</svg><p class=\"note\">{pods} Pods</p></figure>");
    out
}

/// Counts the Pods by row and column.
fn counts(
    evidence: &Evidence,
    steps: &Steps,
    per_column: usize,
    columns: usize,
    new_capacity: bool,
) -> Vec<Vec<u64>> {
    let nodes = NodeIndex::new(evidence);
    let mut counts = vec![vec![0; columns]; ROWS_S.len() + 1];
    for pod in &evidence.pods {
        let (Some(bound_us), Some(place)) = (pod.bound_us, steps.place(pod.created_us)) else { continue };
        if needed_new_capacity(pod, &nodes) == new_capacity {
            let took_s = bound_us.saturating_sub(pod.created_us) as f64 / 1e6;
            let row = ROWS_S.iter().position(|end| took_s <= *end).unwrap_or(ROWS_S.len());
            counts[row][place / per_column] += 1;
        }
    }
    counts
}

fn words(row: usize) -> String {
    match ROWS_S.get(row) {
        Some(end) => format!("≤ {end}"),
        None => escape(&format!("> {}", ROWS_S[ROWS_S.len() - 1])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use harness_model::record::PodRecord;

    #[test]
    fn a_pod_is_in_the_row_of_its_latency_and_the_column_of_its_birth() {
        let pod = |created_us, took_us| PodRecord {
            created_us,
            bound_us: Some(created_us + took_us),
            ..PodRecord::default()
        };
        let evidence = Evidence {
            end_us: 10_000_000,
            pods: vec![pod(0, 10_000), pod(6_000_000, 2_000_000), pod(7_000_000, 400_000_000)],
            ..Evidence::default()
        };
        let steps = Steps::of(&evidence);
        let counts = counts(&evidence, &steps, 1, 2, false);
        assert_eq!((counts[0][0], counts[5][1], counts[ROWS_S.len()][1]), (1, 1, 1));
        assert_eq!(counts.iter().flatten().sum::<u64>(), 3);
        assert!(map(&evidence, &steps, &[], true).contains("0 Pods"));
    }
}
