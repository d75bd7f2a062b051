// Asks Apache Kafka itself, by the classes that it generates from the same schemas.
//
//   java -cp kafka-clients.jar:slf4j-api.jar protocol/oracle/KafkaRecode.java < vectors
//   java -cp kafka-clients.jar:slf4j-api.jar protocol/oracle/KafkaRecode.java defaults < vectors
//   java -cp kafka-clients.jar:slf4j-api.jar protocol/oracle/KafkaRecode.java convert < vectors
//
// Input lines are "MessageName version hex". Without an argument each body is decoded and encoded again; every
// difference is printed, then a count. With "defaults" the body is ignored, and for each message and version
// the encoding of a message is printed in which nothing is set, or "refused". With "convert" the first body of
// each message's highest version is decoded, and for every other version its encoding is printed, or "refused".

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.TreeMap;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;

class KafkaRecode {
    public static void main(String[] arguments) throws Exception {
        if (arguments.length > 0 && arguments[0].equals("defaults")) {
            defaults();
        } else if (arguments.length > 0 && arguments[0].equals("convert")) {
            convert();
        } else {
            recode();
        }
    }

    private static void defaults() throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in));
        var seen = new LinkedHashSet<String>();
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ");
            if (seen.add(words[0] + " " + words[1])) {
                System.out.println(words[0] + " " + words[1] + " " + defaultOf(words[0], Short.parseShort(words[1])));
            }
        }
    }

    private static String defaultOf(String name, short version) throws ReflectiveOperationException {
        return encoding(create(name), version);
    }

    private static String encoding(Message message, short version) {
        try {
            return HexFormat.of().formatHex(bytes(message, version));
        } catch (RuntimeException refusal) {
            return "refused";
        }
    }

    private static void convert() throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in));
        var bodies = new LinkedHashMap<String, TreeMap<Short, String>>();
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ");
            String body = words.length > 2 ? words[2] : "";
            bodies.computeIfAbsent(words[0], name -> new TreeMap<>())
                    .putIfAbsent(Short.parseShort(words[1]), body);
        }
        for (var entry : bodies.entrySet()) {
            short highest = entry.getValue().lastKey();
            Message message = create(entry.getKey());
            byte[] body = HexFormat.of().parseHex(entry.getValue().get(highest));
            message.read(new ByteBufferAccessor(ByteBuffer.wrap(body)), highest);
            for (short version : entry.getValue().headMap(highest).keySet()) {
                System.out.println(entry.getKey() + " " + version + " " + encoding(message, version));
            }
        }
    }

    private static void recode() throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in));
        int same = 0;
        int different = 0;
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ");
            String problem = recode(words[0], Short.parseShort(words[1]), words.length > 2 ? words[2] : "");
            if (problem == null) {
                same++;
            } else {
                different++;
                System.out.println(words[0] + " " + words[1] + ": " + problem);
            }
        }
        System.out.println(same + " come back byte for byte, " + different + " do not");
    }

    private static String recode(String name, short version, String hex) {
        byte[] bytes = HexFormat.of().parseHex(hex);
        try {
            Message message = create(name);
            var source = new ByteBufferAccessor(ByteBuffer.wrap(bytes));
            message.read(source, version);
            if (source.remaining() != 0) {
                return source.remaining() + " bytes are left";
            }
            byte[] written = bytes(message, version);
            return Arrays.equals(bytes, written) ? null : hex + " becomes " + HexFormat.of().formatHex(written);
        } catch (ReflectiveOperationException | RuntimeException problem) {
            return problem.toString();
        }
    }

    private static Message create(String name) throws ReflectiveOperationException {
        // Messages are called ...Data, except for those of the consumer protocol.
        boolean api = name.endsWith("Request") || name.endsWith("Response") || name.endsWith("Header");
        Class<?> type = Class.forName("org.apache.kafka.common.message." + name + (api ? "Data" : ""));
        return (Message) type.getDeclaredConstructor().newInstance();
    }

    private static byte[] bytes(Message message, short version) {
        ByteBuffer buffer = MessageUtil.toByteBufferAccessor(message, version).buffer();
        byte[] bytes = new byte[buffer.remaining()];
        buffer.get(bytes);
        return bytes;
    }
}
