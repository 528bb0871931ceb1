import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import type { Cleaned } from '../../cli/clean.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { removeLockFile } from '../../src/lock/lock-removal.ts'
import { fixture, LOADER } from '../fixtures/code.ts'
import { useCrew } from '../fixtures/crew.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { killWhatIsLeft, pslock, start } from './run-pslock.ts'

describe('pslock clean', () => {
  killWhatIsLeft()
  const crew = useCrew()
  const at = useFolder()
  const leave = async (...names: string[]) => {
    for (const name of names) {
      const lock = new PsLock(at(name))
      await lock.exclusive(() => {})
      await lock.close()
    }
  }
  const clean = async (...args: string[]) =>
    JSON.parse((await pslock('clean', '--json', ...args)).stdout) as Cleaned

  it('removes what nobody uses, and leaves what somebody holds, or what is not of pslock', async () => {
    await leave('a', 'b', 'c', 'noted')
    mkdirSync(at('.git'))
    mkdirSync(at('folder.lock'))
    await leave('.git/config')
    const others: Record<string, string> = {
      'yarn.lock': '# yarn lockfile v1\n',
      'package-lock.json': '{}',
      'Cargo.lock': '',
      'pid.lock': '4711\n',
      'spaces.lock': ' '.repeat(159),
      'json.lock': '{"pid":4711,"since":1}',
      'x.lock.txt': '',
    }
    for (const [name, text] of Object.entries(others)) writeFileSync(at(name), text)
    symlinkSync(at('a.lock'), at('symlink.lock'))
    const mates = [await crew.process(), await crew.process()]
    await mates[0]!.call('acquire', at('a'))
    await mates[1]!.call('acquire', at('b'), { mode: 'shared' })

    const before = readdirSync(at()).sort()
    const wouldBe = await clean('--dry-run', at())
    assert.deepEqual(readdirSync(at()).sort(), before)
    const done = await clean(at())
    assert.deepEqual(done, { ...wouldBe, dryRun: false })
    assert.deepEqual(done.removed, [at('c.lock'), at('noted.lock')])
    const { used, empty, foreign, failed } = done
    assert.deepEqual({ used, empty, foreign, failed }, { used: 2, empty: 1, foreign: 4, failed: [] })
    for (const [name, text] of Object.entries(others)) assert.equal(readFileSync(at(name), 'utf8'), text)
    assert.ok(existsSync(at('.git/config.lock')))
    assert.deepEqual(
      readdirSync(at()).sort(),
      before.filter((name) => !['c.lock', 'noted.lock'].includes(name)),
    )
    for (const mate of mates) await mate.call('release')
    assert.equal((await pslock('clean', at())).stdout.split(';')[0], 'removed 2 lock files')
  })

  it('--empty: also what earlier versions left behind; --recursive: in the folders below, but those of git', async () => {
    mkdirSync(at('sub/.git'), { recursive: true })
    for (const name of ['old.lock', 'sub/old.lock', 'sub/.git/index.lock']) writeFileSync(at(name), '')
    mkdirSync(at('bare/objects'), { recursive: true })
    mkdirSync(at('bare/refs'))
    writeFileSync(at('bare/HEAD'), '')
    writeFileSync(at('bare/packed-refs.lock'), '')
    assert.deepEqual((await clean('-r', at())).removed, [])
    assert.deepEqual((await clean('--empty', at())).removed, [at('old.lock')])
    assert.deepEqual((await clean('--empty', '-r', at())).removed, [at('sub/old.lock')])
    assert.ok(existsSync(at('sub/.git/index.lock')) && existsSync(at('bare/packed-refs.lock')))
    assert.equal((await pslock('clean', at('sub/.git'))).code, 125)
  })

  it('leaves one alone that somebody waits for, and removes the file of the line with the lock file', async () => {
    const holder = await crew.process()
    const waiter = await crew.process()
    await holder.call('acquire', at('db'))
    const waiting = waiter.call('acquire', at('db'))
    // The file is made first, then its place in it: 64 bytes behind a head of 64.
    await until(
      'it stands in line',
      () => (statSync(at('db.lock.turn'), { throwIfNoEntry: false })?.size ?? 0) >= 128,
    )
    await waiter.signal('SIGSTOP')
    await holder.call('release')
    assert.equal((await clean(at())).used, 1)
    await waiter.signal('SIGCONT')
    await waiting
    await waiter.call('release')
    await waiter.signal('SIGKILL')
    await until('nobody waits', () => removeLockFile(at('db.lock'), { dryRun: true }) === 'removed')
    await clean(at())
    assert.deepEqual(readdirSync(at()), [])
  })

  it('leaves one alone that a program waits for in the kernel', async function () {
    if (spawnSync('flock', ['--version'], { stdio: 'ignore' }).status !== 0) this.skip()
    await leave('db')
    const held = await new PsLock(at('db')).acquire({ mode: 'shared' })
    const flock = spawn('flock', [at('db.lock'), 'true'])
    await until('it waits', () => new PsLock(at('db')).holders().some(({ state }) => state === 'waiting'))
    assert.equal(removeLockFile(at('db.lock')), 'used')
    held.release()
    await once(flock, 'close')
    assert.equal(removeLockFile(at('db.lock')), 'removed')
  })

  it('excludes nobody wrongly: processes that open lock files while they are removed count up exactly', async () => {
    writeFileSync(at('count'), '0')
    const [workers, times] = [2, 80]
    const args = [...LOADER, fixture('inside'), 'addAnew', at('db'), at('count'), String(times)]
    const running = Array.from({ length: workers }, () => start(process.execPath, args))
    let isDone = false
    const ended = Promise.all(running.map(({ outcome }) => outcome)).finally(() => {
      isDone = true
    })
    let removed = 0
    while (!isDone) {
      if (removeLockFile(at('db.lock')) === 'removed') removed++
      await new Promise(setImmediate)
    }
    for (const { code, stderr } of await ended) assert.equal(code, 0, stderr)
    assert.equal(readFileSync(at('count'), 'utf8'), String(workers * times))
    assert.ok(removed > 5, `only ${removed} removals: this proves nothing`)
  })

  it('says what it could not do: 125', async function () {
    assert.equal((await pslock('clean', at('missing'))).code, 125)
    assert.equal((await pslock('clean')).code, 2)
    await leave('a')
    linkSync(at('a.lock'), at('other-name.lock'))
    assert.equal((await clean(at())).foreign, 2)
    if (process.getuid?.() === 0) this.skip()
    mkdirSync(at('sub'))
    await leave('sub/a')
    chmodSync(at('sub'), 0o555)
    const { code, stderr } = await pslock('clean', at('sub'))
    chmodSync(at('sub'), 0o755)
    assert.equal(code, 125)
    assert.match(stderr, /a\.lock: cannot remove the lock file .*EACCES/)
  })
})

describe('pslock run in a folder of git', () => {
  const at = useFolder()

  it('is refused, for git would refuse to work: 125', async () => {
    mkdirSync(at('.git/refs'), { recursive: true })
    for (const file of ['.git/config', '.git/refs/heads', '.git/my.lock']) {
      const { code, stderr } = await pslock('run', at(file), '--', 'touch', at('it-ran'))
      assert.equal(code, 125)
      assert.match(stderr, /folder of git/)
    }
    assert.ok(!existsSync(at('it-ran')) && !existsSync(at('.git/config.lock')))
    const elsewhere = ['--lock-path', at('elsewhere')]
    assert.equal((await pslock('run', at('.git/config'), ...elsewhere, '--', 'true')).code, 0)
    assert.equal((await pslock('run', at('.gitignore'), '--', 'true')).code, 0)
  })
})
