//! From a tree of nodes to a derived type, with every unknown field and every value of a wrong
//! type reported at its place, not only the first.
//!
//! A derived `Deserialize` stops at its first error. So a node that made an error is marked, the
//! error is reported, and the next pass leaves the node out, until nothing is wrong any more.

use std::{cell::RefCell, fmt, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor, value},
    forward_to_deserialize_any,
};

use super::{
    diagnostic::{Code, Diagnostic, Diagnostics, Place},
    limits::SHAPE_ERRORS_MAX,
    words,
    yaml::{Node, Value},
};

/// A value, and where it was written; 0 and 0 if it does not come from a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1, in characters.
    pub column: u32,
}

impl<T> Located<T> {
    /// The same place, with what the value becomes.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: f(self.value), line: self.line, column: self.column }
    }

    /// The same place, with the value borrowed.
    pub(crate) fn as_ref(&self) -> Located<&T> {
        Located { value: &self.value, line: self.line, column: self.column }
    }
}

/// A value read from a document.
pub(crate) struct Shaped<T> {
    /// The value.
    pub(crate) value: T,
    /// False if something was left out because it was reported: what is missing then is no news.
    pub(crate) is_whole: bool,
}

/// Reads a type from a node. `None` if what is left after all reports is not one.
pub(crate) fn read<T: for<'de> Deserialize<'de>>(
    file: &Arc<str>,
    node: &Node,
    out: &mut Diagnostics,
) -> Option<Shaped<T>> {
    let unknown = RefCell::new(Diagnostics::default());
    let mut faults = Diagnostics::default();
    let mut found = None;
    for _ in 0..SHAPE_ERRORS_MAX {
        match T::deserialize(Cursor { node, file, unknown: &unknown }) {
            Ok(value) => {
                found = Some(value);
                break;
            }
            Err(fault) => {
                let (line, column) = fault.at.unwrap_or((node.line, node.column));
                let place = Place { file: Arc::clone(file), line, column };
                faults.push(Diagnostic::error(Code::WrongType, &place, fault.message));
                if fault.at.is_none() || node.reported.get() {
                    break;
                }
            }
        }
    }
    let is_whole = faults.is_empty();
    out.extend(unknown.into_inner());
    out.extend(faults);
    found.map(|value| Shaped { value, is_whole })
}

/// What a pass ends with.
#[derive(Debug)]
struct Fault {
    message: String,
    at: Option<(u32, u32)>,
}

impl Fault {
    /// Blames a node, unless one inside it is blamed already.
    fn at(mut self, node: &Node) -> Self {
        if self.at.is_none() {
            node.reported.set(true);
            self.at = Some((node.line, node.column));
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { message: message.to_string(), at: None }
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            de::Unexpected::Map => "a mapping".to_owned(),
            de::Unexpected::Seq => "a list".to_owned(),
            de::Unexpected::Unit | de::Unexpected::Option => "nothing".to_owned(),
            de::Unexpected::Str(text) => format!("`{text}`"),
            other => other.to_string(),
        };
        let expected = match expected.to_string().as_str() {
            "a sequence" => "a list".to_owned(),
            "a string" => "text".to_owned(),
            "a boolean" => "true or false".to_owned(),
            other => other.to_owned(),
        };
        Self::custom(format_args!("expected {expected}, found {found}"))
    }
}

#[derive(Clone, Copy)]
struct Cursor<'a> {
    node: &'a Node,
    file: &'a Arc<str>,
    unknown: &'a RefCell<Diagnostics>,
}

impl<'a> Cursor<'a> {
    fn with(self, node: &'a Node) -> Self {
        Self { node, ..self }
    }

    fn text<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Number(text) | Value::Text(text) => visitor.visit_str(text),
            _ => self.deserialize_any(visitor),
        }
        .map_err(|fault| fault.at(self.node))
    }

    /// Reports a key that no field has, once.
    fn report_unknown(self, key: &Node, value: &Node, fields: &[&str]) {
        let Value::Text(name) = &key.value else { return };
        let fields: Vec<&str> = fields.to_vec();
        let hint = match words::nearest(name, &fields) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("the fields here are {}", words::list(&fields)),
        };
        let message = format!("unknown field `{name}`");
        let place = key.place(self.file);
        let diagnostic = Diagnostic::error(Code::UnknownField, &place, message).hint(hint);
        self.unknown.borrow_mut().push(diagnostic);
        value.reported.set(true);
    }
}

impl<'de> Deserializer<'de> for Cursor<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Map(entries) => {
                visitor.visit_map(Entries { cursor: self, rest: entries.iter() })
            }
            Value::Seq(items) => visitor.visit_seq(Items { cursor: self, rest: items.iter() }),
            Value::Text(text) => visitor.visit_str(text),
            Value::Number(text) => match text.parse::<u64>() {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_str(text),
            },
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Null => visitor.visit_unit(),
        }
        .map_err(|fault| fault.at(self.node))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.text(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name != LOCATED {
            return visitor.visit_newtype_struct(self);
        }
        visitor.visit_map(Pieces { cursor: self, step: 0 })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Value::Map(entries) = &self.node.value else {
            return self.deserialize_any(visitor);
        };
        for (key, value) in entries.iter().filter(|(_, value)| !value.reported.get()) {
            if !matches!(&key.value, Value::Text(name) if fields.contains(&name.as_str())) {
                self.report_unknown(key, value, fields);
            }
        }
        visitor
            .visit_map(Entries { cursor: self, rest: entries.iter() })
            .map_err(|fault| fault.at(self.node))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

struct Entries<'a> {
    cursor: Cursor<'a>,
    rest: std::slice::Iter<'a, (Node, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, _)) = self.rest.as_slice().iter().find(|(_, value)| !value.reported.get())
        else {
            return Ok(None);
        };
        seed.deserialize(self.cursor.with(key)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        match self.rest.find(|(_, value)| !value.reported.get()) {
            Some((_, value)) => seed.deserialize(self.cursor.with(value)),
            None => Err(de::Error::custom("a value without a key")),
        }
    }
}

struct Items<'a> {
    cursor: Cursor<'a>,
    rest: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Fault> {
        match self.rest.find(|item| !item.reported.get()) {
            Some(item) => seed.deserialize(self.cursor.with(item)).map(Some),
            None => Ok(None),
        }
    }
}

const LOCATED: &str = "$governd::Located";

/// The three values of a [`Located`]: line, column, value.
struct Pieces<'a> {
    cursor: Cursor<'a>,
    step: u8,
}

impl<'de> MapAccess<'de> for Pieces<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let step: value::U8Deserializer<Fault> = self.step.into_deserializer();
        seed.deserialize(step).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let number = match self.step {
            0 => self.cursor.node.line,
            1 => self.cursor.node.column,
            _ => return seed.deserialize(self.cursor),
        };
        self.step += 1;
        let number: value::U32Deserializer<Fault> = number.into_deserializer();
        seed.deserialize(number)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Located<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_newtype_struct(LOCATED, LocatedVisitor(PhantomData))
    }
}

struct LocatedVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for LocatedVisitor<T> {
    type Value = Located<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Self::Value, D::Error> {
        T::deserialize(deserializer).map(|value| Located { value, line: 0, column: 0 })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let missing = || de::Error::custom("a value without its place");
        let (_, line) = access.next_entry::<u8, u32>()?.ok_or_else(missing)?;
        let (_, column) = access.next_entry::<u8, u32>()?.ok_or_else(missing)?;
        let (_, value) = access.next_entry::<u8, T>()?.ok_or_else(missing)?;
        Ok(Located { value, line, column })
    }
}

impl<T: Serialize> Serialize for Located<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: schemars::JsonSchema> schemars::JsonSchema for Located<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        T::json_schema(generator)
    }
}
