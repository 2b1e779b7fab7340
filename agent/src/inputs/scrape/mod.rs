//! The parts of `prometheus_scrape`: targets and their labels, pages, samples.

pub mod fetch;
pub mod label_set;
pub mod pods;
pub mod relabel;
pub mod samples;
pub mod scraper;
pub mod target;
pub mod watched;
