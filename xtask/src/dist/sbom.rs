//! The list of what is in the program, as CycloneDX 1.5.

use anyhow::{Context, Result};
use cyclonedx_bom::{
    external_models::{date_time::DateTime, normalized_string::NormalizedString, uri::Purl},
    models::{
        bom::Bom,
        component::{Classification, Component, Components},
        dependency::{self, Dependencies as Needs},
        license::{LicenseChoice, Licenses},
        metadata::Metadata,
    },
};

use super::{
    dependencies::{Dependencies, Dependency, Key},
    release::{NAME, Release},
};

/// The document as JSON.
pub(super) fn write(release: &Release, dependencies: &Dependencies) -> Result<Vec<u8>> {
    let mut components = Vec::new();
    let mut needs = Vec::new();
    let mut product = None;
    for (key, dependency) in &dependencies.0 {
        let mut component = component(key, dependency)?;
        if key.0 == NAME {
            component.component_type = Classification::Application;
            product = Some(component);
        } else {
            components.push(component);
        }
        let dependencies = dependency.needs.iter().map(reference).collect();
        needs.push(dependency::Dependency { dependency_ref: reference(key), dependencies });
    }
    let metadata = Metadata {
        timestamp: Some(DateTime::try_from(release.time()?)?),
        component: Some(product.context("the program is not among its own parts")?),
        ..Metadata::default()
    };
    let bom = Bom {
        // A random number would make two documents of the same program differ.
        serial_number: None,
        metadata: Some(metadata),
        components: Some(Components(components)),
        dependencies: Some(Needs(needs)),
        ..Bom::default()
    };
    let mut json = Vec::new();
    bom.output_as_json_v1_5(&mut json)?;
    Ok(json)
}

fn component(key: &Key, dependency: &Dependency) -> Result<Component> {
    let (name, version) = key;
    let mut component =
        Component::new(Classification::Library, name, version, Some(reference(key)));
    component.description = dependency.description.as_deref().map(NormalizedString::new);
    component.licenses = dependency.licence.as_deref().map(|licence| {
        // Some packages still separate alternatives by a slash, as cargo once asked for.
        Licenses(vec![LicenseChoice::expression(&licence.replace('/', " OR "))])
    });
    if dependency.is_registered {
        component.purl = Some(Purl::new("cargo", name, version)?);
    }
    Ok(component)
}

fn reference((name, version): &Key) -> String {
    format!("{name}@{version}")
}

#[cfg(test)]
mod tests {
    use cyclonedx_bom::validation::Validate;
    use serde_json::Value;

    use super::*;
    use crate::dist::release;

    #[test]
    fn the_list_is_valid_and_the_same_each_time() {
        let release = release::sample();
        let dependencies = Dependencies::of_program(&release).unwrap();
        let json = write(&release, &dependencies).unwrap();
        let bom = Bom::parse_from_json(json.as_slice()).unwrap();
        assert!(bom.validate().passed(), "{:?}", bom.validate());
        assert!(json == write(&release, &dependencies).unwrap());

        let json: Value = serde_json::from_slice(&json).unwrap();
        let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str);
        assert_eq!(text("/metadata/component/name"), Some("governd"));
        assert_eq!(text("/metadata/timestamp"), Some("2023-11-14T22:13:20Z"));
        let ring =
            json["components"].as_array().unwrap().iter().find(|part| part["name"] == "ring");
        let purl = ring.and_then(|ring| ring["purl"].as_str()).unwrap();
        assert!(purl.starts_with("pkg:cargo/ring@"), "{purl}");
        let needs = json["dependencies"].as_array().unwrap();
        let own = needs.iter().find(|need| need["ref"].as_str().unwrap().starts_with("governd@"));
        let own = own.unwrap()["dependsOn"].to_string();
        assert!(own.contains("governd-ebpf@") && own.contains("ring@"), "{own}");
    }
}
