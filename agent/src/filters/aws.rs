//! `aws`: adds what the instance metadata service tells of the EC2 instance.
//!
//! It is asked in the background, from the first record on. The first records wait for the answer,
//! but never longer than two seconds; what is missing is asked for again later.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Value};

use super::aws_imds::Imds;
use crate::log;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

const COMPONENT: &str = "filter:aws";
/// The longest that the first records wait.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The most tags; an instance can have 50.
const MAX_TAGS: usize = 50;

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "aws",
    about: "Adds what is known of the EC2 instance.",
    options: &[
        OptionSpec::new(
            "imds_version",
            OptionKind::Choice(&["v1", "v2"]),
            "v2",
            "version of the instance metadata service",
        ),
        flag("az", "on", "add the availability zone"),
        flag("ec2_instance_id", "on", "add the instance's id"),
        flag("ec2_instance_type", "off", "add the instance's type"),
        flag("private_ip", "off", "add the private address"),
        flag("vpc_id", "off", "add the id of the VPC"),
        flag("ami_id", "off", "add the id of the image"),
        flag("account_id", "off", "add the account's id"),
        flag("hostname", "off", "add the host's name"),
        flag("tags_enabled", "off", "add the instance's tags"),
        OptionSpec::new("tags_include", OptionKind::List, "", "only these tags"),
        OptionSpec::new("tags_exclude", OptionKind::List, "", "all tags but these"),
        OptionSpec::new(
            "retry_interval_s",
            OptionKind::Int,
            "300",
            "seconds until what is missing is asked for again",
        ),
        flag(
            "enable_entity",
            "off",
            "add instance and account as aws_entity_..., too",
        ),
    ],
    example: "[FILTER]\n    Name              aws\n    Match             *\n    Ec2_instance_type on\n",
    build,
};

const fn flag(name: &'static str, default: &'static str, about: &'static str) -> OptionSpec {
    OptionSpec::new(name, OptionKind::Bool, default, about)
}

/// Key of a record and what to ask for it.
const ITEMS: [(&str, &str, bool); 8] = [
    ("az", "/latest/meta-data/placement/availability-zone/", true),
    ("ec2_instance_id", "/latest/meta-data/instance-id/", true),
    (
        "ec2_instance_type",
        "/latest/meta-data/instance-type/",
        false,
    ),
    ("private_ip", "/latest/meta-data/local-ipv4/", false),
    ("vpc_id", "vpc", false),
    ("ami_id", "/latest/meta-data/ami-id/", false),
    ("account_id", "account", false),
    ("hostname", "/latest/meta-data/hostname/", false),
];

struct Wanted {
    imds: Imds,
    items: Vec<(String, &'static str)>,
    tags: bool,
    include: Vec<String>,
    exclude: Vec<String>,
    retry: Duration,
}

struct Aws {
    wanted: Arc<Wanted>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Held to look at what is known and to add to it.
    known: Mutex<Known>,
    /// Told when a round of questions is over.
    asked: Condvar,
}

#[derive(Default, Clone)]
struct Known {
    started: bool,
    /// A first round is over, or has taken too long.
    settled: bool,
    fields: Arc<Vec<(String, String)>>,
}

fn build(settings: &Settings, _: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    build_with(settings, "169.254.169.254:80")
}

fn build_with(settings: &Settings, address: &str) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let words =
        |key: &str| -> Vec<String> { settings.list(key).into_iter().map(str::to_owned).collect() };
    let (include, exclude) = (words("tags_include"), words("tags_exclude"));
    if !include.is_empty() && !exclude.is_empty() {
        let message = "'tags_include' and 'tags_exclude' exclude each other; remove one";
        return Err(ConfigError::new(&settings.place, message));
    }
    let entity = settings.bool("enable_entity", false)?;
    let mut items = Vec::new();
    for (key, path, default) in ITEMS {
        if settings.bool(key, default)? {
            items.push((key.to_owned(), path));
            if entity && (key == "ec2_instance_id" || key == "account_id") {
                items.push((format!("aws_entity_{key}"), path));
            }
        }
    }
    let is_v1 = settings
        .text("imds_version", "v2")
        .eq_ignore_ascii_case("v1");
    let retry = settings.int("retry_interval_s", 300)?.max(1) as u64;
    Ok(Box::new(Aws {
        wanted: Arc::new(Wanted {
            imds: Imds::new(address.to_owned(), !is_v1),
            items,
            tags: settings.bool("tags_enabled", false)?,
            include,
            exclude,
            retry: Duration::from_secs(retry),
        }),
        shared: Arc::default(),
    }))
}

/// What a service at `address` tells of everything there is, and whether it told all of it.
#[cfg(feature = "fuzzing")]
pub(crate) fn ask_all(address: String, is_v1: bool) -> (Vec<(String, String)>, bool) {
    let wanted = Wanted {
        imds: Imds::new(address, !is_v1),
        items: ITEMS.map(|(key, path, _)| (key.to_owned(), path)).to_vec(),
        tags: true,
        include: Vec::new(),
        exclude: Vec::new(),
        retry: Duration::from_secs(1),
    };
    wanted.ask()
}

impl Wanted {
    /// All that can be told now, and whether that is all that is wanted.
    fn ask(&self) -> (Vec<(String, String)>, bool) {
        let mut fields = Vec::new();
        let mut complete = true;
        let token = match self.imds.token() {
            Ok(token) => token,
            Err(error) => {
                log::warn(COMPONENT, format_args!("no instance metadata: {error}"));
                return (fields, false);
            }
        };
        for (key, path) in &self.items {
            let found = match *path {
                "vpc" => self.imds.vpc(&token),
                "account" => self.imds.account(&token),
                path => self.imds.get(path, &token),
            };
            match found {
                Ok(text) => fields.push((key.clone(), text)),
                Err(error) => {
                    complete = false;
                    log::warn(COMPONENT, format_args!("'{key}' is not known: {error}"));
                }
            }
        }
        if self.tags {
            complete &= self.ask_tags(&token, &mut fields);
        }
        (fields, complete)
    }

    fn ask_tags(&self, token: &str, fields: &mut Vec<(String, String)>) -> bool {
        let folder = "/latest/meta-data/tags/instance/";
        let names = match self.imds.get(folder, token) {
            Ok(names) => names,
            Err(error) => {
                log::warn(COMPONENT, format_args!("tags are not known: {error}"));
                return false;
            }
        };
        let is = |list: &[String], name: &str| list.iter().any(|n| n == name);
        let names = names.lines().filter(|name| !name.is_empty());
        for name in names.take(MAX_TAGS) {
            let wanted = self.include.is_empty() || is(&self.include, name);
            if wanted && !is(&self.exclude, name) {
                match self.imds.get(&format!("{folder}{name}"), token) {
                    Ok(value) => fields.push((name.to_owned(), value)),
                    Err(_) => return false,
                }
            }
        }
        true
    }
}

impl Aws {
    /// What is known; the first caller starts to ask and waits a little.
    fn fields(&self) -> Arc<Vec<(String, String)>> {
        let lock = || {
            self.shared
                .known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        let mut known = lock();
        if !known.started {
            known.started = true;
            let (wanted, shared) = (self.wanted.clone(), Arc::downgrade(&self.shared));
            std::thread::spawn(move || {
                loop {
                    let (fields, complete) = wanted.ask();
                    // The filter is gone.
                    let Some(shared) = shared.upgrade() else {
                        return;
                    };
                    let mut known = shared.known.lock().unwrap_or_else(PoisonError::into_inner);
                    known.fields = Arc::new(fields);
                    known.settled = true;
                    drop(known);
                    shared.asked.notify_all();
                    if complete {
                        return;
                    }
                    drop(shared);
                    std::thread::sleep(wanted.retry);
                }
            });
        }
        let deadline = Instant::now() + FIRST_WAIT;
        while !known.settled {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                known.settled = true;
                break;
            }
            let waited = self.shared.asked.wait_timeout(known, left);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        known.fields.clone()
    }
}

impl Filter for Aws {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        for (key, text) in self.fields().iter() {
            let value = Value::Text(batch.store(text.as_bytes()));
            batch.column_mut(key).values.fill(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};

    use kansoku_model::{Position, json};

    use super::*;

    /// Answers like the service until nobody asks any more.
    fn service(listener: &std::net::TcpListener, n_requests: usize) {
        for _ in 0..n_requests {
            let (stream, _) = listener.accept().expect("a client");
            let mut out = stream.try_clone().expect("a socket");
            let mut lines = BufReader::new(stream).lines();
            let first = lines.next().expect("a line").expect("a line");
            let mut has_token = false;
            for line in lines.map_while(Result::ok) {
                has_token |= line == "X-aws-ec2-metadata-token: secret";
                if line.is_empty() {
                    break;
                }
            }
            let path = first.split(' ').nth(1).expect("a path");
            let (status, body) = match path {
                "/latest/api/token" if first.starts_with("PUT") => (200, "secret"),
                _ if !has_token => (401, ""),
                "/latest/meta-data/instance-id/" => (200, "i-1"),
                "/latest/meta-data/mac/" => (200, "02:aa"),
                "/latest/meta-data/network/interfaces/macs/02:aa/vpc-id/" => (200, "vpc-1"),
                "/latest/dynamic/instance-identity/document/" => {
                    (200, r#"{"accountId" : "123", "region" : "x"}"#)
                }
                // An empty line is no tag.
                "/latest/meta-data/tags/instance/" => (200, "Owner\n\nName\nSecret"),
                "/latest/meta-data/tags/instance/Owner" => (200, "me"),
                "/latest/meta-data/tags/instance/Name" => (200, "web 1"),
                _ => (404, "not found"),
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            out.write_all(format!("{head}{body}").as_bytes())
                .expect("sent");
        }
    }

    #[test]
    fn what_the_service_tells_is_added() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("address").to_string();
        let server = std::thread::spawn(move || service(&listener, 11));
        let pairs = [
            ("vpc_id", "on"),
            ("account_id", "on"),
            ("tags_enabled", "on"),
            ("tags_exclude", "Secret"),
            ("enable_entity", "on"),
        ];
        let filter = build_with(&Settings::of("aws", &pairs), &address).expect("settings");
        let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
        batch.push(0, Position::at(1));
        filter.apply(&mut batch, &mut FilterContext::default());
        let mut out = Vec::new();
        json::write_fields(&mut out, &batch, 0, true);
        // The zone is not known to this service, and missing.
        let expected = r#""ec2_instance_id":"i-1","aws_entity_ec2_instance_id":"i-1","vpc_id":"vpc-1","account_id":"123""#;
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(text.starts_with(expected), "{text}");
        assert!(text.ends_with(r#","Owner":"me","Name":"web 1""#), "{text}");
        // Token, zone, twice the id, mac, VPC, twice the account, tags and the two that are wanted.
        server.join().expect("eleven questions");
    }

    #[test]
    fn nothing_is_added_where_there_is_no_service() {
        let settings = Settings::of("aws", &[]);
        let filter = build_with(&settings, "127.0.0.1:1").expect("settings");
        let mut batch = LogBatch::new("t".into(), Arc::default(), Vec::new());
        batch.push(0, Position::at(1));
        filter.apply(&mut batch, &mut FilterContext::default());
        assert!(batch.columns().is_empty());
        let both = [("tags_include", "a"), ("tags_exclude", "b")];
        assert!(build_with(&Settings::of("aws", &both), "x").is_err());
    }
}
