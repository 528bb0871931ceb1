import assert from 'node:assert/strict'
import { existsSync, readdirSync } from 'node:fs'
import { Low, LowSync } from 'lowdb'
import {
  JSONFile,
  JSONFileSync,
  LockedJSONFilePreset,
  LockedJSONFileSyncPreset,
  LockedLow,
  LockedLowSync,
  lowdbAdapter,
} from '../adapters/lowdb.ts'
import { LockedNedb } from '../adapters/nedb.ts'
import { LockedDatastore } from '../adapters/nedb-promises.ts'
import { throttle } from '../src/features/hooks/throttle.ts'
import { PsLock } from '../src/lock/lock.ts'
import { LockTree } from '../src/lock-tree/lock-tree.ts'
import { LockedDb } from '../src/locked-db.ts'
import { PgLock } from '../src/postgres/lock/pg-lock.ts'
import type { ImageAdapter } from '../src/store/adapter.ts'
import { useFolder } from './fixtures/folder.ts'

const imageAdapter: ImageAdapter<{ n: number }> = {
  family: 'image',
  load: () => {},
  save: () => '{}',
  methods: {},
} as unknown as ImageAdapter<{ n: number }>

/** What no type lets through: a call as plain JavaScript makes it. */
type Call = (options: never) => unknown

const never = () => assert.fail('it ran')

/** A mistyped option is a TypeError that names the nearest one, before anything happens. */
describe('unknown options', () => {
  const at = useFolder()
  const lock = () => new PsLock(at('data'))
  const pgLock = () => new PgLock('postgres://nobody/here#a')
  const tree = () => new LockTree(at('data'))
  const low = () => new LockedLow<object>(at('data.json'), {})
  const lowSync = () => new LockedLowSync<object>(at('data.json'), {})
  const nedb = () => new LockedNedb({ filename: at('data.db') })
  const datastore = () => LockedDatastore.create(at('data.db'))
  const anyLow = () => new Low<unknown>(new JSONFile(at('data.json')), {})
  const anyLowSync = () => new LowSync<unknown>(new JSONFileSync(at('data.json')), {})
  const table = () => low().table<{ a: number }>('t')

  const calls: [string, Call, mistyped: string, meant: string][] = [
    ['new PsLock', (o) => new PsLock(at('data'), o), 'timeout', 'timeoutMs'],
    ['new PsLock', (o) => new PsLock(at('data'), o), 'slice', 'sliceMs'],
    ['new PsLock', (o) => new PsLock(at('data'), o), 'lockpath', 'lockPath'],
    ['new PsLock', (o) => new PsLock(at('data'), o), 'bakcend', 'backend'],
    ['exclusive', (o) => lock().exclusive(never, o), 'timeoutms', 'timeoutMs'],
    ['shared', (o) => lock().shared(never, o), 'signl', 'signal'],
    ['acquire', (o) => lock().acquire(o), 'mod', 'mode'],
    ['tryAcquire', (o) => lock().tryAcquire(o), 'mdoe', 'mode'],
    ['exclusiveSync', (o) => lock().exclusiveSync(never, o), 'timeout', 'timeoutMs'],
    ['sharedSync', (o) => lock().sharedSync(never, o), 'jion', 'join'],
    ['acquireSync', (o) => lock().acquireSync(o), 'timeout', 'timeoutMs'],
    ['close', (o) => lock().close(o), 'remov', 'remove'],
    ['close of a store', (o) => low().close(o), 'removes', 'remove'],
    ['new PgLock', (o) => new PgLock('postgres://nobody/here#a', o), 'timeout', 'timeoutMs'],
    ['PgLock#exclusive', (o) => pgLock().exclusive(never, o), 'timeoutms', 'timeoutMs'],
    ['PgLock#shared', (o) => pgLock().shared(never, o), 'signl', 'signal'],
    ['PgLock#acquire', (o) => pgLock().acquire(o), 'mod', 'mode'],
    ['PgLock#tryAcquire', (o) => pgLock().tryAcquire(o), 'mdoe', 'mode'],
    ['new LockTree', (o) => new LockTree(at('data'), o), 'timeout', 'timeoutMs'],
    ['LockTree#exclusive', (o) => tree().exclusive('a', never, o), 'reson', 'reason'],
    ['LockTree#shared', (o) => tree().shared('a', never, o), 'timeout', 'timeoutMs'],
    ['LockTree#acquire', (o) => tree().acquire('a', o), 'mdoe', 'mode'],
    ['LockTree#tryAcquire', (o) => tree().tryAcquire('a', o), 'reasons', 'reason'],
    ['new LockedLow', (o) => new LockedLow(at('data.json'), {}, o), 'durabilty', 'durability'],
    ['new LockedLow', (o) => new LockedLow(at('data.json'), {}, o), 'journl', 'journal'],
    ['new LockedLowSync', (o) => new LockedLowSync(at('data.json'), {}, o), 'durabilty', 'durability'],
    [
      'LockedJSONFilePreset',
      (o) => LockedJSONFilePreset(at('data.json'), {}, o),
      'memoryInTests',
      'memoryInTest',
    ],
    ['LockedJSONFilePreset', (o) => LockedJSONFilePreset(at('data.json'), {}, o), 'jurnal', 'journal'],
    [
      'LockedJSONFileSyncPreset',
      (o) => LockedJSONFileSyncPreset(at('data.json'), {}, o),
      'timeout',
      'timeoutMs',
    ],
    [
      'new LockedNedb',
      (o) => new LockedNedb({ filename: at('data.db'), ...(o as object) }),
      'durabilty',
      'durability',
    ],
    [
      'new LockedNedb',
      (o) => new LockedNedb({ filename: at('data.db'), ...(o as object) }),
      'autolaod',
      'autoload',
    ],
    [
      'new LockedNedb',
      (o) => new LockedNedb({ filename: at('data.db'), ...(o as object) }),
      'compactions',
      'compaction',
    ],
    ['new LockedNedb', (o) => new LockedNedb({ ...(o as object) }), 'fileName', 'filename'],
    ['new LockedNedb', (o) => new LockedNedb({ modes: o }), 'filemode', 'fileMode'],
    [
      'LockedDatastore.create',
      (o) => LockedDatastore.create({ filename: at('data.db'), ...(o as object) }),
      'durabilty',
      'durability',
    ],
    [
      'new LockedDatastore',
      (o) => new LockedDatastore({ ...(o as object) }),
      'timestampdata',
      'timestampData',
    ],
    [
      'LockedDb, lowdb',
      (o) =>
        new LockedDb(anyLow(), {
          adapter: lowdbAdapter,
          path: at('data.json'),
          ...(o as object),
        }),
      'journl',
      'journal',
    ],
    [
      'LockedDb, lowdb sync',
      (o) =>
        new LockedDb(anyLowSync(), {
          adapter: lowdbAdapter,
          path: at('data.json'),
          ...(o as object),
        }),
      'timeout',
      'timeoutMs',
    ],
    [
      'LockedDb, an image',
      (o) => new LockedDb({ n: 1 }, { adapter: imageAdapter, path: at('data.json'), ...(o as object) }),
      'durable',
      'durability',
    ],
    ['transaction', (o) => low().transaction(never, o), 'retrys', 'retry'],
    ['transaction of NeDB', (o) => nedb().transaction(never, o), 'timeout', 'timeoutMs'],
    ['transaction of nedb-promises', (o) => datastore().transaction(never, o), 'timeout', 'timeoutMs'],
    ['transaction, blocking', (o) => lowSync().transaction(never, o), 'timeout', 'timeoutMs'],
    ['view', (o) => nedb().view(never, o), 'timeout', 'timeoutMs'],
    ['view, blocking', (o) => lowSync().view(never, o), 'timeout', 'timeoutMs'],
    ['rollbackAfter', (o) => low().rollbackAfter(never, o), 'sginal', 'signal'],
    ['rollbackAfter, blocking', (o) => lowSync().rollbackAfter(never, o), 'sginal', 'signal'],
    ['dump', (o) => low().dump(at('copy.json'), o), 'override', 'overwrite'],
    ['dump of NeDB', (o) => nedb().dump(at('copy.db'), o), 'overwite', 'overwrite'],
    ['throttle', (o) => throttle({ writesPerSecond: 1, ...(o as object) }), 'brust', 'burst'],
    ['throttle', (o) => throttle({ writesPerSecond: 1, ...(o as object) }), 'maxDelay', 'maxDelayMs'],
    ['Table#create', (o) => table().create({ a: 'number' }, o), 'mod', 'mode'],
    [
      'Table#create, a field',
      (o) => table().create({ a: { type: 'number', ...(o as object) } }),
      'defualt',
      'default',
    ],
    ['Table#update', (o) => table().update({}, { a: 1 }, o), 'versoin', 'version'],
    ['Table#delete', (o) => table().delete({}, o), 'versoin', 'version'],
  ]

  for (const [name, call, mistyped, meant] of calls) {
    it(`${name}: ${mistyped} is none, ${meant} may be meant`, async () => {
      await assert.rejects(async () => call({ [mistyped]: 5 } as never), {
        name: 'TypeError',
        message: new RegExp(`^unknown .*"${mistyped}": did you mean "${meant}"\\?$`),
      })
      assert.deepEqual(readdirSync(at('.')), [])
    })
  }

  it('undefined, symbols and what all objects have are no mistyped options', async () => {
    // koffi cannot be loaded beside what all objects have.
    await tree().exclusive('a', () => {})
    const polluted = Object.prototype as { [name: string]: unknown }
    polluted.pollution = 5
    const o: object = { durabilty: undefined, [Symbol('own')]: 5 }
    try {
      await new PsLock(at('data'), o).exclusive(() => {}, o)
      await tree().exclusive('a', () => {}, o)
      await new LockedLow<object>(at('data.json'), {}, o).transaction(() => {}, o)
      new LockedNedb({ filename: at('data.db'), ...o })
      throttle({ writesPerSecond: 1, ...o })
    } finally {
      delete polluted.pollution
    }
  })

  it('what is near to none is shown with all that are known', () => {
    assert.throws(() => new PsLock(at('data'), { retries: 3 } as object), {
      name: 'TypeError',
      message: 'unknown option "retries": known are "timeoutMs", "sliceMs", "lockPath", "backend", "staleMs"',
    })
  })

  it('a mode of the callback forms, and a journal of LockedLowSync, are not ignored', async () => {
    await assert.rejects(lock().exclusive(never, { mode: 'shared' } as object), /unknown option "mode"/)
    assert.throws(
      () => new LockedLowSync(at('data.json'), {}, { journal: true } as object),
      /synchronous keeps no journal/,
    )
  })

  it('an inherited option counts as an own one, mistyped or not', async () => {
    const inherited = (options: object) => Object.create(options) as object
    assert.throws(() => new PsLock(at('data'), inherited({ timeout: 5 })), /did you mean "timeoutMs"/)
    const held = lock().tryAcquire()!
    const quick = new PsLock(at('data'), inherited({ timeoutMs: 0 }))
    await assert.rejects(quick.exclusive(never), { code: 'PSLOCK_TIMEOUT' })
    held.release()
  })

  it('a hook may have members of its own, but nothing nearly called before or after', () => {
    const db = low()
    const counting = {
      count: 0,
      unrelated: () => {},
      before() {
        this.count++
      },
    }
    db.use(counting)()
    assert.throws(() => db.use({ befor: never } as object), {
      name: 'TypeError',
      message: 'unknown member "befor" of a hook: did you mean "before"?',
    })
    assert.throws(() => db.use({ before: never, afer: never } as object), /did you mean "after"/)
  })

  it("all options of NeDB's are known, those of earlier versions too", () => {
    const options = {
      filename: at('data.db'),
      timestampData: true,
      inMemoryOnly: true,
      autoload: false,
      onload: () => {},
      beforeDeserialization: (line: string) => line,
      afterSerialization: (line: string) => line,
      corruptAlertThreshold: 0.5,
      compareStrings: () => 0,
      modes: { fileMode: 0o600, dirMode: 0o700 },
      testSerializationHooks: false,
      nodeWebkitAppName: 'app',
    }
    new LockedNedb(options)
    LockedDatastore.create(options)
  })

  it('a name of a megabyte, or with control characters, is shown briefly and harmlessly', () => {
    const long = `\u001b[31m${'x'.repeat(2 ** 20)}`
    assert.throws(
      () => new PsLock(at('data'), { [long]: 1 } as object),
      ({ message }: Error) => message.length < 300 && !message.includes('\u001b'),
    )
    assert.equal(existsSync(at('data.lock')), false)
  })

  it('what is no object is refused, where it was ignored', () => {
    assert.throws(
      () => new PsLock(at('data'), 100 as unknown as object),
      /the options must be an object, got 100/,
    )
  })

  it('null in the place of the options is refused in words', async () => {
    const none = null as unknown as undefined
    const calls: (() => unknown)[] = [
      () => new PsLock(at('data'), none),
      () => lock().exclusive(never, none),
      () => lock().acquire(none),
      () => lock().tryAcquire(none),
      () => lock().close(none),
      () => new LockTree(at('data'), none),
      () => tree().exclusive('a', never, none),
      () => new LockedLow(at('data.json'), {}, none),
      () => LockedJSONFilePreset(at('data.json'), {}, none),
      () => LockedJSONFileSyncPreset(at('data.json'), {}, none),
      () => low().transaction(never, none),
      () => lowSync().transaction(never, none),
      () => nedb().view(never, none),
      () => nedb().close(none),
      () => table().delete({}, none),
      () => throttle(none as never),
    ]
    for (const call of calls) {
      await assert.rejects(async () => call(), {
        name: 'TypeError',
        message: /options must be an object, got null$/,
      })
    }
  })

  it('options beside a path, where they would be ignored, are refused', () => {
    for (const make of [
      (...args: unknown[]) => new LockedNedb(...(args as [string])),
      (...args: unknown[]) => new LockedDatastore(...(args as [string])),
      (...args: unknown[]) => LockedDatastore.create(...(args as [string])),
    ]) {
      assert.throws(() => make(at('data.db'), { durability: 'disk' }), {
        name: 'TypeError',
        message: /^a path has no options beside it: give one object, \{ filename, \.\.\. \}/,
      })
      make(at('data.db'), undefined)
    }
    assert.deepEqual(readdirSync(at('.')), [])
  })

  it('a store in memory knows the options of close, too', async () => {
    for (const store of [new LockedNedb(), LockedDatastore.create()]) {
      await assert.rejects(async () => store.close({ remov: true } as object), /did you mean "remove"/)
      await store.close({ remove: true })
    }
  })
})
