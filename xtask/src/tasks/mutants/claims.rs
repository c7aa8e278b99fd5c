//! The results of claims, and what they say about a mutant.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::mutant::Mutant;

/// nextest's exit codes (its `NextestExitCode`).
const OK: i32 = 0;
const TEST_RUN_FAILED: i32 = 100;
const NO_TESTS_RUN: i32 = 4;
const BUILD_FAILED: i32 = 101;
const SETUP_SCRIPT_FAILED: i32 = 105;

/// The claims of one run of nextest: which were run, and whether they held.
#[derive(Debug, Default)]
pub struct Results {
    held: BTreeMap<String, bool>,
}

/// The outcome for a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Exactly the claims that it names turned red.
    Killed,
    /// These of its claims stayed green.
    Survived(Vec<String>),
    /// It shows nothing, for this reason.
    Broken(String),
}

impl Results {
    /// Reads one line of `--message-format libtest-json-plus`. Returns the claim and whether it held, if the line
    /// reports one that ended. The output of setup scripts is among these lines, too.
    pub fn read(&mut self, line: &str) -> Option<(String, bool)> {
        let event: Value = serde_json::from_str(line).ok()?;
        if event["type"] != "test" {
            return None;
        }
        let held = match event["event"].as_str()? {
            "ok" => true,
            "failed" => false,
            _ => return None,
        };
        // `<package>::<binary>$<trial>`; claims in mutant files, and nextest's own lines, have a space instead of `$`.
        let (binary, trial) = event["name"].as_str()?.split_once('$')?;
        let claim = format!("{binary} {trial}");
        self.held.insert(claim.clone(), held);
        Some((claim, held))
    }

    fn that_are(&self, held: bool) -> BTreeSet<&str> {
        self.held.iter().filter(|(_, is)| **is == held).map(|(claim, _)| claim.as_str()).collect()
    }

    /// Returns why a run without any mutant does not count. It counts if all claims hold, and the named claims are
    /// among them.
    pub fn fault_of_control(&self, exit_code: Option<i32>, mutants: &[Mutant]) -> Option<String> {
        let red = self.that_are(false);
        if !red.is_empty() {
            return Some(format!("red without any mutant: {}", join(red)));
        }
        if exit_code != Some(OK) {
            return Some(meaning(exit_code));
        }
        let named = mutants.iter().flat_map(|mutant| &mutant.red).map(String::as_str);
        let missing: BTreeSet<&str> = named.filter(|claim| !self.held.contains_key(*claim)).collect();
        (!missing.is_empty()).then(|| format!("no filter selects {}", join(missing)))
    }

    /// Returns what the run with a mutant says about it.
    pub fn fate(&self, exit_code: Option<i32>, mutant: &Mutant) -> Fate {
        let named: BTreeSet<&str> = mutant.red.iter().map(String::as_str).collect();
        let (red, green) = (self.that_are(false), self.that_are(true));
        if !matches!(exit_code, Some(OK | TEST_RUN_FAILED)) {
            return Fate::Broken(meaning(exit_code));
        }
        let others: BTreeSet<&str> = &red - &named;
        if !others.is_empty() {
            return Fate::Broken(format!("also turned red: {}", join(others)));
        }
        let missing: BTreeSet<&str> = &(&named - &red) - &green;
        if !missing.is_empty() {
            return Fate::Broken(format!("not run: {}", join(missing)));
        }
        let survivors: Vec<String> = (&named & &green).into_iter().map(str::to_owned).collect();
        if survivors.is_empty() { Fate::Killed } else { Fate::Survived(survivors) }
    }
}

/// Returns the named claims that are not among those which a `nextest list --message-format json` selects.
pub fn unknown(list: &Value, mutants: &[Mutant]) -> Vec<String> {
    let suites = list["rust-suites"].as_object().into_iter().flat_map(|suites| suites.values());
    let selected: BTreeSet<String> = suites
        .flat_map(|suite| {
            let text = |key: &str| suite[key].as_str().unwrap_or_default();
            let binary = format!("{}::{}", text("package-name"), text("binary-name"));
            let trials = suite["testcases"].as_object().into_iter().flatten();
            let matching = trials.filter(|(_, trial)| trial["filter-match"]["status"] == "matches");
            matching.map(|(name, _)| format!("{binary} {name}")).collect::<Vec<_>>()
        })
        .collect();
    let missing = |mutant: &Mutant| {
        let claims = mutant.red.iter().filter(|claim| !selected.contains(*claim));
        claims.map(|claim| format!("{}: no filter selects `{claim}`", mutant.name)).collect::<Vec<_>>()
    };
    mutants.iter().flat_map(missing).collect()
}

fn meaning(exit_code: Option<i32>) -> String {
    match exit_code {
        Some(BUILD_FAILED) => "the claims do not build".to_owned(),
        Some(NO_TESTS_RUN) => "the filter selects no claim".to_owned(),
        Some(SETUP_SCRIPT_FAILED) => "the environment of the claims could not be set up".to_owned(),
        Some(TEST_RUN_FAILED) => "nextest says that a claim failed, but not which".to_owned(),
        Some(code) => format!("nextest ended with exit code {code}"),
        None => "nextest was killed".to_owned(),
    }
}

fn join(claims: BTreeSet<&str>) -> String {
    claims.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mutant(red: &[&str]) -> Mutant {
        Mutant {
            name: "m".into(),
            breaks: "b".into(),
            source: "s".into(),
            edits: Vec::new(),
            filter: "f".into(),
            red: red.iter().map(|&claim| claim.to_owned()).collect(),
        }
    }

    fn results(ended: &[(&str, bool)]) -> Results {
        let mut results = Results::default();
        for (claim, held) in ended {
            let (name, event) = (claim.replace(' ', "$"), if *held { "ok" } else { "failed" });
            results.read(&json!({"type": "test", "event": event, "name": name}).to_string()).unwrap();
        }
        results
    }

    #[test]
    fn the_claims_that_ended_are_read_among_other_lines() {
        // As cargo-nextest 0.9.151 writes them, except for the output of the failed one.
        let lines = r#"
{"type":"suite","event":"started","test_count":2,"nextest":{"crate":"suites","test_binary":"z","kind":"test"}}
building 3 packages, {"type": not JSON
{"type":"test","event":"started","name":"suites::z$subject::good"}
{"type":"test","event":"started","name":"suites::z$subject::bad"}
{"type":"test","event":"ok","name":"suites::z$subject::good","exec_time":0.5}
{"type":"test","event":"failed","name":"suites::z$subject::bad","exec_time":0.1,"stdout":"Error: no\n"}
{"type":"test","event":"ignored","name":"suites::z$subject::left_out"}
{"type":"suite","event":"failed","passed":1,"failed":1,"ignored":1,"measured":0,"filtered_out":0,"exec_time":0.6}
"#;
        let mut results = Results::default();
        let ended: Vec<_> = lines.lines().filter_map(|line| results.read(line)).collect();
        let (good, bad) = ("suites::z subject::good".to_owned(), "suites::z subject::bad".to_owned());
        assert_eq!(ended, [(good, true), (bad, false)]);
        assert_eq!(results.held.len(), 2);
    }

    #[test]
    fn only_a_run_in_which_exactly_the_named_claims_turn_red_kills() {
        let mutant = mutant(&["p::b one", "p::b two"]);
        let fate = |code: i32, ended: &[(&str, bool)]| results(ended).fate(Some(code), &mutant);
        let killed = [("p::b one", false), ("p::b two", false), ("p::b three", true)];
        assert_eq!(fate(100, &killed), Fate::Killed);
        let survived = [("p::b one", false), ("p::b two", true)];
        assert_eq!(fate(100, &survived), Fate::Survived(vec!["p::b two".into()]));
        let all_green = [("p::b one", true), ("p::b two", true)];
        assert_eq!(fate(0, &all_green), Fate::Survived(vec!["p::b one".into(), "p::b two".into()]));
        let broken = |code, ended: &[(&str, bool)], why: &str| match fate(code, ended) {
            Fate::Broken(text) => assert!(text.contains(why), "{text}"),
            other => panic!("{other:?}"),
        };
        broken(100, &[("p::b one", false), ("p::b two", false), ("p::b three", false)], "p::b three");
        broken(100, &[("p::b one", false)], "not run: p::b two");
        broken(101, &[], "do not build");
        broken(105, &[], "environment");
        broken(4, &[], "selects no claim");
        // If all claims turn red because nothing works at all, that proves nothing either.
        broken(105, &killed, "environment");
        assert!(matches!(results(&killed).fate(None, &mutant), Fate::Broken(_)));
    }

    #[test]
    fn the_control_must_be_green_and_have_run_what_is_named() {
        let mutants = [mutant(&["p::b one"])];
        let fault = |code, ended: &[(&str, bool)]| results(ended).fault_of_control(Some(code), &mutants);
        assert_eq!(fault(0, &[("p::b one", true), ("p::b two", true)]), None);
        assert!(fault(100, &[("p::b one", true), ("p::b two", false)]).unwrap().contains("p::b two"));
        assert!(fault(0, &[("p::b two", true)]).unwrap().contains("no filter selects p::b one"));
        assert!(fault(105, &[]).unwrap().contains("environment"));
    }

    #[test]
    fn a_named_claim_that_no_filter_selects_is_found_in_the_list() {
        let case = |status: &str| json!({"filter-match": {"status": status}});
        let list = json!({"rust-suites": {"suites::z": {
            "package-name": "suites", "binary-name": "z",
            "testcases": {"s::there": case("matches"), "s::left_out": case("mismatch")},
        }}});
        let mutants = [mutant(&["suites::z s::there", "suites::z s::left_out", "suites::z s::gone"])];
        let expected = ["s::left_out", "s::gone"].map(|c| format!("m: no filter selects `suites::z {c}`"));
        assert_eq!(unknown(&list, &mutants), expected);
    }
}
