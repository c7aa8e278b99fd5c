//! Checks a parsed document against the schema of its type, so that every problem names its key.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::error::Problem;
use super::span::Span;

/// Returns the problems of `document` as a `T`: unknown keys (with the nearest known key), wrong types, invalid words.
pub fn check<T: JsonSchema>(document: &Value) -> Vec<Problem> {
    let settings = SchemaSettings::default().with(|s| s.inline_subschemas = true);
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let mut problems = Vec::new();
    walk(document, schema.as_value(), "", &mut problems);
    problems
}

fn walk(value: &Value, schema: &Value, path: &str, problems: &mut Vec<Problem>) {
    let allowed = words(schema);
    if !allowed.is_empty() {
        return check_word(value, &allowed, path, problems);
    }
    if value.is_null() && nullable(schema) {
        return;
    }
    let schema = not_null(schema);
    match value {
        // A foreign document, which is checked by the program that reads it.
        Value::Object(_) if schema.get("additionalProperties") == Some(&Value::Bool(true)) => {}
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let others = schema.get("additionalProperties").filter(|s| s.is_object());
            if properties.is_none() && others.is_none() {
                return problems.push(Problem::new(path, "takes a single value, not a section"));
            }
            for (key, inner) in map {
                let inner_path = join(path, key);
                match (properties.and_then(|p| p.get(key)), others) {
                    (Some(schema), _) | (None, Some(schema)) => walk(inner, schema, &inner_path, problems),
                    (None, None) => {
                        let known = properties.into_iter().flat_map(|p| p.keys().map(String::as_str));
                        problems.push(Problem::new(&inner_path, unknown("key", known, key)));
                    }
                }
            }
        }
        Value::Array(items) => match schema.get("items") {
            Some(item) => {
                for (i, inner) in items.iter().enumerate() {
                    walk(inner, item, &format!("{path}[{i}]"), problems);
                }
            }
            None => problems.push(Problem::new(path, "takes a single value, not a list")),
        },
        scalar => check_scalar(scalar, schema, path, problems),
    }
}

fn check_scalar(value: &Value, schema: &Value, path: &str, problems: &mut Vec<Problem>) {
    let types = schema.get("type");
    let wants = |name: &str| match types {
        Some(Value::String(t)) => t == name,
        Some(Value::Array(ts)) => ts.iter().any(|t| t == name),
        _ => false,
    };
    let message = match value {
        Value::Number(n) if wants("integer") => {
            let unsigned =
                schema.get("format").and_then(Value::as_str).is_some_and(|f| f.starts_with("uint"));
            match n.as_i64() {
                Some(i) if unsigned && i < 0 => Some(format!("is {n}, but must not be negative")),
                Some(i) if unsigned && schema["format"] == "uint32" && i > i64::from(u32::MAX) => {
                    Some(format!("is {n}, which is beyond {}", u32::MAX))
                }
                None if !n.is_u64() => Some(format!("is {n}, but must be a whole number")),
                _ => None,
            }
        }
        Value::Number(_) if wants("number") => None,
        Value::Number(n) if wants("string") && schema.get("format").is_none_or(|f| f != "span") => {
            Some(format!("is the number {n}; put it in quotes"))
        }
        Value::String(_) if wants("string") => match schema.get("format").and_then(Value::as_str) {
            Some("span") => value.as_str().and_then(|s| s.parse::<Span>().err()),
            _ => None,
        },
        Value::Bool(_) if wants("boolean") => None,
        Value::Null if wants("null") => None,
        _ if schema.get("format").is_some_and(|f| f == "span") => {
            Some(format!("is {value}; a length of time needs a unit, for example {value}s"))
        }
        _ => Some(format!("is {value}, but takes {}", describe(schema))),
    };
    problems.extend(message.map(|m| Problem::new(path, m)));
}

fn describe(schema: &Value) -> String {
    match schema.get("type") {
        Some(Value::String(t)) => a(t).to_owned(),
        Some(Value::Array(ts)) => {
            let names: Vec<&str> =
                ts.iter().filter_map(Value::as_str).filter(|t| *t != "null").map(a).collect();
            names.join(" or ")
        }
        _ => "something else".into(),
    }
}

fn a(json_type: &str) -> &str {
    match json_type {
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "string" => "a text",
        "object" => "a section",
        "array" => "a list",
        other => other,
    }
}

/// Returns the words that an enumeration allows; empty if the schema is not an enumeration.
fn words(schema: &Value) -> Vec<&str> {
    let plain = schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let branches = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let documented = branches.flat_map(|b| {
        let many = b.get("enum").and_then(Value::as_array).into_iter().flatten();
        many.chain(b.get("const")).filter_map(Value::as_str)
    });
    plain.chain(documented).collect()
}

fn check_word(value: &Value, allowed: &[&str], path: &str, problems: &mut Vec<Problem>) {
    match value.as_str() {
        Some(word) if allowed.contains(&word) => {}
        Some(word) => {
            problems.push(Problem::new(path, unknown("value", allowed.iter().copied(), word)));
        }
        None => problems.push(Problem::new(path, format!("is {value}, but takes {}", allowed.join(" or ")))),
    }
}

/// Returns the schema behind an optional value: the branch of `anyOf` that is not null.
fn not_null(schema: &Value) -> &Value {
    let branches = schema.get("anyOf").and_then(Value::as_array);
    branches.and_then(|b| b.iter().find(|s| s.get("type").is_none_or(|t| t != "null"))).unwrap_or(schema)
}

fn nullable(schema: &Value) -> bool {
    let branches = schema.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    branches.chain([schema]).any(|s| match s.get("type") {
        Some(Value::Array(types)) => types.iter().any(|t| t == "null"),
        Some(t) => t == "null",
        None => false,
    })
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Returns `is not a known key; did you mean ...` with the nearest known word, or with all of them.
pub fn unknown<'a>(what: &str, known: impl Iterator<Item = &'a str>, given: &str) -> String {
    let known: Vec<&str> = known.collect();
    let near = known
        .iter()
        .map(|k| (strsim::jaro_winkler(&k.to_lowercase(), &given.to_lowercase()), *k))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((score, nearest)) if score >= 0.7 => {
            format!("`{given}` is not a known {what}; did you mean `{nearest}`?")
        }
        _ => format!("`{given}` is not a known {what}; known: {}", known.join(", ")),
    }
}
