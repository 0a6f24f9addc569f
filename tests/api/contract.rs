//! The schema: it equals the committed file, keeps the contract, and has descriptions.

use std::collections::BTreeSet;
use std::fmt::Write;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    FieldDefinition, InputValueDefinition, TypeKind, TypeSystemDefinition,
};
use callscope::graphql::schema::sdl;
use serde_json::Value;

use crate::support::{Kind, TestApp, TestDatabase};
use crate::tests;

tests! {
    the_committed_schema_matches_the_server.only(&[Kind::Sqlite]).needs("schema.graphql"),
    the_contract_is_kept.only(&[Kind::Sqlite]).needs("../shared/contract/schema.graphql"),
    everything_has_a_description.only(&[Kind::Sqlite]),
}

fn read(file: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(path).unwrap()
}

async fn the_committed_schema_matches_the_server(_: TestDatabase) {
    assert_eq!(read("schema.graphql").trim_end(), sdl().trim_end(), "run `callscope schema`");
}

/// The guarantees of a schema, one per line; and the names of required inputs.
#[derive(Default)]
struct Promises {
    all: BTreeSet<String>,
    required: BTreeSet<String>,
}

impl Promises {
    fn of(schema: &str) -> Self {
        let mut promises = Self::default();
        for definition in parse_schema(schema).unwrap().definitions {
            match definition {
                TypeSystemDefinition::Type(definition) => {
                    let definition = definition.node;
                    promises.add_type(definition.name.node.as_str(), definition.kind);
                }
                TypeSystemDefinition::Schema(_) | TypeSystemDefinition::Directive(_) => {}
            }
        }
        promises
    }

    fn add_type(&mut self, name: &str, kind: TypeKind) {
        let (word, implements, fields) = match kind {
            TypeKind::Scalar => ("scalar", vec![], vec![]),
            TypeKind::Object(object) => ("type", object.implements, object.fields),
            TypeKind::Interface(interface) => ("interface", interface.implements, interface.fields),
            TypeKind::Union(union) => ("union", union.members, vec![]),
            TypeKind::Enum(of) => {
                for value in of.values {
                    self.all.insert(format!("{name}.{}", value.node.value.node));
                }
                ("enum", vec![], vec![])
            }
            TypeKind::InputObject(input) => {
                for field in input.fields {
                    self.add_input(&format!("{name}.{}", field.node.name.node), &field.node);
                }
                ("input", vec![], vec![])
            }
        };
        self.all.insert(format!("{word} {name}"));
        for other in implements {
            self.all.insert(format!("{name} & {}", other.node));
        }
        for field in fields {
            self.add_field(name, field.node);
        }
    }

    fn add_field(&mut self, of: &str, field: FieldDefinition) {
        let path = format!("{of}.{}", field.name.node);
        self.all.insert(format!("{path}: {}", field.ty.node));
        for argument in field.arguments {
            self.add_input(&format!("{path}({})", argument.node.name.node), &argument.node);
        }
    }

    fn add_input(&mut self, path: &str, input: &InputValueDefinition) {
        let mut line = format!("{path}: {}", input.ty.node);
        match &input.default_value {
            Some(default) => write!(line, " = {}", default.node).unwrap(),
            None if !input.ty.node.nullable => {
                self.required.insert(path.to_owned());
            }
            None => {}
        }
        self.all.insert(line);
    }
}

async fn the_contract_is_kept(_: TestDatabase) {
    let contract = Promises::of(&read("../shared/contract/schema.graphql"));
    let ours = Promises::of(&sdl());
    assert!(contract.all.len() > 200, "the contract was read");
    // The contract may be ahead of the server. Items that both have must be equal.
    let name = |promise: &str| promise.split(": ").next().unwrap_or_default().to_owned();
    let names: BTreeSet<String> = ours.all.iter().map(|promise| name(promise)).collect();
    let (broken, missing): (Vec<_>, Vec<_>) =
        contract.all.difference(&ours.all).partition(|promise| names.contains(&name(promise)));
    assert!(broken.is_empty(), "the contract is broken: {broken:#?}");
    println!("{} of {} guarantees are not implemented yet", missing.len(), contract.all.len());
    // Fields that the contract does not have may require any argument.
    let known: BTreeSet<String> = contract.all.iter().map(|promise| name(promise)).collect();
    let is_known = |required: &&String| match required.split_once('(') {
        Some((field, _)) => known.contains(field),
        None => required.split('.').next().is_some_and(|of| known.contains(&format!("input {of}"))),
    };
    let required: Vec<_> = ours.required.difference(&contract.required).filter(is_known).collect();
    assert!(required.is_empty(), "required beyond the contract: {required:#?}");
}

async fn everything_has_a_description(database: TestDatabase) {
    let app = TestApp::start(&database).await;
    let data = app
        .data(
            "{ __schema { types { name description
                fields { name description args { name description } }
                inputFields { name description } enumValues { name description } } } }",
        )
        .await;
    let mut bare = vec![];
    let mut seen = 0;
    let mut look = |path: String, thing: &Value| {
        seen += 1;
        if thing["description"].as_str().is_none_or(|text| text.trim().is_empty()) {
            bare.push(path);
        }
    };
    let list = |of: &Value| of.as_array().cloned().unwrap_or_default();
    let name = |of: &Value| of["name"].as_str().unwrap().to_owned();
    for of in list(&data["__schema"]["types"]) {
        let path = name(&of);
        // Part of GraphQL itself.
        if path.starts_with("__") || path == "ID" {
            continue;
        }
        look(path.clone(), &of);
        for member in
            [&of["fields"], &of["inputFields"], &of["enumValues"]].into_iter().flat_map(list)
        {
            let path = format!("{path}.{}", name(&member));
            look(path.clone(), &member);
            for argument in list(&member["args"]) {
                look(format!("{path}({})", name(&argument)), &argument);
            }
        }
    }
    assert!(seen > 200, "only {seen} items were checked");
    assert!(bare.is_empty(), "without a description: {bare:#?}");
}
