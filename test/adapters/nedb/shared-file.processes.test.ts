import assert from 'node:assert/strict'
import { appendFileSync, writeFileSync } from 'node:fs'
import { LockedNedb } from '../../../adapters/nedb.ts'
import {
  handovers,
  idsOf,
  type Outcome,
  Peer,
  recordsOf,
  seedOfRun,
  seenByVanilla,
  temporaryFolder,
  Vanilla,
} from '../../fixtures/nedb-tools.ts'

/** Several processes on one file: what goes wrong without a lock, and does not with it. */
describe('NeDB file shared by processes', () => {
  const file = temporaryFolder()

  /** Opened one after the other: vanilla dies when two of its loads meet. */
  const start = async (kind: 'locked' | 'vanilla', count: number, more: object = {}) => {
    const options = { filename: file('shared.db'), autoload: true, sliceMs: 0, ...more }
    if (kind === 'locked') {
      return Promise.all(Array.from({ length: count }, () => Peer.start(kind, options)))
    }
    const peers: Peer[] = []
    while (peers.length < count) {
      const peer = await Peer.start(kind, options)
      await peer.call('countAsync', {})
      peers.push(peer)
    }
    return peers
  }

  /** Each peer increments the counter so often; how many it was told are done. */
  const increment = async (peers: readonly Peer[], times: number, contended: boolean) => {
    const seed = seedOfRun()
    const outcomes = await Promise.all(
      peers.map((peer, by) => {
        const call = ['updateAsync', { _id: 'counter' }, { $inc: { n: 1 }, $set: { by } }]
        return peer.call<Outcome[]>('amongOthers', seed, ...Array(times).fill(call))
      }),
    )
    const changes = handovers(file('shared.db'))
    console.log(`      seed ${seed}: ${changes} hand-overs in ${peers.length * times} increments`)
    if (contended) assert.ok(changes * 4 >= peers.length * times, `too little contention: ${changes}`)
    return outcomes.map((own) => own.filter(({ error }) => !error).length)
  }

  it('control: vanilla loses increments of one counter', async () => {
    writeFileSync(file('shared.db'), '{"_id":"counter","n":0}\n')
    const peers = await start('vanilla', 4)
    assert.deepEqual(await increment(peers, 40, false), [40, 40, 40, 40])
    const last = recordsOf(file('shared.db')).findLast((doc) => doc._id === 'counter')
    assert.ok((last?.n as number) < 160, `nothing was lost: ${last?.n}`)
  })

  for (const durability of ['process', 'disk'] as const) {
    it(`loses no increment of one counter, with durability '${durability}'`, async () => {
      writeFileSync(file('shared.db'), '{"_id":"counter","n":0}\n')
      const peers = await start('locked', 4, { durability })
      assert.deepEqual(await increment(peers, 100, true), [100, 100, 100, 100])
      assert.equal((await seenByVanilla(file('shared.db')))[0]?.n, 400)
      for (const peer of peers) {
        assert.equal((await peer.call<{ n: number }>('findOneAsync', { _id: 'counter' })).n, 400)
      }
    })
  }

  it('control: vanilla accepts a unique value twice, and the file cannot be opened any more', async () => {
    const peers = await start('vanilla', 2)
    for (const peer of peers) await peer.call('ensureIndexAsync', { fieldName: 'mail', unique: true })
    for (const [index, peer] of peers.entries())
      await peer.call('insertAsync', { _id: `${index}`, mail: 'a@b' })
    await assert.rejects(seenByVanilla(file('shared.db')), { errorType: 'uniqueViolated' })
  })

  it('gives a unique value to one process only', async () => {
    const peers = await start('locked', 4)
    await Promise.all(peers.map((peer) => peer.call('ensureIndexAsync', { fieldName: 'mail', unique: true })))
    // Each begins elsewhere, or whoever is ahead at the start stays so, and the others only ever come second.
    const calls = (peer: number) =>
      Array.from({ length: 50 }, (_, n) => ['insertAsync', { mail: `user${(n + 12 * peer) % 50}` }])
    const outcomes = await Promise.all(
      peers.map((peer, i) => peer.call<Outcome[]>('amongOthers', seedOfRun(), ...calls(i))),
    )
    const refused = outcomes.flat().flatMap(({ error }) => error ?? [])
    assert.equal(refused.length, 150)
    assert.deepEqual([...new Set(refused.map((error) => error.errorType))], ['uniqueViolated'])
    assert.equal((await seenByVanilla(file('shared.db'))).length, 50)
    const winners = outcomes.filter((own) => own.some(({ error }) => !error))
    assert.ok(winners.length > 1, 'one process alone took every value: no contention')
  })

  it('loses no insert while others open the file with autoload', async () => {
    const [writer] = await start('locked', 1)
    const calls = Array.from({ length: 300 }, (_, n) => ['insertAsync', { _id: `w${n}` }])
    const [outcomes] = await Promise.all([
      writer!.call<Outcome[]>('amongOthers', seedOfRun(), ...calls),
      start('locked', 4),
      start('locked', 4),
    ])
    assert.ok(outcomes.every(({ ok }) => ok))
    assert.equal((await seenByVanilla(file('shared.db'))).length, 300)
  })

  it('does not rewrite the file to open it', async () => {
    const content = '{"_id":"a","n":1}\n{"_id":"a","n":2}\n'
    writeFileSync(file('shared.db'), content)
    await using db = new LockedNedb({ filename: file('shared.db'), autoload: true })
    assert.deepEqual(await db.findAsync({}), [{ _id: 'a', n: 2 }])
    assert.equal(recordsOf(file('shared.db')).length, 2)
  })

  it('keeps every record through compactions of all processes at once', async () => {
    const peers = await start('locked', 3)
    const calls = (by: number) =>
      Array.from({ length: 60 }, (_, n) =>
        n % 5 === 4 ? ['compactDatafileAsync'] : ['insertAsync', { _id: `${by}-${n}`, by }],
      )
    const outcomes = await Promise.all(peers.map((peer, by) => peer.call<Outcome[]>('inTurn', ...calls(by))))
    assert.deepEqual(
      outcomes.flat().flatMap(({ error }) => error ?? []),
      [],
    )
    assert.equal((await seenByVanilla(file('shared.db'))).length, 3 * 48)
    for (const peer of peers) assert.equal(await peer.call('countAsync', {}), 3 * 48)
  })

  it('creates a missing file once, whoever comes first', async () => {
    for (let round = 0; round < 3; round++) {
      const filename = file(`new-${round}.db`)
      const stores = await Promise.all(
        Array.from({ length: 3 }, () => Peer.start('locked', { filename, autoload: true })),
      )
      await Promise.all(stores.map((peer, n) => peer.call('insertAsync', { _id: `p${n}` })))
      assert.deepEqual(idsOf(await seenByVanilla(filename)), ['p0', 'p1', 'p2'])
      await Promise.all(stores.map((peer) => peer.kill()))
    }
  })

  it('leaves no vanilla record unseen that was appended between two operations', async () => {
    await using db = new LockedNedb({ filename: file('shared.db'), autoload: true })
    await db.insertAsync({ _id: 'mine' })
    appendFileSync(file('shared.db'), '{"_id":"theirs"}\n')
    assert.equal(await db.countAsync({}), 2)
    const vanilla = new Vanilla({ filename: file('shared.db') })
    await vanilla.loadDatabaseAsync()
    await vanilla.insertAsync({ _id: 'later' })
    assert.deepEqual(idsOf(await db.findAsync({})), ['later', 'mine', 'theirs'])
  })
})
