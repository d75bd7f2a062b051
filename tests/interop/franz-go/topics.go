package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func createDescribeDeleteTopic(ctx context.Context) {
	topic := newTopic(ctx, "admin", 3, nil)
	detail := must(admin.ListTopics(ctx, topic))[topic]
	expect("a topic id", detail.ID != kadm.TopicID{}, true)
	expect("partitions", detail.Partitions.Numbers(), []int32{0, 1, 2})
	_, err := admin.CreateTopic(ctx, 1, 1, nil, topic)
	expect(fmt.Sprintf("TOPIC_ALREADY_EXISTS in %v", err), errors.Is(err, kerr.TopicAlreadyExists), true)
	describeTopicPartitions(ctx, topic)
	must(admin.DeleteTopic(ctx, topic))
	waitFor(ctx, "the topic to leave the list", func() bool { return !must(admin.ListTopics(ctx)).Has(topic) })
	_, err = admin.DeleteTopic(ctx, topic)
	expect(fmt.Sprintf("UNKNOWN_TOPIC_OR_PARTITION in %v", err), errors.Is(err, kerr.UnknownTopicOrPartition), true)
}

// Two partitions a page: the cursor of KIP-966 leads to the third.
func describeTopicPartitions(ctx context.Context, topic string) {
	request := kmsg.NewPtrDescribeTopicPartitionsRequest()
	request.ResponsePartitionLimit = 2
	asked := kmsg.NewDescribeTopicPartitionsRequestTopic()
	asked.Topic = topic
	request.Topics = append(request.Topics, asked)
	raw := client()
	defer raw.Close()
	first := must(request.RequestWith(ctx, raw))
	expect("topics of the first page", len(first.Topics), 1)
	expect("partitions of the first page", len(first.Topics[0].Partitions), 2)
	if first.NextCursor == nil {
		fail("the first page has no cursor")
	}
	expect("cursor", []any{first.NextCursor.Topic, first.NextCursor.Partition}, []any{topic, int32(2)})
	cursor := kmsg.NewDescribeTopicPartitionsRequestCursor()
	cursor.Topic, cursor.Partition = first.NextCursor.Topic, first.NextCursor.Partition
	request.Cursor = &cursor
	second := must(request.RequestWith(ctx, raw))
	expect("partitions of the second page", len(second.Topics[0].Partitions), 1)
	expect("partition of the second page", second.Topics[0].Partitions[0].Partition, int32(2))
	expect("cursor of the last page", second.NextCursor == nil, true)
}

func badTopicsAreRefused(ctx context.Context) {
	unknown := map[string]*string{"no.such.setting": kadm.StringPtr("1")}
	for _, bad := range []struct {
		topic      string
		partitions int32
		config     map[string]*string
		want       error
	}{
		{"a/b", 1, nil, kerr.InvalidTopicException},
		{"..", 1, nil, kerr.InvalidTopicException},
		{"", 1, nil, kerr.InvalidTopicException},
		{strings.Repeat("x", 250), 1, nil, kerr.InvalidTopicException},
		{unique("bad"), 0, nil, kerr.InvalidPartitions},
		{unique("bad"), 1, unknown, kerr.InvalidConfig},
	} {
		_, err := admin.CreateTopic(ctx, bad.partitions, 1, bad.config, bad.topic)
		expect(fmt.Sprintf("%v for %.20q, got %v", bad.want, bad.topic, err), errors.Is(err, bad.want), true)
	}
	checked := unique("validate")
	must(admin.ValidateCreateTopics(ctx, 1, 1, nil, checked))
	expect("validate-only creates nothing", must(admin.ListTopics(ctx)).Has(checked), false)
}

func setting(ctx context.Context, topic, name string) *kadm.Config {
	described := must(must(admin.DescribeTopicConfigs(ctx, topic)).On(topic, nil))
	expect("error of describe configs", described.Err, nil)
	for _, config := range described.Configs {
		if config.Key == name {
			return &config
		}
	}
	fail("%s is not described", name)
	return nil
}

func topicConfigs(ctx context.Context) {
	topic := newTopic(ctx, "config", 1, map[string]string{"max.message.bytes": "123456"})
	set := setting(ctx, topic, "max.message.bytes")
	expect("a set value", []any{set.MaybeValue(), set.Source}, []any{"123456", kmsg.ConfigSourceDynamicTopicConfig})
	unset := setting(ctx, topic, "cleanup.policy")
	expect("a default", []any{unset.MaybeValue(), unset.Source}, []any{"delete", kmsg.ConfigSourceDefaultConfig})
	changes := []kadm.AlterConfig{
		{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("3600000")},
		{Op: kadm.DeleteConfig, Name: "max.message.bytes"},
		{Op: kadm.AppendConfig, Name: "cleanup.policy", Value: kadm.StringPtr("compact")},
	}
	changed := must(must(admin.AlterTopicConfigs(ctx, changes, topic)).On(topic, nil))
	expect("error of alter configs", changed.Err, nil)
	is := func(name, value string) func() bool {
		return func() bool { return setting(ctx, topic, name).MaybeValue() == value }
	}
	waitFor(ctx, "the change", is("retention.ms", "3600000"))
	expect("after delete", setting(ctx, topic, "max.message.bytes").Source != kmsg.ConfigSourceDynamicTopicConfig, true)
	expect("after append", setting(ctx, topic, "cleanup.policy").MaybeValue(), "delete,compact")
	bad := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("many")}}
	refused := must(must(admin.AlterTopicConfigs(ctx, bad, topic)).On(topic, nil))
	expect(fmt.Sprintf("INVALID_CONFIG in %v", refused.Err), errors.Is(refused.Err, kerr.InvalidConfig), true)
	// The older call sets the whole state.
	state := []kadm.AlterConfig{{Name: "max.message.bytes", Value: kadm.StringPtr("2222")}}
	must(admin.AlterTopicConfigsState(ctx, state, topic))
	waitFor(ctx, "the older call", is("max.message.bytes", "2222"))
	expect("what it left out", setting(ctx, topic, "retention.ms").Source, kmsg.ConfigSourceDefaultConfig)
}

func createPartitions(ctx context.Context) {
	topic := newTopic(ctx, "grow", 1, nil)
	produceValues(ctx, topic, [][]byte{[]byte("old")})
	grown := must(must(admin.UpdatePartitions(ctx, 3, topic)).On(topic, nil))
	expect("error", grown.Err, nil)
	waitFor(ctx, "three partitions", func() bool { return len(must(admin.ListTopics(ctx, topic))[topic].Partitions) == 3 })
	sent := must(produce(ctx, topic, []*kgo.Record{{Value: []byte("new"), Partition: 2}}))
	expect("offset in the new partition", sent[0].Offset, int64(0))
	expect("record of the new partition", string(read(ctx, topic, 2, earliest(), 1)[0].Value), "new")
	expect("record of the old partition", string(read(ctx, topic, 0, earliest(), 1)[0].Value), "old")
	shrunk := must(must(admin.UpdatePartitions(ctx, 2, topic)).On(topic, nil))
	expect(fmt.Sprintf("INVALID_PARTITIONS in %v", shrunk.Err), errors.Is(shrunk.Err, kerr.InvalidPartitions), true)
}

func cluster(ctx context.Context) {
	metadata := must(admin.BrokerMetadata(ctx))
	expect("a cluster id", metadata.Cluster != "", true)
	expect("brokers", len(metadata.Brokers), 1)
	expect("the controller is the broker", metadata.Controller, metadata.Brokers[0].NodeID)
	configs := must(admin.DescribeBrokerConfigs(ctx, metadata.Controller))
	expect("broker configs answered without error", configs[0].Err, nil)
	expect("broker has settings", len(configs[0].Configs) > 10, true)
}

func leaderEpochs(ctx context.Context) {
	topic := newTopic(ctx, "epoch", 1, nil)
	produceValues(ctx, topic, values("epoch", 7))
	end := must(admin.ListEndOffsets(ctx, topic))[topic][0]
	epochs := kadm.OffsetForLeaderEpochRequest{topic: {0: end.LeaderEpoch}}
	answer := must(admin.OffsetForLeaderEpoch(ctx, epochs))[topic][0]
	expect("error", answer.Err, nil)
	expect("end of the current leader epoch", answer.EndOffset, int64(7))
	expect("leader epoch", answer.LeaderEpoch, end.LeaderEpoch)
}

func checks() []check {
	return []check{
		groupOfTwoMembers("range", kgo.RangeBalancer()),
		groupOfTwoMembers("sticky", kgo.StickyBalancer()),
		groupOfTwoMembers("cooperative_sticky", kgo.CooperativeStickyBalancer()),
		{"group_commits_and_restarts_there", groupCommitsAndRestartsThere},
		{"group_admin", groupAdmin},
		{"offsets_of_unknown_group", offsetsOfUnknownGroup},
		{"produce_and_consume_from_earliest", produceAndConsumeFromEarliest},
		{"consume_by_offset", consumeByOffset},
		{"offset_out_of_range_is_reported", offsetOutOfRangeIsReported},
		{"explicit_timestamps_and_offsets_for_times", explicitTimestampsAndOffsetsForTimes},
		{"log_append_time", logAppendTime},
		codecCheck("none", kgo.NoCompression(), 0),
		codecCheck("gzip", kgo.GzipCompression(), 1),
		codecCheck("snappy", kgo.SnappyCompression(), 2),
		codecCheck("lz4", kgo.Lz4Compression(), 3),
		codecCheck("zstd", kgo.ZstdCompression(), 4),
		{"headers", headers},
		{"tombstone_against_empty", tombstoneAgainstEmpty},
		{"idempotent_producer", idempotentProducer},
		{"acks_zero_and_one", acksZeroAndOne},
		{"refused_records", refusedRecords},
		{"create_describe_delete_topic", createDescribeDeleteTopic},
		{"bad_topics_are_refused", badTopicsAreRefused},
		{"topic_configs", topicConfigs},
		{"create_partitions", createPartitions},
		{"delete_records", deleteRecords},
		{"cluster", cluster},
		{"leader_epochs", leaderEpochs},
	}
}
