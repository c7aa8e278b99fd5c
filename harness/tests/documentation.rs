//! What the documentation tells people to type or to write works as it is.

use harness_model::plan;
use harness_model::profile::{self, fixtures_dir};

#[test]
fn the_profile_in_the_documentation_can_be_planned() {
    let page = fixtures_dir().join("../docs/profiles.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let block = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine.yaml");
    std::fs::write(&path, block).unwrap();
    let loaded = profile::load(&fixtures_dir(), path.to_str().unwrap(), &[]).unwrap();
    let planned = plan::derive(&loaded).unwrap();
    assert_eq!(planned.clusters.len(), 3);
}
