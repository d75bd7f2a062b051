import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.apache.kafka.clients.admin.ConsumerGroupDescription;
import org.apache.kafka.clients.admin.GroupListing;
import org.apache.kafka.clients.admin.ListConsumerGroupOffsetsSpec;
import org.apache.kafka.clients.admin.MemberToRemove;
import org.apache.kafka.clients.admin.RemoveMembersFromConsumerGroupOptions;
import org.apache.kafka.clients.consumer.CooperativeStickyAssignor;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.consumer.RangeAssignor;
import org.apache.kafka.clients.consumer.RoundRobinAssignor;
import org.apache.kafka.clients.consumer.StickyAssignor;
import org.apache.kafka.common.GroupState;
import org.apache.kafka.common.GroupType;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.GroupNotEmptyException;
import org.apache.kafka.common.errors.UnknownMemberIdException;

/** Classic consumer groups: membership, committed offsets, administration. */
final class GroupChecks {
    private GroupChecks() {}

    static List<Suite.Named> all() {
        List<Suite.Named> checks = new ArrayList<>();
        for (Class<?> assignor : List.of(RangeAssignor.class, RoundRobinAssignor.class, StickyAssignor.class, CooperativeStickyAssignor.class)) {
            checks.add(new Suite.Named("group_of_two_members_" + assignor.getSimpleName(), () -> groupOfTwoMembers(assignor.getName())));
        }
        checks.add(new Suite.Named("group_commits_and_restarts_there", GroupChecks::groupCommitsAndRestartsThere));
        checks.add(new Suite.Named("group_admin", GroupChecks::groupAdmin));
        checks.add(new Suite.Named("static_member", GroupChecks::staticMember));
        checks.add(new Suite.Named("offsets_of_unknown_group", GroupChecks::offsetsOfUnknownGroup));
        return checks;
    }

    private static KafkaConsumer<byte[], byte[]> member(String group, Map<String, ?> more) {
        Map<String, Object> settings = new HashMap<>(Map.of("group.id", group, "heartbeat.interval.ms", 500, "session.timeout.ms", 10_000));
        settings.putAll(more);
        return RecordChecks.consumer(settings);
    }

    private static void groupCommitsAndRestartsThere() throws Exception {
        String topic = Suite.newTopic("group", 1);
        String group = Suite.unique("group");
        TopicPartition place = new TopicPartition(topic, 0);
        List<String> payloads = RecordChecks.values("group", 100);
        RecordChecks.sendValues(topic, payloads, Map.of());
        OffsetAndMetadata stored = new OffsetAndMetadata(40, "why 40");
        try (KafkaConsumer<byte[], byte[]> first = member(group, Map.of())) {
            first.subscribe(List.of(topic));
            RecordChecks.expectValues("the first run", RecordChecks.take(first, 100), 0, payloads);
            first.commitSync(Map.of(place, stored));
            Suite.expect("committed", first.committed(Set.of(place)), Map.of(place, stored));
        }
        try (KafkaConsumer<byte[], byte[]> second = member(group, Map.of())) {
            second.subscribe(List.of(topic));
            RecordChecks.expectValues("after the restart", RecordChecks.take(second, 60), 40, payloads.subList(40, 100));
        }
        var listed = Suite.get(Suite.admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        Suite.expect("offsets that the admin client lists", listed, Map.of(place, stored));
    }

    /** A consumer that polls in its own thread, so that two of them can agree. */
    private static final class Polling implements AutoCloseable {
        volatile Set<Integer> owned = Set.of();
        private volatile boolean leaving;
        private final Thread thread;

        Polling(String topic, String group, Map<String, ?> config) {
            thread = new Thread(() -> {
                try (KafkaConsumer<byte[], byte[]> consumer = member(group, config)) {
                    consumer.subscribe(List.of(topic));
                    while (!leaving) {
                        consumer.poll(Duration.ofMillis(100));
                        owned = consumer.assignment().stream().map(TopicPartition::partition).collect(Collectors.toCollection(TreeSet::new));
                    }
                }
            });
            thread.setDaemon(true);
            thread.start();
        }

        @Override
        public void close() throws InterruptedException {
            leaving = true;
            thread.join(Suite.DEADLINE_MS);
        }
    }

    private static void groupOfTwoMembers(String assignor) throws Exception {
        String topic = Suite.newTopic("pair", 4);
        String group = Suite.unique("pair");
        Map<String, ?> config = Map.of("partition.assignment.strategy", assignor);
        try (Polling first = new Polling(topic, group, config)) {
            try (Polling second = new Polling(topic, group, config)) {
                Suite.waitFor("two partitions for each member", () -> {
                    Set<Integer> both = new TreeSet<>(first.owned);
                    both.addAll(second.owned);
                    return first.owned.size() == 2 && second.owned.size() == 2 && both.size() == 4;
                });
            }
            Suite.waitFor("all partitions for the one that stayed", () -> first.owned.equals(Set.of(0, 1, 2, 3)));
        }
    }

    private static ConsumerGroupDescription described(String group) {
        return Suite.get(Suite.admin.describeConsumerGroups(List.of(group)).describedGroups().get(group));
    }

    private static GroupListing listed(String group) {
        Collection<GroupListing> all = Suite.get(Suite.admin.listGroups().all());
        return all.stream().filter(g -> g.groupId().equals(group)).findAny().orElse(null);
    }

    private static void groupAdmin() throws Exception {
        String topic = Suite.newTopic("group-admin", 1);
        String group = Suite.unique("group-admin");
        TopicPartition place = new TopicPartition(topic, 0);
        RecordChecks.sendValues(topic, RecordChecks.values("admin", 5), Map.of());
        try (KafkaConsumer<byte[], byte[]> member = member(group, Map.of("partition.assignment.strategy", RangeAssignor.class.getName()))) {
            member.subscribe(List.of(topic));
            RecordChecks.take(member, 5);
            member.commitSync();
            ConsumerGroupDescription live = described(group);
            Suite.expect("state", live.groupState(), GroupState.STABLE);
            Suite.expect("type", live.type(), GroupType.CLASSIC);
            Suite.expect("assignor", live.partitionAssignor(), "range");
            Suite.expect("coordinator", live.coordinator().isEmpty(), false);
            Suite.expect("clients", live.members().stream().map(m -> m.clientId()).toList(), List.of("interop-java"));
            Suite.expect("assignment", live.members().iterator().next().assignment().topicPartitions(), Set.of(place));
            GroupListing listing = listed(group);
            Suite.expect("listed state", listing.groupState().orElseThrow(), GroupState.STABLE);
            Suite.expect("listed protocol", listing.protocol(), "consumer");
            Suite.refused("deleting a live group", GroupNotEmptyException.class, Suite.admin.deleteConsumerGroups(List.of(group)).all());
            var moved = Suite.admin.alterConsumerGroupOffsets(group, Map.of(place, new OffsetAndMetadata(2)));
            Suite.refused("moving offsets of a live group", UnknownMemberIdException.class, moved.all());
        }
        Suite.expect("state without members", described(group).groupState(), GroupState.EMPTY);
        Suite.get(Suite.admin.alterConsumerGroupOffsets(group, Map.of(place, new OffsetAndMetadata(2, "moved"))).all());
        var offsets = Suite.get(Suite.admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        Suite.expect("moved offset", offsets, Map.of(place, new OffsetAndMetadata(2, "moved")));
        Suite.get(Suite.admin.deleteConsumerGroupOffsets(group, Set.of(place)).all());
        offsets = Suite.get(Suite.admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata());
        Suite.expect("offsets after their deletion", offsets, Map.of());
        Suite.get(Suite.admin.alterConsumerGroupOffsets(group, Map.of(place, new OffsetAndMetadata(1))).all());
        Suite.get(Suite.admin.deleteConsumerGroups(List.of(group)).all());
        Suite.expect("the deleted group in the list", listed(group), null);
        Suite.refused("deleting it again", GroupIdNotFoundException.class, Suite.admin.deleteConsumerGroups(List.of(group)).all());
        Suite.refused("describing it", GroupIdNotFoundException.class, Suite.admin.describeConsumerGroups(List.of(group)).all());
    }

    private static void staticMember() throws Exception {
        String topic = Suite.newTopic("static", 1);
        String group = Suite.unique("static");
        RecordChecks.sendValues(topic, List.of("x"), Map.of());
        String before;
        try (KafkaConsumer<byte[], byte[]> member = member(group, Map.of("group.instance.id", "one"))) {
            member.subscribe(List.of(topic));
            RecordChecks.take(member, 1);
            before = described(group).members().iterator().next().consumerId();
        }
        // A static member does not leave when it closes: its place is kept until its session ends.
        Suite.expect("state after the member closed", described(group).groupState(), GroupState.STABLE);
        try (KafkaConsumer<byte[], byte[]> member = member(group, Map.of("group.instance.id", "one"))) {
            member.subscribe(List.of(topic));
            RecordChecks.take(member, 1);
            var back = described(group).members();
            Suite.expect("members after the return", back.size(), 1);
            Suite.expect("instance id", back.iterator().next().groupInstanceId().orElseThrow(), "one");
            Suite.expect("a new member id after the return", back.iterator().next().consumerId().equals(before), false);
        }
        var removal = new RemoveMembersFromConsumerGroupOptions(List.of(new MemberToRemove("one")));
        Suite.get(Suite.admin.removeMembersFromConsumerGroup(group, removal).all());
        Suite.expect("state after the removal", described(group).groupState(), GroupState.EMPTY);
    }

    private static void offsetsOfUnknownGroup() throws Exception {
        String topic = Suite.newTopic("unknown-group", 1);
        String group = Suite.unique("unknown");
        TopicPartition place = new TopicPartition(topic, 0);
        Map<TopicPartition, OffsetAndMetadata> none = new HashMap<>();
        none.put(place, null);
        try (KafkaConsumer<byte[], byte[]> consumer = member(group, Map.of())) {
            Suite.expect("committed()", consumer.committed(Set.of(place)), none);
        }
        var asked = Map.of(group, new ListConsumerGroupOffsetsSpec().topicPartitions(List.of(place)));
        Suite.expect("listed offsets", Suite.get(Suite.admin.listConsumerGroupOffsets(asked).partitionsToOffsetAndMetadata(group)), none);
    }
}
