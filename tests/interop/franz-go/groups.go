package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

func member(topic, group string, options ...kgo.Opt) *kgo.Client {
	base := []kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(earliest()), kgo.DisableAutoCommit(),
		kgo.HeartbeatInterval(500 * time.Millisecond), kgo.SessionTimeout(10 * time.Second),
	}
	return client(append(base, options...)...)
}

func groupCommitsAndRestartsThere(ctx context.Context) {
	topic, group := newTopic(ctx, "group", 1, nil), unique("group")
	payloads := values("group", 100)
	produceValues(ctx, topic, payloads)
	first := member(topic, group)
	for i, got := range take(ctx, first, 100) {
		expect("value", string(got.Value), string(payloads[i]))
	}
	var at kadm.Offsets
	at.Add(kadm.Offset{Topic: topic, Partition: 0, At: 40, LeaderEpoch: -1, Metadata: "why 40"})
	first.Close()
	expect("commit", must(admin.CommitOffsets(ctx, group, at)).Error(), nil)
	stored, _ := must(admin.FetchOffsets(ctx, group)).Lookup(topic, 0)
	expect("committed offset", stored.At, int64(40))
	expect("committed metadata", stored.Metadata, "why 40")
	second := member(topic, group)
	for i, got := range take(ctx, second, 30) {
		expect("offset after the restart", got.Offset, int64(40+i))
	}
	if err := second.CommitUncommittedOffsets(ctx); err != nil {
		fail("commit by the member: %v", err)
	}
	second.Close()
	third := member(topic, group)
	defer third.Close()
	for i, got := range take(ctx, third, 30) {
		expect("offset after the second restart", got.Offset, int64(70+i))
		expect("value after the second restart", string(got.Value), string(payloads[70+i]))
	}
}

func groupOfTwoMembers(name string, balancer kgo.GroupBalancer) check {
	return check{"group_of_two_members_" + name, func(ctx context.Context) {
		topic, group := newTopic(ctx, "pair", 4, nil), unique("pair")
		members := []*kgo.Client{member(topic, group, kgo.Balancers(balancer)), member(topic, group, kgo.Balancers(balancer))}
		owned := func() [][]int32 {
			groups, err := admin.DescribeGroups(ctx, group)
			if err != nil {
				return nil // a fresh broker may still load its coordinator
			}
			described := groups[group]
			var parts [][]int32
			for _, m := range described.Members {
				assigned, _ := m.Assigned.AsConsumer()
				var mine []int32
				for _, t := range assigned.Topics {
					mine = append(mine, t.Partitions...)
				}
				slices.Sort(mine)
				parts = append(parts, mine)
			}
			if described.State != "Stable" {
				return nil
			}
			return parts
		}
		// Members poll all the while, or a cooperative rebalance would never end.
		polling, stop := context.WithCancel(ctx)
		defer stop()
		for _, m := range members {
			go func() {
				for polling.Err() == nil {
					m.PollFetches(polling)
				}
			}()
		}
		var parts [][]int32
		waitFor(ctx, "two partitions for each member", func() bool {
			parts = owned()
			return len(parts) == 2 && len(parts[0]) == 2 && len(parts[1]) == 2
		})
		both := slices.Concat(parts...)
		slices.Sort(both)
		expect("partitions of both", both, []int32{0, 1, 2, 3})
		members[1].Close()
		waitFor(ctx, "all partitions for the one that stayed", func() bool {
			parts = owned()
			return len(parts) == 1 && len(parts[0]) == 4
		})
		members[0].Close()
	}}
}

func groupAdmin(ctx context.Context) {
	topic, group := newTopic(ctx, "group-admin", 1, nil), unique("group-admin")
	produceValues(ctx, topic, values("admin", 5))
	joined := member(topic, group, kgo.Balancers(kgo.RangeBalancer()), kgo.InstanceID("instance-one"))
	take(ctx, joined, 5)
	if err := joined.CommitUncommittedOffsets(ctx); err != nil {
		fail("commit: %v", err)
	}
	live := must(admin.DescribeGroups(ctx, group))[group]
	expect("state, type and protocol", []string{live.State, live.ProtocolType, live.Protocol}, []string{"Stable", "consumer", "range"})
	expect("members", len(live.Members), 1)
	expect("client id", live.Members[0].ClientID, "interop-franz-go")
	expect("instance id", *live.Members[0].InstanceID, "instance-one")
	lag := must(admin.Lag(ctx, group))[group].Lag.Total()
	expect("lag", lag, int64(0))
	listed := must(admin.ListGroups(ctx))[group]
	expect("the group in the list", []string{listed.Group, listed.ProtocolType, listed.State}, []string{group, "consumer", "Stable"})
	_, err := admin.DeleteGroup(ctx, group)
	expect("NON_EMPTY_GROUP on deleting a live group", errors.Is(err, kerr.NonEmptyGroup), true)
	joined.Close()
	// A static member stays until its session ends or somebody removes it.
	left := must(admin.LeaveGroup(ctx, kadm.LeaveGroup(group).InstanceIDs("instance-one")))
	expect("removing the static member", left.Error(), nil)
	expect("state without members", must(admin.DescribeGroups(ctx, group))[group].State, "Empty")
	var gone kadm.TopicsSet
	gone.Add(topic, 0)
	expect("OffsetDelete", must(admin.DeleteOffsets(ctx, group, gone)).Error(), nil)
	_, found := must(admin.FetchOffsets(ctx, group)).Lookup(topic, 0)
	expect("an offset after OffsetDelete", found, false)
	must(admin.DeleteGroup(ctx, group))
	_, found = must(admin.ListGroups(ctx))[group]
	expect("the deleted group in the list", found, false)
	_, err = admin.DeleteGroup(ctx, group)
	expect("GROUP_ID_NOT_FOUND on deleting it again", errors.Is(err, kerr.GroupIDNotFound), true)
	expect("state of the deleted group", must(admin.DescribeGroups(ctx, group))[group].State, "Dead")
}

func offsetsOfUnknownGroup(ctx context.Context) {
	topic := newTopic(ctx, "unknown-group", 1, nil)
	offsets := must(admin.FetchOffsetsForTopics(ctx, unique("unknown"), topic))
	stored, found := offsets.Lookup(topic, 0)
	expect("the partition is answered", found, true)
	expect("error", stored.Err, nil)
	expect("offset of an unknown group", stored.At, int64(-1))
}
