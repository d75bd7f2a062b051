package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func newTopic(ctx context.Context, prefix string, partitions int32, config map[string]string) string {
	topic := unique(prefix)
	settings := map[string]*string{}
	for name, value := range config {
		settings[name] = &value
	}
	must(admin.CreateTopic(ctx, partitions, 1, settings, topic))
	waitFor(ctx, "leaders of "+topic, func() bool {
		detail := must(admin.ListTopics(ctx, topic))[topic]
		led := 0
		for _, partition := range detail.Partitions {
			if partition.Err == nil && partition.Leader >= 0 {
				led++
			}
		}
		return detail.Err == nil && led == int(partitions)
	})
	return topic
}

func values(prefix string, count int) [][]byte {
	made := make([][]byte, count)
	for i := range made {
		made[i] = []byte(fmt.Sprintf("%s-%d-%s", prefix, i, strings.Repeat("alluvium ", i%23)))
	}
	return made
}

// produce sends to the partitions named in the records and returns them with what the broker said.
func produce(ctx context.Context, topic string, records []*kgo.Record, options ...kgo.Opt) ([]*kgo.Record, error) {
	base := []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(20 * time.Millisecond)}
	producer := client(append(base, options...)...)
	defer producer.Close()
	for _, record := range records {
		record.Topic = topic
	}
	results := producer.ProduceSync(ctx, records...)
	return records, results.FirstErr()
}

func produceValues(ctx context.Context, topic string, payloads [][]byte, options ...kgo.Opt) {
	records := make([]*kgo.Record, len(payloads))
	for i, payload := range payloads {
		records[i] = &kgo.Record{Value: payload}
	}
	for i, told := range must(produce(ctx, topic, records, options...)) {
		expect("offset told to the producer", told.Offset, int64(i))
	}
}

func read(ctx context.Context, topic string, partition int32, from kgo.Offset, count int) []*kgo.Record {
	consumer := client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: from}}))
	defer consumer.Close()
	return take(ctx, consumer, count)
}

func take(ctx context.Context, consumer *kgo.Client, count int) []*kgo.Record {
	var records []*kgo.Record
	for len(records) < count {
		fetches := consumer.PollRecords(ctx, count-len(records))
		if err := fetches.Err(); err != nil {
			fail("after %d of %d records: %v", len(records), count, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

func earliest() kgo.Offset { return kgo.NewOffset().AtStart() }

func produceAndConsumeFromEarliest(ctx context.Context) {
	topic := newTopic(ctx, "basic", 3, nil)
	payloads := values("basic", 300)
	var records []*kgo.Record
	for i, payload := range payloads {
		records = append(records, &kgo.Record{Key: fmt.Appendf(nil, "k%d", i), Value: payload, Partition: int32(i % 3)})
	}
	must(produce(ctx, topic, records))
	for partition := range int32(3) {
		for n, got := range read(ctx, topic, partition, earliest(), 100) {
			sent := records[n*3+int(partition)]
			expect("offset told", sent.Offset, int64(n))
			expect("offset read", got.Offset, int64(n))
			expect("key", string(got.Key), string(sent.Key))
			expect("value", string(got.Value), string(sent.Value))
		}
	}
}

func consumeByOffset(ctx context.Context) {
	topic := newTopic(ctx, "offset", 1, nil)
	payloads := values("offset", 50)
	produceValues(ctx, topic, payloads)
	for i, got := range read(ctx, topic, 0, kgo.NewOffset().At(37), 13) {
		expect("offset", got.Offset, int64(37+i))
		expect("value", string(got.Value), string(payloads[37+i]))
	}
	first := must(admin.ListStartOffsets(ctx, topic))[topic][0]
	last := must(admin.ListEndOffsets(ctx, topic))[topic][0]
	expect("first and last offset", []int64{first.Offset, last.Offset}, []int64{0, 50})
}

func offsetOutOfRangeIsReported(ctx context.Context) {
	topic := newTopic(ctx, "range", 1, nil)
	produceValues(ctx, topic, values("range", 3))
	consumer := client(
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().At(1000)}}),
		kgo.ConsumeResetOffset(kgo.NoResetOffset()),
	)
	defer consumer.Close()
	for {
		fetches := consumer.PollFetches(ctx)
		expect("records beyond the end", fetches.NumRecords(), 0)
		if err := fetches.Err(); err != nil {
			expect("OFFSET_OUT_OF_RANGE in "+err.Error(), errors.Is(err, kerr.OffsetOutOfRange), true)
			return
		}
	}
}

func explicitTimestampsAndOffsetsForTimes(ctx context.Context) {
	topic := newTopic(ctx, "time", 1, nil)
	start := (time.Now().Unix() - 3600) * 1000
	// One batch, and its largest timestamp is not its last: an answer by batch would be wrong.
	steps := []int64{0, 100, 200, 300, 900, 500, 600}
	var records []*kgo.Record
	for _, step := range steps {
		records = append(records, &kgo.Record{Value: []byte("v"), Timestamp: time.UnixMilli(start + step)})
	}
	must(produce(ctx, topic, records))
	for i, got := range read(ctx, topic, 0, earliest(), len(steps)) {
		expect("timestamp", got.Timestamp.UnixMilli()-start, steps[i])
		expect("timestamp type", got.Attrs.TimestampType(), int8(0))
	}
	for step, want := range map[int64][2]int64{-1: {0, 0}, 0: {0, 0}, 1: {1, 100}, 250: {3, 300}, 301: {4, 900}, 900: {4, 900}} {
		found := must(admin.ListOffsetsAfterMilli(ctx, start+step, topic))[topic][0]
		expect(fmt.Sprintf("first record at or after start%+d ms", step), [2]int64{found.Offset, found.Timestamp - start}, want)
	}
	// For a time after the last record franz-go asks for the end of the log.
	expect("after the last time", must(admin.ListOffsetsAfterMilli(ctx, start+901, topic))[topic][0].Offset, int64(7))
	newest := must(admin.ListMaxTimestampOffsets(ctx, topic))[topic][0]
	expect("max timestamp", [2]int64{newest.Offset, newest.Timestamp - start}, [2]int64{4, 900})
	from := kgo.NewOffset().AfterMilli(start + 301)
	expect("first record from a time", read(ctx, topic, 0, from, 1)[0].Offset, int64(4))
}

func logAppendTime(ctx context.Context) {
	topic := newTopic(ctx, "append-time", 1, map[string]string{"message.timestamp.type": "LogAppendTime"})
	before := time.Now().UnixMilli()
	produceValues(ctx, topic, values("append", 20))
	after := time.Now().UnixMilli()
	for _, got := range read(ctx, topic, 0, earliest(), 20) {
		expect("timestamp type", got.Attrs.TimestampType(), int8(1))
		at := got.Timestamp.UnixMilli()
		expect(fmt.Sprintf("append time %d within [%d, %d]", at, before, after), before <= at && at <= after, true)
	}
}

func codecCheck(name string, codec kgo.CompressionCodec, number uint8) check {
	return check{"codec_" + name, func(ctx context.Context) {
		topic := newTopic(ctx, "codec-"+name, 1, nil)
		payloads := values(name, 500)
		produceValues(ctx, topic, payloads, kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(100*time.Millisecond))
		for i, got := range read(ctx, topic, 0, earliest(), 500) {
			expect("offset", got.Offset, int64(i))
			expect("value", string(got.Value), string(payloads[i]))
			// The codec is the producer's choice, and consumers may know no other.
			expect("codec of the batch read", got.Attrs.CompressionType(), number)
		}
	}}
}

func headers(ctx context.Context) {
	topic := newTopic(ctx, "headers", 1, nil)
	want := []kgo.RecordHeader{
		{Key: "a", Value: []byte("1")}, {Key: "a", Value: []byte("2")}, {Key: "null", Value: nil},
		{Key: "empty", Value: []byte{}}, {Key: "", Value: []byte("no key")}, {Key: "a", Value: []byte("1")},
	}
	must(produce(ctx, topic, []*kgo.Record{{Value: []byte("v"), Headers: want}, {Value: []byte("none")}}))
	got := read(ctx, topic, 0, earliest(), 2)
	expect("headers with duplicates, null and empty values, in order", got[0].Headers, want)
	expect("headers of a record without any", len(got[1].Headers), 0)
}

func tombstoneAgainstEmpty(ctx context.Context) {
	topic := newTopic(ctx, "null", 1, map[string]string{"cleanup.policy": "compact"})
	want := [][2][]byte{{[]byte("k"), nil}, {[]byte("k"), {}}, {{}, []byte("v")}}
	var records []*kgo.Record
	for _, pair := range want {
		records = append(records, &kgo.Record{Key: pair[0], Value: pair[1]})
	}
	must(produce(ctx, topic, records))
	for i, got := range read(ctx, topic, 0, earliest(), 3) {
		expect("key and value", [2][]byte{got.Key, got.Value}, want[i])
	}
	plain := newTopic(ctx, "null-key", 1, nil)
	produceValues(ctx, plain, [][]byte{[]byte("x")})
	expect("key of a record without one", read(ctx, plain, 0, earliest(), 1)[0].Key, []byte(nil))
}

func idempotentProducer(ctx context.Context) {
	topic := newTopic(ctx, "idempotent", 1, nil)
	payloads := values("idempotent", 1000)
	// Small batches and several in flight: the sequence numbers have to hold the order.
	produceValues(ctx, topic, payloads, kgo.ProducerBatchMaxBytes(2000), kgo.ProducerLinger(time.Millisecond))
	for i, got := range read(ctx, topic, 0, earliest(), 1000) {
		expect("offset", got.Offset, int64(i))
		expect("value", string(got.Value), string(payloads[i]))
		expect("the batch has a producer id", got.ProducerID >= 0, true)
	}
}

func acksZeroAndOne(ctx context.Context) {
	for name, acks := range map[string]kgo.Acks{"zero": kgo.NoAck(), "one": kgo.LeaderAck()} {
		topic := newTopic(ctx, "acks-"+name, 1, nil)
		var records []*kgo.Record
		for _, payload := range values("acks", 100) {
			records = append(records, &kgo.Record{Value: payload})
		}
		must(produce(ctx, topic, records, kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite()))
		for i, got := range read(ctx, topic, 0, earliest(), 100) {
			expect("value", string(got.Value), string(records[i].Value))
		}
	}
}

func refusedRecords(ctx context.Context) {
	small := newTopic(ctx, "oversized", 1, map[string]string{"max.message.bytes": "20000"})
	_, err := produce(ctx, small, []*kgo.Record{{Value: bytes.Repeat([]byte{65}, 50_000)}}, kgo.ProducerBatchCompression(kgo.NoCompression()))
	expect(fmt.Sprintf("MESSAGE_TOO_LARGE in %v", err), errors.Is(err, kerr.MessageTooLarge), true)
	compacted := newTopic(ctx, "keyless", 1, map[string]string{"cleanup.policy": "compact"})
	_, err = produce(ctx, compacted, []*kgo.Record{{Value: []byte("v")}})
	expect(fmt.Sprintf("INVALID_RECORD in %v", err), errors.Is(err, kerr.InvalidRecord), true)
	for _, topic := range []string{small, compacted} {
		expect("end of "+topic, must(admin.ListEndOffsets(ctx, topic))[topic][0].Offset, int64(0))
	}
}

func deleteRecords(ctx context.Context) {
	topic := newTopic(ctx, "delete-records", 1, nil)
	payloads := values("delete", 10)
	produceValues(ctx, topic, payloads)
	var until kadm.Offsets
	until.Add(kadm.Offset{Topic: topic, Partition: 0, At: 6, LeaderEpoch: -1})
	answer := must(admin.DeleteRecords(ctx, until))[topic][0]
	expect("error", answer.Err, nil)
	expect("low watermark told", answer.LowWatermark, int64(6))
	for i, got := range read(ctx, topic, 0, earliest(), 4) {
		expect("offset", got.Offset, int64(6+i))
		expect("value", string(got.Value), string(payloads[6+i]))
	}
	expect("earliest offset", must(admin.ListStartOffsets(ctx, topic))[topic][0].Offset, int64(6))
}
