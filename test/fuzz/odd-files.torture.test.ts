import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { fixture } from '../fixtures/code.ts'
import { useFolder } from '../fixtures/folder.ts'

const LONG = process.env.PSLOCK_LONG === '1'
/** Whatever is not over by then hangs. */
const WATCHDOG_MS = LONG ? 300_000 : 40_000

interface Opened {
  readonly nedb: string
  readonly lowdb: string
  readonly check: string
  readonly count: number
}

/** Opens the file as both stores, and checks it, in a process of its own: it must live to say what came of it. */
async function openElsewhere(path: string): Promise<Opened> {
  const child = spawn(process.execPath, [...process.execArgv, fixture('open-any-file'), path], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: WATCHDOG_MS,
    killSignal: 'SIGKILL',
  })
  let out = ''
  child.stdout.on('data', (text) => {
    out += text
  })
  const [code, signal] = await once(child, 'close')
  assert.deepEqual({ code, signal }, { code: 0, signal: null }, `it crashed or hung on ${path}: ${out}`)
  return JSON.parse(out) as Opened
}

const nested = (levels: number) => '['.repeat(levels) + ']'.repeat(levels)
const lines = (count: number) =>
  Array.from({ length: count }, (_, n) => `{"_id":"d${n}","n":${n}}\n`).join('')

/** What is in the file, and what must come of it: the code of the refusal, or `loaded`. */
const FILES: Record<string, { content: () => string; nedb: string; lowdb: string; count?: number }> = {
  empty: { content: () => '', nedb: 'loaded', lowdb: 'PSLOCK_CORRUPT', count: 0 },
  'only line feeds': { content: () => '\n'.repeat(5000), nedb: 'loaded', lowdb: 'PSLOCK_CORRUPT', count: 0 },
  'only NULs': { content: () => '\0'.repeat(10_000), nedb: 'PSLOCK_CORRUPT', lowdb: 'PSLOCK_CORRUPT' },
  'noise of printable characters': {
    content: () => 'lorem ipsum ['.repeat(5000),
    nedb: 'PSLOCK_CORRUPT',
    lowdb: 'PSLOCK_CORRUPT',
  },
  '100,000 brackets': { content: () => '['.repeat(100_000), nedb: 'PSLOCK_CORRUPT', lowdb: 'PSLOCK_CORRUPT' },
  'one record nested 20,000 levels deep among 30': {
    content: () => `${lines(30)}{"_id":"deep","x":${nested(20_000)}}\n`,
    nedb: 'loaded',
    lowdb: 'PSLOCK_CORRUPT',
    count: 30,
  },
  'many lines': {
    content: () => lines(LONG ? 1_000_000 : 50_000),
    nedb: 'loaded',
    lowdb: 'PSLOCK_CORRUPT',
    count: LONG ? 1_000_000 : 50_000,
  },
  'one very long line': {
    content: () => `{"_id":"long","x":"${'x'.repeat(LONG ? 200_000_000 : 10_000_000)}"}\n`,
    nedb: 'loaded',
    lowdb: 'loaded',
    count: 1,
  },
}

describe('odd files', () => {
  const at = useFolder()

  for (const [name, { content, nedb, lowdb, count }] of Object.entries(FILES)) {
    it(`${name}: neither crash nor hang, and are left as they are`, async function () {
      this.timeout(2 * WATCHDOG_MS)
      writeFileSync(at('odd.db'), content())
      const before = readFileSync(at('odd.db'))
      const opened = await openElsewhere(at('odd.db'))
      assert.deepEqual([opened.nedb, opened.lowdb], [nedb, lowdb])
      if (count !== undefined) assert.equal(opened.count, count)
      assert.ok(readFileSync(at('odd.db')).equals(before), 'the file has changed')
    })
  }

  it('a folder, a FIFO and a loop of links are refused with a typed error', async function () {
    this.timeout(4 * WATCHDOG_MS)
    mkdirSync(at('folder.db'))
    execFileSync('mkfifo', [at('fifo.db')])
    symlinkSync(at('b.db'), at('a.db'))
    symlinkSync(at('a.db'), at('b.db'))
    for (const name of ['folder.db', 'fifo.db', 'a.db']) {
      const opened = await openElsewhere(at(name))
      for (const outcome of [opened.nedb, opened.lowdb, opened.check])
        assert.match(outcome, /^PSLOCK_/, `${name}: ${JSON.stringify(opened)}`)
    }
    assert.ok(statSync(at('fifo.db')).isFIFO() && statSync(at('folder.db')).isDirectory())
  })
})
