import assert from 'node:assert/strict'
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { CALM } from '../../cli/stress/chaos/options.ts'
import { type CopiesSeen, checkCopies } from '../../cli/stress/checks/copies.ts'
import { Findings } from '../../cli/stress/findings.ts'
import type { Operation } from '../../cli/stress/operation.ts'
import { DEFAULTS, type StoreName } from '../../cli/stress/options.ts'
import { useFolder } from '../fixtures/folder.ts'
import { RecordedRun } from './recorded-run.ts'

describe('the checker of the dumps and copies of a stress run', () => {
  const folder = useFolder()

  const plan = (): Operation[] => [
    { kind: 'insert', n: 0, length: 10 },
    { kind: 'insert', n: 1, length: 10 },
    { kind: 'increment', counter: 'counter-0' },
    { kind: 'claim', key: 'key-0' },
    { kind: 'dump', to: folder('dump') },
    { kind: 'copy', to: folder('copy') },
    { kind: 'insertMany', n: 2, count: 3, length: 2000 },
    { kind: 'delete', n: 0 },
    { kind: 'update', n: 1, v: 1, length: 10 },
    { kind: 'increment', counter: 'counter-0' },
  ]
  const make = (store: StoreName) =>
    RecordedRun.make(store, folder('data'), [
      plan(),
      plan().filter(({ kind }) => kind !== 'dump' && kind !== 'copy'),
    ])

  async function check(
    run: RecordedRun,
    killsPerSecond = 0,
  ): Promise<{ kinds: Record<string, number>; seen: CopiesSeen; messages: string[] }> {
    const findings = new Findings()
    const options = {
      ...DEFAULTS,
      store: run.store,
      seed: 1,
      unlocked: false,
      kill: 0,
      sliceMs: undefined,
      dir: folder(),
      keep: false,
      chaos: { ...CALM, killsPerSecond },
    }
    const seen = await checkCopies(run.histories, options, findings)
    const kinds = Object.fromEntries(Object.entries(findings.counts).filter(([, count]) => count > 0))
    return { kinds, seen, messages: findings.first.map(({ message }) => message) }
  }

  for (const store of ['nedb', 'nedb-promises', 'lowdb'] as const) {
    it(`has nothing against true ones of ${store}, and removes them`, async () => {
      const run = await make(store)
      const { kinds, seen } = await check(run)
      assert.deepEqual(kinds, {})
      assert.deepEqual(seen, { dumps: 1, copies: 1, mended: 0 })
      assert.ok(!existsSync(folder('dump')) && !existsSync(folder('copy')))
    })

    it(`objects to a later state of ${store}`, async () => {
      const run = await make(store)
      writeFileSync(folder('dump'), readFileSync(folder('data')))
      const { kinds, messages } = await check(run)
      // Of worker 0: three records of nobody, one deleted, one changed; of both: the counter.
      assert.ok(Number(kinds.unexpected) >= 4, JSON.stringify(kinds))
      assert.match(messages.join('\n'), /the dump: .*counter-0 is 4/)
    })
  }

  it('allows every state that there was while a slow dump was made', async () => {
    const own: Operation[] = [
      { kind: 'insert', n: 0, length: 10 },
      { kind: 'dump', to: folder('dump') },
      { kind: 'insertMany', n: 1, count: 3, length: 10 },
      { kind: 'delete', n: 2 },
      { kind: 'update', n: 0, v: 1, length: 10 },
      { kind: 'increment', counter: 'counter-0' },
      { kind: 'claim', key: 'key-0' },
    ]
    const run = await RecordedRun.make('nedb', folder('data'), [own])
    const end = run.histories[0]!.entries.at(-1)!.end! + 1
    run.retold(0, ({ operation }) => operation.kind === 'dump', { end })
    const all = readFileSync(folder('data'), 'utf8').split('\n')
    // Never between the records of a batch, which are one write.
    const within = (line: string | undefined) => line?.includes('"w0-1"') || line?.includes('"w0-2","worker"')
    for (let length = all.findIndex((line) => line.includes('"w0-0"')) + 1; length <= all.length; length++) {
      if (within(all[length - 1])) continue
      writeFileSync(folder('dump'), `${all.slice(0, length).join('\n')}\n`)
      assert.deepEqual((await check(run)).kinds, {}, `${length} lines`)
    }
    const half = all.findIndex((line) => line.includes('"w0-1"')) + 1
    writeFileSync(folder('dump'), `${all.slice(0, half).join('\n')}\n`)
    assert.deepEqual((await check(run)).kinds, { torn: 1 }, 'a batch is whole, but for what was deleted')
  })

  const lines = (edit: (lines: string[]) => string[]) => {
    writeFileSync(folder('copy'), edit(readFileSync(folder('copy'), 'utf8').split('\n')).join('\n'))
  }

  const damage: [name: string, damage: () => void, expected: string[]][] = [
    [
      'an acknowledged record missing',
      () => lines((all) => all.filter((line) => !line.includes('"w1-0"'))),
      ['lost'],
    ],
    [
      'an acknowledged count missing',
      () => lines((all) => all.filter((line) => !line.includes('counter-0'))),
      ['lost'],
    ],
    ['a claim missing', () => lines((all) => all.filter((line) => !line.includes('key-0'))), ['lost']],
    ['no such file', () => rmSync(folder('copy')), ['lost']],
    [
      'a line cut short',
      () => lines((all) => all.map((line) => (line.includes('"w0-1"') ? line.slice(0, -9) : line))),
      ['lost', 'torn', 'unreadable'],
    ],
  ]
  for (const [name, change, expected] of damage) {
    it(`objects to ${name}`, async () => {
      const run = await make('nedb')
      change()
      const { kinds } = await check(run)
      assert.deepEqual(Object.keys(kinds).sort(), expected)
    })
  }

  it('allows a write cut short at the end of a copy after a kill, once pslock has mended it, and not without a kill', async () => {
    const run = await make('nedb')
    const torn = `${readFileSync(folder('copy'), 'utf8')}{"_id":"w7-0","payl`
    writeFileSync(folder('copy'), torn)
    const killed = await check(run, 1)
    assert.deepEqual(killed.kinds, {})
    assert.deepEqual(killed.seen, { dumps: 1, copies: 1, mended: 1 })
    writeFileSync(folder('copy'), torn)
    rmSync(folder('dump'), { force: true })
    const { kinds } = await check(run)
    assert.equal(kinds.unreadable, 1)
  })
})
