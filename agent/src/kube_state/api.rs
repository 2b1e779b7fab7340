//! What is asked of the API and how its answers are read.
//!
//! A page or an event is bytes in which the objects are found without reading them; each is then read,
//! reduced and dropped before the next.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::family::{Form, Kind};
use super::object::Object;
use super::table::Table;

/// Objects per page. A pod is some 10 kB, so a page is about a megabyte.
const PAGE_SIZE: u32 = 100;
/// The column with a secret's type, when the columns are not told.
const TYPE_COLUMN: usize = 1;

/// What is asked for next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask<'a> {
    /// A list, from the beginning or from where the page before ended. What the API server has in its
    /// cache is enough for the first one; a later one must not be older than what is known.
    List { next: &'a str, is_first: bool },
    /// Changes after a version, for so many seconds.
    Watch { version: &'a str, seconds: u64 },
}

/// Path and query.
#[must_use]
pub fn uri(table: &Table, ask: Ask<'_>) -> String {
    let kind = table.plan.kind;
    let mut uri = kind.api.to_owned();
    if kind.is_namespaced && !table.namespace.is_empty() {
        uri = format!("{uri}/namespaces/{}", encoded(&table.namespace));
    }
    uri = format!("{uri}/{}", kind.resource);
    match ask {
        // A cache knows no pages, so that only the pods of a node are asked of it.
        Ask::List { is_first: true, .. } if !table.field_selector.is_empty() => {
            uri.push_str("?resourceVersion=0");
        }
        Ask::List { next, .. } => {
            uri = format!("{uri}?limit={PAGE_SIZE}");
            if !next.is_empty() {
                uri = format!("{uri}&continue={}", encoded(next));
            }
        }
        Ask::Watch { version, seconds } => {
            let version = encoded(version);
            uri = format!(
                "{uri}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={version}"
            );
        }
    }
    if !table.field_selector.is_empty() {
        uri = format!("{uri}&fieldSelector={}", encoded(&table.field_selector));
    }
    uri
}

/// The form that is asked for.
#[must_use]
pub fn accept(kind: &Kind, is_watch: bool) -> &'static str {
    match (kind.form, is_watch) {
        (Form::Whole, _) => "application/json",
        (Form::Metadata, false) => {
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        }
        (Form::Metadata, true) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        (Form::Table, _) => "application/json;as=Table;g=meta.k8s.io;v=v1",
    }
}

fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A list, or a page of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "'de: 'a"))]
pub struct Page<'a> {
    pub metadata: PageMetadata,
    items: Option<Vec<&'a RawValue>>,
    /// Of a table, as is the next.
    rows: Option<Vec<&'a RawValue>>,
    #[serde(rename = "columnDefinitions")]
    columns: Option<Vec<Column>>,
}

/// Where a list stands.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PageMetadata {
    pub resource_version: String,
    /// What to ask for the next page; empty after the last one.
    #[serde(rename = "continue")]
    pub next: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Column {
    name: String,
}

#[derive(Debug, Deserialize)]
struct Row {
    cells: Vec<Value>,
    object: Object,
}

impl<'a> Page<'a> {
    /// Finds the objects of a page.
    ///
    /// # Errors
    /// When it is no list.
    pub fn parse(body: &'a [u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(body)
    }

    /// Reads one object after the other; those that cannot be read are errors.
    pub fn objects(&self) -> impl Iterator<Item = serde_json::Result<Object>> {
        let columns = self.columns.as_deref().unwrap_or_default();
        let of_type = columns.iter().position(|c| c.name == "Type");
        let items = self.items.iter().flatten();
        let items = items.map(|item| serde_json::from_str(item.get()));
        let rows = self.rows.iter().flatten().map(move |row| {
            let row: Row = serde_json::from_str(row.get())?;
            let cell = row.cells.get(of_type.unwrap_or(TYPE_COLUMN));
            let kind = cell.and_then(Value::as_str).unwrap_or_default().to_owned();
            Ok(Object { kind, ..row.object })
        });
        items.chain(rows)
    }
}

/// What a watch tells.
#[derive(Debug)]
pub enum Event {
    Applied(Object),
    Deleted(Object),
    /// Nothing happened up to this version.
    Bookmark(String),
    /// The watch is over.
    Failed {
        code: u64,
        message: String,
    },
}

impl Event {
    /// Reads a line of a watch.
    ///
    /// # Errors
    /// When it is no event.
    pub fn parse(line: &[u8], form: Form) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Shape<'a> {
            #[serde(rename = "type", borrow)]
            kind: Cow<'a, str>,
            #[serde(borrow)]
            object: &'a RawValue,
        }
        let shape: Shape<'_> = serde_json::from_slice(line)?;
        let text = shape.object.get();
        if shape.kind == "ERROR" {
            let status: Value = serde_json::from_str(text)?;
            return Ok(Self::Failed {
                code: status["code"].as_u64().unwrap_or(0),
                message: status["message"].as_str().unwrap_or_default().to_owned(),
            });
        }
        let object = match form {
            Form::Whole | Form::Metadata => serde_json::from_str(text)?,
            Form::Table => {
                let page = Page::parse(text.as_bytes())?;
                let mut object = page.objects().next().transpose()?.unwrap_or_default();
                // A bookmark may have no row.
                if object.metadata.resource_version.is_empty() {
                    object.metadata.resource_version = page.metadata.resource_version;
                }
                object
            }
        };
        Ok(match &*shape.kind {
            "DELETED" => Self::Deleted(object),
            "BOOKMARK" => Self::Bookmark(object.metadata.resource_version),
            _ => Self::Applied(object),
        })
    }
}
