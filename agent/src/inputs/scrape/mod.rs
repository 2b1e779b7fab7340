//! The parts of `prometheus_scrape`: targets and their labels, pages, samples.

pub mod fetch;
pub mod pods;
pub mod samples;
pub mod scraper;
pub mod target;
pub mod watched;

pub use kansoku_parsers::relabel;
pub use kansoku_parsers::relabel::label_set;
