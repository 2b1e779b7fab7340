//! The nodes of an upstream as settings of their own: what a node does not say, the output says.

use kansoku_model::{ConfigError, Settings};

use crate::OutputEnvironment;

/// One set of settings per node of the `upstream` that the output names, or the output's own.
///
/// # Errors
/// When there is no such upstream or it has no node.
pub fn nodes(
    settings: &Settings,
    environment: &OutputEnvironment,
) -> Result<Vec<Settings>, ConfigError> {
    let Some(named) = settings.get("upstream") else {
        return Ok(vec![settings.clone()]);
    };
    let upstream = environment.upstreams.get(&named.value).ok_or_else(|| {
        let message = format!("no upstream '{}' was read", named.value);
        ConfigError::new(&named.place, message)
    })?;
    if upstream.nodes.is_empty() {
        return Err(ConfigError::new(&named.place, "the upstream has no node"));
    }
    let merged = upstream.nodes.iter().map(|node| {
        let mut own = settings.clone();
        own.settings
            .retain(|s| node.get(&s.key).is_none() && s.key != "upstream");
        let of_node = node.settings.iter().filter(|s| s.key != "name");
        own.settings.extend(of_node.cloned());
        own
    });
    Ok(merged.collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::Upstream;

    #[test]
    fn nodes_say_more_than_the_output() {
        let mut environment = OutputEnvironment::default();
        let upstream = Upstream {
            name: "balance".into(),
            nodes: vec![
                Settings::of("node", &[("name", "a"), ("host", "h1"), ("port", "1")]),
                Settings::of("node", &[("name", "b"), ("host", "h2"), ("tls", "on")]),
            ],
        };
        environment
            .upstreams
            .insert("up.conf".into(), Arc::new(upstream));
        let pairs = [("upstream", "up.conf"), ("port", "9200"), ("index", "x")];
        let found = nodes(&Settings::of("es", &pairs), &environment).expect("valid");
        let text = |n: usize, key: &str| found[n].text(key, "-").to_owned();
        assert_eq!(
            [text(0, "host"), text(0, "port"), text(0, "index")],
            ["h1", "1", "x"]
        );
        assert_eq!(
            [text(1, "host"), text(1, "port"), text(1, "tls")],
            ["h2", "9200", "on"]
        );
        assert_eq!(text(0, "name"), "-");
        let other = Settings::of("es", &[("upstream", "none")]);
        assert!(nodes(&other, &environment).is_err());
    }
}
