//! ADR-0023, decision 1: node-creator does exactly what pod-shim's first job was, creating Nodes for UpcomingNodes, and
//! does nothing with Pods.
//!
//! Life stories of UpcomingNodes (`fixtures/stories`) are played on both programs, once per run, by the first trial
//! that needs them; each story is a trial. A snapshot records the result of a story. Only
//! `fixtures/stories/intended-differences.yaml` defines in what the two may differ.

mod claims;
mod compare;
mod plane;
mod play;
mod program;
mod render;
mod rights;
mod story;
mod view;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use libtest_mimic::{Arguments, Trial};

use crate::compare::{Difference, Differences};
use crate::play::{Played, Results};
use crate::program::{Kind, NODE_CREATOR, POD_SHIM};
use crate::story::Story;
use crate::view::{View, view};

fn main() -> ExitCode {
    // The names of trials come from the stories.
    let stories = match story::load() {
        Ok(stories) => Arc::new(stories),
        Err(error) => {
            eprintln!("Error: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    let mut trials: Vec<Trial> = stories.iter().cloned().map(|story| tell(story, stories.clone())).collect();
    let mut of_all = |name: &str, claim: fn(&[Story]) -> anyhow::Result<()>| {
        let stories = stories.clone();
        trials.push(suites::trial(name, move || claim(&stories)));
    };
    of_all("stories::go_through_every_phase_and_transition", story::cover_every_transition);
    of_all("parity::the_programs_differ_in_nothing_but_what_is_intended", |stories| {
        compare::none_is_unlisted(&compare::intended()?, &found(stories)?)
    });
    of_all("parity::every_intended_difference_occurs", |stories| {
        compare::all_occur(&compare::intended()?, &found(stories)?)
    });
    of_all("metrics::outcomes_of_stories_add_up", |stories| claims::outcomes_add_up(&results(stories)?));
    trials.extend([
        claim(
            "metrics::a_refused_deletion_is_told_and_retried",
            rights::a_refused_deletion_is_told_and_retried,
        ),
        claim("rights::node_creator_works_without_any_verb_on_pods", rights::works_without_any_verb_on_pods),
        claim("nodes::are_ready_under_kwok_and_take_pods", claims::nodes_take_pods),
        claim("scale::five_hundred_machines_at_once_become_nodes_in_time", claims::five_hundred_at_once),
        claim(
            "restart::a_kill_in_the_middle_of_five_hundred_converges",
            claims::a_kill_in_the_middle_converges,
        ),
    ]);
    suites::run(&Arguments::from_args(), trials)
}

/// Returns a claim with its own control plane.
fn claim<F>(name: &str, claim: fn() -> F) -> Trial
where
    F: Future<Output = anyhow::Result<()>> + 'static,
{
    suites::trial(name, move || suites::block_on(claim()))
}

/// Returns the claim that the result of the story matches its snapshot.
fn tell(story: Story, stories: Arc<Vec<Story>>) -> Trial {
    suites::trial(&format!("story::{}", story.name), move || {
        let results = results(&stories)?;
        let (creator, differences) = compared(&story, &results)?;
        let text = render::text(&story, &creator, &differences, &compare::intended()?);
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/snapshots"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        let name = format!("node_creator_parity-{}", story.name);
        settings.bind(|| insta::assert_snapshot!(name, text));
        Ok(())
    })
}

/// Returns the results of all stories, which are played by the first trial that needs them.
fn results(stories: &[Story]) -> anyhow::Result<Results> {
    let fixture = harness_model::profile::fixtures_dir().join("stories/stories.yaml");
    let files = [NODE_CREATOR.path()?, POD_SHIM.path()?, fixture];
    suites::shared::once("node-creator-parity", &files, || suites::block_on(play::play(stories)))
}

/// Returns node-creator's view of a story, and where pod-shim's differs.
fn compared(story: &Story, results: &Results) -> anyhow::Result<(View, Vec<Difference>)> {
    let of = |kind: &'static Kind| -> anyhow::Result<View> {
        let played = results.get(&story.name).and_then(|by_program| by_program.get(kind.name));
        let played: &Result<Played, String> =
            played.with_context(|| format!("{} was not played on {}", story.name, kind.name))?;
        let played = played.as_ref().map_err(|error| anyhow!("{} on {}: {error}", story.name, kind.name))?;
        Ok(view(kind, story, played))
    };
    let (creator, shim) = (of(&NODE_CREATOR)?, of(&POD_SHIM)?);
    let differences = compare::differences(&creator, &shim);
    Ok((creator, differences))
}

fn found(stories: &[Story]) -> anyhow::Result<Differences> {
    let results = results(stories)?;
    stories.iter().map(|story| Ok((story.name.clone(), compared(story, &results)?.1))).collect()
}
