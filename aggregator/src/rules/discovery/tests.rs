//! Sections about finding Alertmanagers: what they give and what they refuse.

use kansoku_parsers::config::yaml::tree;

use super::*;

fn read(text: &str) -> Result<Vec<Source>, String> {
    let roots = tree::parse("/etc/k/k.yml", text.as_bytes(), &mut Vec::new()).unwrap();
    let mut sources = Vec::new();
    for (key, node) in roots[0].pairs().unwrap() {
        check_supported(&key.text, node).map_err(|e| e.to_string())?;
        for item in node.items().unwrap() {
            sources.push(Source::read(&key.text, item).map_err(|e| e.to_string())?);
        }
    }
    Ok(sources)
}

#[test]
fn written_targets_have_their_labels() {
    let sources = read("static_configs: [{targets: ['a:1', 'b:2'], labels: {zone: z}}]").unwrap();
    let found = sources[0].first();
    let shown: Vec<_> = found
        .iter()
        .map(|s| (s.get(ADDRESS), s.get("zone")))
        .collect();
    assert_eq!(shown, [("a:1", "z"), ("b:2", "z")]);
}

#[test]
fn files_are_looked_at_and_wrong_ones_keep_what_they_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("am.json");
    std::fs::write(&path, r#"[{"targets": ["a:1"], "labels": {"x": "y"}}]"#).unwrap();
    let text = format!(
        "file_sd_configs: [{{files: ['{}/*.json']}}]",
        folder.path().display()
    );
    let source = read(&text).unwrap().remove(0);
    let found = source.first();
    assert_eq!(found[0].get(ADDRESS), "a:1");
    assert_eq!(found[0].get("__meta_filepath"), path.to_string_lossy());
    std::fs::write(&path, "[{targets: [http://a]}]").unwrap();
    assert!(source.first().is_empty());
}

#[test]
fn mistakes_name_their_field() {
    for (text, expected) in [
        (
            "consul_sd_configs: [{}]",
            "'consul_sd_configs' is not spoken",
        ),
        ("sigv4: [{}]", "not signed for AWS"),
        (
            "static_configs: [{targets: ['http://a']}]",
            "not a valid hostname",
        ),
        ("file_sd_configs: [{}]", "at least one path name"),
        ("file_sd_configs: [{files: [a.txt]}]", "/etc/k/a.txt"),
        (
            "file_sd_configs: [{files: [a.yml], refresh_interval: 1ms}]",
            "at least 1s",
        ),
        ("http_sd_configs: [{url: 'ftp://a'}]", "URL scheme must be"),
        ("dns_sd_configs: [{}]", "at least one SRV record name"),
        (
            "dns_sd_configs: [{names: [a], type: A}]",
            "a port is required",
        ),
        (
            "dns_sd_configs: [{names: [a], type: TXT}]",
            "invalid DNS-SD records type TXT",
        ),
        ("kubernetes_sd_configs: [{}]", "role missing"),
        (
            "kubernetes_sd_configs: [{role: node}]",
            "role 'node' is not spoken",
        ),
        (
            "kubernetes_sd_configs: [{role: pod, selectors: [{role: service, label: a=b}]}]",
            "does not look at 'service'",
        ),
        (
            "kubernetes_sd_configs: [{role: pod, attach_metadata: {node: true}}]",
            "labels of the node are not attached",
        ),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(read("kubernetes_sd_configs: [{role: endpoints, namespaces: {names: [m]}, selectors: [{role: endpoints, label: a=b}, {role: pod, field: a=b}]}]").is_ok());
}
