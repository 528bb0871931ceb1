import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import type { Readable } from 'node:stream'
import { PsLock } from '../../src/lock/lock.ts'
import { useCrew } from '../fixtures/crew.ts'
import { useFolder } from '../fixtures/folder.ts'
import { mustBlock, waitsHere } from '../fixtures/must-block.ts'
import { newSeed, note } from '../fixtures/random.ts'

/** Strangers that use flock(2) in their own ways: shared, with a limit, blocking in the kernel, all at once. */
describe('interoperation of modes', () => {
  const crew = useCrew()
  const at = useFolder()
  const children: ChildProcessByStdio<null, Readable, null>[] = []

  before(function () {
    const has = (program: string, ...args: string[]) =>
      spawnSync(program, args, { stdio: 'ignore' }).status === 0
    if (has('flock', '--version') && has('python3', '-c', 'import fcntl')) return
    console.log('        skipped: there is no flock(1) or no python3 here')
    this.skip()
  })

  afterEach(() => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
  })

  /** Says "in" as soon as it has the lock; an exec, so that a signal meets the holder itself. */
  function start(program: string, ...args: string[]) {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] })
    children.push(child)
    const closed = once(child, 'close').then(([code]) => code as number)
    return { child, closed, isIn: once(child.stdout, 'data') }
  }
  const flock = (...options: string[]) =>
    start('flock', '--no-fork', ...options, at('data.lock'), 'sh', '-c', 'echo in; exec sleep 60')

  it('flock -s and our shared holds are together, and each keeps exclusive ones out', async () => {
    const { child, isIn } = flock('-s')
    await isIn
    const lock = new PsLock(at('data'))
    const shared = lock.tryAcquire({ mode: 'shared' })
    assert.ok(shared, 'together')
    shared.release()
    const blocked = await mustBlock('exclusive', lock.acquire(), { seen: waitsHere(lock) })
    ;(await blocked.unblock(() => child.kill('SIGKILL'))).release()
  })

  it('a flock(1) that waits in the kernel gets the lock at our release, shared and exclusive', async () => {
    const lock = new PsLock(at('data'))
    for (const option of ['-s', '-x']) {
      const held = await lock.acquire()
      const { child, isIn, closed } = flock(option)
      const blocked = await mustBlock(`flock ${option}`, isIn, { seen: () => isWaitingInKernel(child.pid) })
      await blocked.unblock(() => held.release())
      assert.equal(lock.tryAcquire(), undefined)
      child.kill('SIGKILL')
      await closed
      lock.tryAcquire()!.release()
    }
  })

  it('flock -w gives up in its time, and harms no hold', async () => {
    const mate = await crew.process()
    const held = await new PsLock(at('data')).acquire()
    assert.equal(await flock('-w', '0.2').closed, 1)
    assert.equal(await mate.call('tryAcquire', at('data')), false)
    held.release()
    assert.equal(await mate.call('tryAcquire', at('data')), true)
  })

  it('a waiter in the kernel that is killed leaves the lock to the next', async () => {
    const lock = new PsLock(at('data'))
    const held = await lock.acquire()
    const { child, closed, isIn } = flock()
    await mustBlock('flock', isIn, { seen: () => isWaitingInKernel(child.pid) })
    child.kill('SIGKILL')
    await closed
    held.release()
    lock.tryAcquire()!.release()
  })

  it('POSIX locks of others on the same file are another matter: they neither block nor free ours', async () => {
    const lock = new PsLock(at('data'))
    await lock.exclusive(() => {})
    const script =
      'import fcntl,sys,time; f=open(sys.argv[1],"r+"); fcntl.lockf(f,fcntl.LOCK_EX); print("in",flush=True); time.sleep(60)'
    const { child, isIn, closed } = start('python3', '-c', script, at('data.lock'))
    await isIn
    const held = lock.tryAcquire()
    assert.ok(held)
    child.kill('SIGKILL')
    await closed
    assert.equal(await (await crew.process()).call('tryAcquire', at('data')), false)
    held.release()
  })

  it('shells, Python programs and ours that count in one file lose nothing', async () => {
    const seed = newSeed()
    writeFileSync(at('counter'), JSON.stringify({ count: 0, last: '', handOvers: 0 }))
    const python = `
import fcntl, json, sys, time
for i in range(60):
    f = open(sys.argv[1], 'w')
    fcntl.flock(f, fcntl.LOCK_EX)
    c = json.load(open(sys.argv[2]))
    c['handOvers'] += c['last'] != 'python'
    c['last'] = 'python'
    c['count'] += 1
    time.sleep(0.0005)
    json.dump(c, open(sys.argv[2], 'w'))
    fcntl.flock(f, fcntl.LOCK_UN)
    f.close()
    time.sleep(0.002)
`
    const shell = `for i in $(seq 40); do flock "$0" python3 -c '
import json, sys
c = json.load(open(sys.argv[1])); c["count"] += 1; c["last"] = "shell"; json.dump(c, open(sys.argv[1], "w"))' "$1"; done`
    const foreign = [
      start('python3', '-c', python, at('data.lock'), at('counter')),
      start('python3', '-c', python, at('data.lock'), at('counter')),
      start('sh', '-c', shell, at('data.lock'), at('counter')),
    ]
    for (const { child } of foreign) child.stdout.resume()
    const mates = await crew.processes(2)
    await Promise.all(
      mates.map((mate, i) =>
        mate.call('increment', at('data'), at('counter'), { times: 150, seed: seed + i }),
      ),
    )
    assert.deepEqual(await Promise.all(foreign.map(({ closed }) => closed)), [0, 0, 0])
    const { count, handOvers } = JSON.parse(readFileSync(at('counter'), 'utf8'))
    note(`seed ${seed}: at least ${handOvers} hand-overs`)
    assert.equal(count, 2 * 60 + 40 + 2 * 150)
    assert.ok(handOvers > 10)
  })

  /** The kernel's own word: "-> FLOCK" lines are waiters. Elsewhere than on Linux the quiet time has to do. */
  function isWaitingInKernel(pid: number | undefined): boolean {
    if (process.platform !== 'linux') return true
    const lines = readFileSync('/proc/locks', 'utf8').split('\n')
    return lines.some((line) => line.includes('->') && line.split(/\s+/).includes(String(pid)))
  }
})
