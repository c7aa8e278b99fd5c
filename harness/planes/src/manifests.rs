//! What every control plane contains before a run: CRDs, rights, flows and priority classes, as files in `fixtures`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use component::poll::{self, Look};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::{Api, Client, ResourceExt, discovery};

use super::{Error, io, verify};

/// Returns the files: CRDs first, then everything else, sorted by name within each directory.
pub(super) fn files(fixtures: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut all = Vec::new();
    for dir in ["crds", "rbac", "seed"].map(|name| fixtures.join(name)) {
        if !dir.is_dir() {
            continue;
        }
        let mut files: Vec<PathBuf> = std::fs::read_dir(&dir)
            .map_err(io("listing", &dir))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
            .collect();
        files.sort();
        all.extend(files);
    }
    all.extend(["rbac", "pod-deletion"].map(|name| fixtures.join(format!("kwok/{name}.yaml"))));
    Ok(all)
}

/// Returns the objects in a file.
pub(super) fn objects(manifest: &Path) -> Result<Vec<DynamicObject>, Error> {
    let text = std::fs::read_to_string(manifest).map_err(io("reading", manifest))?;
    serde_saphyr::from_multiple(&text).map_err(|e| Error::Usage(format!("{}: {e}", manifest.display())))
}

/// Applies the objects in a file, with these labels in addition to their own.
pub(super) async fn apply(
    client: &Client,
    manifest: &Path,
    labels: &BTreeMap<String, String>,
) -> Result<(), Error> {
    for mut object in objects(manifest)? {
        let name = object.name_any();
        let failed =
            |why: String| Error::Environment(format!("applying {name:?} of {}: {why}", manifest.display()));
        let resource = resource_of(client, &object).await.map_err(failed)?;
        let resource = resource.ok_or_else(|| failed("the apiserver does not know its kind".to_owned()))?;
        if !labels.is_empty() {
            object.labels_mut().extend(labels.clone());
        }
        api_of(client, &object, &resource)
            .patch(&name, &PatchParams::apply("e2e-seed").force(), &Patch::Apply(&object))
            .await
            .map_err(|e| failed(e.to_string()))?;
    }
    Ok(())
}

/// Returns the resource that an object belongs to; `None` if the apiserver has no such kind.
pub(super) async fn resource_of(
    client: &Client,
    object: &DynamicObject,
) -> Result<Option<ApiResource>, String> {
    let types = object.types.as_ref().ok_or("no apiVersion and kind")?;
    let gvk = GroupVersionKind::try_from(types).map_err(|e| e.to_string())?;
    match discovery::pinned_kind(client, &gvk).await {
        Ok((resource, _)) => Ok(Some(resource)),
        Err(error) if is_unknown(&error) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

fn is_unknown(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Discovery(_)) || verify::is_not_found(error)
}

/// Returns the API through which an object is reached.
pub(super) fn api_of(client: &Client, object: &DynamicObject, resource: &ApiResource) -> Api<DynamicObject> {
    match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, resource),
        None => Api::all_with(client.clone(), resource),
    }
}

/// Waits until all selected CRDs are established.
pub(super) async fn established(client: &Client, selected: &ListParams) -> Result<(), Error> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crds = &crds;
    let tick = Duration::from_millis(50);
    poll::until("all CRDs to be established", tick, verify::CEILING, || async move {
        match crds.list(selected).await {
            Err(error) => Look::NotYet(vec![error.to_string()]),
            Ok(list) => {
                let lacking: Vec<String> =
                    list.iter().filter(|crd| !is_established(crd)).map(ResourceExt::name_any).collect();
                if lacking.is_empty() { Look::Ready(()) } else { Look::NotYet(lacking) }
            }
        }
    })
    .await
    .map_err(|e| Error::Environment(e.to_string()))
}

fn is_established(crd: &CustomResourceDefinition) -> bool {
    let conditions = crd.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Established" && c.status == "True")
}
