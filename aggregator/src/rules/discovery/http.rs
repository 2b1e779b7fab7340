//! `http_sd_configs`: a list of targets that a server gives as JSON.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use kansoku_parsers::config::yaml::tree::Node;
use kansoku_parsers::relabel::label_set::LabelSet;

use super::{files, interval};
use crate::http_client::Client;
use crate::http_client::config::{HttpConfig, KEYS, Read};
use crate::journal;

const TIMEOUT: Duration = Duration::from_secs(30);
const ANSWER_MAX_BYTES: usize = 4 << 20;

/// A server of targets.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    url: String,
    refresh: Duration,
    http: HttpConfig,
}

impl Http {
    /// Reads the section.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(node: &Node) -> Read<Self> {
        let mut out = Self {
            url: String::new(),
            refresh: Duration::from_secs(60),
            http: HttpConfig::default(),
        };
        let all = ["url", "refresh_interval"].into_iter().chain(KEYS);
        for (key, value) in node.checked_pairs(&all.collect::<Vec<_>>())? {
            match key {
                "url" => value.text()?.clone_into(&mut out.url),
                "refresh_interval" => out.refresh = interval(value)?,
                _ => out.http.take(key, value)?,
            }
        }
        out.http.check(node)?;
        match out.url.starts_with("http://") || out.url.starts_with("https://") {
            true => Ok(out),
            false => Err(node.error("URL scheme must be 'http' or 'https'")),
        }
    }

    async fn ask(&self) -> Result<Vec<LabelSet>, String> {
        let client = Client::new(&self.http)?;
        let seconds = self.refresh.as_secs().to_string();
        let headers = [
            ("accept", "application/json"),
            ("x-prometheus-refresh-interval-seconds", seconds.as_str()),
        ];
        let bounds = (TIMEOUT, ANSWER_MAX_BYTES);
        let body = client.body(Method::GET, &self.url, &headers, Bytes::new(), bounds);
        let mut targets = files::groups(&self.url, &body.await?)?;
        for target in &mut targets {
            target.set("__meta_url", self.url.as_str());
        }
        Ok(targets)
    }

    /// Asks for ever.
    pub async fn run(self, tell: impl Fn(Vec<LabelSet>)) {
        let (mut last, mut told) = (None, String::new());
        loop {
            match self.ask().await {
                Ok(targets) => {
                    told.clear();
                    if last.as_ref() != Some(&targets) {
                        tell(targets.clone());
                        last = Some(targets);
                    }
                }
                Err(message) => {
                    if told != message {
                        journal::warn(&format!(
                            "no Alertmanagers from {}: {message}; those known go on",
                            self.url
                        ));
                        told = message;
                    }
                }
            }
            tokio::time::sleep(self.refresh).await;
        }
    }
}
