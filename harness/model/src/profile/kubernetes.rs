//! Kubernetes' own rules for names, label values and requests, so that values that the apiserver would refuse or round
//! are refused before anything starts. Source: `k8s.io/apimachinery/pkg/util/validation` and
//! `k8s.io/kubernetes/pkg/apis/core/validation`.
//!
//! Every check returns what is wrong and what would be right, worded to follow the name of a key.

use std::collections::BTreeMap;

use api::quantity::Amount;

/// Longest DNS-1123 label, and longest label value.
pub const LABEL_MAX: usize = 63;
/// Longest DNS-1123 subdomain.
const SUBDOMAIN_MAX: usize = 253;
/// Resources that a container may ask for without a domain in the name, in addition to huge pages.
const NATIVE: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];
const HUGE_PAGES: &str = "hugepages-";

/// Checks for a DNS-1123 label: lower-case letters, digits and `-`, with a letter or digit at both ends.
///
/// # Errors
/// Returns what is wrong with it.
pub fn dns_label(text: &str) -> Result<(), String> {
    not_longer(text, LABEL_MAX)?;
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.is_empty() || !text.chars().all(inside) || text.starts_with('-') || text.ends_with('-') {
        return Err(format!(
            "`{text}` is not a name in Kubernetes; use a-z, 0-9 and `-`, with a letter or digit at both ends"
        ));
    }
    Ok(())
}

fn dns_subdomain(text: &str) -> Result<(), String> {
    not_longer(text, SUBDOMAIN_MAX)?;
    text.split('.').try_for_each(dns_label)
}

/// Checks for a label value that is not empty: letters, digits, `-`, `_` and `.`, with a letter or digit at both ends.
///
/// # Errors
/// Returns what is wrong with it.
pub fn label_value(text: &str) -> Result<(), String> {
    not_longer(text, LABEL_MAX)?;
    if !is_word(text) {
        return Err(format!(
            "`{text}` is not the value of a label; use letters, digits, `-`, `_` and `.`, with a letter or digit at both \
             ends"
        ));
    }
    Ok(())
}

fn not_longer(text: &str, max: usize) -> Result<(), String> {
    if text.len() > max {
        return Err(format!("`{text}` has {} characters, but at most {max} are allowed", text.len()));
    }
    Ok(())
}

fn is_word(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let at_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.chars().all(inside) && at_end(text.chars().next()) && at_end(text.chars().next_back())
}

/// Checks the name of a resource that a container may ask for.
///
/// # Errors
/// Returns what is wrong with it.
pub fn resource_name(name: &str) -> Result<(), String> {
    let Some((domain, short)) = name.split_once('/') else {
        if NATIVE.contains(&name) {
            return Ok(());
        }
        if let Some(size) = name.strip_prefix(HUGE_PAGES) {
            return page_size(size).map(drop);
        }
        let hint = super::keys::unknown("resource", NATIVE.into_iter().chain(["hugepages-2Mi"]), name);
        return Err(format!("{hint} (all others need a domain, for example nvidia.com/gpu)"));
    };
    dns_subdomain(domain)?;
    if domain.starts_with("requests.") {
        return Err("begins with `requests.`, which Kubernetes keeps for quotas".to_owned());
    }
    not_longer(short, LABEL_MAX)?;
    match is_word(short) {
        true => Ok(()),
        false => Err(format!("`{short}` is not a resource's name; write for example nvidia.com/gpu")),
    }
}

fn page_size(text: &str) -> Result<Amount, String> {
    match text.parse::<Amount>() {
        Ok(size) if size.milli() > 0 && size.milli() % 1000 == 0 => Ok(size),
        _ => Err(format!("`{text}` is not the size of a huge page; write for example hugepages-2Mi")),
    }
}

/// Checks the quantity of one resource that a container asks for, with at most `density` such containers on a machine.
///
/// # Errors
/// Returns what the apiserver would refuse or round.
pub fn request(name: &str, quantity: &str, density: u32) -> Result<(), String> {
    let amount: Amount = quantity.parse().map_err(|e: api::quantity::ParseError| e.to_string())?;
    if amount.is_zero() || amount.is_negative() {
        return Err(format!("is {quantity}, but must be more than 0"));
    }
    if !amount.is_whole_milli() {
        return Err(format!("is {quantity}; Kubernetes rounds anything finer than a thousandth (1m) up"));
    }
    let is_whole = amount.milli() % 1000 == 0;
    let is_bytes = matches!(name, "memory" | "ephemeral-storage") || name.starts_with(HUGE_PAGES);
    if !is_whole && is_bytes {
        let meant = match quantity.strip_suffix('m') {
            Some(number) => format!("; did you mean {number}Mi?"),
            None => "; write for example 512Mi".to_owned(),
        };
        return Err(format!("is {quantity}, a fraction of a byte (`m` is a thousandth){meant}"));
    }
    if !is_whole && name.contains('/') {
        return Err(format!("is {quantity}, but a resource with a domain is counted in whole units"));
    }
    if let Some(size) = name.strip_prefix(HUGE_PAGES).and_then(|size| page_size(size).ok())
        && amount.milli() % size.milli() != 0
    {
        return Err(format!("is {quantity}, which is not a whole number of its pages"));
    }
    // Kubernetes counts thousandths of CPUs, and whole units of everything else, in 64 bits.
    let counted = if name == "cpu" { amount.milli() } else { amount.milli() / 1000 };
    if counted.saturating_mul(i128::from(density)) > i128::from(i64::MAX) {
        return Err(format!("is {quantity}; {density} times that is beyond what Kubernetes can count"));
    }
    Ok(())
}

/// Checks all requests of a container together.
///
/// # Errors
/// Returns what the apiserver would refuse.
pub fn requests(requests: &BTreeMap<String, String>) -> Result<(), String> {
    let has_pages = requests.keys().any(|name| name.starts_with(HUGE_PAGES));
    if has_pages && !requests.contains_key("cpu") && !requests.contains_key("memory") {
        return Err("asks for huge pages without cpu or memory, which Kubernetes refuses".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kubernetes_names() {
        let longest = "a".repeat(LABEL_MAX);
        for good in ["a", "0", "web-frontend", &longest] {
            assert_eq!(dns_label(good), Ok(()), "{good}");
        }
        for bad in ["", "Web", "web_frontend", "-a", "a-", "a.b", "a b", "ä", &format!("{longest}a")] {
            assert!(dns_label(bad).is_err(), "{bad}");
        }
        for good in ["a", "A_b.c-D", "zone-a", &longest] {
            assert_eq!(label_value(good), Ok(()), "{good}");
        }
        for bad in ["", " ", "zone a", "_a", "a.", "ä", &format!("{longest}a")] {
            assert!(label_value(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn resources_are_those_that_a_container_may_ask_for() {
        for good in ["cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "nvidia.com/gpu", "a.b/C_d.e"] {
            assert_eq!(resource_name(good), Ok(()), "{good}");
        }
        let bad =
            ["mem", "CPU", "pods", "gpu", "hugepages-", "hugepages-x", "/x", "a/", "A/b", "a/b/c", "a/b c"];
        for bad in bad.into_iter().chain(["requests.nvidia.com/gpu"]) {
            assert!(resource_name(bad).is_err(), "{bad}");
        }
        assert!(resource_name("mem").unwrap_err().contains("did you mean `memory`"));
    }

    #[test]
    fn requests_are_taken_as_they_are_or_not_at_all() {
        let good = [
            ("cpu", "250m"),
            ("cpu", "0.5"),
            ("memory", "512Mi"),
            ("memory", "1.5Gi"),
            ("memory", "1e9"),
            ("nvidia.com/gpu", "8"),
            ("hugepages-2Mi", "6Mi"),
        ];
        for (name, quantity) in good {
            assert_eq!(request(name, quantity, 100), Ok(()), "{name}: {quantity}");
        }
        let bad = [
            ("cpu", "0.5m", "rounds"),
            ("cpu", "100u", "rounds"),
            ("cpu", "0", "more than 0"),
            ("cpu", "-1", "more than 0"),
            ("cpu", "one", "not a quantity"),
            ("memory", "512m", "did you mean 512Mi"),
            ("memory", "0.5", "a fraction of a byte"),
            ("memory", "0.3Ki", "a fraction of a byte"),
            ("ephemeral-storage", "100m", "did you mean 100Mi"),
            ("nvidia.com/gpu", "500m", "whole units"),
            ("hugepages-2Mi", "3Mi", "whole number of its pages"),
            ("memory", "1E", "beyond what Kubernetes can count"),
        ];
        for (name, quantity, expected) in bad {
            let told = request(name, quantity, 100).expect_err(quantity);
            assert!(told.contains(expected), "{name}: {quantity}: {told}");
        }
        let pages = BTreeMap::from([("hugepages-2Mi".to_owned(), "2Mi".to_owned())]);
        assert!(requests(&pages).unwrap_err().contains("without cpu or memory"));
    }
}
