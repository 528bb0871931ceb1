import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import type { Findings } from '../../cli/stress/findings.ts'
import type { Operation } from '../../cli/stress/operation.ts'
import type { Blog } from '../../cli/stress/stores/lowdb.ts'
import { useFolder } from '../fixtures/folder.ts'
import { RecordedRun } from './recorded-run.ts'

type Line = Record<string, unknown>

const SMALL: Operation[] = [
  { kind: 'insert', n: 0, length: 10 },
  { kind: 'insert', n: 1, length: 10 },
  { kind: 'update', n: 1, v: 1, length: 10 },
  { kind: 'increment', counter: 'counter-0' },
  { kind: 'increment', counter: 'counter-0' },
  { kind: 'claim', key: 'key-0' },
  { kind: 'insert', n: 2, length: 10 },
  { kind: 'delete', n: 2 },
  { kind: 'readCounter', counter: 'counter-0' },
  { kind: 'readCount' },
  { kind: 'insertMany', n: 3, count: 3, length: 10 },
]

/** What was found, without the zeros. */
function kinds({ counts }: Findings): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0))
}

describe('the checker of a stress run', () => {
  const folder = useFolder()

  for (const store of ['nedb', 'nedb-promises', 'lowdb'] as const) {
    it(`has nothing against a true run of ${store}`, async () => {
      const run = await RecordedRun.make(store, folder('data'))
      assert.deepEqual((await run.check()).first, [])
    })
  }

  describe('of NeDB objects to', () => {
    const make = () => RecordedRun.make('nedb', folder('data'), [SMALL, SMALL])
    /** Rewrites the lines of the file. */
    const edit = (change: (lines: string[]) => string[]) => {
      const lines = readFileSync(folder('data'), 'utf8').split('\n')
      writeFileSync(folder('data'), change(lines).join('\n'))
    }
    const parsed = (line: string): Line => (line.trim() === '' ? {} : (JSON.parse(line) as Line))
    const without = (drop: (line: Line) => boolean) => edit((lines) => lines.filter((l) => !drop(parsed(l))))

    const damage: [name: string, damage: () => void, expected: Record<string, number>][] = [
      ['a record removed', () => without(({ _id }) => _id === 'w0-0'), { lost: 1 }],
      ['an update undone', () => without(({ _id, v }) => _id === 'w0-1' && v === 1), { lost: 1 }],
      [
        'a deletion undone',
        () => without(({ _id, $$deleted }) => _id === 'w1-2' && $$deleted === true),
        { lost: 1 },
      ],
      ['a claim removed', () => without(({ key }) => key === 'key-0'), { lost: 1 }],
      [
        'a counter turned back by two',
        () => without(({ _id, value }) => _id === 'counter-0' && Number(value) > 2),
        { lost: 2 },
      ],
      [
        'a counter that nobody brought that far',
        () => edit((lines) => [...lines, '{"_id":"counter-0","value":5}', '']),
        { unexpected: 1 },
      ],
      [
        'a record written twice',
        () => edit((lines) => lines.flatMap((line) => (parsed(line)._id === 'w0-0' ? [line, line] : [line]))),
        { duplicated: 1 },
      ],
      [
        'a payload that lost a character',
        () =>
          edit((lines) =>
            lines.map((line) =>
              parsed(line)._id === 'w0-0' ? line.replace('"payload":"', '"payload":"x') : line,
            ),
          ),
        { torn: 1 },
      ],
      [
        'a line cut short',
        () => edit((lines) => lines.map((line) => (parsed(line)._id === 'w0-0' ? line.slice(0, -20) : line))),
        { lost: 1, torn: 1, unreadable: 1 },
      ],
      ['a record of nobody', () => edit((lines) => [...lines, '{"_id":"stranger"}', '']), { unexpected: 1 }],
      [
        'the same unique key twice',
        () => edit((lines) => [...lines, '{"_id":"w1-key-0","key":"key-0"}', '']),
        { duplicated: 1, unexpected: 1, unreadable: 1 },
      ],
      [
        'lines in another order than they were acknowledged in',
        () =>
          edit((lines) =>
            [...lines].sort((a, b) => Number(parsed(b)._id === 'w1-1') - Number(parsed(a)._id === 'w1-1')),
          ),
        { outOfOrder: 1 },
      ],
    ]
    for (const [name, change, expected] of damage) {
      it(name, async () => {
        const run = await make()
        change()
        const found = kinds(await run.check())
        for (const [kind, count] of Object.entries(expected)) {
          assert.ok((found[kind] ?? 0) >= count, `${kind}: ${JSON.stringify(found)}`)
        }
        for (const kind of Object.keys(found))
          assert.ok(kind in expected, `${kind}: ${JSON.stringify(found)}`)
      })
    }

    it('no file at all', async () => {
      const run = await make()
      writeFileSync(folder('data'), '')
      const found = kinds(await run.check())
      assert.ok((found.lost ?? 0) >= 10)
    })

    it('a counter that a worker saw go down', async () => {
      const run = await make()
      run.retold(1, ({ operation }) => operation.kind === 'readCounter', {
        answer: { said: 'done', value: 1 },
      })
      const findings = await run.check()
      assert.deepEqual(kinds(findings), { stale: 1 })
      assert.equal(findings.first[0]?.worker, 1)
      assert.deepEqual(findings.first[0]?.operation, { index: 8, kind: 'readCounter', counter: 'counter-0' })
    })

    it('two increments that came to the same value', async () => {
      const run = await make()
      const [first] = run.histories[1]!.entries.filter(({ operation }) => operation.kind === 'increment')
      const end = run.histories[1]!.entries.at(-1)!.end!
      // Long enough under way for any value up to the last to be possible.
      run.retold(0, ({ operation }) => operation.kind === 'increment', { end, answer: first!.answer! })
      assert.deepEqual(kinds(await run.check()).stale, 1)
    })

    it('a count that misses own records', async () => {
      const run = await make()
      run.retold(0, ({ operation }) => operation.kind === 'readCount', { answer: { said: 'done', value: 1 } })
      assert.deepEqual(kinds(await run.check()), { stale: 1 })
    })

    it('an operation that was rejected', async () => {
      const run = await make()
      const answer = { said: 'error', message: 'EIO: no luck' } as const
      run.retold(0, ({ operation }) => operation.kind === 'readCount', { answer })
      const findings = await run.check()
      assert.deepEqual(kinds(findings), { errors: 1 })
      assert.match(findings.first[0]!.message, /EIO: no luck/)
    })

    it('half a batch of a killed process, but not to all or nothing of it', async () => {
      const run = await make()
      run.killed(0)
      assert.deepEqual(kinds(await run.check()), {})
      const whole = readFileSync(folder('data'), 'utf8')
      without(({ _id }) => _id === 'w0-4')
      assert.deepEqual(kinds(await run.check()), { torn: 1 })
      writeFileSync(folder('data'), whole)
      without(({ _id }) => _id === 'w0-3' || _id === 'w0-4' || _id === 'w0-5')
      assert.deepEqual(kinds(await run.check()), {})
    })

    it('a worker that broke', async () => {
      const run = await make()
      run.histories[0] = { ...run.histories[0]!, ended: 'failed', reason: 'it could not open the store' }
      const findings = await run.check()
      assert.deepEqual(kinds(findings), { errors: 1 })
      assert.match(findings.first[0]!.message, /could not open the store/)
    })
  })

  describe('of lowdb objects to', () => {
    const make = () => RecordedRun.make('lowdb', folder('data'), [SMALL, SMALL])
    const edit = (change: (data: Blog) => void) => {
      const data = JSON.parse(readFileSync(folder('data'), 'utf8')) as Blog
      change(data)
      writeFileSync(folder('data'), JSON.stringify(data))
    }
    const damage: [name: string, damage: (data: Blog) => void, expected: Record<string, number>][] = [
      ['a post removed', (data) => void data.posts.shift(), { lost: 1 }],
      ['a post doubled', (data) => void data.posts.push(data.posts.at(-1)!), { duplicated: 1 }],
      ['posts in another order', (data) => void data.posts.reverse(), { outOfOrder: 1 }],
      ['a payload changed', (data) => void Object.assign(data.posts[0]!, { payload: '' }), { torn: 1 }],
      [
        'a counter turned back',
        ({ counters }) => void Object.assign(counters, { 'counter-0': 2 }),
        { lost: 2 },
      ],
      ['a counter gone', (data) => void delete data.counters['counter-0'], { lost: 4 }],
      [
        'a key in the wrong hands',
        ({ claims }) => void Object.assign(claims, { 'key-0': 'w9-key-0' }),
        { lost: 1, unexpected: 1 },
      ],
    ]
    for (const [name, change, expected] of damage) {
      it(name, async () => {
        const run = await make()
        edit(change)
        const found = kinds(await run.check())
        if ('outOfOrder' in expected) assert.deepEqual(Object.keys(found), ['outOfOrder'])
        else assert.deepEqual(found, expected)
      })
    }

    it('a file cut short', async () => {
      const run = await make()
      writeFileSync(folder('data'), readFileSync(folder('data')).subarray(0, 300))
      const { counts } = await run.check()
      assert.equal(counts.unreadable, 1)
      assert.ok(counts.lost > 0)
    })
  })
})
