//! Reads the value of one field by its type.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::{Form, Names, Reader};
use crate::ingest::call_error::CallError;

/// A value of any JSON type.
pub(super) enum Scalar<'a> {
    Null,
    Flag,
    Text(Cow<'a, str>),
    Number(Number),
    Error(Box<CallError>),
    /// An invalid `error` object of a call, and why.
    Fault(String),
    Compound,
}

/// Reads a value for a field of this type.
pub(super) struct ValueOf(pub Reader, pub Form);

impl<'de> DeserializeSeed<'de> for ValueOf {
    type Value = Scalar<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueOf {
    type Value = Scalar<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Flag)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar<'de>, E> {
        Ok(Number::from_f64(number).map_or(Scalar::Compound, Scalar::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalar<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Compound)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        let Self(reader, form) = self;
        if form == Form::Error {
            let object = Reader { names: Names::OfError, ..reader }.visit_map(map)?;
            let error = match object.fault {
                Some(fault) => Err(fault),
                None => object.into_error(),
            };
            return Ok(match error {
                Ok(error) => Scalar::Error(error.into()),
                Err(fault) => Scalar::Fault(fault),
            });
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Compound)
    }
}
