import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { codeFile, LOADER } from '../fixtures/code.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { newSeed, note } from '../fixtures/random.ts'

/** Two processes, for a moment. */
const SMALL = ['--processes', '2', '--records', '20', '--rounds', '1', '--seconds', '0.1', '--json']

/** More than the 20 lines that are there at first. */
const SMALL_BYTES = 10_000

interface Report {
  readonly groups: readonly {
    readonly outcomes: readonly {
      readonly peer: string
      readonly void?: string
      readonly firsts: readonly { readonly perSecond: number; readonly longestMs: number }[]
      readonly results: readonly { readonly perSecond: number; readonly longestMs: number }[]
    }[]
  }[]
  readonly leftOut: readonly string[]
}

/** A zombie has no command line. */
function isAlive(pid: string): boolean {
  return existsSync(`/proc/${pid}`) && readFileSync(`/proc/${pid}/cmdline`, 'utf8') !== ''
}

describe('the bench', () => {
  const at = useFolder()
  const seed = newSeed()

  /** Its folders. A loader may have one beside them. */
  const rooms = () => readdirSync(at()).filter((name) => name.startsWith('pslock-'))

  function start(...args: string[]) {
    return spawn(process.execPath, [...LOADER, codeFile('bench/speed'), '--seed', String(seed), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, TMPDIR: at() },
    })
  }

  async function measured(...args: string[]) {
    const child = start(...SMALL, ...args)
    const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')])
    assert.notEqual(stdout, '', stderr)
    const { groups, leftOut } = JSON.parse(stdout) as Report
    return { code: child.exitCode, outcomes: groups.flatMap(({ outcomes }) => outcomes), leftOut, stderr }
  }

  it('measures ours beside the peers, and leaves nothing behind', async () => {
    const wanted = ['locked-nedb', 'nedb-lockfile', 'locked-low', 'lowdb-flock', 'pslock', 'c-flock']
    note(`seed ${seed}`)
    const { code, outcomes, leftOut, stderr } = await measured(
      '--only',
      'insert',
      'update',
      'append',
      '--peers',
      ...wanted,
    )
    assert.equal(code, 0, stderr)
    // What cannot be had here, a C compiler say, is named.
    assert.equal(outcomes.length + leftOut.length, wanted.length, leftOut.join('; '))
    for (const { peer, firsts, results, void: lost } of outcomes) {
      assert.equal(lost, undefined, peer)
      assert.equal(firsts.length, ['locked-nedb', 'locked-low', 'pslock'].includes(peer) ? 1 : 0, peer)
      for (const { perSecond, longestMs } of firsts) assert.ok(perSecond > 0 && longestMs > 0, peer)
      assert.ok(results.length === 1 && results[0]!.perSecond > 0 && results[0]!.longestMs > 0, peer)
    }
    assert.deepEqual(rooms(), [])
  })

  it('measures the first operations of new processes alone', async () => {
    const { code, outcomes, stderr } = await measured('--cold', '--only', 'find', '--peers', 'locked-nedb')
    assert.equal(code, 0, stderr)
    assert.deepEqual(
      outcomes.map(({ peer, firsts, results }) => [peer, firsts.length, results.length]),
      [['locked-nedb', 1, 0]],
    )
  })

  it('says that a run is void in which a store lost what it had acknowledged', async () => {
    const { code, outcomes } = await measured('--only', 'inc-one', '--peers', 'vanilla-nedb')
    assert.equal(code, 1)
    assert.match(outcomes[0]?.void ?? '', /./)
    assert.deepEqual(outcomes[0]?.results, [])
  })

  it('ends its processes when it is told to end, and removes its folder', async function () {
    if (!existsSync('/proc/self/task')) this.skip()
    const child = start(...SMALL, '--only', 'append', '--peers', 'pslock-sync', '--seconds', '60')
    const exited = once(child, 'exit')
    const log = () => rooms().map((room) => join(at(room), 'pslock-sync', 'data'))[0] ?? ''
    await until('they append', () => existsSync(log()) && statSync(log()).size > SMALL_BYTES)
    const members = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').trim().split(' ')
    assert.equal(members.length, 2)
    // A stopped one does not see that nobody listens any more.
    for (const pid of members) process.kill(Number(pid), 'SIGSTOP')
    child.kill('SIGTERM')
    assert.deepEqual(await exited, [143, null])
    try {
      await until('they are gone', () => !members.some(isAlive))
    } finally {
      for (const pid of members.filter(isAlive)) process.kill(Number(pid), 'SIGKILL')
    }
    assert.deepEqual(rooms(), [])
  })
})
