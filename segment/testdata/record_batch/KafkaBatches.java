// Writes the kafka-*.bin files beside it with Apache Kafka's own classes (made with 4.3.1), and reads
// the alluvium-*.bin files with them. Run with Kafka's libs on the class path:
//   java -cp 'KAFKA/libs/*' KafkaBatches.java .

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;

public class KafkaBatches {
    static byte[] utf8(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static Compression codec(String name) {
        return Compression.of(CompressionType.forName(name)).build();
    }

    static void append(MemoryRecordsBuilder builder) {
        builder.append(1700000000000L, utf8("key-0"), utf8("value-0"));
        builder.append(1700000000007L, null, utf8("no key"), new Header[] {
            new RecordHeader("h", utf8("1")), new RecordHeader("h", utf8("2")), new RecordHeader("null", null)});
        builder.append(1699999999999L, utf8("tombstone"), null);
        builder.append(1700000000003L, utf8(""), utf8("x".repeat(100_000)));
    }

    static void write(Path folder, String codec) throws Exception {
        MemoryRecordsBuilder builder = MemoryRecords.builder(ByteBuffer.allocate(1 << 20), (byte) 2, codec(codec),
            TimestampType.CREATE_TIME, 4711L, -1L, 1234L, (short) 5, 2147483646, false, 9);
        append(builder);
        MemoryRecords records = builder.build();
        byte[] bytes = new byte[records.sizeInBytes()];
        records.buffer().duplicate().get(bytes);
        Files.write(folder.resolve("kafka-" + codec + ".bin"), bytes);
    }

    static void check(Path file) throws Exception {
        for (MutableRecordBatch batch : MemoryRecords.readableRecords(ByteBuffer.wrap(Files.readAllBytes(file))).batches()) {
            batch.ensureValid();
            int count = 0;
            for (var record : batch) {
                count++;
                record.ensureValid();
            }
            System.out.println(file.getFileName() + ": " + batch + ", " + count + " records");
        }
    }

    public static void main(String[] args) throws Exception {
        Path folder = Path.of(args[0]);
        for (String codec : new String[] {"none", "gzip", "snappy", "lz4", "zstd"}) {
            write(folder, codec);
            Path ours = folder.resolve("alluvium-" + codec + ".bin");
            if (Files.exists(ours)) check(ours);
        }
    }
}
