//! Whether the shard acts, by its own answer.

use api::actuation::Actuation;
use component::poll::Look;

/// Reads an answer of `GET /actuation`.
pub fn look(answer: &str) -> Look<(), String> {
    match serde_json::from_str(answer) {
        Ok(Actuation { paused: false }) => Look::Ready(()),
        Ok(Actuation { paused: true }) => Look::NotYet("it is paused".to_owned()),
        Err(error) => Look::Never(format!(
            "GET /actuation must answer {{\"paused\": true}} or {{\"paused\": false}}, and answered {answer:?} ({error}); \
             see docs/bring-your-own.md"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_field_decides() {
        assert!(matches!(look(r#"{"paused":false}"#), Look::Ready(())));
        assert!(matches!(look(r#"{"paused":true}"#), Look::NotYet(_)));
        let more = r#"{"paused":true,"reason":"a false alarm","dryRun":false}"#;
        assert!(matches!(look(more), Look::NotYet(_)), "the word in another field says nothing");
        assert!(matches!(look(r#"{"paused":false,"since":"12:00"}"#), Look::Ready(())));
        let Look::Never(reason) = look("false") else { panic!("no such answer was agreed on") };
        assert!(reason.contains("bring-your-own"), "{reason}");
    }
}
