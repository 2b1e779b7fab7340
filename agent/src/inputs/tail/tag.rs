//! The tag of a file: the configured one with the path in place of `*`, or with named groups of
//! `tag_regex` in place of `<name>`.

use kansoku_parsers::line::pattern::{Groups, Pattern};

/// The tag for `path`; `None` when `tag_regex` does not match, and the file is not to be read.
pub(super) fn tag_of(configured: &str, tag_regex: Option<&Pattern>, path: &str) -> Option<String> {
    let Some(regex) = tag_regex else {
        return Some(expand(configured, path));
    };
    let mut groups = Groups::default();
    if !regex.find_groups(path.as_bytes(), &mut groups) {
        return None;
    }
    let group = |name: &str| {
        let mut named = regex.names().iter().filter(|(_, own)| &**own == name);
        named.find_map(|(index, _)| groups.get(*index))
    };
    let mut tag = String::new();
    let mut rest = configured;
    while let Some((before, after)) = rest.split_once('<') {
        tag.push_str(before);
        let Some((name, after)) = after.split_once('>') else {
            tag.push('<');
            rest = after;
            continue;
        };
        match group(name).and_then(|(start, end)| path.get(start..end)) {
            Some(text) if !text.is_empty() => tag.push_str(text),
            _ => tag.push('_'),
        }
        rest = after;
    }
    tag.push_str(rest);
    Some(expand(&tag, path))
}

/// Slashes become dots, dots never stand side by side, and none stands at the ends of the path.
fn expand(configured: &str, path: &str) -> String {
    let Some((before, after)) = configured.split_once('*') else {
        return configured.to_owned();
    };
    let mut tag = before.to_owned();
    let start = tag.len();
    for c in path.chars() {
        match c {
            '*' => {}
            '/' | '\\' | ':' | '.' => {
                if tag.len() > start && !tag.ends_with('.') {
                    tag.push('.');
                }
            }
            other => tag.push(other),
        }
    }
    while tag.len() > start && tag.ends_with('.') {
        tag.pop();
    }
    tag + after
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_or_its_groups_fill_the_tag() {
        let containers = Pattern::new(
            r"(?<pod_name>[a-z0-9-]+)_(?<namespace_name>[^_]+)_(?<container_name>.+)-[0-9a-f]{3}\.log$",
        )
        .unwrap();
        let path = "/var/log/containers/web-1_shop_nginx-abc.log";
        let cases = [
            (
                "kube.*",
                None,
                Some("kube.var.log.containers.web-1_shop_nginx-abc.log"),
            ),
            ("plain", None, Some("plain")),
            (
                "kube.<namespace_name>.<pod_name>.<none>",
                Some(&containers),
                Some("kube.shop.web-1._"),
            ),
        ];
        for (configured, regex, expected) in cases {
            assert_eq!(tag_of(configured, regex, path).as_deref(), expected);
        }
        assert_eq!(tag_of("x", Some(&containers), "/var/log/syslog"), None);
        assert_eq!(
            tag_of("*", None, "C:\\a//b..c*.log"),
            Some("C.a.b.c.log".into())
        );
    }
}
