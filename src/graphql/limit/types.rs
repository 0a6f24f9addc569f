//! The types of the schema for the analysis: the fields of each type with their type, arguments and
//! weight. Parsed once from the SDL.

use std::collections::HashMap;

use async_graphql::Value;
use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, FieldDefinition, OperationType, Type, TypeKind, TypeSystemDefinition,
};

use super::cost::{PLAIN, Weight, weight};

/// The introspection types, which the SDL does not contain.
const INTROSPECTION: &str = "
type __Schema {
  description: String types: [__Type!]! queryType: __Type! mutationType: __Type
  subscriptionType: __Type directives: [__Directive!]!
}
type __Type {
  kind: __TypeKind! name: String description: String specifiedByURL: String isOneOf: Boolean
  fields(includeDeprecated: Boolean): [__Field!] interfaces: [__Type!] possibleTypes: [__Type!]
  enumValues(includeDeprecated: Boolean): [__EnumValue!]
  inputFields(includeDeprecated: Boolean): [__InputValue!] ofType: __Type
}
type __Field {
  name: String! description: String args(includeDeprecated: Boolean): [__InputValue!]! type: __Type!
  isDeprecated: Boolean! deprecationReason: String
}
type __InputValue {
  name: String! description: String type: __Type! defaultValue: String isDeprecated: Boolean!
  deprecationReason: String
}
type __EnumValue { name: String! description: String isDeprecated: Boolean! deprecationReason: String }
type __Directive {
  name: String! description: String isRepeatable: Boolean! locations: [__DirectiveLocation!]!
  args(includeDeprecated: Boolean): [__InputValue!]!
}
type Query { __schema: __Schema! __type(name: String!): __Type }
";

/// A field of a type.
pub struct Field {
    pub name: String,
    pub type_name: String,
    /// The index of its type, if that has fields.
    pub type_id: Option<usize>,
    pub is_list: bool,
    pub arguments: Vec<String>,
    /// The default of `first` in the schema, if any.
    pub default_page: Option<u64>,
    pub weight: Weight,
    /// Whether it is a field of `ApiKey`: its statements read the rows of that key only.
    pub of_key: bool,
}

/// All types that have fields.
pub struct Types {
    ids: HashMap<String, usize>,
    fields: Vec<HashMap<String, Field>>,
}

impl Types {
    pub fn parse(sdl: &str) -> anyhow::Result<Self> {
        let mut types = Self { ids: HashMap::new(), fields: vec![] };
        for text in [sdl, INTROSPECTION] {
            for definition in parse_schema(text)?.definitions {
                let TypeSystemDefinition::Type(definition) = definition else { continue };
                let fields = match definition.node.kind {
                    TypeKind::Object(object) => object.fields,
                    TypeKind::Interface(interface) => interface.fields,
                    _ => continue,
                };
                let name = definition.node.name.node.as_str();
                let known = types.fields.len();
                let id = *types.ids.entry(name.to_owned()).or_insert(known);
                if id == known {
                    types.fields.push(HashMap::new());
                }
                let fields = fields.into_iter().map(|field| Field::new(name, &field.node));
                types.fields[id].extend(fields.map(|field| (field.name.clone(), field)));
            }
        }
        let ids = &types.ids;
        for field in types.fields.iter_mut().flat_map(HashMap::values_mut) {
            field.type_id = ids.get(&field.type_name).copied();
        }
        Ok(types)
    }

    pub fn id(&self, name: &str) -> Option<usize> {
        self.ids.get(name).copied()
    }

    /// The root type of an operation.
    pub fn root(&self, kind: OperationType) -> Option<usize> {
        self.id(match kind {
            OperationType::Query => "Query",
            OperationType::Mutation => "Mutation",
            OperationType::Subscription => "Subscription",
        })
    }

    pub fn field(&self, of: usize, name: &str) -> Option<&Field> {
        self.fields[of].get(name)
    }

    /// Each field with the name of its type.
    #[cfg(test)]
    pub fn every_field(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.ids.iter().flat_map(|(name, id)| {
            self.fields[*id].values().map(move |field| (name.as_str(), field))
        })
    }
}

impl Field {
    fn new(of: &str, definition: &FieldDefinition) -> Self {
        let name = definition.name.node.to_string();
        let default =
            definition.arguments.iter().find(|argument| argument.node.name.node == "first");
        let default = default.and_then(|first| first.node.default_value.as_ref());
        let default_page = match default.map(|default| &default.node) {
            Some(Value::Number(number)) => number.as_u64(),
            _ => None,
        };
        Self {
            type_name: innermost(&definition.ty.node).to_owned(),
            type_id: None,
            is_list: matches!(definition.ty.node.base, BaseType::List(_)),
            arguments: definition.arguments.iter().map(|a| a.node.name.node.to_string()).collect(),
            default_page,
            weight: weight(of, &name).unwrap_or(PLAIN),
            of_key: of == "ApiKey",
            name,
        }
    }
}

/// The name of a type without list wrappers.
fn innermost(of: &Type) -> &str {
    match &of.base {
        BaseType::Named(name) => name.as_str(),
        BaseType::List(inner) => innermost(inner),
    }
}
