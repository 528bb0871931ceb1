import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { getEventListeners } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { ClosedError, LockDeadlockError, LockTimeoutError, LockUpgradeError } from '../../src/errors.ts'
import type { LockEvent } from '../../src/lock/hold.ts'
import { PsLock } from '../../src/lock/lock.ts'
import { PgLock } from '../../src/postgres/lock/pg-lock.ts'
import { newGate, staysPending, until } from '../fixtures/folder.ts'
import { usePostgres } from '../harness/postgres.ts'

describe('PgLock: arguments', () => {
  const URL_OK = 'postgres://me:s3cret@db.example.com:5432/app'

  it('connects to nothing, and shows neither user nor password', () => {
    const lock = new PgLock(`${URL_OK}#jobs`)
    assert.equal(lock.path, 'postgres://db.example.com:5432/app#jobs')
    assert.equal(new PgLock(URL_OK, { name: 'jobs' }).path, lock.path)
    assert.equal(new PgLock(new URL(`${URL_OK}#jobs`)).path, lock.path)
  })

  it('shows where it leads: the port and the database as pg takes them', () => {
    const path = (url: string) => new PgLock(url).path
    assert.equal(path('postgres://alice@h/?port=6000#jobs'), 'postgres://h:6000/alice#jobs')
    assert.equal(path('postgres://alice@h:1?user=bob&host=/tmp#a'), 'postgres:///tmp:1/bob#a')
    Object.assign(process.env, { PGHOST: 'h', PGPORT: '7', PGDATABASE: 'd', PGUSER: 'u' })
    try {
      assert.equal(path('postgres:///#jobs'), 'postgres://h:7/d#jobs')
      delete process.env.PGDATABASE
      assert.equal(path('postgres:///#jobs'), 'postgres://h:7/u#jobs')
    } finally {
      for (const name of ['PGHOST', 'PGPORT', 'PGDATABASE', 'PGUSER']) delete process.env[name]
    }
  })

  for (const [what, make] of [
    ['no url of a server', () => new PgLock('s3cret.db', { name: 'a' })],
    ['no valid url', () => new PgLock('postgres://me:s3cret@[', { name: 'a' })],
    ['no name', () => new PgLock(URL_OK)],
    ['an empty name', () => new PgLock(URL_OK, { name: '' })],
    ['two names', () => new PgLock(`${URL_OK}#a`, { name: 'b' })],
    ['no string', () => new PgLock(5 as never, { name: 'a' })],
    ['an unknown option', () => new PgLock(`${URL_OK}#a`, { timeout: 5 } as never)],
    ['a wrong duration', () => new PgLock(`${URL_OK}#a`, { timeoutMs: -1 })],
    ['a file lock', () => new PsLock(`${URL_OK}#a`)],
    ['a file lock', () => new PsLock(URL_OK.replace('postgres:', 'postgresql:'))],
    ['a file lock', () => new PsLock(new URL(URL_OK))],
  ] as const) {
    it(`${what} is a TypeError without the password`, () => {
      assert.throws(make, (error: Error) => {
        assert.ok(error instanceof TypeError)
        assert.ok(!error.message.includes('s3cret'), error.message)
        assert.equal(error.message.includes('PgLock'), what === 'a file lock')
        return true
      })
    })
  }

  it('wrong arguments of a call reject before anything happens', async () => {
    const lock = new PgLock(`${URL_OK}#jobs`)
    const rejects = (call: Promise<unknown>) => assert.rejects(call, TypeError)
    await rejects(lock.exclusive(5 as never))
    await rejects(lock.shared(() => {}, { timeoutMs: Number.NaN }))
    await rejects(lock.exclusive(() => {}, { signl: 1 } as never))
    await rejects(lock.acquire({ mode: 'both' as never }))
    await rejects(lock.tryAcquire({ mdoe: 'shared' } as never))
  })
})

describe('PgLock', () => {
  const server = usePostgres()
  let url = ''
  let count = 0
  const opened: PgLock[] = []
  const newLock = (name?: string, options = {}): PgLock => {
    const lock = new PgLock(url, { name: name ?? `lock ${count}`, ...options })
    opened.push(lock)
    return lock
  }
  before(async () => {
    url = await server().database()
  })
  beforeEach(() => count++)
  afterEach(() => Promise.all(opened.splice(0).map((lock) => lock.close())))

  it('runs, gives back what the callback returns, and tells it the hold', async () => {
    const lock = newLock()
    const seen = await lock.exclusive((hold) => hold)
    assert.equal(seen.path, lock.path)
    assert.equal(seen.mode, 'exclusive')
    assert.equal(typeof seen.fencingToken, 'bigint')
    assert.equal(seen.signal.aborted, false)
    assert.deepEqual(Object.keys(seen).sort(), ['fencingToken', 'mode', 'path', 'signal'])
    await assert.rejects(
      lock.shared(async () => {
        throw new RangeError('mine')
      }),
      { name: 'RangeError', message: 'mine' },
    )
    await (await lock.tryAcquire())!.release()
  })

  it('two objects exclude each other, and shared holders share', async () => {
    const [one, two] = [newLock(), newLock()]
    const held = await one.acquire()
    assert.equal(await two.tryAcquire(), undefined)
    assert.equal(await two.tryAcquire({ mode: 'shared' }), undefined)
    assert.equal(await newLock('another').exclusive(() => 'free'), 'free')
    await held.release()
    const readers = await Promise.all([one.acquire({ mode: 'shared' }), two.acquire({ mode: 'shared' })])
    assert.equal(await one.tryAcquire(), undefined)
    for (const reader of readers) await reader.release()
    await (await two.tryAcquire())!.release()
  })

  it('a lock in another database is another lock', async () => {
    const held = await newLock().acquire()
    const lock = new PgLock(await server().database(), { name: `lock ${count}` })
    await (await lock.tryAcquire())!.release()
    await lock.close()
    await held.release()
  })

  it('the tasks of one process come in turn, with one connection', async () => {
    const lock = newLock()
    const order: number[] = []
    let inside = 0
    await Promise.all(
      Array.from({ length: 20 }, (_, i) =>
        lock.exclusive(async () => {
          assert.equal(++inside, 1)
          await sleep(1)
          order.push(i)
          inside--
        }),
      ),
    )
    assert.deepEqual(
      order,
      [...order].sort((a, b) => a - b),
    )
    const [row] = await server().sql(
      `select count(*) from pg_stat_activity where datname = current_database() and application_name like 'pslock %'`,
      url,
    )
    assert.equal(row?.[0], '1')
  })

  it('fencing tokens rise from hold to hold, and nested holds have that of theirs', async () => {
    const lock = newLock()
    const tokens: bigint[] = []
    for (let i = 0; i < 30; i++) {
      await (i % 2 ? lock.exclusive : lock.shared).call(lock, async ({ fencingToken }) => {
        tokens.push(fencingToken)
        await lock.shared((nested) => assert.equal(nested.fencingToken, fencingToken))
      })
    }
    for (const [i, token] of tokens.entries()) assert.ok(i === 0 || token > tokens[i - 1]!)
  })

  it('needs no rights but those in its database', async () => {
    const role = `pslock_test_role_${process.pid}`
    await server().sql(`create role ${role} login password 'r'`)
    const own = new URL(await server().database())
    try {
      await server().sql(`grant create on database ${own.pathname.slice(1)} to ${role}`)
      own.username = role
      own.password = 'r'
      const [one, two] = [new PgLock(own, { name: 'a' }), new PgLock(own, { name: 'a' })]
      const held = await one.acquire()
      const controller = new AbortController()
      const waiting = two.acquire({ signal: controller.signal, mode: 'shared' })
      await until('it waits', async () => (await one.holders()).length === 2)
      controller.abort()
      await assert.rejects(waiting, { name: 'AbortError' })
      await until('it has left', async () => (await one.holders()).length === 1, 2000)
      await held.release()
      await one.close()
      await two.close()
    } finally {
      await server().sql(`drop owned by ${role}`, own.pathname.slice(1))
      await server().sql(`drop role ${role}`)
    }
  })

  it('of another database, also where only the user or an option says so, is another lock', async () => {
    const names = [1, 2].map((n) => `pslock_of_${process.pid}_${n}`)
    const urls = names.map((name) => {
      const own = new URL(server().url)
      own.username = name
      own.pathname = ''
      return own.href
    })
    for (const name of names) {
      await server().sql(`create role ${name} login superuser password '${new URL(server().url).password}'`)
      await server().sql(`create database ${name}`)
    }
    const locks = urls.map((own) => new PgLock(own, { name: 'a' }))
    const [one, two] = locks as [PgLock, PgLock]
    try {
      await one.exclusive(() =>
        two.exclusive(async () => {
          const third = new PgLock(server().urlOf(names[1] as string), { name: 'a' })
          locks.push(third)
          assert.equal((await third.holders()).length, 1)
          assert.equal(await third.tryAcquire(), undefined)
        }),
      )
      const elsewhere = new URL(server().url)
      elsewhere.searchParams.set('port', '1')
      const away = new PgLock(elsewhere, { name: 'a', timeoutMs: 0 })
      const here = new PgLock(server().url, { name: 'a' })
      locks.push(away, here)
      await here.exclusive(() =>
        assert.rejects(
          away.exclusive(() => assert.fail('it ran')),
          { code: 'PSLOCK_UNAVAILABLE' },
        ),
      )
    } finally {
      for (const lock of locks) await lock.close()
      for (const name of names) await server().sql(`drop database ${name} with (force)`)
      for (const name of names) await server().sql(`drop role ${name}`)
    }
  })

  describe('re-entry', () => {
    it('nested calls run at once, also through another object, and siblings exclude each other', async () => {
      const lock = newLock()
      let inside = 0
      await lock.exclusive(async () => {
        const nested = (one: PgLock) =>
          one.exclusive(async () => {
            assert.equal(++inside, 1)
            await sleep(10)
            inside--
          })
        await Promise.all([nested(lock), nested(newLock()), nested(lock)])
        await Promise.all([lock.shared(() => lock.shared(() => 1)), lock.shared(() => 2)])
      })
    })

    it('an exclusive inside a shared is refused', async () => {
      const lock = newLock()
      await lock.shared(() =>
        assert.rejects(
          lock.exclusive(() => assert.fail('it ran')),
          LockUpgradeError,
        ),
      )
    })

    it('join: false, and a timer that fires after the release, are newcomers', async () => {
      const lock = newLock()
      const gate = newGate()
      let late: Promise<string> | undefined
      let apart: Promise<string> | undefined
      await lock.exclusive(async () => {
        apart = lock.exclusive(() => 'apart', { join: false })
        assert.ok(await staysPending(apart))
        void gate.opened.then(() => {
          late = lock.exclusive(() => 'late')
        })
      })
      assert.equal(await apart, 'apart')
      const held = await lock.acquire()
      gate.open()
      await until('it was called', () => late !== undefined)
      assert.ok(await staysPending(late!))
      await held.release()
      assert.equal(await late, 'late')
    })

    it('what was called inside is done before the hold ends', async () => {
      const lock = newLock()
      const order: string[] = []
      let left: Promise<unknown> | undefined
      await lock.exclusive(() => {
        left = lock.exclusive(async () => {
          await sleep(30)
          order.push('nested')
        })
      })
      order.push('ended')
      await left
      assert.deepEqual(order, ['nested', 'ended'])
    })

    it('held.run re-enters; acquire does not; a release takes effect after what runs inside', async () => {
      const lock = newLock()
      const held = await lock.acquire()
      const gate = newGate()
      const running = held.run(async () => {
        const result = await lock.exclusive(() => 'inside')
        await gate.opened
        return result
      })
      await sleep(20)
      const releasing = held.release()
      assert.ok(await staysPending(releasing))
      gate.open()
      assert.equal(await running, 'inside')
      await releasing
      await held.release()
      await assert.rejects(
        held.run(() => 1),
        ClosedError,
      )
    })
  })

  describe('waiting', () => {
    it('a timeout says how long it waited, and who holds it', async () => {
      const lock = newLock()
      const held = await lock.acquire()
      const start = performance.now()
      await assert.rejects(
        newLock().exclusive(() => assert.fail('it ran'), { timeoutMs: 120 }),
        (error) => {
          assert.ok(error instanceof LockTimeoutError)
          assert.ok(error.waitedMs >= 119 && performance.now() - start < 1500, `${error.waitedMs}`)
          assert.deepEqual([error.mode, error.path], ['exclusive', lock.path])
          const [holder] = error.holders
          assert.deepEqual([holder?.pid, holder?.mode, holder?.state], [process.pid, 'exclusive', 'holding'])
          assert.match(error.message, /this very process/)
          assert.match(error.message, /Acquired in this very process:\n.*lock\.test/)
          return true
        },
      )
      await held.release()
    })

    it('timeoutMs 0 does not wait', async () => {
      const lock = newLock(undefined, { timeoutMs: 0 })
      const held = await lock.acquire()
      await assert.rejects(lock.acquire(), { code: 'PSLOCK_TIMEOUT', waitedMs: 0 })
      await held.release()
    })

    it('many that run out of time together take one connection to ask who holds it', async () => {
      const lock = newLock()
      const held = await lock.acquire()
      const waits = Array.from({ length: 60 }, () => lock.acquire({ timeoutMs: 100 }))
      for (const { status } of await Promise.allSettled(waits)) assert.equal(status, 'rejected')
      await held.release()
    })

    it('an abort rejects with its reason: before, in the local queue, and at the server', async () => {
      const lock = newLock()
      const reason = new Error('changed my mind')
      const is = (error: unknown) => error === reason
      await assert.rejects(lock.acquire({ signal: AbortSignal.abort(reason) }), is)
      const held = await lock.acquire()
      const controller = new AbortController()
      const { signal } = controller
      const waits = [lock.acquire({ signal }), lock.shared(() => assert.fail('it ran'), { signal })]
      const refused = waits.map((wait) => assert.rejects(wait, is))
      assert.ok(await staysPending(Promise.race(waits), 60))
      controller.abort(reason)
      await Promise.all(refused)
      assert.equal(getEventListeners(signal, 'abort').length, 0)
      await held.release()
      await (await lock.tryAcquire())!.release()
    })

    it('is told on the channels', async () => {
      const lock = newLock()
      const seen: string[] = []
      const tell = (event: unknown, channel: string | symbol) => {
        const { path, mode, nested } = event as LockEvent
        if (path === lock.path)
          seen.push(`${String(channel).replace('pslock:', '')} ${mode}${nested ? ' nested' : ''}`)
      }
      const kinds = ['wait', 'acquire', 'release', 'timeout', 'abort'].map((kind) => `pslock:${kind}`)
      for (const kind of kinds) subscribe(kind, tell)
      try {
        await lock.exclusive(() => lock.shared(() => {}))
        const held = await lock.acquire()
        await lock.acquire({ timeoutMs: 20 }).catch(() => {})
        await lock.acquire({ signal: AbortSignal.timeout(20) }).catch(() => {})
        await held.release()
      } finally {
        for (const kind of kinds) unsubscribe(kind, tell)
      }
      assert.deepEqual(seen, [
        'acquire exclusive',
        'acquire shared nested',
        'release shared nested',
        'release exclusive',
        'acquire exclusive',
        'wait exclusive',
        'timeout exclusive',
        'wait exclusive',
        'abort exclusive',
        'release exclusive',
      ])
    })
  })

  describe('close', () => {
    it('refuses further use, waits for its holds, and ends its connections', async () => {
      const own = await server().database()
      const lock = new PgLock(own, { name: 'a' })
      const held = await lock.acquire()
      const running = lock.exclusive(() => 'served')
      const closing = lock.close()
      const refused = (call: Promise<unknown>) => assert.rejects(call, ClosedError)
      await refused(lock.exclusive(() => {}))
      await refused(lock.acquire())
      await refused(lock.tryAcquire())
      await refused(lock.holders())
      assert.ok(await staysPending(closing))
      await held.release()
      assert.equal(await running, 'served')
      await closing
      await lock.close()
      await until('nobody is connected', async () => {
        const rows = await server().sql(
          "select 1 from pg_stat_activity where datname = current_database() and application_name like 'pslock %'",
          own,
        )
        return rows.length === 0
      })
    })

    it('inside a hold it is refused; await using closes', async () => {
      await using lock = newLock()
      await lock.exclusive(() => assert.rejects(lock.close(), LockDeadlockError))
      await using held = await lock.acquire()
      assert.equal(held.path, lock.path)
    })

    it('before the first use there is nothing to close', async () => {
      await new PgLock('postgres://nobody@127.0.0.1:1/none#a').close()
    })
  })
})

describe('PgLock and its password', () => {
  const PASSWORD = 'gEh/e1m w0rt'
  const server = usePostgres({ password: PASSWORD })

  it('is in no error, and nothing that inspect shows', async () => {
    const { inspect } = await import('node:util')
    const lock = new PgLock(server().url, { name: 'a', timeoutMs: 50 })
    const held = await lock.acquire()
    const wrong = new URL(server().url)
    wrong.pathname = '/nowhere'
    const away = new URL(server().url)
    away.port = '1'
    const failed = [
      await lock.acquire().catch((error) => error),
      await new PgLock(wrong, { name: 'a', timeoutMs: 50 }).acquire().catch((error) => error),
      await new PgLock(away, { name: 'a', timeoutMs: 50 }).acquire().catch((error) => error),
    ]
    assert.deepEqual(
      failed.map(({ code }) => code),
      ['PSLOCK_TIMEOUT', 'PSLOCK_UNAVAILABLE', 'PSLOCK_UNAVAILABLE'],
    )
    await server().sql(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'pslock %'",
    )
    failed.push(await held.release().catch((error) => error))
    assert.equal(failed[3].code, 'PSLOCK_LOST')
    const secrets = [PASSWORD, encodeURIComponent(PASSWORD), encodeURI(PASSWORD)]
    for (const shown of [...failed, lock, held]) {
      const text =
        inspect(shown, { depth: 20, showHidden: true }) +
        JSON.stringify(shown, (_, v) => (typeof v === 'bigint' ? 0 : v)) +
        shown.stack
      for (const secret of secrets) assert.ok(!text.includes(secret), text)
    }
    await lock.close()
  })
})
