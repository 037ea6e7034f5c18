//! What schemas are built of: objects with required and optional fields, words of an enum of kpx-prep, and what several kinds
//! of reports hold.

use kpx_prep::mode::ProxyMode;
use kpx_prep::node_protocol::{CleanOutcome, LeftoverKind, PreparationOutcome};
use kpx_prep::report::{API_VERSION, Level};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// The words of an enum, each of its values named: one that is added does not compile until it is named here, too.
macro_rules! words_of {
    ($type:ident: $($value:ident),+ $(,)?) => {{
        #[allow(dead_code, reason = "it only has to compile")]
        fn all_of_them(value: $type) {
            match value {
                $($type::$value => {})+
            }
        }
        $crate::parts::words(&[$($type::$value),+])
    }};
}
pub(crate) use words_of;

/// One of these, as the reports write them.
pub(crate) fn words<T: Serialize>(values: &[T]) -> Value {
    json!({"enum": values.iter().map(|value| serde_json::to_value(value).unwrap()).collect::<Vec<_>>()})
}

pub(crate) fn text() -> Value {
    json!({"type": "string"})
}

pub(crate) fn boolean() -> Value {
    json!({"type": "boolean"})
}

pub(crate) fn number() -> Value {
    json!({"type": "number", "minimum": 0})
}

pub(crate) fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

pub(crate) fn list(of: &Value) -> Value {
    json!({"type": "array", "items": of})
}

pub(crate) fn texts() -> Value {
    list(&text())
}

pub(crate) fn or_null(of: &Value) -> Value {
    json!({"anyOf": [of, {"type": "null"}]})
}

/// What is defined once in a schema, under `$defs`.
pub(crate) fn defined(name: &str) -> Value {
    json!({"$ref": format!("#/$defs/{name}")})
}

/// The same with a description.
pub(crate) fn about(description: &str, mut schema: Value) -> Value {
    schema["description"] = description.into();
    schema
}

/// An object with fields that are always there, and those that may be missing.
pub(crate) fn object(always: &[(&str, Value)], sometimes: &[(&str, Value)]) -> Value {
    let fields = always.iter().chain(sometimes).map(|(name, of)| ((*name).to_owned(), of.clone()));
    let required: Vec<_> = always.iter().map(|(name, _)| *name).collect();
    json!({"type": "object", "required": required, "properties": fields.collect::<Map<_, _>>()})
}

/// The schema of a kind of report: its own fields come after `apiVersion` and `kind`.
pub(crate) fn report(kind: &str, description: &str, fields: &Value, defs: &[&str]) -> Value {
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": kind,
        "description": format!("{description} Fields may be added within {API_VERSION}; none is renamed or removed."),
        "type": "object",
    });
    let mut properties = json!({"apiVersion": {"const": API_VERSION}, "kind": {"const": kind}});
    let (of, own) = (properties.as_object_mut().unwrap(), fields["properties"].as_object().unwrap());
    of.extend(own.iter().map(|(name, of)| (name.clone(), of.clone())));
    let required = ["apiVersion", "kind"].map(Value::from).into_iter();
    let required: Vec<_> = required.chain(fields["required"].as_array().unwrap().iter().cloned()).collect();
    schema["required"] = required.into();
    schema["properties"] = properties;
    let defs: Map<_, _> = defs.iter().map(|name| ((*name).to_owned(), definition(name))).collect();
    if !defs.is_empty() {
        schema["$defs"] = defs.into();
    }
    schema
}

fn definition(name: &str) -> Value {
    match name {
        "mode" => about("kube-proxy's mode.", words(&ProxyMode::ALL)),
        "finding" => about(
            "What a check found.",
            object(
                &[
                    ("level", words_of!(Level: Info, Warning, Error)),
                    ("id", about("Stable id of the check, see kpx-prep checks.", text())),
                    ("message", text()),
                ],
                &[("hint", about("What to do about it.", text()))],
            ),
        ),
        "leftover" => about(
            "An object that another mode created and the running mode does not use.",
            object(
                &[
                    ("of", about("The mode that owned it.", text())),
                    ("kind", words_of!(LeftoverKind: Chain, Rule, Table, Set, VirtualServer, Link)),
                    ("place", text()),
                    ("name", text()),
                ],
                &[],
            ),
        ),
        "preparation" => words_of!(PreparationOutcome:
            Prepared, AlreadyPrepared, WouldPrepare, NotPrepared, Failed, Removed, NothingToRemove),
        "clean" => words_of!(CleanOutcome: Cleaned, NothingToClean, WouldClean, NotSynced, NotServing, Refused, Failed),
        "plan" => super::cluster::plan(),
        "node" => super::cluster::node_result(),
        _ => panic!("nothing defines {name}"),
    }
}
