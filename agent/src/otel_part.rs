//! The parts of an OpenTelemetry group: its resource and its scope.
//!
//! A batch holds both in the attributes of its resource, the scope's under `otel.scope.` as
//! OpenTelemetry's exporters for others name them. Here stands which attribute is of which part, and
//! its name there.

use kansoku_model::{LogBatch, Resource};

use crate::filters::record::Tree;

const SCOPE: &str = "otel.scope.";
/// What a scope has besides its attributes.
const SCOPE_FIELDS: [&str; 2] = ["name", "version"];

/// A part of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The attributes of the resource.
    Resource,
    /// The attributes of the scope.
    ScopeAttributes,
    /// The scope's name and version.
    Scope,
}

impl Part {
    /// The name that an attribute of the batch has in this part; `None` when it is of another.
    pub(crate) fn name_of(self, attribute: &str) -> Option<&str> {
        match attribute.strip_prefix(SCOPE) {
            None => (self == Self::Resource).then_some(attribute),
            Some(name) => {
                let is_field = SCOPE_FIELDS.contains(&name);
                let part = if is_field {
                    Self::Scope
                } else {
                    Self::ScopeAttributes
                };
                (self == part).then_some(name)
            }
        }
    }

    /// The attribute of the batch that has this name in the part.
    pub(crate) fn attribute_of(self, name: &str) -> String {
        match self {
            Self::Resource => name.to_owned(),
            Self::ScopeAttributes | Self::Scope => format!("{SCOPE}{name}"),
        }
    }

    /// Names and values of the part.
    pub(crate) fn pairs(self, resource: &Resource) -> Vec<(String, Tree)> {
        let attributes = resource.attributes.iter();
        let own = attributes.filter_map(|(key, value)| {
            let name = self.name_of(key)?.to_owned();
            Some((name, Tree::Text(value.clone().into_bytes())))
        });
        own.collect()
    }
}

/// The group as Fluent Bit holds it: resource and scope with their attributes.
pub(crate) fn group(resource: &Resource) -> Vec<(String, Tree)> {
    let attributes = |part: Part| ("attributes".to_owned(), Tree::Map(part.pairs(resource)));
    let mut scope = Part::Scope.pairs(resource);
    scope.push(attributes(Part::ScopeAttributes));
    let of_resource = vec![attributes(Part::Resource)];
    vec![
        ("resource".to_owned(), Tree::Map(of_resource)),
        ("scope".to_owned(), Tree::Map(scope)),
    ]
}

/// What Fluent Bit notes of a group besides: that it came as OTLP. (Its numbers within the request
/// are not kept.)
pub(crate) fn group_metadata(batch: &LogBatch) -> Vec<(String, Tree)> {
    let is_otlp = (0..batch.len().min(1)).any(|row| {
        let metadata = batch.metadata(row).and_then(Tree::read);
        matches!(metadata, Some(Tree::Map(pairs)) if pairs.iter().any(|(key, _)| key == "otlp"))
    });
    let schema = || ("schema".to_owned(), Tree::Text(b"otlp".to_vec()));
    is_otlp.then(schema).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_belong_to_one_part() {
        for (attribute, part, name) in [
            ("service.name", Part::Resource, "service.name"),
            ("otel.scope.name", Part::Scope, "name"),
            ("otel.scope.version", Part::Scope, "version"),
            ("otel.scope.lib.name", Part::ScopeAttributes, "lib.name"),
        ] {
            for other in [Part::Resource, Part::ScopeAttributes, Part::Scope] {
                let expected = (other == part).then_some(name);
                assert_eq!(other.name_of(attribute), expected, "{attribute}");
            }
            assert_eq!(part.attribute_of(name), attribute);
        }
    }
}
