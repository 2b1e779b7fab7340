//! `kansoku-aggregator token create` and `kansoku-aggregator access password`: what belongs into the
//! section `access`.
//!
//! The one rule: a file is replaced whole, by one that was read and understood before.

use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use kansoku_model::tenant;

use crate::access::oidc::provider::Provider;
use crate::access::{AccessConfig, Role, token};
use crate::clock;
use crate::output::line;
use crate::settings::parse_duration;

/// What is done with tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum TokenTool {
    /// Makes a token, shows it once, and writes its hash into the file of --access.file or shows what belongs there.
    Create(Create),
}

/// What is done with users.
#[derive(Debug, Clone, Subcommand)]
pub enum AccessTool {
    /// Reads a password from the first line of stdin and shows its bcrypt hash.
    Password,
    /// Says whether a file of --access.file is right.
    Check {
        /// The file.
        #[arg(value_name = "FILE")]
        file: PathBuf,

        /// Asks the providers of OpenID Connect, too: whether they answer, and can be used.
        #[arg(long)]
        ask: bool,
    },
}

/// A token that is wanted.
#[derive(Debug, Clone, Args)]
pub struct Create {
    /// What its bearer may do.
    #[arg(long, value_name = "ROLE", value_enum)]
    pub role: Role,

    /// The token's name, which the audit log shows; by default role and time.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// The only tenant; may be given several times.
    #[arg(long, value_name = "NAME", value_parser = |text: &str| tenant::check(text).map(|()| text.to_owned()))]
    pub tenant: Vec<String>,

    /// A pattern of the only namespaces; may be given several times. Viewers only.
    #[arg(long, value_name = "REGEX")]
    pub namespace: Vec<String>,

    /// How long it is good, for example 90d; for ever by default.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub expires: Option<std::time::Duration>,

    /// The file into whose section `tokens` it is written; made when it is missing. A running aggregator reads it
    /// again by itself.
    #[arg(long = "access.file", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// Does it.
///
/// # Errors
/// Why it could not be done; then no file has changed.
pub fn run_token(tool: TokenTool) -> Result<(), String> {
    let TokenTool::Create(wanted) = tool;
    let token = token::new()?;
    let now_ms = clock::now_ms();
    let entry = entry(&wanted, &token, now_ms);
    // What would not be read must not be handed out.
    let alone = format!("tokens:\n{}", entry.join("\n"));
    AccessConfig::parse("the token", &alone).map_err(|e| e.message)?;
    match &wanted.file {
        Some(path) => {
            write(path, &entry)?;
            line(format_args!("{token}"));
            eprintln!("its hash was written to {}", path.display());
        }
        None => {
            line(format_args!("{token}"));
            eprintln!("this belongs into the file of --access.file:\n\n{alone}");
        }
    }
    Ok(())
}

/// Does it.
///
/// # Errors
/// Why it could not be done.
pub async fn run_access(tool: AccessTool) -> Result<(), String> {
    match tool {
        AccessTool::Password => {
            let mut password = String::new();
            let read = std::io::stdin().lock().read_line(&mut password);
            read.map_err(|e| format!("failed to read the password from stdin: {e}"))?;
            let password = password.trim_end_matches(['\r', '\n']);
            if password.is_empty() {
                return Err("the password is empty; write it to stdin".into());
            }
            let hash = kansoku_web::hash_password(password);
            line(format_args!(
                "{}",
                hash.map_err(|e| format!("failed to hash it: {e}"))?
            ));
            Ok(())
        }
        AccessTool::Check { file, ask } => {
            let text = std::fs::read_to_string(&file)
                .map_err(|e| format!("failed to read {}: {e}", file.display()))?;
            let config = AccessConfig::parse(&file.display().to_string(), &text);
            let config = config.map_err(|e| e.to_string())?;
            let (users, tokens) = (config.users.len(), config.tokens.len());
            let providers = config.oidc.len();
            line(format_args!(
                "{}: {users} users, {tokens} tokens, {providers} providers",
                file.display()
            ));
            for provider in config.oidc.values().filter(|_| ask) {
                Provider::new(provider)?.try_out().await?;
                line(format_args!(
                    "provider '{}' answers and can be used",
                    provider.name
                ));
            }
            Ok(())
        }
    }
}

/// The lines of a token below `tokens:`.
fn entry(wanted: &Create, token: &str, now_ms: i64) -> Vec<String> {
    let made = format!("{}-{}", wanted.role.name(), clock::rfc3339_ms(now_ms));
    let name = wanted.name.clone().unwrap_or(made);
    let list = |texts: &[String]| {
        let quoted: Vec<String> = texts.iter().map(|text| quote(text)).collect();
        quoted.join(", ")
    };
    let mut lines = vec![
        format!("  {}:", quote(&name)),
        format!("    sha256: {}", token::to_hex(&token::hash(token))),
        format!("    role: {}", wanted.role.name()),
    ];
    if !wanted.tenant.is_empty() {
        lines.push(format!("    tenants: [{}]", list(&wanted.tenant)));
    }
    if !wanted.namespace.is_empty() {
        lines.push(format!("    namespaces: [{}]", list(&wanted.namespace)));
    }
    if let Some(lasts) = wanted.expires {
        let lasts = i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX);
        let at = clock::rfc3339_ms(now_ms.saturating_add(lasts));
        lines.push(format!("    expires: {at}"));
    }
    lines
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Writes the entry at the beginning of the section `tokens` of a file.
fn write(path: &Path, entry: &[String]) -> Result<(), String> {
    let shown = path.display();
    let before = match std::fs::read_to_string(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|e| format!("failed to read {shown}: {e}"))?,
    };
    let parse = |text: &str| {
        let config = AccessConfig::parse(&shown.to_string(), text);
        config.map_err(|e| e.to_string())
    };
    let n_before = parse(&before)?.tokens.len();
    let text = with_entry(&before, entry);
    let n_after = parse(&text).map_or(0, |config| config.tokens.len());
    if n_after != n_before + 1 {
        return Err(format!(
            "the section 'tokens' of {shown} is not written with an entry a line; write this into it by hand:\n{}",
            entry.join("\n")
        ));
    }
    let fail = |e: std::io::Error| format!("failed to write {shown}: {e}");
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let name = path.file_name().ok_or("--access.file names a folder")?;
    let fresh = folder.join(format!(".{}.new", name.to_string_lossy()));
    let mut file = std::fs::File::create(&fresh).map_err(fail)?;
    if let Ok(meta) = std::fs::metadata(path) {
        file.set_permissions(meta.permissions()).map_err(fail)?;
    }
    file.write_all(text.as_bytes()).map_err(fail)?;
    file.sync_all().map_err(fail)?;
    std::fs::rename(&fresh, path).map_err(fail)
}

/// The text with an entry more, indented as those that are there.
fn with_entry(text: &str, entry: &[String]) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let is_section = |line: &&str| {
        let rest = line.strip_prefix("tokens:").map(str::trim);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#') || rest == "{}")
    };
    let Some(at) = lines.iter().position(is_section) else {
        let gap = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        return format!("{text}{gap}tokens:\n{}\n", entry.join("\n"));
    };
    let is_entry = |line: &&&str| {
        let text = line.trim();
        !text.is_empty() && !text.starts_with('#')
    };
    let next = lines[at + 1..].iter().find(is_entry);
    let indent = next.map_or(0, |line| line.len() - line.trim_start().len());
    let indent = " ".repeat(if indent == 0 { 2 } else { indent });
    let entry = entry.iter().map(|line| format!("{indent}{}", &line[2..]));
    let head = lines[..at].iter().map(|line| (*line).to_owned());
    let section = lines[at].trim_end().trim_end_matches("{}").to_owned();
    let tail = lines[at + 1..].iter().map(|line| (*line).to_owned());
    let all: Vec<String> = head.chain([section]).chain(entry).chain(tail).collect();
    all.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Create {
        Create {
            role: Role::Viewer,
            name: Some("it's mine".into()),
            tenant: vec!["a".into()],
            namespace: vec!["shop-.*".into(), "x".into()],
            expires: Some(std::time::Duration::from_secs(86_400)),
            file: None,
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_wanted() {
        for before in [
            "",
            "users: {}",
            "tokens:\n",
            "tokens: {}\nusers: {}\n",
            "# mine\ntokens: # all\n    # one\n    old:\n        sha256: 0000000000000000000000000000000000000000000000000000000000000000\n        role: agent\nsession_time: 1h\n",
        ] {
            let n_before = AccessConfig::parse("a", before).unwrap().tokens.len();
            let text = with_entry(before, &entry(&wanted(), "kansoku_x", 0));
            let read = AccessConfig::parse("a", &text).unwrap_or_else(|e| panic!("{e}:\n{text}"));
            assert_eq!(read.tokens.len(), n_before + 1, "{text}");
            let token = &read.tokens[&token::hash("kansoku_x")];
            assert_eq!(token.principal.name, "it's mine");
            assert_eq!(token.principal.grant.tenants, ["a"]);
            assert_eq!(token.principal.grant.namespaces, ["shop-.*", "x"]);
            assert_eq!(token.expires_ms, Some(86_400_000));
            let kept = before.lines().filter(|line| line.contains("session_time"));
            assert!(kept.into_iter().all(|line| text.contains(line)), "{text}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_extended_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("access.yaml");
        let flow = format!(
            "tokens: {{a: {{sha256: {}, role: agent}}}}\n",
            "0".repeat(64)
        );
        for (text, expected) in [(flow.as_str(), "by hand"), ("users: 1\n", "expected a map")] {
            std::fs::write(&path, text).unwrap();
            let error = write(&path, &entry(&wanted(), "kansoku_x", 0)).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        std::fs::remove_file(&path).unwrap();
        write(&path, &entry(&wanted(), "kansoku_x", 0)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(AccessConfig::parse("a", &text).unwrap().tokens.len(), 1);
    }
}
