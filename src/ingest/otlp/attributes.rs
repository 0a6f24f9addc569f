//! Looks up the attributes of a span, event or resource by name.

use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use serde_json::{Map, Number, Value};

/// Names are unique; of duplicates the first is used.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'a>(pub &'a [KeyValue]);

impl<'a> Attributes<'a> {
    fn get(self, name: &str) -> Option<&'a Attribute> {
        let found = self.0.iter().find(|attribute| attribute.key == name)?;
        found.value.as_ref()?.value.as_ref()
    }

    pub fn has(self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub fn str(self, name: &str) -> Option<&'a str> {
        match self.get(name)? {
            Attribute::StringValue(text) => Some(text),
            _ => None,
        }
    }

    /// A text that is not empty.
    pub fn text(self, name: &str) -> Option<String> {
        self.str(name).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// An integer, or a text of digits.
    pub fn whole(self, name: &str) -> Option<i32> {
        match self.get(name)? {
            Attribute::IntValue(number) => i32::try_from(*number).ok(),
            Attribute::StringValue(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// A structured value. The conventions allow a JSON text in its place.
    pub fn json(self, name: &str) -> Option<Value> {
        Some(match self.get(name)? {
            Attribute::StringValue(text) => {
                serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))
            }
            other => json(other),
        })
    }
}

fn json(attribute: &Attribute) -> Value {
    let of = |value: &AnyValue| value.value.as_ref().map_or(Value::Null, json);
    match attribute {
        Attribute::StringValue(text) => Value::String(text.clone()),
        Attribute::BoolValue(flag) => Value::Bool(*flag),
        Attribute::IntValue(number) => Value::Number((*number).into()),
        Attribute::DoubleValue(number) => {
            Number::from_f64(*number).map_or(Value::Null, Value::Number)
        }
        Attribute::ArrayValue(array) => Value::Array(array.values.iter().map(of).collect()),
        Attribute::KvlistValue(list) => {
            let entry = |entry: &KeyValue| {
                (entry.key.clone(), entry.value.as_ref().map_or(Value::Null, of))
            };
            Value::Object(list.values.iter().map(entry).collect::<Map<_, _>>())
        }
        // Prompts are not sent as bytes, and string indexes occur only in profiles.
        Attribute::BytesValue(_) | Attribute::StringValueStrindex(_) => Value::Null,
    }
}
