import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Snapshot } from '../../cli/demo/run.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { type DemoServerProcess, HAS_SQLITE, isAlive, startDemoServer } from './demo-server.ts'
import { killWhatIsLeft, type Outcome, PSLOCK, pslock, start } from './run-pslock.ts'

const named = ({ rows }: Snapshot, name: string) => rows.find((row) => row.name === name)!
const ownPids = ({ rows }: Snapshot) => rows.filter(({ own }) => own).map(({ pid }) => pid)

/** Whoever works through this is still there when the test ends it. */
const LONG = { processes: 2, num: 1000, delayMs: 100 }
const isRunning = ({ phase }: Snapshot) => phase === 'running'

describe('the server of the web demo', () => {
  killWhatIsLeft()
  let server: DemoServerProcess

  beforeEach(async () => {
    server = await startDemoServer()
  })

  afterEach(async () => {
    server.child.kill('SIGINT')
    await server.outcome
  })

  it('pslock: every record is found', async () => {
    const run = await server.begin({ num: 2000 })
    await server.told('it runs', isRunning)
    assert.equal((await server.ask('/records')).status, 200)
    const { result, rows } = await server.result(run)
    assert.deepEqual(result, { expected: 6001, acknowledged: 6001, found: 6001 })
    assert.deepEqual(
      rows.map(({ name, state, done, failed }) => [name, state, done, failed]),
      [
        ['web site', 'ended', 1, 0],
        ['process 1', 'ended', 2000, 0],
        ['process 2', 'ended', 2000, 0],
        ['process 3', 'ended', 2000, 0],
      ],
    )
  })

  it('pslock: so it is where each keeps the lock for a while, one after the other', async () => {
    const { result } = await server.result(await server.begin({ num: 150, sleepMs: 2 }))
    assert.equal(result?.found, result?.expected)
    assert.ok(result!.acknowledged >= 450)
  })

  it('no lock: records are lost that were acknowledged', async () => {
    // The pause has all of them at work when one compacts.
    const { result } = await server.result(await server.begin({ way: 'none', num: 200, delayMs: 1 }))
    const { acknowledged, found } = result!
    assert.equal(acknowledged, 600)
    assert.ok(found! < 600, `${found} found`)
  })

  it('SQLite: with impatient processes the database is locked, and what it took is found', async function () {
    if (!HAS_SQLITE) return this.skip()
    const knobs = { way: 'sqlite', num: 40, sleepMs: 20, timeoutMs: 5 } as const
    const { result, rows } = await server.result(await server.begin(knobs))
    const { expected, acknowledged, found } = result!
    assert.equal(expected, 120)
    assert.ok(acknowledged < 120, `${acknowledged} acknowledged`)
    assert.equal(found, acknowledged)
    assert.ok(rows.some(({ error }) => error === 'database is locked'))
  })

  it('SQLite keeps the journal that was asked for', async function () {
    if (!HAS_SQLITE) return this.skip()
    for (const wal of [true, false]) {
      const { file } = await server.result(await server.begin({ way: 'sqlite', num: 3, wal }))
      // "File format write version" of its header: 2 is WAL.
      assert.equal(readFileSync(file)[18], wal ? 2 : 1)
    }
  })

  it('shows who holds the lock, and who waits for it', async () => {
    await server.begin({ ...LONG, delayMs: 0, sleepMs: 300 })
    const { rows } = await server.told('one holds it and one waits', (one) =>
      ['holding', 'waiting'].every((state) => one.rows.some((row) => row.state === state)),
    )
    assert.equal(rows.filter(({ state }) => state === 'holding').length, 1)
  })

  it('answers only to its own name, and to no page from elsewhere', async () => {
    const { host, port } = new URL(server.url)
    const cases: [number, Record<string, string>][] = [
      [403, { Host: `evil.example:${port}` }],
      [403, { Host: '127.0.0.1' }],
      [403, { Origin: 'http://evil.example' }],
      [403, { Origin: 'null' }],
      [403, { Origin: `http://localhost:${Number(port) + 1}` }],
      [415, { 'Content-Type': 'text/plain' }],
      [415, { 'Content-Type': 'application/x-www-form-urlencoded' }],
    ]
    for (const [status, headers] of cases) {
      for (const path of ['/start', '/end', '/records', '/signal']) {
        const answer = await server.ask(path, { num: 1 }, headers)
        assert.equal(answer.status, status, `${path} ${JSON.stringify(headers)}`)
      }
    }
    assert.equal((await server.told('anything', () => true)).run, 0, 'nothing was started')
    for (const path of ['', 'chart.js', 'events']) {
      const { status } = await server.askFor(path, { Host: `evil.example:${port}` })
      assert.equal(status, 403, path)
    }
    const own = { Origin: `http://${host}` }
    assert.equal((await server.ask('/start', { num: 1 }, own)).status, 200)
    const byName = { Host: `localhost:${port}`, Origin: `http://localhost:${port}` }
    assert.equal((await server.ask('/end', {}, byName)).status, 200)
  })

  it('a path that is no URL is refused', async () => {
    const socket = createConnection(Number(new URL(server.url).port), '127.0.0.1')
    socket.end(`GET // HTTP/1.1\r\nHost: ${new URL(server.url).host}\r\nConnection: close\r\n\r\n`)
    let text = ''
    for await (const chunk of socket.setEncoding('utf8')) text += chunk
    assert.match(text, /^HTTP\/1.1 400 /)
  })

  it('listens on this machine alone', async function () {
    const others = Object.values(networkInterfaces())
      .flatMap((addresses) => addresses ?? [])
      .filter(({ internal, family }) => !internal && family === 'IPv4')
    if (others.length === 0) return this.skip()
    for (const { address } of others) {
      const code = await new Promise((resolve) => {
        createConnection(Number(new URL(server.url).port), address)
          .once('connect', () => resolve('connected'))
          .once('error', (error: NodeJS.ErrnoException) => resolve(error.code))
      })
      assert.equal(code, 'ECONNREFUSED')
    }
  })

  it('refuses knobs that make no sense, and says why', async () => {
    const cases: [unknown, RegExp][] = [
      [{ processes: 0 }, /^processes must be a whole number from 1 to 10\.$/],
      [{ processes: 11 }, /^processes/],
      [{ num: 0 }, /^num/],
      [{ num: 100_001 }, /^num/],
      [{ num: 1.5 }, /^num/],
      [{ num: '15000' }, /^num/],
      [{ num: null }, /^num/],
      [{ delayMs: -1 }, /^delayMs/],
      [{ sleepMs: 10_001 }, /^sleepMs/],
      [{ timeoutMs: 60_001 }, /^timeoutMs/],
      [{ way: 'mysql' }, /^way must be one of pslock, none, sqlite\.$/],
      [{ way: 'toString' }, /^way/],
      [{ wal: 'yes' }, /^wal/],
      [{ file: '/etc/passwd' }, /^There is no knob "file"\.$/],
      [JSON.parse('{"__proto__":1}'), /^There is no knob/],
      [[], /object/],
      ['', /object/],
      ['null', /object/],
      ['{', /object/],
    ]
    for (const [knobs, message] of cases) {
      const { status, told } = await server.ask('/start', knobs)
      assert.deepEqual(
        [status, message.test(told.error ?? '')],
        [400, true],
        `${JSON.stringify(knobs)}: ${told.error}`,
      )
    }
    assert.equal((await server.ask('/start', JSON.stringify({ way: 'x'.repeat(5000) }))).status, 413)
    assert.equal((await server.told('anything', () => true)).run, 0, 'nothing was started')
  })

  it('kills, stops and continues processes of its own run, and no others', async () => {
    const stranger = spawn('sleep', ['60'])
    try {
      await server.begin(LONG)
      const earlier = await server.told('it runs', isRunning)
      await server.begin({ processes: 3, num: 300, delayMs: 5 })
      const running = await server.told('the second runs', (one) => one.run === 2 && isRunning(one))
      const pid = (name: string) => named(running, name).pid
      for (const other of [stranger.pid, ...ownPids(earlier)]) {
        assert.equal(
          (await server.ask('/signal', { pid: other, signal: 'kill' })).status,
          404,
          `pid ${other}`,
        )
      }
      // Whatever becomes of them, this does no harm.
      for (const other of [server.child.pid, process.pid, 1, 0, -1]) {
        assert.equal(
          (await server.ask('/signal', { pid: other, signal: 'continue' })).status,
          404,
          `pid ${other}`,
        )
      }
      assert.ok(isAlive(stranger.pid!))
      for (const signal of ['SIGKILL', 'hup', 'toString', 9]) {
        assert.equal((await server.ask('/signal', { pid: pid('process 1'), signal })).status, 400)
      }
      assert.equal(
        (await server.ask('/signal', { pid: String(pid('process 1')), signal: 'kill' })).status,
        404,
      )

      const send = (name: string, signal: string) => server.ask('/signal', { pid: pid(name), signal })
      assert.equal((await send('process 1', 'kill')).status, 200)
      for (;;) {
        assert.equal((await send('process 2', 'stop')).status, 200)
        const stopped = await server.told('it is stopped', (one) =>
          /stopped$/.test(named(one, 'process 2').state),
        )
        if (named(stopped, 'process 2').state === 'stopped') break
        // With the lock in its hand it would let nobody go on, as it should.
        assert.equal((await send('process 2', 'continue')).status, 200)
      }
      await server.told('one is killed, one stopped, one done', (one) =>
        ['killed', 'stopped', 'ended'].every(
          (state, index) => named(one, `process ${index + 1}`).state === state,
        ),
      )
      assert.match(readFileSync(`/proc/${pid('process 2')}/stat`, 'utf8'), /^\d+ \(.*\) T /)
      await send('process 2', 'continue')
      const { result, rows } = await server.result(2)
      assert.deepEqual(
        rows.map(({ state }) => state),
        ['ended', 'killed', 'ended', 'ended'],
      )
      assert.ok(result!.acknowledged >= 600 && result!.acknowledged < 900, `${result!.acknowledged}`)
      // What the killed one was inserting may be in the file already.
      assert.ok([0, 1].includes(result!.found! - result!.acknowledged), JSON.stringify(result))
      assert.equal((await send('process 1', 'kill')).status, 404, 'it has ended')
    } finally {
      stranger.kill()
    }
  })

  it('a run that is started ends the one before it', async () => {
    await server.begin(LONG)
    const earlier = await server.told('it runs', isRunning)
    const run = await server.begin({ num: 5 })
    assert.deepEqual(ownPids(earlier).filter(isAlive), [])
    assert.equal((await server.result(run)).result?.found, 15)
  })

  it('a run can be ended, also while it starts; what was inserted so far is counted', async () => {
    for (const [index, isAtOnce] of [true, false].entries()) {
      const run = await server.begin(LONG)
      if (!isAtOnce) await server.told('some are in', ({ rows }) => rows.some(({ done }) => done > 2))
      assert.equal((await server.ask('/end')).status, 200)
      const { result, rows } = await server.result(run)
      assert.equal(run, index + 1)
      assert.deepEqual(
        ownPids({ rows } as Snapshot).filter((pid) => pid > 0 && isAlive(pid)),
        [],
      )
      const states = rows.map(({ state }) => state)
      assert.ok(isAtOnce || states.every((state) => state === 'ended'), `${states}`)
      const { acknowledged, found } = result!
      assert.ok(isAtOnce || (found! >= acknowledged && found! - acknowledged <= 2), JSON.stringify(result))
    }
    assert.equal((await server.ask('/records')).status, 409)
  })

  it('an inserter from a terminal appears, and what it inserts is counted', async () => {
    const run = await server.begin({ processes: 1, num: 100, delayMs: 20 })
    const { file } = await server.told('it runs', isRunning)
    const other = pslock('demo', '--insert', file, '--num', '50', '--delay', '10')
    const seen = await server.told('it appears', ({ rows }) => rows.some(({ done, own }) => !own && done > 0))
    const { pid } = named(seen, 'from a terminal')
    assert.equal((await server.ask('/signal', { pid, signal: 'kill' })).status, 404)
    const { code, stdout, stderr } = await other
    assert.equal(stderr, '')
    assert.match(stdout, /^50 inserted, 0 refused, longest wait [\d.]+ ms\n$/)
    assert.equal(code, 0)
    const { result, rows } = await server.result(run)
    assert.deepEqual(result, { expected: 150, acknowledged: 150, found: 150 })
    assert.equal(rows.at(-1)?.state, 'ended')
  })

  it('the web site answers with what went wrong', async () => {
    await server.begin({ ...LONG, delayMs: 0, sleepMs: 1000, timeoutMs: 10 })
    await server.told('one holds the lock', ({ rows }) =>
      rows.some(({ state, name }) => state === 'holding' && name !== 'web site'),
    )
    const { status, told } = await server.ask('/records')
    assert.equal(status, 503)
    assert.match(told.error ?? '', /lock/)
  })

  for (const [how, signal, code] of [
    ['Ctrl-C', 'SIGINT', 0],
    ['SIGTERM', 'SIGTERM', 143],
    ['kill -9', 'SIGKILL', null],
  ] as const) {
    it(`its processes and files end with it: ${how}, and one of them stopped`, async () => {
      await server.begin({ ...LONG, delayMs: 0, sleepMs: 50 })
      const snapshot = await server.told('it runs', isRunning)
      await server.ask('/signal', { pid: named(snapshot, 'process 1').pid, signal: 'stop' })
      const folder = dirname(dirname(snapshot.file))
      assert.equal(ownPids(snapshot).filter(isAlive).length, 3)
      assert.ok(existsSync(snapshot.file))
      server.child.kill(signal)
      assert.equal((await server.outcome).code, code)
      await until('they have ended', () => ownPids(snapshot).every((pid) => !isAlive(pid)))
      await until('the folder is gone', () => !existsSync(folder))
    })
  }
})

describe('the folder of the web demo', () => {
  killWhatIsLeft()
  const temp = useFolder()

  /** In a process group of its own, as from a terminal. */
  const startHere = () =>
    start(process.execPath, [PSLOCK, 'demo', '--web'], { detached: true, env: { TMPDIR: temp() } })
  const isThere = () => readdirSync(temp()).length > 0

  for (const [how, signal, isForAll, code] of [
    ['Ctrl-C', 'SIGINT', true, 0],
    ['the terminal closes', 'SIGHUP', true, 0],
    ['SIGTERM', 'SIGTERM', false, 143],
    ['SIGTERM to all', 'SIGTERM', true, 143],
    ['kill -9', 'SIGKILL', false, null],
    ['kill -9 of all', 'SIGKILL', true, null],
  ] as const) {
    it(`goes with it right after the address was printed: ${how}`, async () => {
      const { child, outcome, output } = startHere()
      await until('the server says its address', () => output.stdout.includes('\n'))
      assert.ok(isThere())
      process.kill(isForAll ? -child.pid! : child.pid!, signal)
      assert.equal((await outcome).code, code)
      await until('the folder is gone', () => !isThere())
    })
  }

  it('goes with it as soon as it is there: kill -9', async () => {
    const { child, outcome } = startHere()
    await until('the folder is there', isThere)
    child.kill('SIGKILL')
    await outcome
    await until('the folder is gone', () => !isThere())
  })

  it('goes with it where the process that should remove it was killed', async () => {
    const { child, outcome, output } = startHere()
    await until('the server says its address', () => output.stdout.includes('\n'))
    const watchdog = Number(readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8'))
    process.kill(watchdog, 'SIGKILL')
    await until('it has ended', () => !isAlive(watchdog))
    child.kill('SIGINT')
    assert.deepEqual([(await outcome).code, isThere()], [0, false])
  })

  for (const way of ['none', 'pslock'] as const) {
    it(`${way}: is not made anew by those who insert from another terminal, and they end`, async () => {
      const demo = await startDemoServer({ TMPDIR: temp() })
      await demo.begin({ way, processes: 1, num: 1, timeoutMs: 1000 })
      const { file } = await demo.told('it runs', ({ rows }) => rows.some(({ done }) => done > 0))
      const insert = (delay: string) =>
        pslock(
          'demo',
          '--insert',
          file,
          '--way',
          way,
          '--num',
          '100000',
          '--delay',
          delay,
          '--timeout',
          '1000',
        )
      const inserters: Promise<Outcome>[] = []
      for (const delay of ['50', '0', '0', '0']) {
        inserters.push(insert(delay))
        await demo.told(
          'it inserts',
          ({ rows }) => rows.filter(({ own, done }) => !own && done > 0).length === inserters.length,
        )
      }
      demo.child.kill('SIGINT')
      assert.equal((await demo.outcome).code, 0)
      for (const { code, stdout, stderr } of await Promise.all(inserters)) {
        assert.match(stdout, /^[\d,]+ inserted, \d+ refused \(the folder is gone\), longest wait .*\n$/)
        assert.deepEqual([code, stderr], [1, ''])
      }
      assert.ok(!isThere())
    })
  }

  it('cannot be made: that is said in one line', async () => {
    const { outcome } = start(process.execPath, [PSLOCK, 'demo', '--web'], { env: { TMPDIR: temp('no') } })
    const { code, stdout, stderr } = await outcome
    assert.deepEqual([code, stdout], [125, ''])
    assert.match(stderr, /^pslock: .*ENOENT.*\n$/)
  })
})

describe('pslock demo --web and --insert', () => {
  it('options that belong to another way to call it are refused', async () => {
    for (const args of [
      ['--web', '--seed', '1'],
      ['--web', '--num', '5'],
      ['--port', '0'],
      ['--insert', 'x.db', '--json'],
      ['--num', '5'],
      ['--insert', 'x.db', '--web'],
      ['--web', '--port', '65536'],
      ['--insert', 'x.db', '--way', 'mysql'],
    ]) {
      const { code, stdout } = await pslock('demo', ...args)
      assert.deepEqual([code, stdout], [2, ''], args.join(' '))
    }
  })

  it('a folder that is not there is named, and not made', async () => {
    const folder = join(tmpdir(), `pslock-no-folder-${process.pid}`)
    const { code, stdout, stderr } = await pslock('demo', '--insert', join(folder, 'x.db'))
    assert.deepEqual([code, stdout], [2, ''])
    assert.match(stderr, new RegExp(`no folder ${folder}`))
    assert.equal(existsSync(folder), false)
  })

  it('a port that is taken is said in one line', async () => {
    const first = await startDemoServer()
    try {
      const { code, stdout, stderr } = await pslock('demo', '--web', '--port', new URL(first.url).port)
      assert.deepEqual([code, stdout], [125, ''])
      assert.match(stderr, /^pslock: .*EADDRINUSE.*\n$/)
    } finally {
      first.child.kill('SIGINT')
      await first.outcome
    }
  })
})
