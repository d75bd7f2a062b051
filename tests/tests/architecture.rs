//! Holds the directions between crates true: arrows point down only, and the four crates of one level never import one
//! another.

use std::collections::BTreeMap;
use std::process::Command;

/// The crates that each may depend on. What is not listed here is not allowed.
const ALLOWED: &[(&str, &[&str])] = &[
    ("alluvium-common", &[]),
    ("alluvium-protocol", &[]),
    ("alluvium-protocol-generator", &[]),
    ("alluvium-segment", &["alluvium-common"]),
    ("alluvium-table", &["alluvium-common", "alluvium-segment"]),
    (
        "alluvium-metadata",
        &["alluvium-common", "alluvium-segment"],
    ),
    ("alluvium-cache", &["alluvium-common", "alluvium-segment"]),
    (
        "alluvium-ingest",
        &[
            "alluvium-common",
            "alluvium-segment",
            "alluvium-metadata",
            "alluvium-cache",
        ],
    ),
    (
        "alluvium-query",
        &[
            "alluvium-common",
            "alluvium-segment",
            "alluvium-metadata",
            "alluvium-cache",
            "alluvium-table",
        ],
    ),
    (
        "alluvium-compactor",
        &[
            "alluvium-common",
            "alluvium-segment",
            "alluvium-metadata",
            "alluvium-table",
        ],
    ),
    (
        "alluvium",
        &[
            "alluvium-common",
            "alluvium-segment",
            "alluvium-protocol",
            "alluvium-metadata",
            "alluvium-cache",
            "alluvium-ingest",
            "alluvium-query",
            "alluvium-compactor",
            "alluvium-table",
        ],
    ),
];

/// Crates that see everything and that nothing sees.
const OUTSIDE: &[&str] = &["alluvium-tests", "alluvium-bench"];

/// Heavy engines that the log must never compile: they belong into crates of their own.
const KEPT_OUT: &[&str] = &["arrow", "parquet", "datafusion", "iceberg", "rdkafka"];

/// The crates of their own.
const KEPT_IN: &[(&str, &str)] = &[("alluvium-table", "parquet")];

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let of = package["dependencies"].as_array().expect("dependencies");
            // Tests may use what they like; product code may not.
            let product = of.iter().filter(|dependency| dependency["kind"] != "dev");
            (
                text(&package["name"]),
                product
                    .map(|dependency| text(&dependency["name"]))
                    .collect(),
            )
        })
        .collect()
}

#[test]
fn arrows_between_crates_point_down_only() {
    let dependencies = dependencies();
    for (package, uses) in &dependencies {
        if OUTSIDE.contains(&package.as_str()) {
            continue;
        }
        let allowed = ALLOWED
            .iter()
            .find_map(|(name, allowed)| (name == package).then_some(*allowed))
            .unwrap_or_else(|| {
                panic!("{package} has no place in the architecture: add it to this table")
            });
        for used in uses.iter().filter(|used| dependencies.contains_key(*used)) {
            assert!(
                allowed.contains(&used.as_str()),
                "{package} must not depend on {used}"
            );
        }
    }
    for (package, _) in ALLOWED {
        assert!(
            dependencies.contains_key(*package),
            "{package} is gone: take it out of this table"
        );
    }
}

#[test]
fn the_log_never_compiles_the_heavy_engines() {
    for (package, uses) in dependencies() {
        if OUTSIDE.contains(&package.as_str()) {
            continue;
        }
        for heavy in KEPT_OUT {
            if KEPT_IN.contains(&(package.as_str(), *heavy)) {
                continue;
            }
            assert!(
                !uses.iter().any(|used| used == heavy),
                "{package} must not depend on {heavy}"
            );
        }
    }
}
