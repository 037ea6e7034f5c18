//! What is wrong with a report, by its schema: the words of JSON Schema that `parts.rs` uses, and nothing else. A field that the
//! schema lacks is wrong here. What a whole implementation says, without that: `tests/schema/check`.

use serde_json::Value;

/// The faults of a report, each with its place.
pub(crate) fn faults(schema: &Value, report: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    judge(schema, schema, report, "", &mut faults);
    faults
}

fn judge(schema: &Value, within: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    // Nothing is said about it.
    let Some(words) = within.as_object() else { return };
    let mut wrong = |what: &str| faults.push(format!("{place}: {value} is not {what}"));
    for (word, of) in words {
        match word.as_str() {
            "$schema" | "$defs" | "title" | "description" | "items" | "properties" | "required" | "minItems" => {}
            "const" if value == of => {}
            "enum" if of.as_array().unwrap().contains(value) => {}
            "type" if is_a(of.as_str().unwrap(), value) => {}
            "minimum" if value.as_f64() >= of.as_f64() => {}
            "maxItems" if value.as_array().map(Vec::len) == of.as_u64().and_then(|n| usize::try_from(n).ok()) => {}
            "$ref" => {
                let name = of.as_str().unwrap().strip_prefix("#/$defs/").unwrap();
                return judge(schema, &schema["$defs"][name], value, place, faults);
            }
            "anyOf" => {
                let found = of.as_array().unwrap().iter().map(|choice| {
                    let mut faults = Vec::new();
                    judge(schema, choice, value, place, &mut faults);
                    faults
                });
                // The fewest faults: those of the choice that is meant.
                faults.extend(found.min_by_key(Vec::len).unwrap());
                return;
            }
            "const" | "enum" | "type" | "minimum" | "maxItems" => wrong(&format!("{word} {of}")),
            _ => panic!("{word}: not known here"),
        }
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        judge(schema, &within["items"], item, &format!("{place}/{number}"), faults);
    }
    let Some(properties) = within["properties"].as_object() else { return };
    for (name, item) in value.as_object().into_iter().flatten() {
        match properties.get(name) {
            Some(of) => judge(schema, of, item, &format!("{place}/{name}"), faults),
            None => faults.push(format!("{place}/{name}: the schema does not have it")),
        }
    }
    for name in within["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            faults.push(format!("{place}/{name} is missing"));
        }
    }
}

fn is_a(word: &str, value: &Value) -> bool {
    match word {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => panic!("{word}: not known here"),
    }
}
