import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, writeFileSync } from 'node:fs'
import type { Status } from '../../cli/status/status.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { useFolder } from '../fixtures/folder.ts'
import { needsPseudoTerminal, pslockInTerminal } from './pseudo-terminal.ts'
import { pslock } from './run-pslock.ts'

describe('pslock status', () => {
  const folder = useFolder()

  it('says free, and creates no lock file', async () => {
    writeFileSync(folder('db'), '')
    const { code, stdout } = await pslock('status', folder('db'))
    assert.equal(code, 0)
    assert.match(stdout, /db\.lock: free/)
    assert.ok(!existsSync(folder('db.lock')))
  })

  it('says free when nobody holds the lock file that is there', async () => {
    const lock = new PsLock(folder('db'))
    await lock.exclusive(() => {})
    await lock.close()
    assert.equal((await pslock('status', folder('db'))).code, 0)
  })

  it('names the holder', async function () {
    if (process.platform !== 'linux') this.skip()
    await using lock = new PsLock(folder('db'))
    await using _held = await lock.acquire()
    const { code, stdout } = await pslock('status', folder('db'))
    assert.equal(code, 1)
    assert.match(stdout, /held/)
    assert.match(
      stdout,
      new RegExp(`^ *${process.pid}  .+  exclusive  holding  -`, 'm'),
      'since when is known once somebody waits',
    )
  })

  it('prints JSON on request', async function () {
    if (process.platform !== 'linux') this.skip()
    await using lock = new PsLock(folder('db'))
    await using _held = await lock.acquire({ mode: 'shared' })
    const { code, stdout } = await pslock('status', '--json', folder('db'))
    const { held, holders } = JSON.parse(stdout) as Status
    assert.equal(code, 1)
    assert.equal(held, true)
    assert.deepEqual(
      holders.map(({ pid, mode, state }) => ({ pid, mode, state })),
      [{ pid: process.pid, mode: 'shared', state: 'holding' }],
    )
  })

  it('shows what is unknown as "-", and a command on one line', async function () {
    if (spawnSync('flock', ['--version'], { stdio: 'ignore' }).status !== 0) this.skip()
    // flock(1) leaves no note of when it began.
    const flock = spawn('flock', [folder('db.lock'), 'sh', '-c', 'echo in\nread line # \x1b[31m'], {
      stdio: ['pipe', 'pipe', 'ignore'],
    })
    await once(flock.stdout, 'data')
    const { stdout } = await pslock('status', folder('db'))
    flock.stdin.end('go\n')
    const [, header, row, ...more] = stdout.trimEnd().split('\n')
    assert.match(header ?? '', /^ *PID {2}COMMAND +MODE +STATE +SINCE$/)
    assert.match(
      row ?? '',
      new RegExp(`^ *${flock.pid}  flock .*echo in read line #  \\[31m  exclusive  holding  -$`),
    )
    assert.deepEqual(more, [])
  })

  it('adds that there is no such file: it may be a typing error', async () => {
    writeFileSync(folder('db'), '')
    assert.equal((await pslock('status', folder('db'))).stdout, `${folder('db.lock')}: free\n`)
    const { code, stdout } = await pslock('status', folder('bd'))
    assert.deepEqual([code, stdout], [0, `${folder('bd.lock')}: free (no such file)\n`])
    const { exists } = JSON.parse((await pslock('status', '--json', folder('bd'))).stdout) as Status
    assert.equal(exists, false)
    // What is locked need not exist.
    await using lock = new PsLock(folder('bd'))
    await using _held = await lock.acquire()
    assert.match((await pslock('status', folder('bd'))).stdout, /bd\.lock: held \(no such file\)\n/)
  })

  describe('on a terminal', () => {
    needsPseudoTerminal()

    for (const [columns, line] of [
      [0, /^\/.*db\.lock: free \(no such file\)\r?$/m],
      [30, /^….*lock: free \(no such file\)\r?$/m],
      [12, /^…: free \(no such file\)\r?$/m],
    ] as const) {
      it(`of ${columns} columns: the path is cut where it must be, the verdict never`, async () => {
        const { outcome } = pslockInTerminal(['status', folder('db')], { columns })
        assert.match((await outcome).stdout, line)
      })
    }
  })

  it('does not take what it cannot look at for free: 125', async () => {
    for (const file of ['', folder('n'.repeat(300))]) {
      const { code, stdout, stderr } = await pslock('status', file)
      assert.deepEqual([code, stdout], [125, ''])
      assert.match(stderr, /^pslock: (path must be|ENAMETOOLONG)/)
    }
  })
})
