import assert from 'node:assert/strict'
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, writeFileSync } from 'node:fs'
import { LockedJSONFilePreset } from '../adapters/lowdb.ts'
import { LockedNedb } from '../adapters/nedb.ts'
import { harmless, PsLockError } from '../src/errors.ts'
import { PsLock } from '../src/lock/lock.ts'
import { LockTree } from '../src/lock-tree/lock-tree.ts'
import { pslock } from './cli/run-pslock.ts'
import { useFolder } from './fixtures/folder.ts'

const UGLY = 'a\x1b]0;owned\x07\x9b31m\r\n\x7fFAKE\u202eexe\u2066\u2028\u2029\ufeff\u200bz'
const RAW = /[^\P{Cc}\n]|[\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u

/** Not even a line feed: what others wrote must not begin a line of its own. */
function assertHarmless(text: string): void {
  assert.doesNotMatch(text, RAW, JSON.stringify(text))
  assert.doesNotMatch(text, /^FAKE|\n.?FAKE/, JSON.stringify(text))
}

describe('what others wrote, in messages', () => {
  const at = useFolder()
  const started: ChildProcess[] = []

  afterEach(() => {
    for (const child of started.splice(0)) child.kill('SIGKILL')
  })

  /** A process with these arguments that holds the lock of `data`. */
  async function holder(file: string, words: readonly string[]): Promise<number> {
    const holds = spawn('flock', [`${file}.lock`, 'sh', '-c', 'echo in; read line'].concat(words), {
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    started.push(holds)
    await once(holds.stdout, 'data')
    return holds.pid as number
  }

  async function messageOf(run: () => unknown): Promise<string> {
    try {
      await run()
    } catch (error) {
      assert.ok(error instanceof Error)
      return error.message
    }
    throw new assert.AssertionError({ message: 'it did not fail' })
  }

  before(function () {
    if (spawnSync('flock', ['--version'], { stdio: 'ignore' }).status !== 0) this.skip()
  })

  it('is one line, and shows what nobody would see', () => {
    assert.equal(harmless('a\r\nb\tc'), 'a b c')
    assert.equal(harmless('x\u202ey\u{e0041}\ud800'), 'x\\u202ey\\u{e0041}\\ud800')
    assert.equal(harmless('größer 漢字 🎉'), 'größer 漢字 🎉')
    assertHarmless(harmless(UGLY))
    assertHarmless(new PsLockError('PSLOCK_IO', UGLY, { path: UGLY }).message)
  })

  it('of a command line: timeouts of PsLock, holders(), status and run', async () => {
    await holder(at('data'), [UGLY])
    const lock = new PsLock(at('data'))
    for (const call of [
      () => lock.exclusive(() => {}, { timeoutMs: 0 }),
      () => lock.exclusiveSync(() => {}, { timeoutMs: 0 }),
    ])
      assertHarmless(await messageOf(call))
    for (const { command = '' } of lock.holders()) {
      assert.match(command, /FAKE/)
      assertHarmless(command)
    }
    const shown = await pslock('status', at('data'))
    assertHarmless(shown.stdout)
    assert.equal(shown.stdout.trimEnd().split('\n').length, 3)
    assertHarmless((await pslock('run', '--timeout', '0.1', at('data'), '--', 'true')).stderr)
    await lock.close()
  })

  it('of a reason: timeouts of LockTree', async function () {
    if (process.platform !== 'linux') this.skip()
    const [one, other] = [new LockTree(at('tree')), new LockTree(at('tree'))]
    const held = await one.acquire('app', { reason: 'evil\u202ereason\u200b' })
    assertHarmless(await messageOf(() => other.exclusive('app', () => {}, { timeoutMs: 0 })))
    held.release()
    await one.close()
    await other.close()
  })

  it('of a path, and of what is in a file', async () => {
    const folder = at(UGLY)
    mkdirSync(folder)
    const file = `${folder}/db.json`
    writeFileSync(file, `\ufeff{"a": "\x1b[31m\u202e`)
    assertHarmless(await messageOf(() => LockedJSONFilePreset(file, {})))
    assertHarmless(await messageOf(() => new PsLock(`${file}/none/x`).exclusive(() => {})))
    for (const words of [
      ['check', '--store', 'lowdb', file],
      ['check', `${folder}/none.db`],
      ['repair', '--store', 'lowdb', file],
      ['dump', '--store', 'lowdb', file, `${folder}/copy`],
      ['restore', file, `${folder}/none`],
      ['status', file],
      ['run', file, '--', `${folder}/none`],
      // Typed by the user, and shown in several lines.
      [UGLY.replace('\n', '')],
    ]) {
      const { stdout, stderr } = await pslock(...words)
      assertHarmless(stdout)
      assertHarmless(stderr)
    }
    const db = new LockedNedb({ filename: `${folder}/new.db`, autoload: true })
    await db.insertAsync({ _id: 'x' })
    const text = await messageOf(() => db.dump(`${folder}/new.db`))
    assertHarmless(text)
    await db.close()
  })

  it('of a command line with 150,000 empty words, without a long look at it', async () => {
    await holder(at('data'), [...new Array<string>(150_000).fill(''), 'end'])
    const lock = new PsLock(at('data'))
    const begin = performance.now()
    await assert.rejects(() => lock.exclusive(() => {}, { timeoutMs: 100 }), { code: 'PSLOCK_TIMEOUT' })
    const tookMs = performance.now() - begin
    assert.ok(tookMs < 3000, `${tookMs} ms`)
    assert.ok(lock.holders().every(({ command = '' }) => command.length <= 4096))
    await lock.close()
  })
})
