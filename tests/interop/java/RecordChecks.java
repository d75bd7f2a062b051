import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.ListOffsetsResult.ListOffsetsResultInfo;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndTimestamp;
import org.apache.kafka.clients.consumer.OffsetOutOfRangeException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.InvalidRecordException;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.RecordTooLargeException;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** What a producer sends is what a consumer reads. */
final class RecordChecks {
    static final long START = (System.currentTimeMillis() / 1000 - 3600) * 1000; // recent enough for retention, and not now

    private RecordChecks() {}

    static List<Suite.Named> all() {
        List<Suite.Named> checks = new ArrayList<>(List.of(
            new Suite.Named("produce_and_consume_from_earliest", RecordChecks::produceAndConsumeFromEarliest),
            new Suite.Named("consume_by_offset", RecordChecks::consumeByOffset),
            new Suite.Named("offset_out_of_range_is_reported", RecordChecks::offsetOutOfRangeIsReported),
            new Suite.Named("explicit_timestamps_and_offsets_for_times", RecordChecks::explicitTimestampsAndOffsetsForTimes),
            new Suite.Named("log_append_time", RecordChecks::logAppendTime),
            new Suite.Named("headers", RecordChecks::headers),
            new Suite.Named("tombstone_against_empty", RecordChecks::tombstoneAgainstEmpty),
            new Suite.Named("idempotent_producer", RecordChecks::idempotentProducer),
            new Suite.Named("acks_zero_and_one", RecordChecks::acksZeroAndOne),
            new Suite.Named("refused_records", RecordChecks::refusedRecords),
            new Suite.Named("fetch_limits", RecordChecks::fetchLimits),
            new Suite.Named("read_committed", RecordChecks::readCommitted),
            new Suite.Named("delete_records", RecordChecks::deleteRecords)));
        for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
            checks.add(new Suite.Named("codec_" + codec, () -> codec(codec)));
        }
        return checks;
    }

    static byte[] bytes(String text) {
        return text == null ? null : text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] bytes) {
        return bytes == null ? null : new String(bytes, StandardCharsets.UTF_8);
    }

    static List<String> values(String prefix, int count) {
        List<String> made = new ArrayList<>();
        for (int i = 0; i < count; i++) made.add(prefix + "-" + i + "-" + "alluvium ".repeat(i % 23));
        return made;
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, ?> config) {
        Map<String, Object> settings = new HashMap<>(Map.of("linger.ms", 20, "delivery.timeout.ms", 30_000, "request.timeout.ms", 20_000));
        settings.putAll(config);
        return new KafkaProducer<>(Suite.properties(settings), new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(Map<String, ?> config) {
        Map<String, Object> settings = new HashMap<>(Map.of("enable.auto.commit", false, "auto.offset.reset", "earliest"));
        settings.putAll(config);
        return new KafkaConsumer<>(Suite.properties(settings), new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static List<RecordMetadata> send(Collection<ProducerRecord<byte[], byte[]>> records, Map<String, ?> config) throws Exception {
        try (KafkaProducer<byte[], byte[]> producer = producer(config)) {
            List<Future<RecordMetadata>> futures = new ArrayList<>();
            for (ProducerRecord<byte[], byte[]> record : records) futures.add(producer.send(record));
            List<RecordMetadata> told = new ArrayList<>();
            for (Future<RecordMetadata> future : futures) told.add(future.get(Suite.DEADLINE_MS, TimeUnit.MILLISECONDS));
            return told;
        }
    }

    static ProducerRecord<byte[], byte[]> record(String topic, int partition, Long timestamp, String key, String value) {
        return new ProducerRecord<>(topic, partition, timestamp, bytes(key), bytes(value));
    }

    static void sendValues(String topic, List<String> payloads, Map<String, ?> config) throws Exception {
        List<RecordMetadata> told = send(payloads.stream().map(v -> record(topic, 0, null, null, v)).toList(), config);
        for (int i = 0; i < told.size(); i++) Suite.expect("offset told to the producer", told.get(i).offset(), (long) i);
    }

    static List<ConsumerRecord<byte[], byte[]>> take(KafkaConsumer<byte[], byte[]> consumer, int count) {
        List<ConsumerRecord<byte[], byte[]>> taken = new ArrayList<>();
        long end = System.currentTimeMillis() + Suite.DEADLINE_MS;
        while (taken.size() < count) {
            if (System.currentTimeMillis() > end) throw new AssertionError("timed out with " + taken.size() + " of " + count + " records");
            consumer.poll(Duration.ofMillis(200)).forEach(taken::add);
        }
        return taken;
    }

    static List<ConsumerRecord<byte[], byte[]>> read(String topic, int partition, long offset, int count) {
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
            TopicPartition place = new TopicPartition(topic, partition);
            consumer.assign(List.of(place));
            if (offset < 0) consumer.seekToBeginning(List.of(place));
            else consumer.seek(place, offset);
            return take(consumer, count);
        }
    }

    static void expectValues(String what, List<ConsumerRecord<byte[], byte[]>> got, long first, List<String> payloads) {
        Suite.expect(what + ", how many", got.size(), payloads.size());
        for (int i = 0; i < got.size(); i++) {
            Suite.expect(what + ", offset", got.get(i).offset(), first + i);
            Suite.expect(what + ", value", text(got.get(i).value()), payloads.get(i));
        }
    }

    private static void produceAndConsumeFromEarliest() throws Exception {
        String topic = Suite.newTopic("basic", 3);
        List<String> payloads = values("basic", 300);
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (int i = 0; i < 300; i++) records.add(record(topic, i % 3, null, "k" + i, payloads.get(i)));
        List<RecordMetadata> told = send(records, Map.of());
        for (int partition = 0; partition < 3; partition++) {
            List<ConsumerRecord<byte[], byte[]>> got = read(topic, partition, -1, 100);
            for (int n = 0; n < 100; n++) {
                int i = n * 3 + partition;
                Suite.expect("offset told", told.get(i).offset(), (long) n);
                Suite.expect("offset read", got.get(n).offset(), (long) n);
                Suite.expect("key", text(got.get(n).key()), "k" + i);
                Suite.expect("value", text(got.get(n).value()), payloads.get(i));
            }
        }
    }

    private static void consumeByOffset() throws Exception {
        String topic = Suite.newTopic("offset", 1);
        List<String> payloads = values("offset", 50);
        sendValues(topic, payloads, Map.of());
        expectValues("from 37", read(topic, 0, 37, 13), 37, payloads.subList(37, 50));
        TopicPartition place = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
            Suite.expect("first offset", consumer.beginningOffsets(List.of(place)), Map.of(place, 0L));
            Suite.expect("last offset", consumer.endOffsets(List.of(place)), Map.of(place, 50L));
        }
    }

    private static void offsetOutOfRangeIsReported() throws Exception {
        String topic = Suite.newTopic("range", 1);
        sendValues(topic, values("range", 3), Map.of());
        TopicPartition place = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("auto.offset.reset", "none"))) {
            consumer.assign(List.of(place));
            consumer.seek(place, 1000);
            take(consumer, 1);
            throw new AssertionError("a record beyond the end of the log");
        } catch (OffsetOutOfRangeException error) {
            Suite.expect("partition and offset of the error", error.offsetOutOfRangePartitions(), Map.of(place, 1000L));
        }
    }

    private static void explicitTimestampsAndOffsetsForTimes() throws Exception {
        String topic = Suite.newTopic("time", 1);
        TopicPartition place = new TopicPartition(topic, 0);
        // One batch, and its largest timestamp is not its last: an answer by batch would be wrong.
        long[] steps = {0, 100, 200, 300, 900, 500, 600};
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (long step : steps) records.add(record(topic, 0, START + step, null, "v"));
        List<RecordMetadata> told = send(records, Map.of("linger.ms", 200));
        List<ConsumerRecord<byte[], byte[]>> got = read(topic, 0, -1, steps.length);
        for (int i = 0; i < steps.length; i++) {
            Suite.expect("timestamp told", told.get(i).timestamp() - START, steps[i]);
            Suite.expect("timestamp read", got.get(i).timestamp() - START, steps[i]);
            Suite.expect("timestamp type", got.get(i).timestampType(), TimestampType.CREATE_TIME);
        }
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of())) {
            Map<Long, long[]> wanted = Map.of(-1L, new long[] {0, 0}, 0L, new long[] {0, 0}, 1L, new long[] {1, 100},
                250L, new long[] {3, 300}, 301L, new long[] {4, 900}, 900L, new long[] {4, 900});
            for (Map.Entry<Long, long[]> want : wanted.entrySet()) {
                OffsetAndTimestamp found = consumer.offsetsForTimes(Map.of(place, START + want.getKey())).get(place);
                Suite.expect("offset at or after start+" + want.getKey(), found.offset(), want.getValue()[0]);
                Suite.expect("its time", found.timestamp() - START, want.getValue()[1]);
            }
            Suite.expect("after the last time", consumer.offsetsForTimes(Map.of(place, START + 901)).get(place), null);
        }
        Suite.expect("earliest", listed(place, OffsetSpec.earliest()).offset(), 0L);
        Suite.expect("latest", listed(place, OffsetSpec.latest()).offset(), 7L);
        ListOffsetsResultInfo newest = listed(place, OffsetSpec.maxTimestamp());
        Suite.expect("offset of the max timestamp", newest.offset(), 4L);
        Suite.expect("max timestamp", newest.timestamp() - START, 900L);
    }

    private static ListOffsetsResultInfo listed(TopicPartition place, OffsetSpec spec) {
        return Suite.get(Suite.admin.listOffsets(Map.of(place, spec)).partitionResult(place));
    }

    private static void logAppendTime() throws Exception {
        String topic = Suite.newTopic("append-time", 1, "message.timestamp.type", "LogAppendTime");
        long before = System.currentTimeMillis();
        List<RecordMetadata> told =
            send(values("append", 20).stream().map(v -> record(topic, 0, START, null, v)).toList(), Map.of("compression.type", "lz4"));
        long after = System.currentTimeMillis();
        for (ConsumerRecord<byte[], byte[]> got : read(topic, 0, -1, 20)) {
            Suite.expect("timestamp type", got.timestampType(), TimestampType.LOG_APPEND_TIME);
            Suite.expect("append time " + got.timestamp() + " in the run", before <= got.timestamp() && got.timestamp() <= after, true);
            Suite.expect("append time told", told.get((int) got.offset()).timestamp(), got.timestamp());
        }
    }

    private static void codec(String codec) throws Exception {
        String topic = Suite.newTopic("codec-" + codec, 1);
        List<String> payloads = values(codec, 500);
        sendValues(topic, payloads, Map.of("compression.type", codec, "linger.ms", 100));
        expectValues("records through " + codec, read(topic, 0, -1, 500), 0, payloads);
    }

    private static void headers() throws Exception {
        String topic = Suite.newTopic("headers", 1);
        List<Header> wanted = List.of(new RecordHeader("a", bytes("1")), new RecordHeader("a", bytes("2")), new RecordHeader("null", (byte[]) null),
            new RecordHeader("empty", new byte[0]), new RecordHeader("", bytes("no key")), new RecordHeader("a", bytes("1")));
        send(List.of(new ProducerRecord<>(topic, 0, (byte[]) null, bytes("v"), wanted), record(topic, 0, null, null, "none")), Map.of());
        List<ConsumerRecord<byte[], byte[]>> got = read(topic, 0, -1, 2);
        List<Header> read = new ArrayList<>();
        got.get(0).headers().forEach(read::add);
        Suite.expect("headers with duplicates, null and empty values, in order", read, wanted);
        Suite.expect("headers of a record without any", got.get(1).headers().toArray().length, 0);
    }

    private static void tombstoneAgainstEmpty() throws Exception {
        String topic = Suite.newTopic("null", 1, "cleanup.policy", "compact");
        String[][] wanted = {{"k", null}, {"k", ""}, {"", "v"}, {"k", "v"}};
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        for (String[] pair : wanted) records.add(record(topic, 0, null, pair[0], pair[1]));
        send(records, Map.of());
        List<ConsumerRecord<byte[], byte[]>> got = read(topic, 0, -1, 4);
        for (int i = 0; i < 4; i++) {
            Suite.expect("key", text(got.get(i).key()), wanted[i][0]);
            Suite.expect("value", text(got.get(i).value()), wanted[i][1]);
        }
        String plain = Suite.newTopic("null-key", 1);
        sendValues(plain, List.of("x"), Map.of());
        Suite.expect("key of a record without one", read(plain, 0, -1, 1).get(0).key(), null);
    }

    private static void idempotentProducer() throws Exception {
        String topic = Suite.newTopic("idempotent", 1);
        List<String> payloads = values("idempotent", 1000);
        // Small batches and five in flight: the sequence numbers have to hold the order.
        sendValues(topic, payloads, Map.of("enable.idempotence", true, "batch.size", 1000, "linger.ms", 0));
        expectValues("each once, in order", read(topic, 0, -1, 1000), 0, payloads);
    }

    private static void acksZeroAndOne() throws Exception {
        for (String acks : List.of("0", "1")) {
            String topic = Suite.newTopic("acks" + acks, 1);
            List<String> payloads = values("acks", 100);
            send(payloads.stream().map(v -> record(topic, 0, null, null, v)).toList(), Map.of("acks", acks, "enable.idempotence", false));
            expectValues("records sent with acks=" + acks, read(topic, 0, -1, 100), 0, payloads);
        }
    }

    private static void refusedRecords() throws Exception {
        String small = Suite.newTopic("oversized", 1, "max.message.bytes", "20000");
        String compacted = Suite.newTopic("keyless", 1, "cleanup.policy", "compact");
        try (KafkaProducer<byte[], byte[]> producer = producer(Map.of())) {
            var large = new ProducerRecord<>(small, 0, bytes("k"), new byte[50_000]);
            Suite.refused("a record above max.message.bytes", RecordTooLargeException.class, producer.send(large));
            Suite.refused("a record without key", InvalidRecordException.class, producer.send(record(compacted, 0, null, null, "v")));
            // Neither refusal costs the producer its sequence.
            RecordMetadata told = producer.send(record(small, 0, null, "k", "v")).get(Suite.DEADLINE_MS, TimeUnit.MILLISECONDS);
            Suite.expect("offset of the next record", told.offset(), 0L);
        }
        Suite.expect("end of the compacted topic", listed(new TopicPartition(compacted, 0), OffsetSpec.latest()).offset(), 0L);
    }

    /** However small the limits, a fetch makes progress: Kafka returns the first batch even where it is too large (KIP-74). */
    private static void fetchLimits() throws Exception {
        String topic = Suite.newTopic("limits", 2);
        List<String> payloads = new ArrayList<>();
        for (int i = 0; i < 20; i++) payloads.add("x".repeat(5000 + i));
        for (int partition = 0; partition < 2; partition++) {
            int at = partition;
            send(payloads.stream().map(v -> record(topic, at, null, null, v)).toList(), Map.of("batch.size", 6000));
        }
        Map<String, ?> limits = Map.of("max.partition.fetch.bytes", 1, "fetch.max.bytes", 1, "fetch.max.wait.ms", 100, "max.poll.records", 3);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(limits)) {
            List<TopicPartition> both = List.of(new TopicPartition(topic, 0), new TopicPartition(topic, 1));
            consumer.assign(both);
            consumer.seekToBeginning(both);
            List<ConsumerRecord<byte[], byte[]>> got = take(consumer, 40);
            for (TopicPartition place : both) {
                expectValues("partition " + place, got.stream().filter(r -> r.partition() == place.partition()).toList(), 0, payloads);
            }
        }
    }

    private static void readCommitted() throws Exception {
        String topic = Suite.newTopic("committed", 1);
        List<String> payloads = values("committed", 50);
        sendValues(topic, payloads, Map.of());
        TopicPartition place = new TopicPartition(topic, 0);
        try (KafkaConsumer<byte[], byte[]> consumer = consumer(Map.of("isolation.level", "read_committed"))) {
            consumer.assign(List.of(place));
            consumer.seekToBeginning(List.of(place));
            expectValues("without transactions, everything", take(consumer, 50), 0, payloads);
            Suite.expect("last stable offset", consumer.endOffsets(List.of(place)), Map.of(place, 50L));
        }
    }

    private static void deleteRecords() throws Exception {
        String topic = Suite.newTopic("delete-records", 1);
        TopicPartition place = new TopicPartition(topic, 0);
        List<String> payloads = values("delete", 10);
        sendValues(topic, payloads, Map.of());
        var answer = Suite.admin.deleteRecords(Map.of(place, RecordsToDelete.beforeOffset(6))).lowWatermarks().get(place);
        Suite.expect("low watermark told", Suite.get(answer).lowWatermark(), 6L);
        expectValues("records left", read(topic, 0, -1, 4), 6, payloads.subList(6, 10));
        Suite.expect("earliest offset", listed(place, OffsetSpec.earliest()).offset(), 6L);
        var beyond = Suite.admin.deleteRecords(Map.of(place, RecordsToDelete.beforeOffset(11))).lowWatermarks().get(place);
        Suite.refused("beyond the end", org.apache.kafka.common.errors.OffsetOutOfRangeException.class, beyond);
    }
}
