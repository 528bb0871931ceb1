import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { testStages } from '../features/stages/suite.ts'
import { newSeed, note, random } from '../fixtures/random.ts'
import type { StageCommands } from '../fixtures/stage-worker.ts'
import { STAGED_KINDS } from '../fixtures/staged-stores.ts'
import { usePeers } from '../harness/peer.ts'
import { rowsOf, useServerStores } from './server-stores.ts'

describe('stages on a server', () => {
  const place = useServerStores()
  const peers = usePeers<StageCommands>('stage-worker')
  // There it always has one.
  const kinds = STAGED_KINDS.filter(({ name }) => name !== 'lowdb with a journal')
  for (const kind of kinds) testStages(kind, () => place.path('store'))

  it('a commit whose process is killed is done or not, whatever others write before anybody looks', async function () {
    // One process after the other is started.
    this.timeout(180_000)
    const seed = newSeed()
    const next = random(seed)
    const path = place.path('killed')
    const store = await STAGED_KINDS[0]!.open(path)
    await store.insert({ _id: 'apple', price: 0 })
    const ended = { committed: 0, open: 0 }
    const isMet = () => ended.committed > 0 && ended.open > 0
    for (let time = 1; time <= 16 || (time <= 100 && !isMet()); time++) {
      const id = `session ${time}`
      const [peer] = await peers(['nedb', path])
      await peer!.call('stage', id)
      const price = (await store.all()).apple!.price! + 1
      await peer!.call('raise', 'apple')
      await peer!.call('insert', { _id: id })
      const commit = peer!.call('commit')
      await Promise.race([commit, sleep(next() * 40)])
      await peer!.kill()
      await store.set('apple', { color: `red ${time}` })
      const { apple, [id]: own } = await store.all()
      const isDone = own !== undefined
      assert.deepEqual(apple, { _id: 'apple', price: isDone ? price : price - 1, color: `red ${time}` })
      const [summary] = await store.db.stages.list({ id })
      assert.equal(summary?.state, isDone ? 'committed' : 'open')
      ended[isDone ? 'committed' : 'open']++
    }
    note(`seed ${seed}: ${JSON.stringify(ended)}`)
    assert.ok(isMet(), 'kills came before and after')
    const rows = await rowsOf(place.server(), path)
    assert.deepEqual(
      rows.filter(({ line }) => line.includes('$stages')),
      [],
    )
    await store.close()
  })

  it('they are beside the store in the same database, and the mark of the commit is gone', async () => {
    const store = await STAGED_KINDS[0]!.open(place.path('store'))
    const stage = await store.stage('session')
    await stage.insert({ _id: 'apple', price: 1 })
    const beside = `${place.path('store')}.stages`
    assert.equal((await rowsOf(place.server(), beside)).length, 2)
    assert.equal((await rowsOf(place.server(), place.path('store'))).length, 0)
    await stage.commit()
    assert.equal((await rowsOf(place.server(), beside)).length, 1)
    const rows = await rowsOf(place.server(), place.path('store'))
    assert.deepEqual(
      rows.map(({ line }) => JSON.parse(line)),
      [{ _id: 'apple', price: 1 }],
    )
    await store.close()
  })
})
