//! `kansoku config`: shows and changes the contexts of the configuration file.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::args::{Config, Global, SetContext};
use crate::client::base_of;
use crate::config::{self, Context, File};
use crate::error::{Error, Result};
use crate::login;
use crate::output::{self, color::Palette, table::Table};
use crate::server::service_path;

/// Runs the command.
///
/// # Errors
/// When the file cannot be read or written, or a context is not there.
pub fn run(global: &Global, command: Config) -> Result<()> {
    let path = global
        .config
        .clone()
        .or_else(config::default_path)
        .ok_or_else(|| {
            Error::failed(
                "there is no home folder for the configuration file; name it with --config FILE",
            )
        })?;
    let mut file = config::read(&path, false)?;
    match command {
        Config::GetContexts => list(global, &file),
        Config::View => {
            std::io::stdout().write_all(config::write(&file, true).as_bytes())?;
            Ok(())
        }
        Config::UseContext { name } => {
            known(&file, &name, &path)?;
            file.current = Some(name.clone());
            config::save(&path, &file)?;
            writeln!(std::io::stdout(), "Switched to context \"{name}\".")?;
            Ok(())
        }
        Config::DeleteContext { name } => {
            known(&file, &name, &path)?;
            file.contexts.remove(&name);
            if file.current.as_ref() == Some(&name) {
                file.current = None;
            }
            config::save(&path, &file)?;
            writeln!(
                std::io::stdout(),
                "deleted context {name} from {}",
                path.display()
            )?;
            Ok(())
        }
        Config::SetContext(args) => {
            let is_new = !file.contexts.contains_key(&args.name);
            set(
                global,
                &args,
                file.contexts.entry(args.name.clone()).or_default(),
            )?;
            if file.contexts.len() == 1 {
                file.current = Some(args.name.clone());
            }
            config::save(&path, &file)?;
            let done = if is_new { "created" } else { "modified" };
            writeln!(std::io::stdout(), "Context \"{}\" {done}.", args.name)?;
            Ok(())
        }
    }
}

fn known(file: &File, name: &str, path: &Path) -> Result<()> {
    if file.contexts.contains_key(name) {
        Ok(())
    } else {
        Err(Error::failed(format!(
            "no context exists with the name: \"{name}\" in {}",
            path.display()
        )))
    }
}

/// Lays what is given over a context.
fn set(global: &Global, args: &SetContext, context: &mut Context) -> Result<()> {
    fn over<T: Clone>(to: &mut Option<T>, from: Option<T>) {
        if from.is_some() {
            *to = from;
        }
    }
    // What no command could use is refused where it is written.
    if let Some(url) = &global.server {
        base_of(url)?;
    }
    if let Some(service) = &global.kube_service {
        service_path(service)?;
    }
    // A command may run in another folder than this one.
    let absolute = |path: &Option<PathBuf>| path.as_ref().map(std::path::absolute).transpose();
    over(&mut context.server, global.server.clone());
    over(&mut context.tenant, global.tenant.clone());
    over(&mut context.kube_service, global.kube_service.clone());
    over(&mut context.kubeconfig, absolute(&global.kubeconfig)?);
    over(&mut context.kube_context, global.kube_context.clone());
    over(&mut context.ca, absolute(&args.ca)?);
    over(
        &mut context.client_certificate,
        absolute(&args.client_certificate)?,
    );
    over(&mut context.client_key, absolute(&args.client_key)?);
    over(&mut context.namespace, args.namespace.clone());
    if let Some(path) = absolute(&args.token_file)? {
        if global.username.is_some() {
            return Err(Error::Usage(
                "--token-file and --username are two logins; give one".into(),
            ));
        }
        (context.token_file, context.token) = (Some(path), None);
        (context.username, context.password, context.password_file) = (None, None, None);
    } else {
        login::lay_over(context, global);
    }
    if let Some(path) = absolute(&args.password_file)? {
        if context.username.is_none() {
            return Err(Error::Usage(
                "--password-file belongs to a user: give --username NAME".into(),
            ));
        }
        (context.password_file, context.password) = (Some(path), None);
    }
    Ok(())
}

fn list(global: &Global, file: &File) -> Result<()> {
    let mut table = Table::new(["CURRENT", "NAME", "SERVER", "TENANT", "NAMESPACE"]);
    let mut data = Vec::new();
    for (name, context) in &file.contexts {
        let is_current = file.current.as_ref() == Some(name);
        let through = context
            .kube_service
            .as_deref()
            .unwrap_or("(through the cluster)");
        let server = context.server.as_deref().unwrap_or(through);
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        table.push([
            if is_current { "*" } else { "" }.to_owned(),
            name.clone(),
            server.to_owned(),
            text(&context.tenant),
            text(&context.namespace),
        ]);
        data.push(json!({"name": name, "current": is_current, "server": server, "tenant": context.tenant, "namespace": context.namespace}));
    }
    let mut out = std::io::stdout().lock();
    output::write(
        &mut out,
        global.output,
        Palette::of(global.color),
        &table,
        &json!(data),
    )
}
