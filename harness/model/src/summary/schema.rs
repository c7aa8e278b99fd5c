//! The JSON schema of the summary.

use crate::summary::Summary;

/// Returns the schema of [`Summary`] as JSON text, for `fixtures/schemas/summary.json`.
pub fn summary_json() -> String {
    let schema = schemars::schema_for!(Summary);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema must be serialisable");
    text.push('\n');
    text
}
