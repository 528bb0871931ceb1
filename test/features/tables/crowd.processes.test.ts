import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { useFolder } from '../../fixtures/folder.ts'
import { newSeed, note } from '../../fixtures/random.ts'
import {
  type Members,
  openTables,
  rawRecords,
  type TableKind,
  vanillaRecords,
} from '../../fixtures/stores.ts'
import type { TableCommands } from '../../fixtures/table-worker.ts'
import { usePeers } from '../../harness/peer.ts'

/** PSLOCK_LONG=1: 50 of them. */
const PROCESSES = process.env.PSLOCK_LONG === '1' ? 50 : 8
const FIELDS = { by: 'number', n: 'number' } as const

for (const kind of ['nedb', 'lowdb'] as const satisfies readonly TableKind[]) {
  describe(`a table in ${kind}, in several processes`, () => {
    const at = useFolder()
    const start = usePeers<TableCommands>('table-worker')
    let db: Members
    beforeEach(() => {
      db = openTables(kind, at('store'))
    })
    afterEach(() => db.close())
    const shapesNow = async () => {
      const records = await db.view((tx) => rawRecords(kind, tx, 'people'))
      return [...new Set(records.map((record) => Object.keys(record).sort().join(' ')))]
    }

    it('no record ever has half the fields while one process adds and drops them', async function () {
      this.timeout(60_000 + PROCESSES * 6_000)
      const seed = newSeed()
      await db.table<{ by: number; n: number }>('people').create(FIELDS)
      const [migrating, ...mates] = await start([kind, at('store')], PROCESSES)
      const hammering = mates.map((mate, index) =>
        mate.call('hammer', seed + index, Math.max(10, Math.ceil(480 / PROCESSES))),
      )
      const migrations = migrating!.call('migrate')
      const results = await Promise.all(hammering)
      await migrating!.call('stop')
      note(`seed ${seed}; ${await migrations} migrations`)
      const mixed = results.flatMap((result) => result.mixed)
      assert.deepEqual(mixed, [])
      for (const { shapes } of results) {
        assert.ok(
          shapes.some((shape) => shape.includes('extra')),
          'it never met an added field',
        )
      }
      const left = results.reduce((sum, result) => sum + result.left, 0)
      assert.equal((await db.table('people').select()).length, left)
      assert.equal((await vanillaRecords(kind, at('store'), 'people')).length, left)
      assert.equal((await shapesNow()).length, 1)
    })

    it('a process with the old schema in memory notices at its next call', async () => {
      const people = db.table<{ by: number; n: number }>('people')
      await people.create(FIELDS)
      const [mate] = await start([kind, at('store')])
      await mate!.call('insert', { by: 1, n: 1 })
      await db.table<{ extra: string }>('people').addField('extra', { type: 'string', default: 'x' })
      const inserted = await mate!.call('insert', { by: 1, n: 2 })
      assert.deepEqual(Object.keys(inserted), ['_id', '_version', 'by', 'n', 'extra'])
      await people.dropField('n')
      await assert.rejects(mate!.call('insert', { by: 1, n: 2 }), { code: 'PSLOCK_SCHEMA', field: 'n' })
      await people.destroy()
      await assert.rejects(mate!.call('select'), { code: 'PSLOCK_SCHEMA', table: 'people' })
    })

    it('of many processes that create the table one does, and the others are told', async () => {
      const mates = await start([kind, at('store')], 6)
      const outcomes = await Promise.allSettled(mates.map((mate) => mate.call('create', FIELDS)))
      assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') assert.equal(outcome.reason.code, 'PSLOCK_SCHEMA')
      }
      await Promise.all(mates.map((mate) => mate.call('create', FIELDS, { mode: 'open' })))
    })

    it('of many updates of one version one wins, and the others are told both versions', async () => {
      const people = db.table<{ by: number; n: number }>('people')
      await people.create(FIELDS)
      const { _id, _version } = await people.insert({ by: 0, n: 0 })
      const mates = await start([kind, at('store')], 4)
      const outcomes = await Promise.allSettled(
        mates.map((mate, n) => mate.call('update', { _id }, { n }, { version: _version })),
      )
      assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1)
      for (const outcome of outcomes) {
        if (outcome.status === 'fulfilled') continue
        const { code, expected, found } = outcome.reason
        assert.deepEqual([code, expected, found], ['PSLOCK_CONFLICT', 1, 2])
      }
    })

    describe('after kill -9 at any rename', () => {
      interface Case {
        readonly command: 'addField' | 'dropField' | 'destroy'
        readonly args: readonly unknown[]
        /** The fields of every record before and after; undefined: no records. */
        readonly before: string
        readonly after: string | undefined
      }
      const own = kind === 'nedb' ? '_id _table _version by' : '_id _version by'
      const cases: Case[] = [
        {
          command: 'addField',
          args: ['extra', { type: 'string', default: 'x' }],
          before: `${own} n`,
          after: `${own} extra n`,
        },
        { command: 'dropField', args: ['n'], before: `${own} n`, after: own },
        { command: 'destroy', args: [], before: `${own} n`, after: undefined },
      ]
      for (const { command, args, before, after } of cases) {
        it(`${command} has happened or not, and is never half done`, async () => {
          const ends: string[] = []
          let hasDied = true
          for (let nth = 1; hasDied; nth++) {
            for (const when of ['before', 'after'] as const) {
              const path = at(`store-${nth}-${when}`)
              const made = openTables(kind, path)
              const people = made.table<{ by: number; n: number }>('people')
              await people.create(FIELDS)
              await people.insert(Array.from({ length: 40 }, (_, n) => ({ by: 0, n })))
              await made.close()
              const [mate] = await start([kind, path])
              hasDied = await mate!.call('dying', nth, when, command, ...(args as never[])).then(
                () => false,
                () => true,
              )
              const wasPending = /"pending"/.test(readFileSync(`${path}.schema`, 'utf8'))
              await using again = openTables(kind, path) as Members & AsyncDisposable
              const selected = await again
                .table('people')
                .select()
                .catch(({ code }) => code as string)
              const raw = await again.view((tx) => rawRecords(kind, tx, 'people'))
              const shapes = [...new Set(raw.map((record) => Object.keys(record).sort().join(' ')))]
              const isDone = (shapes[0] ?? undefined) === after
              ends.push(
                `${when} ${nth}: ${hasDied ? 'died' : 'lived'}, ${wasPending ? 'pending' : 'not pending'}`,
              )
              assert.ok(shapes.length <= 1, `half: ${shapes.join(' | ')} (${ends.at(-1)})`)
              assert.ok(isDone || shapes[0] === before, `neither: ${shapes[0]} (${ends.at(-1)})`)
              // What was begun is finished; what is done stays done.
              if (wasPending || !hasDied) assert.ok(isDone, `not rolled forward (${ends.at(-1)})`)
              const schema = JSON.parse(readFileSync(`${path}.schema`, 'utf8'))
              assert.equal(schema.pending, undefined, ends.at(-1))
              const fields = schema.tables.people && Object.keys(schema.tables.people.fields).sort().join(' ')
              assert.equal(fields, shapes[0]?.replace(/_\w+ /g, ''), ends.at(-1))
              if (shapes[0]) assert.equal(raw.length, 40)
              assert.equal(typeof selected === 'string', fields === undefined)
              assert.equal((await vanillaRecords(kind, path, 'people')).length, raw.length)
            }
          }
          note(ends.join('; '))
          assert.ok(
            ends.some((end) => end.includes('died, pending')),
            'nobody died between two steps',
          )
        })
      }
    })
  })
}
