//! The columns of a row group on their way into the file.

use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_schema::{FieldRef, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;

use crate::error::TableError;
use crate::options::TableOptions;
use crate::schema::{leaf, name, schema};
use crate::sink::Sink;
use crate::values::ValueColumn;

/// A file, and the row group that grows: `_value` by ourselves, all others by the Parquet library.
pub(crate) struct ColumnWriters {
    file: SerializedFileWriter<Sink>,
    factory: ArrowRowGroupWriterFactory,
    /// All but `_value`.
    fields: Vec<FieldRef>,
    /// Of the leaves of `fields`; none before the row group's first rows.
    writers: Vec<ArrowColumnWriter>,
    row_groups: usize,
    /// `_value`, which takes its rows one by one.
    pub values: ValueColumn,
}

impl ColumnWriters {
    /// Begins a file.
    pub fn new(options: &TableOptions) -> Result<Self, TableError> {
        let arrow: SchemaRef = schema(options.raw_headers);
        let parquet = ArrowSchemaConverter::new().convert(&arrow)?;
        let fields = arrow.fields().iter();
        let fields = fields.filter(|field| field.name() != name::VALUE);
        let fields = fields.cloned().collect();
        let properties = Arc::new(options.properties()?);
        let file =
            SerializedFileWriter::new(Sink::default(), parquet.root_schema_ptr(), properties)?;
        Ok(Self {
            factory: ArrowRowGroupWriterFactory::new(&file, arrow),
            values: ValueColumn::new(parquet.column(leaf::VALUE), options)?,
            fields,
            writers: Vec::new(),
            row_groups: 0,
            file,
        })
    }

    /// Adds rows of all columns but `_value`.
    pub fn write(&mut self, columns: &[ArrayRef]) -> Result<(), TableError> {
        if self.writers.is_empty() {
            self.writers = self.factory.create_column_writers(self.row_groups)?;
            self.writers.remove(leaf::VALUE);
        }
        let mut writers = self.writers.iter_mut();
        for (field, column) in self.fields.iter().zip(columns) {
            for leaf in compute_leaves(field, column)? {
                let writer = writers.next().ok_or(TableError::malformed())?;
                writer.write(&leaf)?;
            }
        }
        Ok(())
    }

    /// Ends the row group, if it has rows.
    pub fn end_row_group(&mut self) -> Result<(), TableError> {
        if !self.writers.is_empty() {
            let mut row_group = self.file.next_row_group()?;
            for (leaf, writer) in std::mem::take(&mut self.writers).into_iter().enumerate() {
                if leaf == leaf::VALUE {
                    let (pages, close) = self.values.end_chunk()?;
                    row_group.append_column(&pages, close)?;
                }
                writer.close()?.append_to_row_group(&mut row_group)?;
            }
            row_group.close()?;
            self.row_groups += 1;
        }
        // The library's buffer before the sink has to be empty, so that blocks and positions are true.
        let flushed = self.file.flush();
        flushed.map_err(|error| TableError::Parquet(error.to_string()))
    }

    /// Where the bytes go.
    pub fn sink(&self) -> &Sink {
        self.file.inner()
    }

    /// The same, to take what is complete.
    pub fn sink_mut(&mut self) -> &mut Sink {
        self.file.inner_mut()
    }

    /// About the bytes of the row group if it were finished now.
    pub fn size_estimate(&self) -> usize {
        let writers = self.writers.iter();
        let others: usize = writers
            .map(ArrowColumnWriter::get_estimated_total_bytes)
            .sum();
        others + self.values.size_estimate()
    }

    /// Ends the file, with an entry in its metadata.
    pub fn finish(&mut self, entry: KeyValue) -> Result<(), TableError> {
        self.file.append_key_value_metadata(entry);
        self.file.finish()?;
        Ok(())
    }
}

impl std::fmt::Debug for ColumnWriters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ColumnWriters")
            .field("row_groups", &self.row_groups)
            .field("size_estimate", &self.size_estimate())
            .finish_non_exhaustive()
    }
}
