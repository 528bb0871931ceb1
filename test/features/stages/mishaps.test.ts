import assert from 'node:assert/strict'
import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setTimeout as wait } from 'node:timers/promises'
import { JSONFile } from 'lowdb/node'
import { LockedLow } from '../../../adapters/lowdb.ts'
import { nedbAdapter } from '../../../adapters/nedb/attach.ts'
import type { Nedb } from '../../../adapters/nedb/internals.ts'
import { LockedNedb } from '../../../adapters/nedb.ts'
import {
  ClosedError,
  ConflictError,
  CorruptStoreError,
  LockedDb,
  SchemaError,
  type Stage,
} from '../../../src/index.ts'
import type { LogSession } from '../../../src/store/adapter.ts'
import type { TransactionOptions } from '../../../src/store/transaction.ts'
import { useFolder } from '../../fixtures/folder.ts'
import { warnings } from '../../fixtures/nedb-tools.ts'
import { newSeed, note, random as randomOf } from '../../fixtures/random.ts'

interface Doc {
  _id: string
  n?: number
}

describe('stages, whatever happens beside them', () => {
  const at = useFolder()
  const warned = warnings()
  const open = () => new LockedNedb<Doc>({ filename: at('store'), autoload: true })
  const heads = (name = 'store') =>
    readFileSync(at(`${name}.stages`), 'utf8')
      .split('\n')
      .filter((line) => line.includes('"session"'))
      .map((line) => JSON.parse(line))
  const plant = (fields: object, name = 'store') =>
    appendFileSync(at(`${name}.stages`), `${JSON.stringify({ ...heads(name).at(-1), ...fields })}\n`)

  /** A stage with a new record of a table. */
  const withAda = async <S>(store: Pick<LockedNedb, 'table'> & { stage(id: string): Promise<Stage<S>> }) => {
    const people = store.table<{ name: string }>('people')
    await people.create({ name: 'string' })
    const stage = await store.stage('s')
    await stage.edit(() => people.insert({ name: 'Ada' }))
    return { people, stage }
  }

  it('there are none where the data is written in a form of its own', async () => {
    const db = new LockedNedb<Doc>({
      filename: at('coded'),
      autoload: true,
      afterSerialization: (line) => Buffer.from(line).toString('base64'),
      beforeDeserialization: (line) => Buffer.from(line, 'base64').toString(),
    })
    await assert.rejects(
      db.stage('s'),
      /TypeError: the records of .*coded are written in a form of their own/,
    )
    await db.close()
    const path = at('low.json')
    const own = Object.assign(new JSONFile<{ n: number }>(path), { path })
    const low = new LockedLow(own as never, { n: 0 })
    await assert.rejects(low.stage('s'), /form of their own/)
    await low.close()
    assert.deepEqual(
      readdirSync(at()).filter((name) => name.includes('stages')),
      [],
    )
  })

  it('a store that is wrapped by LockedDb has them, too', async () => {
    const Vanilla = createRequire(import.meta.url)('@seald-io/nedb')
    const vanilla = new Vanilla({ filename: at('wrapped') })
    const db = new LockedDb(vanilla, {
      adapter: nedbAdapter,
      path: at('wrapped'),
    } as never) as unknown as LockedNedb<Doc>
    await db.loadDatabaseAsync()
    const stage = await db.stage('s')
    await stage.insert({ _id: 'a', n: 1 })
    await stage.update({ _id: 'a' }, { $inc: { n: 1 } })
    await stage.commit()
    assert.deepEqual(await db.findAsync({}), [{ _id: 'a', n: 2 }])
    await db.close()
  })

  it('a state that there is not is a TypeError', async () => {
    const db = open()
    await assert.rejects(db.stages.list({ state: 'opened' as 'open' }), /TypeError.*state.*'open'/s)
    await db.close()
  })

  it('a new stage counts on where the last one of its session has ended', async () => {
    const db = open()
    assert.equal((await db.stage('s')).at, 0)
    const first = await db.stage('s', { at: 0 })
    await first.insert({ _id: 'a' })
    assert.equal(first.at, 1)
    await first.commit()
    const next = await db.stage('s')
    assert.equal(next.at, 3)
    await (await db.stage('s', { at: next.at })).insert({ _id: 'b' })
    await assert.rejects((await db.stage('s', { at: 1 })).undo(), ConflictError)
    await assert.rejects(next.undo(), { code: 'PSLOCK_CONFLICT', expected: 3, found: 4 })
    const other = open()
    const last = await other.stage('s')
    assert.deepEqual([last.at, (await last.edits()).length], [4, 1])
    await last.cancel()
    // What saw no stage is no more right than what saw the first.
    for (const seen of [0, 1, 4]) {
      const tab = await db.stage('s', { at: seen })
      await assert.rejects(tab.insert({ _id: 'c' }), ConflictError)
    }
    assert.equal((await db.stage('s')).at, 5)
    await other.close()
    await db.close()
  })

  it('a commit whose answer was lost is done', async () => {
    let isLost = false
    const { transacting } = nedbAdapter
    // Of a store that is real otherwise.
    const losing = (store: Nedb, session: LogSession) => {
      const { transact, look } = transacting!(store, session)
      const lose = async (run: () => Promise<unknown>, options: TransactionOptions) => {
        const value = await transact(run, options)
        if (!isLost) return value
        isLost = false
        throw new Error('no answer')
      }
      return { look, transact: lose }
    }
    Object.assign(nedbAdapter, { transacting: losing })
    const db = open()
    Object.assign(nedbAdapter, { transacting })
    const stage = await db.stage('s')
    await stage.insert({ _id: 'a' })
    await stage.commit({ validate: () => (isLost = true) })
    // A warning comes a moment later.
    await wait(10)
    assert.match(
      warned()
        .map(({ message }) => message)
        .join(),
      /is committed.*no answer/,
    )
    assert.equal((await db.stages.stats()).committed, 1)
    await db.close()
  })

  it('who comes back after a crash and the expiry gets a new stage', async () => {
    let db = open()
    await (await db.stage('s')).insert({ _id: 'a' })
    await db.close()
    const long = Date.now() - 25 * 60 * 60_000
    for (const changedAt of [long, Date.now() - 30_000]) {
      plant({ isCommitting: true, changedAt, expiresMs: 10_000 })
      db = open()
      const stage = await db.stage('s')
      await stage.insert({ _id: 'b' })
      await stage.cancel()
      await db.close()
    }
  })

  it('a commit that cannot be finished is no error of others', async () => {
    const db = new LockedLow<Record<string, unknown>>(at('store'), {})
    await (await db.stage('s')).update((data) => {
      data.n = 1
    })
    plant({ isCommitting: true, changedAt: Date.now() - 120_000 })
    await db.update((data) => {
      data.$stages = 5
    })
    const other = await db.stage('other')
    assert.equal(other.at, 0)
    assert.equal((await db.stages.list()).length, 1)
    assert.equal((await db.stages.stats()).open, 1)
    // A warning comes a moment later.
    await wait(10)
    assert.match(
      warned()
        .map(({ code, message }) => `${code} ${message}`)
        .join(),
      /PSLOCK_STAGES a stage/,
    )
    await assert.rejects(db.stage('s'))
    await db.close()
  })

  it('a field that a table got meanwhile is in what the commit inserts', async () => {
    const db = open()
    const { people, stage } = await withAda(db)
    await people.addField('age' as never, { type: 'number', default: 7 } as never)
    await stage.commit()
    assert.equal((await db.findOneAsync({ name: 'Ada' } as object))?.['age' as never], 7)
    await db.close()
    const low = new LockedLow<Record<string, { age?: number }[]>>(at('low'), {})
    const { people: rows, stage: staged } = await withAda(low)
    await rows.addField('age' as never, { type: 'number', default: 7 } as never)
    await staged.commit()
    assert.equal(low.data.people?.[0]?.age, 7)
    await low.close()
  })

  it('a record that both have changed can be deleted', async () => {
    const db = open()
    const people = db.table<{ name: string; age: number }>('people')
    await people.create({ name: 'string', age: 'number' })
    const { _id } = await people.insert({ name: 'Ada', age: 36 })
    const stage = await db.stage('s')
    await stage.edit((tx) => tx.table<{ age: number }>('people').update({ _id }, { age: 37 }))
    await people.update({ _id }, { name: 'ADA' })
    await stage.edit((tx) => tx.table('people').delete({ _id }))
    await stage.commit()
    assert.equal(await db.countAsync({ _id }), 0)
    await db.close()
  })

  it("a version of the user's own is a value like any other", async () => {
    const low = new LockedLow<{ files: { id: number; _version: number }[] }>(at('low'), { files: [] })
    await low.update(({ files }) => files.push({ id: 1, _version: 3 }))
    const stage = await low.stage('s')
    await stage.update(({ files }) => Object.assign(files[0] as object, { _version: 10 }))
    await low.update(({ files }) => Object.assign(files[0] as object, { _version: 7 }))
    assert.deepEqual(
      (await stage.check()).map(({ path }) => path),
      ['files[id=1]._version'],
    )
    await low.close()
    const db = new LockedNedb<object>({ filename: at('store'), autoload: true })
    await db.insertAsync({ _id: 'a', _table: 'mine', _version: 3 })
    const staged = await db.stage('s')
    await staged.update({ _id: 'a' }, { $set: { _version: 10 } }, {})
    await db.updateAsync({ _id: 'a' }, { $set: { _version: 7 } }, {})
    assert.equal((await staged.check()).length, 1)
    await db.close()
  })

  it('a record of a table that was destroyed meanwhile is refused', async () => {
    const low = new LockedLow<Record<string, unknown>>(at('low'), {})
    for (const db of [open(), low]) {
      const { people, stage } = await withAda<unknown>(db)
      await stage.commit()
      const table = db.table('people')
      const changed = await db.stage('s')
      await changed.edit((tx: object) =>
        (tx as typeof db).table('people').update({}, { name: 'ADA' } as never),
      )
      const added = await db.stage('other')
      await added.edit((tx: object) => (tx as typeof db).table('people').insert({ name: 'Eve' } as never))
      await people.destroy()
      for (const refused of [added, changed])
        await assert.rejects(refused.commit({ resolve: () => 'mine' }), SchemaError)
      await changed.commit({ resolve: () => 'theirs' })
      await added.undo()
      await added.commit()
      await assert.rejects(table.select(), SchemaError)
      if (db === low) assert.deepEqual(low.data, {})
      else assert.equal(await (db as LockedNedb).countAsync({}), 0)
      await db.close()
    }
  })

  it('a lost line of an edit is told as damage of the file', async () => {
    let db = open()
    const first = await db.stage('s')
    await first.insert({ _id: 'a' })
    await first.insert({ _id: 'b' })
    await db.close()
    const lines = readFileSync(at('store.stages'), 'utf8').split('\n')
    writeFileSync(at('store.stages'), lines.filter((line) => !line.includes('/1"')).join('\n'))
    db = open()
    const stage = await db.stage('s')
    for (const use of [() => stage.find({}), () => stage.edits(), () => stage.insert({ _id: 'c' })])
      await assert.rejects(
        use(),
        (error) =>
          error instanceof CorruptStoreError &&
          /store\.stages/.test(error.message) &&
          /"s"/.test(error.message),
      )
    await stage.cancel()
    await db.close()
  })

  it('what was committed is not cancelled, nor undone, by who comes at the same time', async () => {
    const db = open()
    const seed = newSeed()
    note(`seed ${seed}`)
    const random = randomOf(seed)
    const ends = { committed: 0, cancelled: 0 }
    for (let round = 0; round < 60; round++) {
      const stage = await db.stage('s')
      const _id = `doc ${round}`
      await stage.insert({ _id })
      let reached = () => {}
      const isReached = new Promise<void>((resolve) => {
        reached = resolve
      })
      const commit = stage.commit({ validate: () => reached() })
      if (random() < 0.7) await isReached
      if (random() < 0.5) await wait(random())
      const [done, gone] = await Promise.allSettled([commit, stage.cancel()])
      const isThere = (await db.countAsync({ _id })) === 1
      assert.equal(gone.status === 'fulfilled', !isThere, `round ${round}: ${JSON.stringify([done, gone])}`)
      if (gone.status === 'rejected')
        assert.ok(gone.reason instanceof ConflictError || gone.reason instanceof ClosedError)
      ends[isThere ? 'committed' : 'cancelled']++
    }
    console.log(`        ${JSON.stringify(ends)}`)
    await db.close()
  })
})
