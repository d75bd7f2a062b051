import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.KafkaFuture;

/** Kafka's own Java client against the broker: named checks, run side by side, one line of result each. */
public final class Suite {
    static final long DEADLINE_MS = 30_000; // of a single wait; a whole client is held to a minute by run.sh
    private static final int WORKERS = 8; // checks at once: groups mostly wait

    interface Check {
        void run() throws Exception;
    }

    record Named(String name, Check check) {}

    static String bootstrap = System.getenv("BOOTSTRAP");
    static Admin admin;

    public static void main(String[] arguments) throws Exception {
        String only = null;
        for (int i = 0; i + 1 < arguments.length; i += 2) {
            if (arguments[i].equals("--bootstrap")) bootstrap = arguments[i + 1];
            if (arguments[i].equals("--check")) only = arguments[i + 1];
        }
        if (bootstrap == null) {
            System.err.println("--bootstrap HOST:PORT is missing");
            System.exit(2);
        }
        admin = Admin.create(properties(Map.of()));
        List<Named> checks = new ArrayList<>();
        checks.addAll(GroupChecks.all());
        checks.addAll(RecordChecks.all());
        checks.addAll(AdminChecks.all());
        ExecutorService pool = Executors.newFixedThreadPool(WORKERS);
        List<Future<Boolean>> results = new ArrayList<>();
        for (Named named : checks) {
            if (only == null || only.equals(named.name())) results.add(pool.submit(() -> runOne(named)));
        }
        boolean failed = false;
        for (Future<Boolean> result : results) failed |= !result.get();
        System.out.flush();
        // Halting saves the seconds that clients take to close in order.
        Runtime.getRuntime().halt(failed ? 1 : 0);
    }

    private static boolean runOne(Named named) {
        try {
            named.check().run();
            System.out.println("ok " + named.name());
            return true;
        } catch (Throwable error) {
            if (System.getenv("INTEROP_TRACE") != null) error.printStackTrace();
            System.out.println("FAILED " + named.name() + ": " + error.toString().replaceAll("\\s+", " "));
            return false;
        }
    }

    static Properties properties(Map<String, ?> more) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        properties.put("client.id", "interop-java");
        more.forEach((name, value) -> properties.put(name, String.valueOf(value)));
        return properties;
    }

    static String unique(String prefix) {
        return "java-" + prefix + "-" + UUID.randomUUID().toString().substring(24);
    }

    static void expect(String what, Object got, Object want) {
        if (!Objects.deepEquals(got, want)) throw new AssertionError(what + ": got " + got + ", want " + want);
    }

    static void waitFor(String what, BooleanSupplier condition) throws InterruptedException {
        long end = System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(DEADLINE_MS);
        while (!condition.getAsBoolean()) {
            if (System.nanoTime() > end) throw new AssertionError("timed out waiting for " + what);
            Thread.sleep(20);
        }
    }

    static <T> T get(KafkaFuture<T> future) {
        try {
            return future.get(DEADLINE_MS, TimeUnit.MILLISECONDS);
        } catch (ExecutionException error) {
            throw new AssertionError(String.valueOf(error.getCause()), error.getCause());
        } catch (Exception error) {
            throw new AssertionError(error.toString(), error);
        }
    }

    /** The class of the error that a call must end with. */
    static void refused(String what, Class<? extends Exception> wanted, java.util.concurrent.Future<?> future) throws Exception {
        try {
            Object value = future.get(DEADLINE_MS, TimeUnit.MILLISECONDS);
            throw new AssertionError(what + ": accepted (" + value + "), want " + wanted.getSimpleName());
        } catch (ExecutionException error) {
            expect(what + " (" + error.getCause().getMessage() + ")", error.getCause().getClass(), wanted);
        }
    }

    static void refused(String what, Class<? extends Exception> wanted, KafkaFuture<?> future) throws Exception {
        refused(what, wanted, future.toCompletionStage().toCompletableFuture());
    }

    static String newTopic(String prefix, int partitions, String... config) throws InterruptedException {
        String topic = unique(prefix);
        Map<String, String> settings = new java.util.HashMap<>();
        for (int i = 0; i < config.length; i += 2) settings.put(config[i], config[i + 1]);
        get(admin.createTopics(List.of(new NewTopic(topic, partitions, (short) 1).configs(settings))).all());
        waitForPartitions(topic, partitions);
        return topic;
    }

    /** The controller has answered; a broker of Kafka's may hear of it a moment later. */
    static void waitForPartitions(String topic, int partitions) throws InterruptedException {
        waitFor(partitions + " partitions of " + topic, () -> {
            try {
                TopicDescription described = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
                return described.partitions().stream().filter(p -> p.leader() != null && !p.leader().isEmpty()).count() == partitions;
            } catch (ExecutionException error) {
                return false;
            } catch (InterruptedException error) {
                throw new AssertionError(error);
            }
        });
    }
}
