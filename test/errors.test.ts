import assert from 'node:assert/strict'
import { runInNewContext } from 'node:vm'
import * as errors from '../src/errors.ts'

const cause = new Error('the system said no')
const details = { path: '/data/file', cause }

/** Every class, its stable code, and one instance. Changing a code is a major version. */
const table: [string, string, errors.PsLockError][] = [
  [
    'LockTimeoutError',
    'PSLOCK_TIMEOUT',
    new errors.LockTimeoutError('why', { ...details, mode: 'shared', waitedMs: 5, holders: [] }),
  ],
  ['LockUpgradeError', 'PSLOCK_UPGRADE', new errors.LockUpgradeError('why', details)],
  ['LockUnsupportedError', 'PSLOCK_UNSUPPORTED', new errors.LockUnsupportedError('why', details)],
  ['LockDeadlockError', 'PSLOCK_DEADLOCK', new errors.LockDeadlockError('why', details)],
  ['LockLostError', 'PSLOCK_LOST', new errors.LockLostError('why', details)],
  ['LockIoError', 'PSLOCK_IO', new errors.LockIoError('why', details)],
  ['ClosedError', 'PSLOCK_CLOSED', new errors.ClosedError('why', details)],
  [
    'StaleWriteError',
    'PSLOCK_STALE_WRITE',
    new errors.StaleWriteError('why', { ...details, paths: ['a.b'], base: 1, mine: 2, theirs: 3 }),
  ],
  ['ThrottledError', 'PSLOCK_THROTTLED', new errors.ThrottledError('why', { ...details, retryAfterMs: 5 })],
  [
    'ConflictError',
    'PSLOCK_CONFLICT',
    new errors.ConflictError('why', { ...details, expected: 1, found: 2 }),
  ],
  ['TransactionError', 'PSLOCK_TRANSACTION', new errors.TransactionError('why', details)],
  ['SchemaError', 'PSLOCK_SCHEMA', new errors.SchemaError('why', { ...details, table: 'people' })],
  ['CorruptStoreError', 'PSLOCK_CORRUPT', new errors.CorruptStoreError('why', details)],
  ['StoreIoError', 'PSLOCK_STORE_IO', new errors.StoreIoError('why', details)],
  ['StoreUnavailableError', 'PSLOCK_UNAVAILABLE', new errors.StoreUnavailableError('why', details)],
]

describe('errors', () => {
  for (const [name, code, error] of table) {
    it(`${name} has the code ${code}, its path, its cause and its name, and is a PsLockError`, () => {
      assert.ok(error instanceof errors.PsLockError)
      assert.ok(error instanceof Error)
      assert.deepEqual(
        [error.name, error.code, error.path, error.message, error.cause],
        [name, code, '/data/file', 'why', cause],
      )
      assert.equal(error.constructor.name, name)
      assert.match(error.stack ?? '', new RegExp(`^${name}: why`))
      assert.equal(String(error), `${name}: why`)
    })
  }

  it('the table above is complete', () => {
    const classes = Object.entries(errors)
      .filter(([, value]) => typeof value === 'function' && value.prototype instanceof errors.PsLockError)
      .map(([name]) => name)
    assert.deepEqual(classes.sort(), table.map(([name]) => name).sort())
  })

  it('no two classes have one code', () => {
    assert.equal(new Set(table.map(([, code]) => code)).size, table.length)
  })

  it('an error without a cause has none', () => {
    assert.equal('cause' in new errors.LockIoError('why', { path: '/x' }), false)
  })

  it('code and path survive JSON, as a log or another process gets them', () => {
    const { code, path } = JSON.parse(JSON.stringify(new errors.LockIoError('why', { path: '/x' })))
    assert.deepEqual([code, path], ['PSLOCK_IO', '/x'])
  })

  it('timeouts and stale writes carry what one needs to decide', () => {
    const holders = [
      { pid: 1, command: 'init', mode: 'shared', sinceMs: 3, state: 'holding' },
    ] as const satisfies errors.LockHolder[]
    const timeout = new errors.LockTimeoutError('why', { path: '/x', mode: 'shared', waitedMs: 5, holders })
    assert.deepEqual([timeout.mode, timeout.waitedMs, timeout.holders], ['shared', 5, holders])
    const stale = new errors.StaleWriteError('why', { path: '/x', paths: ['a'], base: 1, mine: 2, theirs: 3 })
    assert.deepEqual([stale.paths, stale.base, stale.mine, stale.theirs], [['a'], 1, 2, 3])
  })

  it("errnoOf finds the system's code of anything thrown, and nothing where there is none", () => {
    assert.equal(errors.errnoOf(Object.assign(new Error('x'), { code: 'ENOENT' })), 'ENOENT')
    const ofAnotherContext = runInNewContext("Object.assign(new Error('x'), { code: 'ENOENT' })")
    assert.equal(ofAnotherContext instanceof Error, false)
    assert.equal(errors.errnoOf(ofAnotherContext), 'ENOENT')
    for (const thrown of [undefined, null, 'ENOENT', { code: 'ENOENT' }, new Error('x')]) {
      assert.equal(errors.errnoOf(thrown), undefined)
    }
  })

  it('the package exports every one of them', async () => {
    const index: Record<string, unknown> = await import('../src/index.ts')
    const own = new Map(Object.entries<unknown>(errors))
    for (const name of ['PsLockError', ...table.map(([name]) => name)]) {
      assert.equal(index[name], own.get(name), name)
    }
  })
})
