import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, readFileSync, rmSync } from 'node:fs'
import { LockedNedb } from '../../../adapters/nedb.ts'
import { native } from '../../../src/os/native.ts'
import { fixture, LOADER } from '../../fixtures/code.ts'
import { runTool, seenByVanilla, sorted, temporaryFolder } from '../../fixtures/nedb-tools.ts'
import { newSeed, note, random } from '../../fixtures/random.ts'

const LONG = process.env.PSLOCK_LONG === '1'
/** In a normal run, of each test; PSLOCK_LONG=1 takes every point there is. */
const POINTS = 14
/** What the addon asks of the system. */
const CALLS = ['flock', 'fstat', 'statx', 'pread64', 'pwrite64', 'ftruncate']

type Doc = { _id: string; n?: number }

/** What the documents are after so many steps of fixtures/nedb-steps.ts. */
const STATES: readonly (readonly Doc[])[] = [
  [{ _id: 'first', n: 1 }],
  [{ _id: 'a' }, { _id: 'first', n: 1 }],
  [{ _id: 'a' }, { _id: 'first', n: 2 }],
  [{ _id: 'first', n: 2 }],
  [{ _id: 'b' }, { _id: 'first', n: 2 }],
]

/** The fault lab of test/faults replaces what `node:fs` calls, which the addon does not: here the kernel does it. */
describe('the addon, in trouble', function () {
  this.timeout(120_000)
  const file = temporaryFolder()
  const path = () => file('a.db')

  before(function () {
    if (native() && process.env.PSLOCK_BINDING === 'native' && runTool('strace', '-o', '/dev/null', 'true'))
      return
    console.log('      skipped: no addon (PSLOCK_BINDING=native insists on it), or no strace that may trace')
    this.skip()
  })

  /** @returns what it said */
  function run(...inject: string[]): string[] {
    for (const name of [path(), `${path()}.lock`, `${path()}.lock.turn`]) rmSync(name, { force: true })
    const traced = ['-f', '-qq', '-o', file('trace'), '-e', `trace=write,${CALLS.join(',')}`, ...inject]
    const done = spawnSync(
      'strace',
      [...traced, process.execPath, ...LOADER, fixture('nedb-steps'), path()],
      {
        encoding: 'utf8',
      },
    )
    return done.stdout.split('\n')
  }

  /** Every call behind the mark: its name, and which of that name it is. */
  function points(): { call: string; nth: number }[] {
    run()
    const counts = new Map<string, number>()
    const found: { call: string; nth: number }[] = []
    let isMarked = false
    for (const line of readFileSync(file('trace'), 'utf8').split('\n')) {
      const call = /^\d+ +(\w+)\(/.exec(line)?.[1] ?? ''
      isMarked ||= line.includes('"MARK\\n"')
      if (!CALLS.includes(call)) continue
      counts.set(call, (counts.get(call) ?? 0) + 1)
      if (isMarked) found.push({ call, nth: counts.get(call) as number })
    }
    return found
  }

  function drawn<T>(all: readonly T[]): T[] {
    const seed = newSeed()
    const draw = random(seed)
    note(`seed ${seed}, ${all.length} points`)
    if (LONG) return [...all]
    return Array.from({ length: POINTS }, () => all[Math.floor(draw() * all.length)] as T)
  }

  const countOf = (said: readonly string[], what: string) =>
    said.filter((line) => line.startsWith(what)).length

  it('killed at a system call leaves all of a step or nothing, and everything that it has acknowledged', async () => {
    let killed = 0
    for (const { call, nth } of drawn(points())) {
      const said = run('-e', `inject=${call}:signal=KILL:when=${nth}`)
      const [begun, done] = [countOf(said, 'begins:'), countOf(said, 'done:')]
      if (countOf(said, 'memory:') === 0) killed++
      const where = `${call} ${nth}: ${said.join(' | ')}`
      copyFileSync(path(), file('copy'))
      const seen = await seenByVanilla(path())
      const possible = STATES.slice(done, begun + 1)
      assert.ok(
        possible.some((state) => JSON.stringify(state) === JSON.stringify(seen)),
        `${where}: ${JSON.stringify(seen)}`,
      )
      // Whoever comes next has the lock, and the same state.
      await using db = new LockedNedb<Doc>({ filename: path(), autoload: true, timeoutMs: 3000 })
      await db.insertAsync({ _id: 'next' })
      assert.deepEqual(sorted(await db.findAsync({})), sorted([...(seen as Doc[]), { _id: 'next' }]), where)
    }
    assert.ok(killed > 0, 'nothing was killed')
  })

  it('leaves memory as the file is where a system call fails, and goes on', async () => {
    const errors = ['EIO', 'ENOSPC', 'EINTR', 'ENOLCK'] as const
    let turn = 0
    for (const { call, nth } of drawn(points())) {
      const error = errors[turn++ % errors.length]
      const said = run('-e', `inject=${call}:error=${error}:when=${nth}`)
      const where = `${call} ${nth} ${error}: ${said.join(' | ')}`
      const memory = said.find((line) => line.startsWith('memory: '))
      assert.ok(memory, where)
      assert.ok(existsSync(path()), where)
      assert.deepEqual(JSON.parse(memory.slice('memory: '.length)), await seenByVanilla(path()), where)
      for (const line of said.filter((line) => line.startsWith('failed:')))
        assert.match(line, /: PSLOCK_\w+$/, where)
      const done = said.filter((line) => line.startsWith('done: '))
      const has = (id: string) => memory.includes(`"_id":"${id}"`)
      assert.equal(has('b'), done.includes('done: insert b'), where)
      if (done.includes('done: remove a')) assert.ok(!has('a'), where)
    }
  })
})
