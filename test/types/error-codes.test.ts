import assert from 'node:assert/strict'
import {
  type AnyPsLockError,
  ClosedError,
  ConflictError,
  CorruptStoreError,
  LockTimeoutError,
  PsLockError,
  type PsLockErrorCode,
  SchemaError,
  StaleWriteError,
  ThrottledError,
} from '../../src/index.ts'
import type { Same } from '../fixtures/same-type.ts'

/** What an application writes in its `catch`: no cast is needed anywhere, and the compiler knows what each error has. */
function told(error: unknown): string {
  if (!(error instanceof PsLockError)) return 'not ours'
  switch (error.code) {
    case 'PSLOCK_TIMEOUT':
      return `${error.mode} ${error.waitedMs} ${error.holders.length}`
    case 'PSLOCK_STALE_WRITE':
      return error.paths.join()
    case 'PSLOCK_CONFLICT':
      return `${error.expected} ${error.found}`
    case 'PSLOCK_SCHEMA':
      return `${error.table} ${error.field}`
    case 'PSLOCK_THROTTLED':
      return `${error.retryAfterMs}`
    case 'PSLOCK_CORRUPT':
      return `${error.line} ${error.byte}`
    // @ts-expect-error there is no such code
    case 'PSLOCK_TIMED_OUT':
      return 'never'
    default:
      // @ts-expect-error those that are left have nothing of the kind
      return `${error.path} ${error.waitedMs}`
  }
}

/** The compiler wants each code here. */
function isWorthAnotherTry(code: PsLockErrorCode): boolean {
  switch (code) {
    case 'PSLOCK_TIMEOUT':
    case 'PSLOCK_CONFLICT':
    case 'PSLOCK_THROTTLED':
    case 'PSLOCK_UNAVAILABLE':
      return true
    case 'PSLOCK_CLOSED':
    case 'PSLOCK_CORRUPT':
    case 'PSLOCK_DEADLOCK':
    case 'PSLOCK_IO':
    case 'PSLOCK_LOST':
    case 'PSLOCK_SCHEMA':
    case 'PSLOCK_STALE_WRITE':
    case 'PSLOCK_STORE_IO':
    case 'PSLOCK_TRANSACTION':
    case 'PSLOCK_UNSUPPORTED':
    case 'PSLOCK_UPGRADE':
      return false
  }
}

const details = { path: '/data' }

describe('error codes in types', () => {
  it('a switch over the code of any of our errors narrows it to its class', () => {
    const holders = [] as const
    assert.deepEqual(
      [
        new LockTimeoutError('', { ...details, mode: 'shared', waitedMs: 5, holders }),
        new StaleWriteError('', { ...details, paths: ['a'], base: 1, mine: 2, theirs: 3 }),
        new ConflictError('', { ...details, expected: 1, found: 2 }),
        new SchemaError('', { ...details, table: 'people', field: 'age' }),
        new ThrottledError('', { ...details, retryAfterMs: 7 }),
        new CorruptStoreError('', { ...details, line: 1, byte: 0 }),
        new ClosedError('', details),
        new TypeError(''),
        undefined,
      ].map(told),
      ['shared 5 0', 'a', '1 2', 'people age', '7', '1 0', '/data undefined', 'not ours', 'not ours'],
    )
  })

  it('the code of each class is a literal, and the union of them has nothing else', () => {
    const closed = new ClosedError('', details)
    const code: 'PSLOCK_CLOSED' = closed.code
    // @ts-expect-error it is not that of another class
    const other: 'PSLOCK_TIMEOUT' = closed.code
    assert.equal(code, other)
    assert.equal(isWorthAnotherTry(code), false)
    const isUnion: Same<AnyPsLockError['code'], PsLockErrorCode> = true
    const isOfAll: Same<PsLockError['code'], PsLockErrorCode> = true
    assert.ok(isUnion && isOfAll)
  })

  it('instanceof with one class narrows to that class, and with a class of your own to that', () => {
    class Ours extends ClosedError {
      readonly shop = 'corner'
    }
    const seen: unknown = new Ours('', details)
    if (!(seen instanceof ClosedError)) return assert.fail()
    const isClosed: Same<typeof seen, ClosedError> = true
    if (!(seen instanceof Ours)) return assert.fail()
    assert.equal(seen.shop, 'corner')
    assert.ok(isClosed)
    const waited = (error: LockTimeoutError | RangeError | TypeError) =>
      error instanceof LockTimeoutError ? error.waitedMs : error.name.length
    assert.equal(waited(new TypeError('')), 'TypeError'.length)
    assert.equal(
      Object.hasOwn(PsLockError, Symbol.hasInstance),
      false,
      'a field that is there for the compiler',
    )
  })
})
