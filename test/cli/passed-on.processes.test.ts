import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { PsLock } from '../../src/lock/lock.ts'
import { fixture, LOADER } from '../fixtures/code.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { killWhatIsLeft, PSLOCK, pslock, type Running, start, startPslock } from './run-pslock.ts'

interface Refusal {
  code: string
  message: string
  afterMs: number
}

/** `pslock run db -- app`, where the app locks the same file: it goes into the hold of its ancestor. */
describe('a hold of pslock run is passed on to the command', () => {
  killWhatIsLeft()
  const at = useFolder()
  before(function () {
    if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) this.skip()
  })

  /** A program inside: see the fixture. */
  const app = (what: string, ...args: string[]) => [
    process.execPath,
    ...LOADER,
    fixture('inside'),
    what,
    at('db'),
    ...args,
  ]
  const line = (words: string[]) => words.map((word) => `'${word}'`).join(' ')
  const run = (...args: string[]) => pslock('run', at('db'), ...args)
  const isFree = () => {
    const held = new PsLock(at('db')).tryAcquire()
    held?.release()
    return held !== undefined
  }
  const refused = (text: string) => JSON.parse(text) as Refusal
  /** The first is out: the second has the lock until it is told to go, and with it all ends well. */
  const secondGoesIn = async (running: Running, go: string) => {
    await until('the second is in', () => existsSync(at('second')))
    assert.equal(isFree(), false)
    writeFileSync(at(go), '')
    assert.equal((await running.outcome).code, 0)
    assert.ok(isFree())
  }

  describe('which may use it', () => {
    it('as a lock, in every way there is', async () => {
      const { stdout, stderr, code } = await run('--', ...app('ways'))
      assert.deepEqual(JSON.parse(stdout), ['exclusiveSync', 'sharedSync', true, true, 'nested', 'together'])
      assert.deepEqual([code, stderr], [0, ''])
      assert.ok(isFree())
    })

    it('as a store of lowdb, and of NeDB', async () => {
      assert.equal((await run('--', ...app('lowdb'))).stdout, '6\n')
      assert.deepEqual(JSON.parse(readFileSync(at('db'), 'utf8')), { n: 6 })
      writeFileSync(at('db'), '')
      assert.equal((await run('--', ...app('nedb'))).stdout, '5\n')
    })

    it('in a worker thread, which gives it back when it is terminated', async () => {
      const { stdout, stderr } = await run('--', ...app('thread'))
      assert.deepEqual([stdout, stderr], ['true\nin\n', ''])
    })

    it('however far down: through shells, Node and another pslock run', async () => {
      const script = `require('child_process').spawnSync('sh', ['-c', process.argv[1]], { stdio: 'inherit' })`
      const inner = [process.execPath, '-e', script, line(app('try', 'exclusive', '1000'))]
      const again = ['run', at('db'), '--no-wait', '--', ...inner]
      assert.equal((await run('--', process.execPath, PSLOCK, ...again)).stdout, 'in\n')
      const other = ['run', at('other'), '--', ...inner]
      assert.equal((await run('--', process.execPath, PSLOCK, ...other)).stdout, 'in\n')
    })

    it('shared, with others; an exclusive lock inside would wait for ever, and fails at once', async () => {
      const { stdout } = await run('--shared', '--', ...app('try', 'shared', '1000'))
      assert.equal(stdout, 'in\n')
      const { code, message, afterMs } = refused(
        (await run('--shared', '--', ...app('try', 'exclusive', '5000'))).stdout,
      )
      assert.equal(code, 'PSLOCK_UPGRADE')
      assert.match(message, /shared hold of an ancestor, process \d+ \(.*pslock.*run/)
      assert.ok(afterMs < 4000)
    })
  })

  it('by turns: what the command starts excludes each other, and everybody else', async () => {
    writeFileSync(at('count'), '0')
    const both = `${line(app('add', at('count'), '25'))} & ${line(app('add', at('count'), '25'))} & wait`
    const outsiders = [1, 2].map(() => start(app('add')[0]!, app('add', at('count'), '15').slice(1)))
    const inside = [1, 2].map(() => run('--', 'sh', '-c', both))
    const ended = await Promise.all([...inside, ...outsiders.map(({ outcome }) => outcome)])
    for (const { code, stderr } of ended) assert.equal(code, 0, stderr)
    assert.equal(readFileSync(at('count'), 'utf8'), String(4 * 25 + 2 * 15))
  })

  it('one of them that is killed lets the next one in', async () => {
    const [first, second] = [
      line(app('hold', 'exclusive', at('in'), at('never'))),
      line(app('hold', 'exclusive', at('second'), at('go'))),
    ]
    const script = `(${first}) & while [ ! -e ${at('in')} ]; do sleep 0.01; done; ${second}`
    const running = startPslock('run', at('db'), '--', 'sh', '-c', script)
    await until('the first is in', () => existsSync(at('in')) && readFileSync(at('in'), 'utf8') !== '')
    await sleep(300)
    assert.ok(!existsSync(at('second')))
    process.kill(Number(readFileSync(at('in'), 'utf8')), 'SIGKILL')
    await secondGoesIn(running, 'go')
  })

  describe('whoever is inside', () => {
    it('keeps the lock when pslock is killed', async () => {
      const running = startPslock('run', at('db'), '--', ...app('hold', 'exclusive', at('in'), at('go')))
      await until('it is in', () => existsSync(at('in')))
      running.child.kill('SIGKILL')
      await once(running.child, 'exit')
      assert.equal(isFree(), false)
      const outside = start(app('')[0]!, app('try', 'exclusive', '300').slice(1))
      assert.equal(refused((await outside.outcome).stdout).code, 'PSLOCK_TIMEOUT')
      assert.equal((await pslock('status', at('db'))).code, 1)
      writeFileSync(at('go'), '')
      await until('it is free', isFree)
    })

    it('keeps it when the command has ended before it', async () => {
      const script = `${line(app('hold', 'exclusive', at('in'), at('go')))} >/dev/null 2>&1 & while [ ! -e ${at('in')} ]; do sleep 0.01; done`
      assert.equal((await run('--', 'sh', '-c', script)).code, 0)
      assert.equal(isFree(), false)
      writeFileSync(at('go'), '')
      await until('it is free', isFree)
    })

    it('writes to a store afterwards as anybody else', async () => {
      writeFileSync(at('db'), '{"_id":"first","n":0}\n')
      const later = line(app('later', at('ready'), at('go'), at('done')))
      const script = `(${later}) >/dev/null 2>&1 & while [ ! -e ${at('ready')} ]; do sleep 0.01; done`
      assert.equal((await run('--shared', '--', 'sh', '-c', script)).code, 0)
      writeFileSync(at('go'), '')
      await until('it has written', () => existsSync(at('done')) && readFileSync(at('done'), 'utf8') === '4')
      assert.equal(readFileSync(at('db'), 'utf8').match(/"n":/g)?.length, 4)
    })

    it('is as anybody else afterwards', async () => {
      const script = `while [ ! -e ${at('go')} ]; do sleep 0.01; done; ${line(app('try', 'exclusive', '200'))} > ${at('out')}.new; mv ${at('out')}.new ${at('out')}`
      await run('--', 'sh', '-c', `(${script}) >/dev/null 2>&1 &`)
      const held = await new PsLock(at('db')).acquire()
      writeFileSync(at('go'), '')
      await until('it has tried', () => existsSync(at('out')))
      assert.equal(refused(readFileSync(at('out'), 'utf8')).code, 'PSLOCK_TIMEOUT')
      held.release()
    })
  })

  describe('whoever is inside a pslock run that is inside another one', () => {
    const again = (...words: string[]) => line([process.execPath, PSLOCK, 'run', at('db'), ...words])
    const hold = () => `${line(app('hold', 'exclusive', at('in'), at('go')))} >/dev/null 2>&1`
    const isIn = () => `while [ ! -s ${at('in')} ]; do sleep 0.01; done`
    const second = () => line(app('hold', 'exclusive', at('second'), at('go 2')))
    /** The second is let in when the first is out, and not before. */
    const oneAfterTheOther = async (script: string) => {
      const running = startPslock('run', at('db'), '--', 'sh', '-c', script)
      await until('the first is in', () => existsSync(at('in')) && readFileSync(at('in'), 'utf8') !== '')
      await until('the other pslock has ended', () => existsSync(at('ended')))
      await sleep(400)
      assert.ok(!existsSync(at('second')), 'two are in')
      writeFileSync(at('go'), '')
      await secondGoesIn(running, 'go 2')
    }

    it('keeps the lock when that one has ended before it', () => {
      const inner = again('--', 'sh', '-c', `(${hold()}) & ${isIn()}`.replaceAll("'", `'"'"'`))
      return oneAfterTheOther(`${inner}; touch ${at('ended')}; ${second()}`)
    })

    it('keeps it when that one is killed', () => {
      const inner = again('--', 'sh', '-c', hold().replaceAll("'", `'"'"'`))
      return oneAfterTheOther(`${inner} & ${isIn()}; kill -9 $!; wait $!; touch ${at('ended')}; ${second()}`)
    })

    it('keeps it two levels down, when both have ended before it', () => {
      const quoted = (text: string) => text.replaceAll("'", `'"'"'`)
      const innermost = again('--', 'sh', '-c', quoted(`(${hold()}) & ${isIn()}`))
      const inner = again('--', 'sh', '-c', quoted(innermost))
      return oneAfterTheOther(`${inner}; touch ${at('ended')}; ${second()}`)
    })

    it('keeps it with --no-close, as long as anything of the command runs', () => {
      const stay = `(echo in > ${at('in')}; while [ ! -e ${at('go')} ]; do sleep 0.01; done) >/dev/null 2>&1`
      const inner = again('--no-close', '--', 'sh', '-c', `${stay} & ${isIn()}`)
      return oneAfterTheOther(`${inner}; touch ${at('ended')}; ${second()}`)
    })
  })

  describe('nobody else is let in', () => {
    let running: ReturnType<typeof startPslock>
    let environment: NodeJS.ProcessEnv
    beforeEach(async () => {
      running = startPslock('run', at('db'), '--', 'sh', '-c', 'echo $PSLOCK_HELD; exec sleep 60')
      await until('the command runs', () => running.output.stdout.endsWith('\n'))
      environment = { ...process.env, PSLOCK_HELD: running.output.stdout.trim() }
    })
    afterEach(async () => {
      running.child.kill('SIGTERM')
      await running.outcome
    })
    const tryWith = async (env: NodeJS.ProcessEnv, mode = 'exclusive') =>
      (await start(app('')[0]!, app('try', mode, '150').slice(1), { env }).outcome).stdout

    it('with a copy of the environment', async () => {
      for (const mode of ['exclusive', 'shared']) {
        assert.equal(refused(await tryWith(environment, mode)).code, 'PSLOCK_TIMEOUT')
      }
    })

    it('with another pid, start or socket in it', async () => {
      const [dev, ino, mode, pid, begin, socket] = environment.PSLOCK_HELD?.split(':') ?? []
      for (const fields of [
        [dev, ino, mode, process.pid, begin, socket],
        [dev, ino, mode, pid, '1', ''],
        [dev, ino, 'shared', pid, begin, 'nobody-listens-there'],
        [dev, ino, 'nonsense'],
      ]) {
        const text = await tryWith({ ...environment, PSLOCK_HELD: fields.join(':') })
        assert.equal(refused(text).code, 'PSLOCK_TIMEOUT', fields.join(':'))
      }
    })

    it('who was a descendant, and whose parents have ended', async () => {
      running.child.kill('SIGTERM')
      await running.outcome
      const orphan = `sleep 0.3; ${line(app('try', 'exclusive', '300'))} > ${at('out')}.new; mv ${at('out')}.new ${at('out')}`
      running = startPslock('run', at('db'), '--', 'sh', '-c', `(setsid sh -c "$0" &); exec sleep 60`, orphan)
      await until('the orphan has tried', () => existsSync(at('out')))
      assert.equal(refused(readFileSync(at('out'), 'utf8')).code, 'PSLOCK_TIMEOUT')
    })

    it('a variable that is left over hinders nobody', async () => {
      running.child.kill('SIGTERM')
      await running.outcome
      assert.equal(await tryWith(environment), 'in\n')
    })
  })

  it('a lock file that was replaced is another lock: the command waits for whoever has that one', async () => {
    const running = startPslock(
      'run',
      at('db'),
      '--',
      'sh',
      '-c',
      `echo in; while [ ! -e ${at('go')} ]; do sleep 0.01; done; ${line(app('try', 'exclusive', '300'))}`,
    )
    await until('the command runs', () => running.output.stdout !== '')
    renameSync(at('db.lock'), at('old.lock'))
    const held = new PsLock(at('db')).tryAcquire()
    assert.ok(held)
    writeFileSync(at('go'), '')
    const { stdout } = await running.outcome
    assert.equal(refused(stdout.slice(3)).code, 'PSLOCK_TIMEOUT')
    held.release()
  })

  it('a pslock that is stopped keeps everybody waiting, as any holder', async () => {
    const script = `while [ ! -e ${at('go')} ]; do sleep 0.01; done; ${line(app('try', 'exclusive', '800'))}`
    const running = startPslock('run', at('db'), '--', 'sh', '-c', `echo in; ${script}`)
    await until('the command runs', () => running.output.stdout !== '')
    running.child.kill('SIGSTOP')
    writeFileSync(at('go'), '')
    await until('it has tried', () => running.output.stdout.includes('}'))
    running.child.kill('SIGCONT')
    const { code, afterMs } = refused((await running.outcome).stdout.slice(3))
    assert.equal(code, 'PSLOCK_TIMEOUT')
    assert.ok(afterMs > 700 && afterMs < 5000, String(afterMs))
  })

  it('where it cannot be shared, the command is told so at once, and who holds it', async () => {
    // What a system says where descriptors cannot be passed: the socket is missing.
    const hideSocket = `PSLOCK_HELD="$(echo "$PSLOCK_HELD" | sed 's/:[^:]*$/:/')"`
    const script = `export ${hideSocket}; ${line(app('try', 'exclusive', '20000'))}`
    const { code, message, afterMs } = refused((await run('--', 'sh', '-c', script)).stdout)
    assert.equal(code, 'PSLOCK_DEADLOCK')
    assert.match(message, /held by an ancestor of this process, process \d+ \(.*pslock.* run /)
    assert.ok(afterMs < 10_000)
  })

  it('programs that do not know of it find the lock held, as ever', async () => {
    const flock: ChildProcess = spawn('flock', ['--version'], { stdio: 'ignore' })
    flock.on('error', () => {})
    const [status] = (await once(flock, 'close')) as [number]
    if (status !== 0) return
    assert.equal((await run('--', 'flock', '-n', at('db.lock'), 'true')).code, 1)
  })
})
