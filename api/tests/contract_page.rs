//! Holds `docs/bring-your-own.md` to the frames and the custom resources of this crate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn page() -> String {
    read("../docs/bring-your-own.md")
}

/// The text between backticks, in order.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Fields and numbers by message; those of a `oneof` are the message's own.
fn messages(proto: &str) -> BTreeMap<String, BTreeSet<(String, u32)>> {
    let mut messages: BTreeMap<String, BTreeSet<(String, u32)>> = BTreeMap::new();
    let mut blocks: Vec<(&str, &str)> = Vec::new();
    for line in proto.lines().map(|line| line.split("//").next().unwrap_or_default().trim()) {
        let words: Vec<&str> = line.split([' ', ';']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [kind @ ("message" | "oneof" | "enum" | "service"), name, "{"] => blocks.push((kind, name)),
            ["}"] => drop(blocks.pop()),
            [.., name, "=", number]
                if blocks.last().is_some_and(|(kind, _)| ["message", "oneof"].contains(kind)) =>
            {
                let (_, message) = blocks.iter().rev().find(|(kind, _)| *kind == "message").unwrap();
                let field = ((*name).to_owned(), number.parse().unwrap());
                messages.entry((*message).to_owned()).or_default().insert(field);
            }
            _ => {}
        }
    }
    messages
}

#[test]
fn the_page_has_every_field_of_every_message_with_its_number() {
    let page = page();
    let mut documented: BTreeMap<String, BTreeSet<(String, u32)>> = BTreeMap::new();
    let (_, section) = page.split_once("| message | fields and their numbers |").unwrap();
    for row in section.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let field = |text: &str| {
            let (name, number) = text.trim().strip_prefix('`').unwrap().split_once("` ").unwrap();
            (name.to_owned(), number.parse().unwrap())
        };
        let fields = cells[1].split(',').map(field).collect();
        documented.insert(quoted(cells[0]).next().unwrap().to_owned(), fields);
    }
    let wire = messages(&read("proto/bigfleet.proto"));
    assert!(wire["CapacityNeed"].contains(&("group".to_owned(), 9)), "{wire:?}");
    assert!(wire["OperatorMessage"].contains(&("rollup".to_owned(), 2)), "{wire:?}");
    assert_eq!(documented, wire);
}

#[test]
fn the_page_has_every_field_of_the_resources_that_are_read() {
    let page = page();
    for (crd, heading) in [("capacityrequests", "### CapacityRequest"), ("upcomingnodes", "### UpcomingNode")]
    {
        let (_, section) = page.split_once(heading).unwrap();
        let table = section.split("\n###").next().unwrap().lines().filter_map(|l| l.strip_prefix("| `"));
        let first_cells = table.map(|row| format!("`{}", row.split(" |").next().unwrap()));
        let documented: BTreeSet<String> =
            first_cells.flat_map(|cell| quoted(&cell).map(str::to_owned).collect::<Vec<_>>()).collect();
        let (_, crd) = api::crds::all().into_iter().find(|(name, _)| *name == crd).unwrap();
        let crd = serde_json::to_value(crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let fields = |part: &str| -> Vec<String> {
            let known = schema[part]["properties"].as_object().map(|m| m.keys().cloned().collect::<Vec<_>>());
            known.unwrap_or_default().into_iter().map(|field| format!("{part}.{field}")).collect()
        };
        let known: BTreeSet<String> = [fields("spec"), fields("status")].concat().into_iter().collect();
        assert!(known.contains("status.phase"), "{known:?}");
        assert_eq!(documented, known, "{heading}");
    }
}
