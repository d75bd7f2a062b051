//! Schemas turned into structs: what each field is in Rust and on the wire, in which versions.

use anyhow::{Context, Result, bail, ensure};

use crate::names;
use crate::schema::{self, Kind, Schema};
use crate::versions::Versions;

/// A message and the structs below it.
#[derive(Debug)]
pub struct Message {
    pub name: String,
    pub kind: Kind,
    pub api_key: Option<i16>,
    pub versions: Versions,
    pub flexible: Versions,
    /// The message itself first, then its structs in the order of their first use.
    pub structs: Vec<Struct>,
}

#[derive(Debug)]
pub struct Struct {
    pub name: String,
    pub versions: Versions,
    pub fields: Vec<Field>,
}

#[derive(Debug)]
pub struct Field {
    /// Rust name.
    pub name: String,
    pub shape: Shape,
    /// Versions that have the field; never empty.
    pub versions: Versions,
    pub nullable: Versions,
    /// The tag, if the field is a tagged one; then it is in all of its versions.
    pub tag: Option<u32>,
    pub ignorable: bool,
    pub default: String,
    pub about: String,
    /// Versions with compact lengths, for this field.
    pub flexible: Versions,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    One(Type),
    Array(Type),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    Uuid,
    String,
    Bytes,
    Records,
    Struct(String),
}

impl Message {
    /// Turns a schema into a message, for no version above `version_max`.
    pub fn new(schema: &Schema, version_max: i16) -> Result<Self> {
        let versions = Versions::parse(&schema.valid_versions)?.intersect(Versions {
            low: 0,
            high: version_max,
        });
        let flexible = Versions::parse(&schema.flexible_versions)?;
        let mut builder = Builder {
            schema,
            versions,
            flexible,
            structs: Vec::new(),
        };
        builder
            .add(&schema.name, versions, &schema.fields, &mut Vec::new())
            .with_context(|| schema.name.clone())?;
        let mut structs = builder.structs;
        structs.reverse();
        Ok(Self {
            name: schema.name.clone(),
            kind: schema.kind,
            api_key: schema.api_key,
            versions,
            flexible,
            structs,
        })
    }

    pub fn find(&self, name: &str) -> &Struct {
        self.structs
            .iter()
            .find(|s| s.name == name)
            .expect("structs are added before fields that use them")
    }

    /// The least bytes that struct `name` takes on the wire in any of its versions.
    pub fn struct_bytes_min(&self, name: &str) -> usize {
        let found = self.find(name);
        let versions = found.versions.low..=found.versions.high;
        versions
            .map(|version| self.struct_bytes(found, version))
            .min()
            .unwrap_or(0)
    }

    fn struct_bytes(&self, of: &Struct, version: i16) -> usize {
        let fields = of
            .fields
            .iter()
            .filter(|f| f.versions.contains(version) && f.tag.is_none());
        let tags = usize::from(self.flexible.contains(version));
        fields
            .map(|field| self.field_bytes(field, version))
            .sum::<usize>()
            + tags
    }

    fn field_bytes(&self, field: &Field, version: i16) -> usize {
        let compact = field.flexible.contains(version);
        match &field.shape {
            Shape::One(Type::Struct(_)) if field.nullable.contains(version) => 1,
            Shape::One(one) => self.type_bytes(one, compact),
            Shape::Array(_) => {
                if compact {
                    1
                } else {
                    4
                }
            }
        }
    }

    /// The least bytes that a value takes.
    pub fn type_bytes(&self, of: &Type, compact: bool) -> usize {
        match of {
            Type::Bool | Type::Int8 => 1,
            Type::Int16 | Type::Uint16 => 2,
            Type::Int32 | Type::Uint32 => 4,
            Type::Int64 | Type::Float64 => 8,
            Type::Uuid => 16,
            Type::String => {
                if compact {
                    1
                } else {
                    2
                }
            }
            Type::Bytes | Type::Records => {
                if compact {
                    1
                } else {
                    4
                }
            }
            Type::Struct(name) => self.struct_bytes_min(name),
        }
    }
}

impl Field {
    /// Whether the Rust type is an `Option`. Records always are, as in Kafka.
    pub fn is_option(&self) -> bool {
        !self.nullable.is_empty() || self.shape == Shape::One(Type::Records)
    }

    /// Whether the default is null. Kafka defaults nullable fields to null only where the schema says so.
    pub fn defaults_to_null(&self) -> bool {
        self.default == "null" || self.shape == Shape::One(Type::Records)
    }
}

struct Builder<'a> {
    schema: &'a Schema,
    versions: Versions,
    flexible: Versions,
    /// Deepest first.
    structs: Vec<Struct>,
}

impl Builder<'_> {
    /// Adds a struct after those that its fields use. `path` holds the structs being added, to refuse recursion:
    /// the depth of a message is then that of its schema, and decoding needs no limit on nesting.
    fn add(
        &mut self,
        name: &str,
        versions: Versions,
        fields: &[schema::Field],
        path: &mut Vec<String>,
    ) -> Result<()> {
        let name = names::type_name(name);
        ensure!(!path.contains(&name), "struct {name} contains itself");
        path.push(name.clone());
        let fields = fields.iter().rev().map(|field| {
            self.field(field, versions, path)
                .with_context(|| format!("field {}", field.name))
        });
        let mut fields: Vec<Field> = fields
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect();
        fields.reverse();
        path.pop();
        ensure!(
            !self.structs.iter().any(|s| s.name == name),
            "two structs are called {name}"
        );
        self.structs.push(Struct {
            name,
            versions,
            fields,
        });
        Ok(())
    }

    /// The field, or none if no supported version has it.
    fn field(
        &mut self,
        field: &schema::Field,
        within: Versions,
        path: &mut Vec<String>,
    ) -> Result<Option<Field>> {
        let versions = Versions::parse(&field.versions)?.intersect(within);
        if versions.is_empty() {
            return Ok(None);
        }
        let shape = match field.type_name.strip_prefix("[]") {
            Some(element) => Shape::Array(Type::parse(element)?),
            None => Shape::One(Type::parse(&field.type_name)?),
        };
        if let Shape::One(Type::Struct(name)) | Shape::Array(Type::Struct(name)) = &shape {
            self.use_struct(name, versions, field, path)?;
        }
        let tagged = Versions::parse(&field.tagged_versions)?.intersect(versions);
        ensure!(
            tagged.is_empty() || tagged == versions,
            "a field tagged in some of its versions is not supported"
        );
        let flexible = field
            .flexible_versions
            .as_deref()
            .map_or(Ok(self.flexible), Versions::parse)?;
        Ok(Some(Field {
            name: names::field(&field.name),
            shape,
            versions,
            nullable: Versions::parse(&field.nullable_versions)?.intersect(versions),
            tag: field.tag.filter(|_| !tagged.is_empty()),
            ignorable: field.ignorable,
            default: field.default_text(),
            about: field.about.clone(),
            flexible,
        }))
    }

    fn use_struct(
        &mut self,
        name: &str,
        versions: Versions,
        field: &schema::Field,
        path: &mut Vec<String>,
    ) -> Result<()> {
        if !field.fields.is_empty() {
            return self.add(name, versions, &field.fields, path);
        }
        if self.structs.iter().any(|s| s.name == name) {
            return Ok(());
        }
        let schema = self.schema;
        let Some(common) = schema
            .common_structs
            .iter()
            .find(|common| common.name == name)
        else {
            bail!("unknown type {name}");
        };
        let versions = Versions::parse(&common.versions)?.intersect(self.versions);
        self.add(name, versions, &common.fields, path)
    }
}

impl Type {
    fn parse(name: &str) -> Result<Self> {
        Ok(match name {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "uint32" => Self::Uint32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "uuid" => Self::Uuid,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "records" => Self::Records,
            _ if name.starts_with(char::is_uppercase) => Self::Struct(name.to_owned()),
            _ => bail!("unknown type {name}"),
        })
    }
}
