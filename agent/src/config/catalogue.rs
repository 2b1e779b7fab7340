//! Parsers by name, each made when it is first asked for.
//!
//! Some fifty parsers are built in and shared files define as many, but a configuration uses two or
//! three; compiled patterns take some hundred KiB each.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Makes an entry; it has succeeded once when the configuration was read.
type Make<T> = Box<dyn Fn() -> Option<T> + Send + Sync>;

/// Things by name.
pub struct Catalogue<T> {
    entries: HashMap<String, Entry<T>>,
}

struct Entry<T> {
    made: OnceLock<Option<Arc<T>>>,
    make: Make<T>,
}

impl<T> Default for Catalogue<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
        }
    }
}

impl<T> Catalogue<T> {
    /// Adds what `make` gives under a name, instead of what has that name.
    pub fn insert(&mut self, name: &str, make: impl Fn() -> Option<T> + Send + Sync + 'static) {
        let entry = Entry {
            made: OnceLock::new(),
            make: Box::new(make),
        };
        self.entries.insert(name.to_owned(), entry);
    }

    /// Forgets a name.
    pub fn remove(&mut self, name: &str) {
        self.entries.remove(name);
    }

    /// What has that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<T>> {
        let entry = self.entries.get(name)?;
        entry
            .made
            .get_or_init(|| (entry.make)().map(Arc::new))
            .clone()
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }
}

impl<T> FromIterator<(String, Arc<T>)> for Catalogue<T> {
    fn from_iter<I: IntoIterator<Item = (String, Arc<T>)>>(made: I) -> Self {
        let entry = |(name, one)| {
            let entry = Entry {
                made: OnceLock::from(Some(one)),
                make: Box::new(|| None),
            };
            (name, entry)
        };
        Self {
            entries: made.into_iter().map(entry).collect(),
        }
    }
}
