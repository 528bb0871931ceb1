import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, statSync } from 'node:fs'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { underSeam } from '../../fixtures/faults/lab.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { note } from '../../fixtures/random.ts'
import type { StageCommands } from '../../fixtures/stage-worker.ts'
import { STAGED_KINDS, type StagedKind } from '../../fixtures/staged-stores.ts'
import { usePeers } from '../../harness/peer.ts'

const kindOf = (name: string) => STAGED_KINDS.find((kind) => kind.name === name) as StagedKind

describe('stages and several processes', () => {
  const at = useFolder()
  const peers = usePeers<StageCommands>('stage-worker')

  for (const kind of ['nedb', 'lowdb', 'a table in nedb']) {
    it(`${kind}: the next request may be served by another process; of two that commit one does`, async function () {
      this.timeout(30_000)
      const store = await kindOf(kind).open(at('store'))
      await store.insert({ _id: 'apple', price: 1 })
      const [one, other] = await peers([kind, at('store')], 2)
      await one!.call('stage', 'session')
      await one!.call('set', 'apple', { price: 2 })
      await one!.kill()
      assert.equal(await other!.call('stage', 'session'), 1)
      assert.equal((await other!.call('all')).apple?.price, 2)
      await other!.call('set', 'apple', { color: 'red' })
      const three = await peers([kind, at('store')], 3)
      await Promise.all(three.map((peer) => peer.call('stage', 'session')))
      const ends = await Promise.allSettled(three.map((peer) => peer.call('commit')))
      assert.equal(ends.filter(({ status }) => status === 'fulfilled').length, 1)
      for (const end of ends)
        if (end.status === 'rejected') assert.match(end.reason.code, /^PSLOCK_(CLOSED|CONFLICT)$/)
      assert.deepEqual(await store.all(), { apple: { _id: 'apple', price: 2, color: 'red' } })
      assert.equal((await store.db.stages.stats()).committed, 1)
      await store.close()
    })

    it(`${kind}: nothing is lost where many stages change one value`, async function () {
      this.timeout(60_000)
      const store = await kindOf(kind).open(at('store'))
      await store.insert({ _id: 'apple', price: 0 })
      const [workers, times] = [4, 15]
      const crowd = await peers([kind, at('store')], workers)
      const conflicts = await Promise.all(
        crowd.map((peer, index) => peer.call('count', 'apple', `session ${index}`, times)),
      )
      assert.equal((await store.all()).apple?.price, workers * times)
      const refused = conflicts.reduce((sum, one) => sum + one, 0)
      note(`${refused} conflicts in ${workers * times} commits`)
      assert.ok(refused > 0, "they were in each other's way")
      const { committed, cancelled, reasons, open } = await store.db.stages.stats()
      assert.deepEqual([committed, cancelled, open], [workers * times, refused, 0])
      assert.deepEqual(reasons, { 'somebody was faster': refused })
      await store.close()
    })
  }

  it('1,000 open stages: an edit writes only itself, and who only reads the store does not know of them', async function () {
    this.timeout(60_000)
    const STAGES = 1000
    const fill = async (folder: string) => {
      mkdirSync(folder)
      const db = new LockedNedb({ filename: `${folder}/store`, autoload: true })
      await db.insertAsync(
        Array.from({ length: 100 }, (_, n) => ({ _id: String(n), n, text: 'x'.repeat(200) })),
      )
      return db
    }
    const read = (folder: string) => {
      const said = execFileSync(process.execPath, underSeam('stage-reader', folder), { encoding: 'utf8' })
      return JSON.parse(said) as { found: number[]; calls: string[] }
    }
    const [without, db] = await Promise.all([fill(at('without')), fill(at('with'))])
    for (let n = 0; n < STAGES; n++) {
      const stage = await db.stage(`session ${n}`)
      await stage.update({ _id: String(n % 100) }, { $inc: { n: 1 } }, {})
    }
    const size = () => statSync(`${at('with')}/store.stages`).size
    const before = size()
    const started = performance.now()
    for (let n = 0; n < 50; n++) {
      const stage = await db.stage(`session ${n}`)
      await stage.update({ _id: String(n % 100) }, { $inc: { n: 1 } }, {})
    }
    const ms = (performance.now() - started) / 50
    const bytes = (size() - before) / 50
    note(`with ${STAGES} open stages an edit takes ${ms.toFixed(1)} ms and writes ${Math.round(bytes)} bytes`)
    assert.ok(bytes < 1024, `${bytes} bytes an edit`)
    assert.equal((await db.stages.stats()).open, STAGES)
    await Promise.all([db.close(), without.close()])
    const [plain, staged] = [read(at('without')), read(at('with'))]
    assert.deepEqual(plain.found, [100, 100, 100, 100, 100, 101])
    assert.ok(plain.calls.length > 5)
    assert.deepEqual(staged, plain)
    // Another process that uses them finds all of them.
    const other = new LockedNedb({ filename: `${at('with')}/store`, autoload: true })
    assert.equal((await other.stages.list({ state: 'open' })).length, STAGES)
    assert.equal((await (await other.stage('session 7')).findOne({ _id: '7' }))?.n, 9)
    await other.close()
  })
})
