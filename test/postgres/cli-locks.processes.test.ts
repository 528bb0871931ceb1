import assert from 'node:assert/strict'
import { LockedNedb } from '../../adapters/nedb.ts'
import { PgLock } from '../../src/postgres/lock/pg-lock.ts'
import { killWhatIsLeft, pslock, startPslock } from '../cli/run-pslock.ts'
import { until, useFolder } from '../fixtures/folder.ts'
import { usePostgres } from '../harness/postgres.ts'

/** `pslock status` and `run` of names on a server. */
describe('pslock status and run of a lock on a server', () => {
  const server = usePostgres()
  const file = useFolder()
  killWhatIsLeft()
  let database = ''
  let test = 0
  let url = ''
  before(async () => {
    database = await server().database()
  })
  beforeEach(() => {
    url = `${database}#name-${++test}`
  })

  const statusOf = async (...more: string[]) => {
    const { code, stdout } = await pslock('status', url, '--json', ...more)
    return { code, ...JSON.parse(stdout) }
  }

  it('status: free, and nothing is made', async () => {
    const { code, stdout } = await pslock('status', url)
    assert.equal(code, 0)
    assert.match(stdout, /^postgres:\/\/127\.0\.0\.1:\d+\/\w+#name-1: free \(no such store or lock\)\n$/)
    assert.deepEqual(await server().sql("select to_regnamespace('pslock') is null", database), [['t']])
    const lost = await pslock('status', 'postgres://127.0.0.1:1/x#y')
    assert.equal(lost.code, 125)
    assert.equal((await pslock('status', database)).code, 2)
    assert.equal((await pslock('status', url, '--lock-path', 'x')).code, 2)
  })

  it('status: who holds the lock of the store, and the PgLock', async () => {
    const db = new LockedNedb({ url, autoload: true } as never)
    await db.autoloadPromise
    const lock = new PgLock(url)
    const held = await lock.acquire({ mode: 'shared' })
    await db.transaction(async () => {
      const found = await statusOf()
      assert.deepEqual([found.code, found.exists, found.held, found.store], [1, true, true, 'nedb'])
      assert.deepEqual(
        found.holders.map((one: Record<string, unknown>) => [one.of, one.pid, one.mode, one.state]),
        [
          ['store', process.pid, 'exclusive', 'holding'],
          ['lock', process.pid, 'shared', 'holding'],
        ],
      )
      for (const { host, command, sinceMs } of found.holders) {
        assert.ok(host && command && sinceMs >= 0, JSON.stringify(found.holders))
      }
      const { code, stdout } = await pslock('status', url)
      assert.equal(code, 1)
      assert.match(stdout, /: held\n *PID +COMMAND +HOST +OF +MODE +STATE +SINCE\n/)
    })
    await held.release()
    const free = await statusOf()
    assert.deepEqual([free.code, free.held, free.holders], [0, false, []])
    await lock.close()
    await db.close()
  })

  it('status --watch: until Ctrl-C', async () => {
    const lock = new PgLock(url)
    const held = await lock.acquire()
    const { child, output, outcome } = startPslock('status', url, '--watch=0.1', '--json')
    const states = () =>
      output.stdout
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line).held as boolean)
    await until('it is held', () => states().at(-1) === true)
    await held.release()
    await until('it is free', () => states().at(-1) === false)
    child.kill('SIGINT')
    assert.equal((await outcome).code, 0)
    await lock.close()
  })

  it('run: nobody else has the lock meanwhile', async () => {
    assert.equal((await pslock('run', url, '--', 'sh', '-c', 'exit 7')).code, 7)
    const slow = startPslock('run', url, '--', 'sh', '-c', 'echo in; exec sleep 30')
    await until('it runs', () => slow.output.stdout === 'in\n')
    const [holder] = (await statusOf()).holders
    assert.deepEqual([holder.of, holder.pid, holder.command], ['lock', slow.child.pid, 'pslock.cjs'])
    const busy = await pslock('run', '--no-wait', url, '--', 'true')
    assert.equal(busy.code, 75)
    assert.match(busy.stderr, /#name-\d+ is not free: held by \d+ on \S+ \(pslock\.cjs\)/)
    const waiting = startPslock('run', '--timeout', '20', url, '--', 'echo', 'then')
    await until('it says for whom it waits', () =>
      /waiting for postgres:.*: held by \d+ on /.test(waiting.output.stderr),
    )
    slow.child.kill('SIGTERM')
    assert.equal((await slow.outcome).signal, 'SIGTERM')
    assert.deepEqual([(await waiting.outcome).code, waiting.output.stdout], [0, 'then\n'])
  })

  it('run --shared: together with others', async () => {
    const first = startPslock('run', '-s', url, '--', 'sh', '-c', 'echo in; exec sleep 30')
    await until('it runs', () => first.output.stdout === 'in\n')
    assert.equal((await pslock('run', '-s', '-n', url, '--', 'true')).code, 0)
    assert.equal((await pslock('run', '-n', '-q', url, '--', 'true')).code, 75)
    first.child.kill('SIGTERM')
    await first.outcome
  })

  it('run: a command that loses the lock is told, and that is what counts', async () => {
    const running = startPslock(
      'run',
      url,
      '--',
      'sh',
      '-c',
      `trap 'echo told; exit 0' TERM; echo in; while :; do sleep 0.05; done`,
    )
    await until('it runs', () => running.output.stdout === 'in\n')
    await server().sql(
      `select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'pslock ${running.child.pid} %'`,
    )
    const { code, stdout, stderr } = await running.outcome
    assert.deepEqual([code, stdout], [69, 'in\ntold\n'])
    assert.match(stderr, /was lost while it was held/)
    assert.match(stderr, /the command is sent SIGTERM\n$/)
  })

  it('run: wrong usage, and no server', async () => {
    assert.equal((await pslock('run', database, '--', 'true')).code, 2)
    assert.equal((await pslock('run', '--no-close', url, '--', 'true')).code, 2)
    assert.equal((await pslock('run', '--lock-path', file('x'), url, '--', 'true')).code, 2)
    const away = await pslock('run', '-n', 'postgres://u:secret@127.0.0.1:1/x#y', '--', 'true')
    assert.equal(away.code, 125)
    assert.doesNotMatch(away.stderr, /secret/)
    assert.equal((await pslock('run', url, '--', 'no-such-program-here')).code, 127)
  })
})
