//! The patterns a template has compiled: the same few for every record.
//!
//! A pattern may come from a label, so the number kept is bounded; beyond it patterns are compiled
//! each time they are used.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use regex::Regex;

use crate::logql::pattern_syntax;

/// Templates name a handful of patterns; more than this come from the data.
const KEPT_MAX: usize = 32;

/// Compiled patterns by their text.
#[derive(Debug, Default)]
pub struct Regexes {
    /// Held only while a pattern is looked up or put in, never while it runs.
    kept: Mutex<HashMap<String, Regex>>,
}

impl Regexes {
    /// The compiled pattern.
    pub fn get(&self, pattern: &str) -> Result<Regex, String> {
        let lock = || self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(regex) = lock().get(pattern) {
            return Ok(regex.clone());
        }
        let regex = pattern_syntax::compile_text(pattern)?;
        let mut kept = lock();
        if kept.len() < KEPT_MAX {
            kept.insert(pattern.to_owned(), regex.clone());
        }
        Ok(regex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_kept_up_to_a_bound() {
        let regexes = Regexes::default();
        for i in 0..KEPT_MAX * 2 {
            assert!(
                regexes
                    .get(&format!("^{i}$"))
                    .unwrap()
                    .is_match(&i.to_string())
            );
            assert!(regexes.get(&format!("^{i}$")).is_ok());
        }
        assert_eq!(regexes.kept.lock().unwrap().len(), KEPT_MAX);
        assert!(regexes.get("(").is_err());
    }
}
