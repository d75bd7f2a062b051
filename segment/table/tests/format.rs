//! The format, as other programs see it, and as it was written before.

mod common;

use std::path::Path;

use alluvium_segment::record_batch::{Codec, Record, TimestampType};
use alluvium_table::{INDEX_KEY, TableOptions, TableRef};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int8Type, Int32Type, Int64Type, TimestampMillisecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use common::*;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, Encoding, LogicalType};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;

fn records() -> Vec<Record> {
    let mut records: Vec<_> = (100..130)
        .map(|number| record(number, format!("value {number}").as_bytes()))
        .collect();
    records[1].key = Some(Bytes::from_static(b"key"));
    records[2].value = None;
    records[3].value = Some(Bytes::new());
    records[3].key = Some(Bytes::new());
    records[4].headers = vec![header(b"h", Some(b"1")), header(b"h", None)];
    records[5].headers = vec![header(b"\xff", Some(b"")), header(b"text", Some(b"2"))];
    records[6].timestamp = -1;
    records
}

fn partitions() -> [Partition; 2] {
    let records = records();
    let of = |kind, records: &[Record]| batch(Codec::Lz4, kind, records);
    let mut stamped = records[..5].to_vec();
    stamped.iter_mut().for_each(|record| record.timestamp = 77);
    let mut second = partition_of(vec![of(TimestampType::LogAppendTime, &stamped)]);
    second.partition = 3;
    second.next_offset += 10;
    let first = vec![
        of(TimestampType::CreateTime, &records[..20]),
        of(TimestampType::CreateTime, &records[20..]),
    ];
    [partition_of(first), second]
}

fn options() -> TableOptions {
    TableOptions {
        raw_headers: true,
        row_group_bytes: 500,
        ..tiny()
    }
}

fn all(written: &Written) -> Vec<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(written.file.clone()).expect("Parquet");
    let batches = reader.with_batch_size(1000).build().expect("readable");
    batches.map(|batch| batch.expect("rows")).collect()
}

#[test]
fn other_readers_find_the_documented_columns() {
    let written = write(&options(), &partitions());
    let batches = all(&written);
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 35);
    let batch = &batches[0];
    let column = |name: &str| batch.column_by_name(name).expect(name).clone();
    assert_eq!(column("_partition").as_primitive::<Int32Type>().value(0), 0);
    assert_eq!(column("_offset").as_primitive::<Int64Type>().value(0), 100);
    let timestamps = column("_timestamp");
    let timestamps = timestamps.as_primitive::<TimestampMillisecondType>();
    assert_eq!(timestamps.timezone(), Some("UTC"));
    assert_eq!((timestamps.value(1), timestamps.value(6)), (101, -1));
    assert_eq!(
        column("_timestamp_type")
            .as_primitive::<Int8Type>()
            .value(0),
        0
    );
    let keys = column("_key");
    let keys = keys.as_binary::<i32>();
    assert_eq!((keys.is_null(0), keys.value(1)), (true, &b"key"[..]));
    assert_eq!((keys.is_null(3), keys.value(3)), (false, &b""[..]));
    let values = column("_value");
    let values = values.as_binary::<i32>();
    assert_eq!(
        (values.value(0), values.is_null(2)),
        (&b"value 100"[..], true)
    );
    let headers = column("_headers");
    let headers = headers.as_list::<i32>();
    assert_eq!(headers.value_length(0), 0);
    let of = headers.value(4);
    let of = of.as_struct();
    assert_eq!(of.column(0).as_string::<i32>().value(1), "h");
    assert!(of.column(1).as_binary::<i32>().is_null(1));
    assert_eq!(
        headers
            .value(5)
            .as_struct()
            .column(0)
            .as_string::<i32>()
            .value(0),
        "\u{fffd}"
    );
    let raw = column("_raw_headers");
    assert_eq!(
        raw.as_binary::<i32>().value(5),
        b"\x04\x02\xff\x00\x08text\x022"
    );
    assert!(raw.is_null(4));
    for name in [
        "_partition",
        "_offset",
        "_timestamp",
        "_timestamp_type",
        "_headers",
    ] {
        let schema = batch.schema();
        assert!(
            !schema.field_with_name(name).expect(name).is_nullable(),
            "{name}"
        );
    }
    let without = write(&tiny(), &[partition_of(partitions()[1].batches.clone())]);
    assert!(all(&without)[0].column_by_name("_raw_headers").is_none());
    assert_eq!(batch.schema().field(5).data_type(), &DataType::Binary);
}

#[test]
fn the_footer_says_what_engines_plan_with() {
    let written = write(
        &TableOptions {
            bloom_filter: true,
            ..options()
        },
        &partitions(),
    );
    let reader = SerializedFileReader::new(written.file).expect("Parquet");
    let metadata = reader.metadata();
    let file = metadata.file_metadata();
    assert!(file.created_by().expect("some").starts_with("alluvium "));
    let entries = file.key_value_metadata().expect("some");
    let keys: Vec<_> = entries.iter().map(|entry| &entry.key[..]).collect();
    assert_eq!(keys, [INDEX_KEY]);
    let leaves = file.schema_descr();
    let ids: Vec<_> = leaves
        .columns()
        .iter()
        .map(|leaf| leaf.self_type().get_basic_info().id())
        .collect();
    assert_eq!(ids, [1, 2, 3, 4, 5, 6, 9, 10, 11]);
    let headers = &leaves.root_schema().get_fields()[6];
    assert_eq!(headers.get_basic_info().id(), 7);
    assert_eq!(
        headers.get_basic_info().logical_type_ref(),
        Some(&LogicalType::List)
    );
    let element = &headers.get_fields()[0].get_fields()[0];
    assert_eq!(
        (element.name(), element.get_basic_info().id()),
        ("element", 8)
    );
    assert!(metadata.num_row_groups() > 1);
    let group = metadata.row_group(0);
    let sorted = group.sorting_columns().expect("sorted");
    let sorted: Vec<_> = sorted
        .iter()
        .map(|by| (by.column_idx, by.descending))
        .collect();
    assert_eq!(sorted, [(0, false), (1, false)]);
    for column in group.columns() {
        assert!(matches!(column.compression(), Compression::ZSTD(_)));
    }
    let encodings: Vec<_> = group.column(1).encodings().collect();
    assert!(encodings.contains(&Encoding::DELTA_BINARY_PACKED));
    match group.column(1).statistics().expect("some") {
        Statistics::Int64(offsets) => assert_eq!(offsets.min_opt(), Some(&100)),
        other => panic!("{other:?}"),
    }
    assert!(group.column(5).statistics().is_none());
    assert!(group.column(4).bloom_filter_offset().is_some());
    assert!(group.column(1).column_index_offset().is_some());
    assert!(group.column(5).offset_index_offset().is_some());
}

#[test]
fn the_first_version_is_read_for_ever() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let path = folder.join("v1.parquet");
    if std::env::var_os("GOLDEN_WRITE").is_some() && !path.exists() {
        let fresh = write(&options(), &partitions());
        println!("{:?}", fresh.table);
        std::fs::create_dir_all(folder).expect("writable");
        std::fs::write(&path, &fresh.file).expect("writable");
    }
    let golden = Written {
        file: std::fs::read(&path).expect("v1.parquet").into(),
        table: TableRef {
            size_bytes: 3468,
            tail_length: 2285,
            tail_crc: 798_071_287,
        },
    };
    let expected: Vec<_> = partitions()
        .iter()
        .flat_map(|one| seen_in(one.partition, &one.batches).expect("valid"))
        .collect();
    assert_eq!(rebuilt(&golden).expect("whole"), expected);
    assert_eq!(rows(&golden).expect("whole"), expected);
    let table = open(&golden).expect("whole");
    let span = table.spans()[1];
    assert_eq!((span.base_offset.get(), span.next_offset.get()), (100, 115));
    assert!(table.stripes().len() > 5);
}
