//! Valid messages as bytes, made from Kafka's schemas without the generated code.
//!
//! What is made is canonical: tagged fields ascend and never hold their default. A correct codec therefore gives
//! back exactly these bytes.

use std::collections::BTreeMap;
use std::path::Path;

use alluvium_protocol_generator::schema::{Field, Schema};
use alluvium_protocol_generator::versions::Versions;

/// The schemas of all messages, by name.
pub struct Schemas(BTreeMap<String, Schema>);

impl Schemas {
    pub fn read() -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let json = files.filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        });
        let schemas = json.map(|path| Schema::read(&path).unwrap());
        Self(
            schemas
                .map(|schema| (schema.name.clone(), schema))
                .collect(),
        )
    }

    /// A message called `name`, in a version it has, shaped by `entropy`.
    pub fn message(&self, name: &str, version: i16, entropy: &[u8]) -> Vec<u8> {
        let schema = &self.0[name];
        let flexible = versions(&schema.flexible_versions).contains(version);
        let mut maker = Maker {
            schema,
            version,
            flexible,
            entropy,
        };
        let mut out = Vec::new();
        maker.fields(&mut out, &schema.fields);
        out
    }
}

fn versions(text: &str) -> Versions {
    Versions::parse(text).unwrap()
}

struct Maker<'a> {
    schema: &'a Schema,
    version: i16,
    flexible: bool,
    /// Choices still to be made; when none are left, everything becomes as small as it can be.
    entropy: &'a [u8],
}

impl<'a> Maker<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.entropy.split_first() else {
            return 0;
        };
        self.entropy = rest;
        *first
    }

    fn below(&mut self, bound: u8) -> usize {
        usize::from(self.byte() % bound)
    }

    fn fields(&mut self, out: &mut Vec<u8>, fields: &'a [Field]) {
        let version = self.version;
        let present = |field: &&Field| versions(&field.versions).contains(version);
        let (tagged, plain): (Vec<&Field>, Vec<&Field>) = fields
            .iter()
            .filter(present)
            .partition(|field| versions(&field.tagged_versions).contains(version));
        for field in plain {
            self.field(out, field);
        }
        if self.flexible {
            self.tagged(out, tagged);
        }
    }

    fn tagged(&mut self, out: &mut Vec<u8>, mut fields: Vec<&'a Field>) {
        fields.sort_by_key(|field| field.tag);
        let mut count = 0;
        let mut written = Vec::new();
        for field in fields {
            let mut value = Vec::new();
            self.field(&mut value, field);
            if value == self.default_of(field) {
                continue;
            }
            count += 1;
            uvarint(&mut written, u64::from(field.tag.unwrap()));
            uvarint(&mut written, value.len() as u64);
            written.extend(value);
        }
        uvarint(out, count);
        out.extend(written);
    }

    /// The encoding of a tagged field's default.
    fn default_of(&self, field: &'a Field) -> Vec<u8> {
        let mut out = Vec::new();
        let default = field.default_text();
        let integer = || default.parse::<i64>().unwrap_or(0);
        match field.type_name.as_str() {
            "bool" => out.push(u8::from(default == "true")),
            "int8" => out.push(integer() as u8),
            "int16" | "uint16" => out.extend((integer() as i16).to_be_bytes()),
            "int32" => out.extend((integer() as i32).to_be_bytes()),
            "int64" => out.extend(integer().to_be_bytes()),
            "uuid" => out.extend([0; 16]),
            name if name.starts_with(char::is_uppercase) => {
                for inner in self.struct_fields(field) {
                    if versions(&inner.versions).contains(self.version) {
                        out.extend(self.default_of(inner));
                    }
                }
                out.push(0);
            }
            // Strings, bytes and arrays: null or empty, compact.
            _ => out.push(u8::from(default != "null")),
        }
        out
    }

    fn struct_fields(&self, field: &'a Field) -> &'a [Field] {
        let name = field.type_name.trim_start_matches("[]");
        if !field.fields.is_empty() {
            return &field.fields;
        }
        // A struct is described where it is used first, or among the common ones.
        let common = self
            .schema
            .common_structs
            .iter()
            .find(|common| common.name == name);
        &common
            .unwrap_or_else(|| panic!("{name} is described nowhere"))
            .fields
    }

    fn field(&mut self, out: &mut Vec<u8>, field: &'a Field) {
        let nullable = versions(&field.nullable_versions).contains(self.version);
        let compact = self.flexible && field.flexible_versions.as_deref() != Some("none");
        let null = nullable && self.below(4) == 0;
        if let Some(element) = field.type_name.strip_prefix("[]") {
            return self.array(out, field, element, null, compact);
        }
        let is_struct = field.type_name.starts_with(char::is_uppercase);
        match (is_struct && nullable, null) {
            (true, true) => return out.push(0xff),
            (true, false) => out.push(1),
            _ => {}
        }
        self.value(out, field, &field.type_name, null, compact);
    }

    fn array(
        &mut self,
        out: &mut Vec<u8>,
        field: &'a Field,
        element: &str,
        null: bool,
        compact: bool,
    ) {
        if null {
            return length(out, None, compact, 4);
        }
        // Now and then more elements than fit into one byte of a compact length.
        let small = element.starts_with("int");
        let count = match self.byte() {
            250.. if small => 200,
            other => usize::from(other % 4),
        };
        length(out, Some(count), compact, 4);
        for _ in 0..count {
            self.value(out, field, element, false, compact);
        }
    }

    fn value(
        &mut self,
        out: &mut Vec<u8>,
        field: &'a Field,
        kind: &str,
        null: bool,
        compact: bool,
    ) {
        match kind {
            "bool" => out.push(self.byte() & 1),
            "int8" => out.push(self.byte()),
            "int16" | "uint16" => self.random(out, 2),
            "int32" | "uint32" => self.random(out, 4),
            "int64" => self.random(out, 8),
            // A number, because two that are none are not equal.
            "float64" => out.extend(f64::from(self.byte()).to_be_bytes()),
            "uuid" => self.random(out, 16),
            "string" if null => length(out, None, compact, 2),
            "string" => {
                let text = self.text();
                length(out, Some(text.len()), compact, 2);
                out.extend(text.as_bytes());
            }
            "bytes" | "records" if null => length(out, None, compact, 4),
            "bytes" | "records" => {
                let len = [0, 1, 5, 130, 1023, 1024, 3000][self.below(7)];
                length(out, Some(len), compact, 4);
                let fill = self.byte();
                out.extend(std::iter::repeat_n(fill, len));
            }
            _ => self.fields(out, self.struct_fields(field)),
        }
    }

    fn text(&mut self) -> String {
        match self.byte() {
            255 => "long-".repeat(40),
            254 => "Zürich 東京".to_owned(),
            other => (0..other % 12)
                .map(|_| char::from(b'a' + self.byte() % 26))
                .collect(),
        }
    }

    fn random(&mut self, out: &mut Vec<u8>, len: usize) {
        for _ in 0..len {
            let byte = self.byte();
            out.push(byte);
        }
    }
}

/// A length of `wide` bytes, or a compact one; null if there is none.
fn length(out: &mut Vec<u8>, len: Option<usize>, compact: bool, wide: usize) {
    match (compact, wide) {
        (true, _) => uvarint(out, len.map_or(0, |len| len as u64 + 1)),
        (false, 2) => out.extend(len.map_or(-1, |len| len as i16).to_be_bytes()),
        (false, _) => out.extend(len.map_or(-1, |len| len as i32).to_be_bytes()),
    }
}

fn uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
