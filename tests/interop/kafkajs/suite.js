// kafkajs against the broker.
'use strict'

const assert = require('node:assert/strict')
const { AsyncLocalStorage } = require('node:async_hooks')
const { randomBytes } = require('node:crypto')
const {
  AclResourceTypes, CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, PartitionAssigners, logLevel,
} = require('kafkajs')
const SnappyCodec = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const zstd = require('@bokuweb/zstd-wasm')

const DEADLINE_MS = 30_000 // of a single wait; a whole client is held to a minute by run.sh
const WORKERS = 16 // checks at once: kafkajs reads only as a group, and groups mostly wait
const START = (Math.floor(Date.now() / 1000) - 3600) * 1000 // recent enough for retention, and not now

CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: encoder => lz4.compressFrame(encoder.buffer),
  decompress: buffer => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer, 3)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
})

const bootstrap = argument('--bootstrap') ?? process.env.BOOTSTRAP
if (!bootstrap) {
  console.error('--bootstrap HOST:PORT is missing')
  process.exit(2)
}
const kafka = new Kafka({ clientId: 'interop-kafkajs', brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { retries: 8, initialRetryTime: 50 } })
// An admin client for each check: in kafkajs, calls at once on one client disturb each other's metadata.
const admins = new AsyncLocalStorage()
const admin = new Proxy({}, { get: (_, call) => admins.getStore()[call] })

function argument(name) {
  const at = process.argv.indexOf(name)
  return at < 0 ? undefined : process.argv[at + 1]
}

const unique = prefix => `kafkajs-${prefix}-${randomBytes(6).toString('hex')}`
const values = (prefix, count) => Array.from({ length: count }, (_, i) => `${prefix}-${i}-` + 'alluvium '.repeat(i % 23))
const text = buffer => (buffer === null ? null : buffer.toString())

async function waitFor(condition, what) {
  const deadline = Date.now() + DEADLINE_MS
  for (;;) {
    const result = await condition()
    if (result) return result
    if (Date.now() > deadline) throw new Error(`timed out waiting for ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}

async function newTopic(prefix, numPartitions = 1, config = {}) {
  const topic = unique(prefix)
  const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }))
  // The controller answers; a broker of Kafka's may hear of the topic a moment later, which waitForLeaders takes for an error.
  assert.equal(await admin.createTopics({ topics: [{ topic, numPartitions, configEntries }], waitForLeaders: false }), true)
  await waitFor(async () => (await leaders(topic)) === numPartitions, `leaders of ${topic}`)
  return topic
}

async function leaders(topic) {
  try {
    const { topics: [found] } = await admin.fetchTopicMetadata({ topics: [topic] })
    return found.partitions.filter(p => p.leader >= 0 && p.partitionErrorCode === 0).length
  } catch (error) {
    if (error.type === 'UNKNOWN_TOPIC_OR_PARTITION') return 0
    throw error
  }
}

async function send(topic, messages, { compression, ...options } = {}) {
  const producer = kafka.producer({ allowAutoTopicCreation: false, ...options })
  await producer.connect()
  try {
    return await producer.send({ topic, messages: messages.map(m => ({ partition: 0, ...m })), compression, acks: options.acks })
  } finally {
    await producer.disconnect()
  }
}

// kafkajs has no assign(): a group of its own, positioned by seek, reads `count` records of a partition.
async function read(topic, count, { partition = 0, offset } = {}) {
  return consume({ topic, groupId: unique('reader'), count, seek: offset === undefined ? undefined : { topic, partition, offset: String(offset) }, partition })
}

async function consume({ topic, groupId, count, seek, partition, commit }) {
  const consumer = kafka.consumer({ groupId, maxWaitTimeInMs: 200 })
  const records = []
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  try {
    await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`timed out with ${records.length} of ${count} records`)), DEADLINE_MS)
      // After what can be retried, as a coordinator that is loading, kafkajs starts the consumer again by itself.
      consumer.on(consumer.events.CRASH, ({ payload }) => { if (!payload.restart) reject(payload.error) })
      // On every join: a consumer that started again has forgotten where it was told to read.
      if (seek) consumer.on(consumer.events.GROUP_JOIN, () => consumer.seek(seek))
      consumer.run({
        autoCommit: false,
        eachBatch: async ({ batch, isStale }) => {
          if (isStale() || (partition !== undefined && batch.partition !== partition)) return
          records.push(...batch.messages)
          if (records.length >= count) {
            clearTimeout(timer)
            resolve()
          }
        },
      }).catch(reject)
    })
    if (commit) await consumer.commitOffsets([{ topic, ...commit }])
  } finally {
    await consumer.disconnect()
  }
  return records.slice(0, count)
}

async function refused(promise, type) {
  try {
    await promise
  } catch (error) {
    const names = [error.type, error.cause?.type, ...(error.errors ?? []).map(e => e.type)]
    assert.ok(names.includes(type), `refused with ${names} (${error.message}), want ${type}`)
    return
  }
  throw new Error(`accepted, want ${type}`)
}

const checks = {
  async produce_and_consume_from_earliest() {
    const topic = await newTopic('basic', 2)
    const lines = values('basic', 200)
    const told = await send(topic, lines.map((value, i) => ({ key: `k${i}`, value, partition: i % 2 })))
    assert.deepEqual(told.map(t => [t.partition, t.errorCode, t.baseOffset]).sort(), [[0, 0, '0'], [1, 0, '0']])
    for (const partition of [0, 1]) {
      const got = await read(topic, 100, { partition })
      const wanted = lines.map((value, i) => [`k${i}`, value]).filter((_, i) => i % 2 === partition)
      assert.deepEqual(got.map(m => [m.offset, text(m.key), text(m.value)]), wanted.map((r, n) => [String(n), ...r]))
    }
  },

  async consume_by_offset() {
    const topic = await newTopic('offset')
    const lines = values('offset', 50)
    await send(topic, lines.map(value => ({ value })))
    const got = await read(topic, 13, { offset: 37 })
    assert.deepEqual(got.map(m => [m.offset, text(m.value)]), lines.map((v, i) => [String(i), v]).slice(37))
    assert.deepEqual(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: '50', high: '50', low: '0' }])
  },

  async explicit_timestamps_and_offsets_for_times() {
    const topic = await newTopic('time')
    // One batch, and its largest timestamp is not its last: an answer by batch would be wrong.
    const times = [0, 100, 200, 300, 900, 500, 600].map(step => START + step)
    await send(topic, times.map(t => ({ value: 'v', timestamp: String(t) })))
    assert.deepEqual((await read(topic, 7)).map(m => Number(m.timestamp)), times)
    for (const [step, wanted] of [[-1, '0'], [0, '0'], [1, '1'], [250, '3'], [301, '4'], [900, '4'], [901, '7']]) {
      // For a time after the last record kafkajs asks for the end of the log.
      assert.deepEqual(await admin.fetchTopicOffsetsByTimestamp(topic, START + step), [{ partition: 0, offset: wanted }], `at start+${step} ms`)
    }
  },

  async log_append_time() {
    const topic = await newTopic('append-time', 1, { 'message.timestamp.type': 'LogAppendTime' })
    const before = Date.now()
    const [told] = await send(topic, values('append', 20).map(value => ({ value, timestamp: String(START) })))
    const after = Date.now()
    assert.ok(Number(told.logAppendTime) >= before && Number(told.logAppendTime) <= after, `append time told ${told.logAppendTime}`)
    for (const message of await read(topic, 20)) assert.equal(message.timestamp, told.logAppendTime)
  },

  ...Object.fromEntries(Object.entries({ none: 'None', gzip: 'GZIP', snappy: 'Snappy', lz4: 'LZ4', zstd: 'ZSTD' }).map(([name, kind]) => [
    `codec_${name}`,
    async () => {
      const topic = await newTopic(`codec-${name}`)
      const lines = values(name, 300)
      await send(topic, lines.map((value, i) => ({ key: `k${i}`, value, headers: { h: `${i}` } })), { compression: CompressionTypes[kind] })
      const got = await read(topic, 300)
      assert.deepEqual(
        got.map(m => [m.offset, text(m.key), text(m.value), text(m.headers.h)]),
        lines.map((value, i) => [String(i), `k${i}`, value, `${i}`]),
      )
    },
  ])),

  async headers() {
    const topic = await newTopic('headers')
    const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    await send(topic, [{ value: 'v', headers: { a: ['1', '2'], empty: '', é: bytes } }, { value: 'none' }])
    const [first, second] = await read(topic, 2)
    assert.deepEqual(first.headers, { a: [Buffer.from('1'), Buffer.from('2')], empty: Buffer.from(''), é: bytes })
    assert.deepEqual(second.headers, {})
  },

  async tombstone_against_empty() {
    const topic = await newTopic('null', 1, { 'cleanup.policy': 'compact' })
    await send(topic, [{ key: 'k', value: null }, { key: 'k', value: '' }, { key: '', value: 'v' }])
    assert.deepEqual((await read(topic, 3)).map(m => [text(m.key), text(m.value)]), [['k', null], ['k', ''], ['', 'v']])
  },

  async idempotent_producer() {
    const topic = await newTopic('idempotent')
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 5 })
    await producer.connect()
    for (let i = 0; i < 50; i++) {
      const [told] = await producer.send({ topic, messages: [{ partition: 0, value: `${2 * i}` }, { partition: 0, value: `${2 * i + 1}` }] })
      assert.equal(told.baseOffset, String(2 * i))
    }
    await producer.disconnect()
    assert.deepEqual((await read(topic, 100)).map(m => text(m.value)), Array.from({ length: 100 }, (_, i) => `${i}`))
  },

  async acks_zero_and_one() {
    for (const acks of [0, 1]) {
      const topic = await newTopic(`acks${acks}`)
      const lines = values('acks', 50)
      await send(topic, lines.map(value => ({ value })), { acks })
      assert.deepEqual((await read(topic, 50)).map(m => text(m.value)), lines)
    }
  },

  async refused_records() {
    const small = await newTopic('oversized', 1, { 'max.message.bytes': '20000' })
    await refused(send(small, [{ value: Buffer.alloc(50_000) }]), 'MESSAGE_TOO_LARGE')
    const compacted = await newTopic('keyless', 1, { 'cleanup.policy': 'compact' })
    // kafkajs does not know INVALID_RECORD by name.
    await assert.rejects(send(compacted, [{ value: 'v' }], { retry: { retries: 0 } }), error => error.code === 87 || error.cause?.code === 87 || /87/.test(error.message))
  },

  async group_commits_and_restarts_there() {
    const topic = await newTopic('group')
    const groupId = unique('group')
    const lines = values('group', 60)
    await send(topic, lines.map(value => ({ value })))
    await consume({ topic, groupId, count: 60, commit: { partition: 0, offset: '40', metadata: 'why 40' } })
    assert.deepEqual(await admin.fetchOffsets({ groupId, topics: [topic] }), [{ topic, partitions: [{ partition: 0, offset: '40', metadata: 'why 40' }] }])
    const again = await consume({ topic, groupId, count: 20 })
    assert.deepEqual(again.map(m => [m.offset, text(m.value)]), lines.map((v, i) => [String(i), v]).slice(40))
  },

  async group_of_two_members() {
    const topic = await newTopic('pair', 4)
    const groupId = unique('pair')
    const owned = [[], []]
    const members = owned.map(() => kafka.consumer({ groupId, partitionAssigners: [PartitionAssigners.roundRobin], heartbeatInterval: 500, maxWaitTimeInMs: 200 }))
    await Promise.all(members.map(async (member, i) => {
      member.on(member.events.GROUP_JOIN, ({ payload }) => { owned[i] = payload.memberAssignment[topic] ?? [] })
      await member.connect()
      await member.subscribe({ topics: [topic], fromBeginning: true })
      await member.run({ eachMessage: async () => {} })
    }))
    await waitFor(() => owned[0].length === 2 && owned[1].length === 2, 'two partitions for each member')
    assert.deepEqual([...owned[0], ...owned[1]].sort(), [0, 1, 2, 3])
    await members[1].disconnect()
    await waitFor(() => owned[0].length === 4, 'all partitions for the one that stayed')
    await members[0].disconnect()
  },

  async group_admin() {
    const topic = await newTopic('group-admin')
    const groupId = unique('group-admin')
    await send(topic, [{ value: 'v' }])
    const member = kafka.consumer({ groupId, maxWaitTimeInMs: 200 })
    const joined = new Promise(resolve => member.on(member.events.GROUP_JOIN, resolve))
    await member.connect()
    await member.subscribe({ topics: [topic] })
    await member.run({ eachMessage: async () => {} })
    await joined
    const { groups: [live] } = await admin.describeGroups([groupId])
    assert.deepEqual([live.state, live.protocolType, live.protocol], ['Stable', 'consumer', 'RoundRobinAssigner'])
    assert.deepEqual(live.members.map(m => m.clientId), ['interop-kafkajs'])
    assert.ok((await admin.listGroups()).groups.some(g => g.groupId === groupId && g.protocolType === 'consumer'))
    await assert.rejects(admin.deleteGroups([groupId]), error => error.groups[0].errorCode === 68, 'deleting a live group')
    await member.disconnect()
    assert.equal((await admin.describeGroups([groupId])).groups[0].state, 'Empty')
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '1' }] })
    assert.equal((await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions[0].offset, '1')
    assert.deepEqual((await admin.deleteGroups([groupId])).map(r => [r.groupId, r.errorCode]), [[groupId, 0]])
    assert.equal((await admin.listGroups()).groups.some(g => g.groupId === groupId), false)
    const unknown = await admin.fetchOffsets({ groupId: unique('unknown'), topics: [topic] })
    assert.equal(unknown[0].partitions[0].offset, '-1')
  },

  async create_describe_delete_topic() {
    const topic = await newTopic('admin', 3)
    const { topics: [found] } = await admin.fetchTopicMetadata({ topics: [topic] })
    assert.deepEqual(found.partitions.map(p => p.partitionId).sort(), [0, 1, 2])
    assert.ok(found.partitions.every(p => p.leader >= 0 && p.partitionErrorCode === 0))
    assert.ok((await admin.listTopics()).includes(topic))
    assert.equal(await admin.createTopics({ topics: [{ topic }] }), false, 'creating it again')
    await refused(admin.createTopics({ topics: [{ topic: 'a/b' }] }), 'INVALID_TOPIC_EXCEPTION')
    await refused(admin.createTopics({ topics: [{ topic: unique('bad'), configEntries: [{ name: 'no.such.setting', value: '1' }] }] }), 'INVALID_CONFIG')
    await admin.deleteTopics({ topics: [topic] })
    await waitFor(async () => !(await admin.listTopics()).includes(topic), 'the topic to leave the list')
  },

  async topic_configs() {
    const topic = await newTopic('config', 1, { 'max.message.bytes': '123456' })
    const setting = async name => {
      const { resources: [{ configEntries }] } = await admin.describeConfigs({ includeSynonyms: true, resources: [{ type: ConfigResourceTypes.TOPIC, name: topic }] })
      return configEntries.find(entry => entry.configName === name)
    }
    const set = await setting('max.message.bytes')
    assert.deepEqual([set.configValue, set.isDefault, set.configSource], ['123456', false, 1])
    const unset = await setting('cleanup.policy')
    assert.deepEqual([unset.configValue, unset.isDefault, unset.configSource], ['delete', true, 5])
    await admin.alterConfigs({ validateOnly: false, resources: [{ type: AclResourceTypes.TOPIC, name: topic, configEntries: [{ name: 'retention.ms', value: '3600000' }] }] })
    await waitFor(async () => (await setting('retention.ms')).configValue === '3600000', 'the change')
    assert.equal((await setting('max.message.bytes')).isDefault, true, 'what the older call leaves out is a default')
  },

  async create_partitions() {
    const topic = await newTopic('grow')
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
    await waitFor(async () => (await leaders(topic)) === 3, 'three partitions')
    const [told] = await send(topic, [{ value: 'new', partition: 2 }])
    assert.deepEqual([told.partition, told.baseOffset], [2, '0'])
    assert.deepEqual((await read(topic, 1, { partition: 2 })).map(m => text(m.value)), ['new'])
  },

  async delete_records() {
    const topic = await newTopic('delete-records')
    const lines = values('delete', 10)
    await send(topic, lines.map(value => ({ value })))
    // deleteTopicRecords needs the leader in the client's metadata, and does not ask for it by itself.
    await admin.fetchTopicOffsets(topic)
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '6' }] })
    assert.deepEqual(await admin.fetchTopicOffsets(topic), [{ partition: 0, offset: '10', high: '10', low: '6' }])
    assert.deepEqual((await read(topic, 4)).map(m => [m.offset, text(m.value)]), lines.map((v, i) => [String(i), v]).slice(6))
  },

  async cluster() {
    const cluster = await admin.describeCluster()
    assert.ok(cluster.clusterId)
    assert.deepEqual(cluster.brokers.map(b => b.nodeId), [cluster.controller])
  },
}

async function runOne(name, check) {
  const client = kafka.admin()
  try {
    await client.connect()
    await admins.run(client, check)
    console.log(`ok ${name}`)
    return true
  } catch (error) {
    if (process.env.INTEROP_TRACE) console.error(error)
    console.log(`FAILED ${name}: ${String(error.message ?? error).replace(/\s+/g, ' ').slice(0, 800)}`)
    return false
  } finally {
    await client.disconnect()
  }
}

async function main() {
  await zstd.init()
  const only = argument('--check')
  const queue = Object.entries(checks).filter(([name]) => !only || name === only)
  // Checks that wait for a rebalance go first, so that the others fill their time.
  queue.sort(([a], [b]) => b.startsWith('group') - a.startsWith('group'))
  let failed = false
  await Promise.all(Array.from({ length: WORKERS }, async () => {
    for (let next = queue.shift(); next; next = queue.shift()) failed = !(await runOne(...next)) || failed
  }))
  process.exit(failed ? 1 : 0)
}

main().catch(error => {
  console.log(`FAILED start: ${error.message}`)
  process.exit(1)
})
