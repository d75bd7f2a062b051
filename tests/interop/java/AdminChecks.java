import static org.apache.kafka.clients.admin.AlterConfigOp.OpType;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.Config;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ConfigEntry.ConfigSource;
import org.apache.kafka.clients.admin.CreateTopicsOptions;
import org.apache.kafka.clients.admin.CreateTopicsResult;
import org.apache.kafka.clients.admin.DescribeConfigsOptions;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicCollection;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.InvalidConfigurationException;
import org.apache.kafka.common.errors.InvalidPartitionsException;
import org.apache.kafka.common.errors.InvalidTopicException;
import org.apache.kafka.common.errors.TopicExistsException;
import org.apache.kafka.common.errors.UnknownTopicIdException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** Topics, settings, cluster. */
final class AdminChecks {
    private AdminChecks() {}

    static List<Suite.Named> all() {
        return List.of(
            new Suite.Named("create_describe_delete_topic", AdminChecks::createDescribeDeleteTopic),
            new Suite.Named("bad_topics_are_refused", AdminChecks::badTopicsAreRefused),
            new Suite.Named("topic_configs", AdminChecks::topicConfigs),
            new Suite.Named("create_partitions", AdminChecks::createPartitions),
            new Suite.Named("cluster_and_log_dirs", AdminChecks::clusterAndLogDirs));
    }

    private static void createDescribeDeleteTopic() throws Exception {
        String topic = Suite.unique("admin");
        NewTopic wanted = new NewTopic(topic, 3, (short) -1).configs(Map.of("retention.ms", "86400000"));
        CreateTopicsResult made = Suite.admin.createTopics(List.of(wanted));
        Suite.expect("partitions told", Suite.get(made.numPartitions(topic)), 3);
        Suite.expect("config told", Suite.get(made.config(topic)).get("retention.ms").value(), "86400000");
        Uuid id = Suite.get(made.topicId(topic));
        Suite.waitForPartitions(topic, 3);
        TopicDescription byName = Suite.get(Suite.admin.describeTopics(List.of(topic)).allTopicNames()).get(topic);
        Suite.expect("partitions", byName.partitions().stream().map(TopicPartitionInfo::partition).toList(), List.of(0, 1, 2));
        Suite.expect("topic id", byName.topicId(), id);
        TopicDescription byId = Suite.get(Suite.admin.describeTopics(TopicCollection.ofTopicIds(List.of(id))).allTopicIds()).get(id);
        Suite.expect("topic described by id", byId.name(), topic);
        Suite.expect("topic in the list", Suite.get(Suite.admin.listTopics().names()).contains(topic), true);
        Suite.refused("creating it again", TopicExistsException.class, Suite.admin.createTopics(List.of(wanted)).all());
        Suite.get(Suite.admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id))).all());
        Suite.waitFor("the topic to leave the list", () -> !Suite.get(Suite.admin.listTopics().names()).contains(topic));
        Suite.refused("deleting it again", UnknownTopicOrPartitionException.class, Suite.admin.deleteTopics(List.of(topic)).all());
        var gone = Suite.admin.deleteTopics(TopicCollection.ofTopicIds(List.of(id)));
        Suite.refused("deleting its id again", UnknownTopicIdException.class, gone.all());
    }

    private static void badTopicsAreRefused() throws Exception {
        for (String name : List.of("a/b", "..", "x".repeat(250), "caf\u00e9", "a b")) {
            Suite.refused("name " + name, InvalidTopicException.class, Suite.admin.createTopics(List.of(new NewTopic(name, 1, (short) 1))).all());
        }
        String good = Suite.unique("bad");
        Suite.refused("zero partitions", InvalidPartitionsException.class, Suite.admin.createTopics(List.of(new NewTopic(good, 0, (short) 1))).all());
        for (Map<String, String> config : List.of(Map.of("no.such.setting", "1"), Map.of("retention.ms", "many"), Map.of("cleanup.policy", "burn"))) {
            NewTopic asked = new NewTopic(good, 1, (short) 1).configs(config);
            Suite.refused("config " + config, InvalidConfigurationException.class, Suite.admin.createTopics(List.of(asked)).all());
        }
        Suite.get(Suite.admin.createTopics(List.of(new NewTopic(good, 1, (short) 1)), new CreateTopicsOptions().validateOnly(true)).all());
        Suite.expect("validate-only creates nothing", Suite.get(Suite.admin.listTopics().names()).contains(good), false);
    }

    private static Config described(ConfigResource resource) {
        var options = new DescribeConfigsOptions().includeSynonyms(true).includeDocumentation(true);
        return Suite.get(Suite.admin.describeConfigs(List.of(resource), options).all()).get(resource);
    }

    private static AlterConfigOp change(String name, String value, OpType type) {
        return new AlterConfigOp(new ConfigEntry(name, value), type);
    }

    private static void topicConfigs() throws Exception {
        String topic = Suite.newTopic("config", 1, "max.message.bytes", "123456");
        ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
        ConfigEntry set = described(resource).get("max.message.bytes");
        Suite.expect("a set value", List.of(set.value(), set.source(), set.isDefault(), set.isReadOnly(), set.isSensitive()),
            List.of("123456", ConfigSource.DYNAMIC_TOPIC_CONFIG, false, false, false));
        Suite.expect("its type", set.type(), ConfigEntry.ConfigType.INT);
        Suite.expect("it is documented", set.documentation() != null && !set.documentation().isEmpty(), true);
        Suite.expect("its synonyms", set.synonyms().stream().map(s -> s.name()).toList(), List.of("max.message.bytes", "message.max.bytes"));
        ConfigEntry unset = described(resource).get("cleanup.policy");
        Suite.expect("a default", List.of(unset.value(), unset.source(), unset.isDefault()), List.of("delete", ConfigSource.DEFAULT_CONFIG, true));
        Collection<AlterConfigOp> changes = List.of(change("retention.ms", "3600000", OpType.SET),
            change("max.message.bytes", "", OpType.DELETE), change("cleanup.policy", "compact", OpType.APPEND));
        Suite.get(Suite.admin.incrementalAlterConfigs(Map.of(resource, changes)).all());
        Suite.waitFor("the change", () -> described(resource).get("retention.ms").value().equals("3600000"));
        Suite.expect("after delete", described(resource).get("max.message.bytes").isDefault(), true);
        Suite.expect("after append", described(resource).get("cleanup.policy").value(), "delete,compact");
        for (AlterConfigOp bad : List.of(change("no.such.setting", "1", OpType.SET), change("retention.ms", "many", OpType.SET))) {
            Suite.refused("config " + bad, InvalidConfigurationException.class, Suite.admin.incrementalAlterConfigs(Map.of(resource, List.of(bad))).all());
        }
        ConfigResource missing = new ConfigResource(ConfigResource.Type.TOPIC, Suite.unique("missing"));
        Suite.refused("configs of no topic", UnknownTopicOrPartitionException.class, Suite.admin.describeConfigs(List.of(missing)).all());
    }

    private static void createPartitions() throws Exception {
        String topic = Suite.newTopic("grow", 1);
        Suite.get(Suite.admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all());
        Suite.waitForPartitions(topic, 3);
        List<RecordMetadata> told = RecordChecks.send(List.of(RecordChecks.record(topic, 2, null, null, "new")), Map.of());
        Suite.expect("offset in the new partition", told.get(0).offset(), 0L);
        RecordChecks.expectValues("the new partition", RecordChecks.read(topic, 2, -1, 1), 0, List.of("new"));
        Suite.refused("shrinking", InvalidPartitionsException.class, Suite.admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(2))).all());
    }

    private static void clusterAndLogDirs() throws Exception {
        var cluster = Suite.admin.describeCluster();
        Suite.expect("a cluster id", Suite.get(cluster.clusterId()).isEmpty(), false);
        List<Node> nodes = new ArrayList<>(Suite.get(cluster.nodes()));
        Suite.expect("brokers", nodes.size(), 1);
        Suite.expect("the controller is the broker", Suite.get(cluster.controller()).id(), nodes.get(0).id());
        String topic = Suite.newTopic("log-dirs", 1);
        RecordChecks.sendValues(topic, RecordChecks.values("size", 100), Map.of());
        var directories = Suite.get(Suite.admin.describeLogDirs(Set.of(nodes.get(0).id())).allDescriptions()).get(nodes.get(0).id());
        long size = directories.values().stream().flatMap(d -> d.replicaInfos().entrySet().stream())
            .filter(e -> e.getKey().topic().equals(topic)).mapToLong(e -> e.getValue().size()).sum();
        Suite.expect("size of the topic is counted", size > 0, true);
        ConfigResource broker = new ConfigResource(ConfigResource.Type.BROKER, nodes.get(0).idString());
        Suite.expect("broker settings", Integer.parseInt(described(broker).get("message.max.bytes").value()) > 0, true);
    }
}
