import assert from 'node:assert/strict'
import * as lowdb from '../../adapters/lowdb.ts'
import type * as nedb from '../../adapters/nedb.ts'
import type * as promises from '../../adapters/nedb-promises.ts'
import * as pslock from '../../src/index.ts'
import { useFolder } from '../fixtures/folder.ts'
import type { Same } from '../fixtures/same-type.ts'

type LockMembers =
  | 'path'
  | 'exclusive'
  | 'shared'
  | 'acquire'
  | 'tryAcquire'
  | 'exclusiveSync'
  | 'sharedSync'
  | 'acquireSync'
  | 'holders'
  | 'close'
  | typeof Symbol.asyncDispose

type HeldMembers = 'mode' | 'path' | 'run' | 'release' | typeof Symbol.dispose | typeof Symbol.asyncDispose

type PgLockMembers = Exclude<LockMembers, `${string}Sync`>

type TreeMembers = Exclude<LockMembers, `${string}Sync`>

type StoreMembers =
  | 'lock'
  | 'transaction'
  | 'view'
  | 'rollbackAfter'
  | 'table'
  | 'stage'
  | 'stages'
  | 'dump'
  | 'restore'
  | 'use'
  | 'close'
  | typeof Symbol.asyncDispose

/** Those that a store whose calls are synchronous does not have. */
type WaitingMembers = 'table' | 'stage' | 'stages'

type LowMembers = 'adapter' | 'data' | 'read' | 'write' | 'update'

const STORE = ['lock', 'transaction', 'view', 'rollbackAfter', 'dump', 'restore', 'use', 'close']

/** Whatever is a member of a public class is a promise to its users, so each is named here. */
describe('public members', () => {
  const at = useFolder()

  it('in types there are no others', () => {
    const same: [
      Same<keyof pslock.PsLock, LockMembers>,
      Same<keyof typeof pslock.PsLock, 'prototype'>,
      Same<keyof pslock.HeldLock, HeldMembers | 'signal'>,
      Same<keyof pslock.LockTree, TreeMembers>,
      Same<keyof typeof pslock.LockTree, 'prototype'>,
      Same<keyof pslock.HeldTreeLock, HeldMembers | 'name'>,
      Same<keyof pslock.PgLock, PgLockMembers>,
      Same<keyof typeof pslock.PgLock, 'prototype'>,
      Same<keyof pslock.PgLockHold, 'path' | 'mode' | 'fencingToken' | 'signal'>,
      Same<keyof pslock.PgHeldLock, keyof pslock.PgLockHold | 'run' | 'release' | typeof Symbol.asyncDispose>,
      Same<keyof pslock.LockedMembers, StoreMembers>,
      Same<keyof pslock.LockedSyncMembers, Exclude<StoreMembers, WaitingMembers>>,
      Same<keyof lowdb.LockedLow, StoreMembers | LowMembers | 'checkpoint'>,
      Same<keyof typeof lowdb.LockedLow, 'prototype'>,
      Same<keyof lowdb.LockedLowSync, Exclude<StoreMembers, WaitingMembers> | LowMembers>,
      Same<keyof typeof lowdb.LockedLowSync, 'prototype'>,
      Same<keyof lowdb.JSONFile<object>, 'path' | 'read' | 'write'>,
      Same<keyof typeof nedb.LockedNedb, 'prototype'>,
      Same<keyof typeof promises.LockedDatastore, 'prototype' | 'create'>,
      Same<keyof typeof pslock.LockedDb, never>,
    ] = Array(20).fill(true) as never
    assert.ok(same.every(Boolean))
    // @ts-expect-error only `acquire` makes them
    type Constructed = InstanceType<typeof pslock.HeldLock>
    const none: Constructed | undefined = undefined
    assert.equal(none, undefined)
  })

  it('and at run time', async () => {
    const lock = new pslock.PsLock(at('data'))
    const tree = new pslock.LockTree(at('data'))
    const held = lock.tryAcquire()
    assert.deepEqual(membersOf(lock), [
      ...['acquire', 'acquireSync', 'close', 'exclusive', 'exclusiveSync', 'holders', 'path', 'shared'],
      ...['sharedSync', 'tryAcquire'],
    ])
    assert.deepEqual(membersOf(new pslock.PgLock('postgres://a/b#c')), membersOf(tree))
    assert.deepEqual(membersOf(tree), [
      ...['acquire', 'close', 'exclusive', 'holders', 'path', 'shared', 'tryAcquire'],
    ])
    assert.deepEqual(membersOf(held), ['mode', 'path', 'release', 'run', 'signal'])
    held?.release()
    for (const Class of [pslock.PsLock, pslock.LockTree, pslock.PgLock, held?.constructor as object]) {
      assert.deepEqual(Object.getOwnPropertyNames(Class).sort(), ['length', 'name', 'prototype'])
    }
    const low = new lowdb.LockedLow(at('a.json'), {})
    const lowSync = new lowdb.LockedLowSync(at('b.json'), {})
    const own = ['adapter', 'data', 'read', 'update', 'write']
    assert.deepEqual(membersOf(low), [...STORE, ...own, 'table', 'stage', 'stages', 'checkpoint'].sort())
    assert.deepEqual(membersOf(lowSync), [...STORE, ...own].sort())
  })
})

/** All names that are not of every object, its prototypes' included. */
function membersOf(object: unknown): string[] {
  const names = new Set<string>()
  for (let at = object as object; at !== Object.prototype; at = Object.getPrototypeOf(at) as object) {
    for (const name of Object.getOwnPropertyNames(at)) names.add(name)
  }
  names.delete('constructor')
  return [...names].sort()
}
