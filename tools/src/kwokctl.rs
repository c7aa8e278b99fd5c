//! kwokctl, for the clusters that `cargo xtask bench --kwokctl` compares ours with.

use std::path::PathBuf;

use crate::{
    Options,
    error::Error,
    pins::{Pins, module},
    provision::ensure_pins,
};

/// Finds the pinned kwokctl in the cache, or builds it: a minute or two the first time, milliseconds afterwards.
///
/// It is not one of the programs of a control plane: they, and the identity of their set, are the same with and without
/// it.
///
/// # Errors
/// [`Error`]; each says what is missing and what to do.
pub fn ensure(options: &Options) -> Result<PathBuf, Error> {
    Ok(ensure_pins(&pins()?, &options.beside_the_set())?.path("kwokctl").to_owned())
}

fn pins() -> Result<Pins, Error> {
    let kwokctl = module(
        "kwokctl",
        "sigs.k8s.io/kwok",
        include_str!("../../fixtures/controlplane/kwokctl/go.mod"),
        include_str!("../../fixtures/controlplane/kwokctl/go.sum"),
        &[("kwokctl", "sigs.k8s.io/kwok/cmd/kwokctl")],
    )?;
    Ok(Pins { modules: vec![kwokctl], artifacts: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_of_the_same_version_as_kwok_and_of_a_set_of_its_own() {
        let (own, set) = (pins().unwrap(), Pins::embedded().unwrap());
        let kwok = set.modules.iter().find(|module| module.name == "kwok").unwrap();
        assert_eq!(own.modules[0].version, kwok.version);
        assert!(set.tools().iter().all(|(tool, _)| tool.name != "kwokctl"));
    }
}
