import assert from 'node:assert/strict'
import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { PsLock } from '../../src/lock/lock.ts'
import { asset } from '../fixtures/code.ts'
import { useCrew } from '../fixtures/crew.ts'
import { staysPending, useFolder } from '../fixtures/folder.ts'
import { newSeed, note } from '../fixtures/random.ts'

/** It is the kernel's flock(2), so whoever else uses flock(2) takes part. */
describe('interoperation', () => {
  const crew = useCrew()
  const at = useFolder()

  function needs(program: string, ...args: string[]): void {
    before(function () {
      if (spawnSync(program, args, { stdio: 'ignore' }).status === 0) return
      console.log(`        skipped: there is no ${program} here`)
      this.skip()
    })
  }

  describe('with flock(1)', () => {
    const flock = 'flock'
    needs(flock, '--version')
    const isFree = (mode: '-x' | '-s') =>
      spawnSync(flock, ['-n', mode, at('data.lock'), 'true'], { stdio: 'ignore' }).status === 0

    it('flock(1) sees our holds, shared and exclusive', async () => {
      const lock = new PsLock(at('data'))
      const exclusive = await lock.acquire()
      assert.deepEqual([isFree('-x'), isFree('-s')], [false, false])
      exclusive.release()
      const shared = await lock.acquire({ mode: 'shared' })
      assert.deepEqual([isFree('-x'), isFree('-s')], [false, true])
      shared.release()
      assert.equal(isFree('-x'), true)
    })

    it('we see the holds of flock(1), and wait for them', async () => {
      const child = spawn(flock, [at('data.lock'), 'sh', '-c', 'echo in; read line'], {
        stdio: ['pipe', 'pipe', 'inherit'],
      })
      await once(child.stdout, 'data')
      const lock = new PsLock(at('data'))
      assert.equal(lock.tryAcquire({ mode: 'shared' }), undefined)
      const waiting = lock.acquire()
      assert.ok(await staysPending(waiting))
      child.stdin.end('go\n')
      ;(await waiting).release()
    })

    it('an increment in a shell under flock(1) and ours lose nothing', async () => {
      writeFileSync(at('plain'), '0')
      const script = `for i in $(seq 60); do flock "$0" sh -c 'n=$(cat "$0"); echo $((n+1)) >"$0"' "$1"; done`
      const child = spawn('sh', ['-c', script, at('data.lock'), at('plain')], { stdio: 'inherit' })
      const closed = once(child, 'close')
      const lock = new PsLock(at('data'))
      for (let i = 0; i < 60; i++) {
        await lock.exclusive(async () => {
          const n = Number(readFileSync(at('plain'), 'utf8'))
          await new Promise(setImmediate)
          writeFileSync(at('plain'), String(n + 1))
        })
        await sleep(2)
      }
      await closed
      assert.equal(Number(readFileSync(at('plain'), 'utf8')), 120)
    })
  })

  describe('with the fcntl.flock class of a Python program', () => {
    needs('python3', '-c', 'import fcntl')
    let python: ChildProcessByStdio<Writable, Readable, null>
    let answers: AsyncIterator<string>
    let closed: Promise<unknown>
    const answer = async () => (await answers.next()).value as string
    const ask = (what: 'acquire' | 'try_acquire' | 'release') => {
      python.stdin.write(`${what}\n`)
      return answer()
    }

    beforeEach(async () => {
      const script = asset('flock_class.py')
      writeFileSync(at('data.lock'), 'truncated by open(name, "w")')
      python = spawn('python3', [script, at('data.lock')], { stdio: ['pipe', 'pipe', 'inherit'] })
      closed = once(python, 'close')
      answers = createInterface({ input: python.stdout })[Symbol.asyncIterator]()
      assert.equal(await answer(), 'ready')
    })

    afterEach(async () => {
      python.kill('SIGKILL')
      await closed
    })

    it('it is kept out by our holds, exclusive and shared', async () => {
      const lock = new PsLock(at('data'))
      for (const mode of ['exclusive', 'shared'] as const) {
        const held = await lock.acquire({ mode })
        await sleep(40)
        assert.equal(await ask('try_acquire'), 'False')
        held.release()
        assert.equal(await ask('try_acquire'), 'True')
        await ask('release')
      }
    })

    it('it keeps us out, and kill -9 of it lets us in', async () => {
      await ask('acquire')
      const lock = new PsLock(at('data'))
      assert.equal(lock.tryAcquire(), undefined)
      assert.equal(lock.tryAcquire({ mode: 'shared' }), undefined)
      const holder = lock.holders().find(({ state }) => state === 'holding')
      assert.match(holder?.command ?? '', /flock_class\.py/)
      const waiting = lock.acquire()
      assert.ok(await staysPending(waiting))
      python.kill('SIGKILL')
      ;(await waiting).release()
    })

    it('its blocking wait is served when we release', async () => {
      const held = await new PsLock(at('data')).acquire()
      const granted = ask('acquire')
      assert.ok(await staysPending(granted))
      held.release()
      assert.equal(await granted, 'None')
      assert.equal(new PsLock(at('data')).tryAcquire(), undefined)
    })
  })

  describe('between the two bindings', () => {
    const env = (PSLOCK_BINDING: string) => ({ env: { ...process.env, PSLOCK_BINDING } })

    before(function () {
      const load = spawnSync(process.execPath, ['-e', 'require("fs-ext")'], { stdio: 'ignore' })
      if (load.status === 0) return
      console.log('        skipped: fs-ext was not compiled here')
      this.skip()
    })

    it('a process with fs-ext and one with koffi exclude each other, both ways', async () => {
      const [one, two] = await Promise.all([crew.process(env('fs-ext')), crew.process(env('koffi'))])
      assert.deepEqual(await Promise.all([one.call('binding'), two.call('binding')]), ['fs-ext', 'koffi'])
      for (const [first, second] of [
        [one, two],
        [two, one],
      ] as const) {
        await first.call('acquire', at('data'))
        assert.equal(await second.call('tryAcquire', at('data'), { mode: 'shared' }), false)
        await first.call('release')
        await second.call('acquire', at('data'), { mode: 'shared' })
        assert.equal(await first.call('tryAcquire', at('data')), false)
        assert.equal(await first.call('tryAcquire', at('data'), { mode: 'shared' }), true)
        await Promise.all([first.call('release'), second.call('release')])
      }
    })

    it('increments by both lose nothing', async () => {
      const seed = newSeed()
      const mates = await Promise.all(['fs-ext', 'koffi', 'koffi'].map((name) => crew.process(env(name))))
      await Promise.all(
        mates.map((mate, i) =>
          mate.call('increment', at('data'), at('counter'), { times: 100, seed: seed + i }),
        ),
      )
      const { count, handOvers } = JSON.parse(readFileSync(at('counter'), 'utf8'))
      note(`seed ${seed}: ${handOvers} hand-overs`)
      assert.equal(count, 300)
    })

    it('a binding that does not exist is LockUnsupportedError with what to install', async () => {
      const mate = await crew.process(env('carrier-pigeon'))
      await assert.rejects(mate.call('acquire', at('data')), {
        code: 'PSLOCK_UNSUPPORTED',
        message: /npm (install|rebuild)/,
      })
    })
  })
})
