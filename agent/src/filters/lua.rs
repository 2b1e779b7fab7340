//! `lua`: passes each record through a function of a script, as Fluent Bit's filter of that name.
//!
//! LuaJIT runs the script, once for all inputs, so that its globals are shared. Where a mistake in
//! Fluent Bit undoes a whole chunk, or ends the process, the one record stays as it is here. The
//! libraries `ffi` and `debug` are missing: they could break the agent's memory.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kansoku_model::log::MAX_SPLIT;
use kansoku_model::{ConfigError, LogBatch, OptionKind, OptionSpec, Plugin, Settings, Value};
use mlua::{Function, Lua, Table};

use super::lua_values::{Bridge, Fields};
use super::record::Tree;
use crate::log;
use crate::plugin::{Environment, Filter, FilterContext, FilterPlugin};

const COMPONENT: &str = "filter:lua";
const NS_PER_S: i64 = 1_000_000_000;
/// What a script may hold unless configured otherwise: it must not cost the node its memory.
const MEMORY_LIMIT_BYTES: u64 = 256 << 20;

/// The plugin.
pub const PLUGIN: FilterPlugin = Plugin {
    name: "lua",
    about: "Passes each record through a function of a Lua script.",
    options: &[
        OptionSpec::new(
            "script",
            OptionKind::Text,
            "",
            "path of the script; a relative one is also looked for beside the configuration file",
        ),
        OptionSpec::new(
            "code",
            OptionKind::Text,
            "",
            "the script itself, instead of a path",
        ),
        OptionSpec::new(
            "call",
            OptionKind::Text,
            "",
            "the function: (tag, timestamp, record) to code, timestamp, record; code -1 drops the record, 0 keeps it, 1 changes it, 2 changes it but not its time",
        ),
        OptionSpec::new(
            "type_int_key",
            OptionKind::Text,
            "",
            "keys whose numbers become whole, separated by spaces",
        ),
        OptionSpec::new(
            "type_array_key",
            OptionKind::Text,
            "",
            "keys whose tables become lists even when empty, separated by spaces",
        ),
        OptionSpec::new(
            "protected_mode",
            OptionKind::Bool,
            "on",
            "without effect: errors in the script never end the agent",
        ),
        OptionSpec::new(
            "memory_limit",
            OptionKind::Size,
            "256MiB",
            "bytes that the script may hold; what would pass it is an error, and the record stays as it is. 0 = no limit. Fluent Bit has no such option",
        ),
        OptionSpec::new(
            "time_as_table",
            OptionKind::Bool,
            "off",
            "pass the time as a table with sec and nsec",
        ),
        OptionSpec::new(
            "enable_flb_null",
            OptionKind::Bool,
            "off",
            "pass null as flb_null; else such fields are missing in the table",
        ),
        OptionSpec::new(
            "keep_numbers",
            OptionKind::Bool,
            "off",
            "a number that the script did not change stays as it was, so that 2.0 does not become 2 as in Fluent Bit, which has no such option",
        ),
    ],
    example: "[FILTER]\n    Name   lua\n    Match  *\n    Call   mark\n    Code   function mark(tag, ts, r) r.tag = tag; return 2, ts, r end\n",
    build,
};

struct LuaFilter {
    call: String,
    time_as_table: bool,
    /// Held while one batch is passed through the script.
    script: Mutex<Script>,
}

struct Script {
    lua: Lua,
    function: Function,
    bridge: Bridge,
    /// The function takes group and metadata, too.
    takes_five: bool,
}

fn build(settings: &Settings, environment: &Environment) -> Result<Box<dyn Filter>, ConfigError> {
    settings.check(PLUGIN.options)?;
    let call = settings.required("call")?.to_owned();
    let (name, code) = source(settings)?;
    let place = settings.get("code").or(settings.get("script"));
    let place = place.map_or(&settings.place, |s| &s.place);
    let error = |e: &mlua::Error| ConfigError::new(place, format!("lua: {}", message(e)));

    if let Some(s) = settings.get("protected_mode")
        && !settings.bool("protected_mode", true)?
    {
        environment.warn(
            &s.place,
            "'protected_mode off' has no effect: an error in the script leaves its record as it is",
        );
    }
    let lua = Lua::new();
    let limit = settings.size("memory_limit", MEMORY_LIMIT_BYTES)?;
    lua.set_memory_limit(usize::try_from(limit).unwrap_or(0))
        .map_err(|e| error(&e))?;
    let flb_null = settings.bool("enable_flb_null", false)?;
    let keeps_numbers = settings.bool("keep_numbers", false)?;
    let script = || -> mlua::Result<Option<(Function, Bridge, bool)>> {
        let variables = lua.create_table()?;
        for (name, value) in std::env::vars() {
            variables.raw_set(name, value)?;
        }
        lua.globals().raw_set("FLB_ENV", variables)?;
        if flb_null {
            lua.globals().raw_set("flb_null", mlua::Value::NULL)?;
        }
        lua.load(code).set_name(format!("@{name}")).exec()?;
        let Ok(function) = lua.globals().get::<Function>(call.as_str()) else {
            return Ok(None);
        };
        let words = |key: &str| {
            let text = settings.text(key, "").split_whitespace();
            text.map(str::to_owned).collect()
        };
        let bridge = Bridge::new(
            &lua,
            (flb_null, keeps_numbers),
            words("type_int_key"),
            words("type_array_key"),
        )?;
        let takes_five = n_parameters(&lua, &function) >= 5;
        Ok(Some((function, bridge, takes_five)))
    };
    let Some((function, bridge, takes_five)) = script().map_err(|e| error(&e))? else {
        let message = format!("lua: {name} has no function '{call}'; name one in 'call'");
        return Err(ConfigError::new(place, message));
    };
    Ok(Box::new(LuaFilter {
        time_as_table: settings.bool("time_as_table", false)?,
        script: Mutex::new(Script {
            lua,
            function,
            bridge,
            takes_five,
        }),
        call,
    }))
}

/// The script's name and text.
fn source(settings: &Settings) -> Result<(String, Vec<u8>), ConfigError> {
    if let Some(code) = settings.get("code") {
        return Ok(("fluentbit.lua".to_owned(), code.value.clone().into_bytes()));
    }
    settings.required("script")?;
    let script = settings.get("script").expect("it is required");
    let beside = Path::new(&*script.place.file)
        .parent()
        .map(|folder| folder.join(&script.value));
    let path = match beside {
        Some(beside) if !Path::new(&script.value).exists() => beside,
        _ => script.value.clone().into(),
    };
    let text = std::fs::read(&path).map_err(|e| {
        ConfigError::new(
            &script.place,
            format!("cannot read script {}: {e}", path.display()),
        )
    })?;
    Ok((script.value.clone(), text))
}

/// How many parameters the function names; 3 when it cannot be told.
fn n_parameters(lua: &Lua, function: &Function) -> i64 {
    let ask = || -> mlua::Result<i64> {
        let require: Function = lua.globals().get("require")?;
        let util: Table = require.call("jit.util")?;
        let info: Table = util.get::<Function>("funcinfo")?.call(function.clone())?;
        info.get("params")
    };
    ask().unwrap_or(3)
}

/// What went wrong, with the script's line, without the trace.
fn message(error: &mlua::Error) -> String {
    let text = error.to_string();
    let text = text.split("\nstack traceback:").next().unwrap_or(&text);
    text.replace('\n', " ")
}

/// What the script makes of one record.
enum Verdict {
    Keep,
    Drop,
    Records {
        time_ns: i64,
        records: Vec<Fields>,
        metadata: Option<Tree>,
    },
}

impl LuaFilter {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, script: &mut Script, batch: &LogBatch, row: usize) -> mlua::Result<Verdict> {
        let time_ns = batch.times()[row];
        let time = self.time_of(&script.lua, time_ns)?;
        let tag = script.lua.create_string(batch.tag.as_bytes())?;
        let record = script.bridge.record(&script.lua, batch, row)?;
        let (code, time, metadata, record) = if script.takes_five {
            let metadata = script.bridge.metadata(&script.lua, batch, row)?;
            let group = script.bridge.group(&script.lua, batch)?;
            let arguments = (tag, time, group, metadata, record);
            script
                .function
                .call::<(mlua::Value, mlua::Value, mlua::Value, mlua::Value)>(arguments)?
        } else {
            let (code, time, record) = script
                .function
                .call::<(mlua::Value, mlua::Value, mlua::Value)>((tag, time, record))?;
            (code, time, mlua::Value::Nil, record)
        };
        let keeps_time = match whole(&code) {
            -1 => return Ok(Verdict::Drop),
            0 => return Ok(Verdict::Keep),
            1 => false,
            2 => true,
            other => {
                let message = format!("{}() returned the unknown code {other}", self.call);
                return Err(mlua::Error::runtime(message));
            }
        };
        let records = script.bridge.records(&record, batch, row)?;
        if records.len() > MAX_SPLIT as usize {
            let message = format!("{}() made more than {MAX_SPLIT} records of one", self.call);
            return Err(mlua::Error::runtime(message));
        }
        let metadata = match &metadata {
            mlua::Value::Table(_) => Some(script.bridge.tree(&metadata, None)?),
            _ => None,
        };
        Ok(Verdict::Records {
            time_ns: if keeps_time {
                time_ns
            } else {
                self.time_from(&time, time_ns)
            },
            records,
            metadata,
        })
    }

    fn time_of(&self, lua: &Lua, time_ns: i64) -> mlua::Result<mlua::Value> {
        if !self.time_as_table {
            return Ok(mlua::Value::Number(time_ns as f64 / NS_PER_S as f64));
        }
        let table = lua.create_table()?;
        table.raw_set("sec", time_ns.div_euclid(NS_PER_S))?;
        table.raw_set("nsec", time_ns.rem_euclid(NS_PER_S))?;
        Ok(mlua::Value::Table(table))
    }

    /// The time that the script returned. One that it did not change loses no digits.
    fn time_from(&self, time: &mlua::Value, before_ns: i64) -> i64 {
        match time {
            mlua::Value::Table(table) if self.time_as_table => {
                let part = |key: &str| table.get::<mlua::Value>(key).map_or(0, |v| whole(&v));
                part("sec")
                    .saturating_mul(NS_PER_S)
                    .saturating_add(part("nsec"))
            }
            mlua::Value::Integer(n) if !self.time_as_table => n.saturating_mul(NS_PER_S),
            mlua::Value::Number(n) if !self.time_as_table => {
                if *n == before_ns as f64 / NS_PER_S as f64 {
                    before_ns
                } else {
                    let seconds = n.trunc();
                    let nanos = ((n - seconds) * NS_PER_S as f64) as i64;
                    (seconds as i64)
                        .saturating_mul(NS_PER_S)
                        .saturating_add(nanos)
                }
            }
            _ => before_ns,
        }
    }
}

/// A number cut to a whole one; 0 for anything else.
fn whole(value: &mlua::Value) -> i64 {
    match value {
        mlua::Value::Integer(n) => *n,
        mlua::Value::Number(n) => *n as i64,
        _ => 0,
    }
}

impl Filter for LuaFilter {
    fn apply(&self, batch: &mut LogBatch, _: &mut FilterContext) {
        batch.kubernetes_to_column();
        let mut script = self.script();
        let verdicts: Vec<Verdict> = (0..batch.len())
            .map(|row| {
                self.call(&mut script, batch, row).unwrap_or_else(|error| {
                    log::error(
                        COMPONENT,
                        format_args!("{}; the record stays as it is", message(&error)),
                    );
                    Verdict::Keep
                })
            })
            .collect();
        drop(script);
        let count = |verdict: &Verdict| match verdict {
            Verdict::Keep => 1,
            Verdict::Drop => 0,
            Verdict::Records { records, .. } => records.len() as u32,
        };
        let counts: Vec<u32> = verdicts.iter().map(count).collect();
        batch.repeat_rows(&counts);
        let mut row = 0;
        for verdict in verdicts {
            match verdict {
                Verdict::Keep => row += 1,
                Verdict::Drop => {}
                Verdict::Records {
                    time_ns,
                    records,
                    metadata,
                } => {
                    for fields in records {
                        write(batch, row, time_ns, &fields, metadata.as_ref());
                        row += 1;
                    }
                }
            }
        }
        batch.drop_absent_columns();
    }

    fn splits(&self) -> bool {
        true
    }
}

fn write(batch: &mut LogBatch, row: usize, time_ns: i64, fields: &Fields, metadata: Option<&Tree>) {
    batch.set_time(row, time_ns);
    for column in 0..batch.columns().len() {
        batch.set(column, row, Value::Absent);
    }
    for (key, field) in fields {
        let value = field.store(batch);
        let column = batch.column_index_or_insert(key);
        batch.set(column, row, value);
    }
    if let Some(tree) = metadata {
        let object = batch.store_with(|out| tree.write(out));
        batch.set_metadata(row, object);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use kansoku_model::{Position, Resource};

    use super::*;

    /// The field `x` of one record after the script.
    fn x_after(code: &str, more: &[(&str, &str)]) -> Option<String> {
        let pairs = [&[("call", "f"), ("code", code)], more].concat();
        let settings = Settings::of("lua", &pairs);
        let environment = Environment::default();
        let filter = build(&settings, &environment).expect("valid");
        let resource = Resource {
            attributes: vec![("service.name".into(), "web".into())],
            ..Resource::default()
        };
        let mut batch = LogBatch::new("t".into(), Arc::new(resource), Vec::new());
        let row = batch.push(0, Position::at(1));
        batch.set_text("x", row, b"before");
        filter.apply(&mut batch, &mut FilterContext::default());
        assert_eq!(batch.len(), 1);
        let value = batch.column("x")?.values[0];
        let mut text = Vec::new();
        let shown = batch.display(value, &mut text)?;
        Some(String::from_utf8_lossy(shown).into_owned())
    }

    #[test]
    fn a_function_of_five_sees_what_the_batch_has_in_common() {
        let code = "function f(tag, ts, group, metadata, r) \
            r.x = group.resource.attributes['service.name']; return 2, ts, metadata, r end";
        assert_eq!(x_after(code, &[]).as_deref(), Some("web"));
    }

    #[test]
    fn a_script_that_wants_too_much_memory_leaves_the_record() {
        let code = "function f(tag, ts, r) \
            local t = {} for i = 1, 1e7 do t[i] = { i } end r.x = 'after'; return 2, ts, r end";
        let little = [("memory_limit", "8MiB")];
        assert_eq!(x_after(code, &little).as_deref(), Some("before"));
        let modest = code.replace("1e7", "10");
        assert_eq!(x_after(&modest, &little).as_deref(), Some("after"));
    }

    #[test]
    fn protected_mode_off_is_told() {
        let pairs = [
            ("call", "f"),
            ("code", "function f() end"),
            ("protected_mode", "off"),
        ];
        let environment = Environment::default();
        build(&Settings::of("lua", &pairs), &environment).expect("valid");
        assert_eq!(environment.warnings.take().len(), 1);
    }
}
