//! The columns of a table.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use parquet::arrow::{ArrowSchemaConverter, PARQUET_FIELD_ID_META_KEY};
use parquet::schema::types::SchemaDescriptor;

use crate::error::TableError;

/// Names of the columns.
pub(crate) mod name {
    pub const PARTITION: &str = "_partition";
    pub const OFFSET: &str = "_offset";
    pub const TIMESTAMP: &str = "_timestamp";
    pub const TIMESTAMP_TYPE: &str = "_timestamp_type";
    pub const KEY: &str = "_key";
    pub const VALUE: &str = "_value";
    pub const HEADERS: &str = "_headers";
    pub const RAW_HEADERS: &str = "_raw_headers";
}

/// Where the header keys are among the leaves.
pub(crate) const HEADER_KEY_PATH: [&str; 4] = [name::HEADERS, "list", "element", "key"];
/// Where the header values are among the leaves.
pub(crate) const HEADER_VALUE_PATH: [&str; 4] = [name::HEADERS, "list", "element", "value"];

/// Leaves of the schema: columns of a row group. All readers count on this order.
pub(crate) mod leaf {
    pub const PARTITION: usize = 0;
    pub const OFFSET: usize = 1;
    pub const TIMESTAMP: usize = 2;
    pub const TIMESTAMP_TYPE: usize = 3;
    pub const KEY: usize = 4;
    pub const VALUE: usize = 5;
    pub const HEADER_KEY: usize = 6;
    pub const HEADER_VALUE: usize = 7;
    pub const RAW_HEADERS: usize = 8;
}

/// Timestamp types as `_timestamp_type` has them; Kafka's numbers.
pub(crate) mod timestamp_type {
    pub const CREATE_TIME: i8 = 0;
    pub const LOG_APPEND_TIME: i8 = 1;
}

fn field(id: u8, name: &str, data_type: DataType, nullable: bool) -> Field {
    let id = (PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string());
    Field::new(name, data_type, nullable).with_metadata(HashMap::from([id]))
}

/// Fields of one header.
pub(crate) fn header_fields() -> Fields {
    Fields::from(vec![
        field(9, "key", DataType::Utf8, false),
        field(10, "value", DataType::Binary, true),
    ])
}

/// The field that each header is an element of `_headers` as.
pub(crate) fn header_element() -> Arc<Field> {
    let header = DataType::Struct(header_fields());
    Arc::new(field(8, "element", header, false))
}

/// The schema, as Arrow has it.
pub(crate) fn schema(raw_headers: bool) -> Arc<Schema> {
    let timestamp = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let mut fields = vec![
        field(1, name::PARTITION, DataType::Int32, false),
        field(2, name::OFFSET, DataType::Int64, false),
        field(3, name::TIMESTAMP, timestamp, false),
        field(4, name::TIMESTAMP_TYPE, DataType::Int8, false),
        field(5, name::KEY, DataType::Binary, true),
        field(6, name::VALUE, DataType::Binary, true),
        field(7, name::HEADERS, DataType::List(header_element()), false),
    ];
    if raw_headers {
        fields.push(field(11, name::RAW_HEADERS, DataType::Binary, true));
    }
    Arc::new(Schema::new(fields))
}

/// Whether a file has the column `_raw_headers`; an error when it has other columns than we write.
pub(crate) fn recognize(found: &SchemaDescriptor) -> Result<bool, TableError> {
    for raw_headers in [false, true] {
        let ours = ArrowSchemaConverter::new().convert(&schema(raw_headers))?;
        // Not their root: its name is the library's, and may change.
        if ours.root_schema().get_fields() == found.root_schema().get_fields() {
            return Ok(raw_headers);
        }
    }
    Err(TableError::malformed())
}
