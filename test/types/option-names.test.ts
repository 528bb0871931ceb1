import assert from 'node:assert/strict'
import Vanilla from '@seald-io/nedb'
import { type Low, LowSync } from 'lowdb'
import {
  JSONFile,
  JSONFileSync,
  LockedJSONFilePreset,
  LockedJSONFileSyncPreset,
  LockedLow,
  LockedLowSync,
  lowdbAdapter,
} from '../../adapters/lowdb.ts'
import { LockedNedb, nedbAdapter } from '../../adapters/nedb.ts'
import { LockedDatastore, nedbPromisesAdapter } from '../../adapters/nedb-promises.ts'
import { type ImageAdapter, LockedDb, LockTree, PgLock, PsLock, throttle } from '../../src/index.ts'
import type { Shelf } from '../fixtures/locked-db-shelf.ts'

/**
 * A mistyped option is a type error in every call, however its type is found: by overloads, by inference, or from the vanilla
 * library's options. What such calls do when they run is asked in `unknown-options.test.ts`; here nothing is run.
 */
const calls = {
  PsLock: (lock: PsLock) => [
    // @ts-expect-error
    new PsLock('a', { timeout: 5 }),
    // @ts-expect-error
    new PsLock('a', { lockpath: 'b' }),
    // @ts-expect-error
    new PsLock('a', { timeoutMs: 5, bakcend: 'flock' }),
    // @ts-expect-error
    new PsLock('a', { backend: 'proper-lockfile' }),
    // @ts-expect-error
    lock.exclusive(() => {}, { timeout: 5 }),
    // @ts-expect-error
    lock.exclusive(async () => 5, { timeoutMs: 5, signl: AbortSignal.timeout(5) }),
    // @ts-expect-error
    lock.exclusive(() => {}, { mode: 'shared' }),
    // @ts-expect-error
    lock.shared(() => {}, { jion: false }),
    // @ts-expect-error
    lock.acquire({ mod: 'shared' }),
    // @ts-expect-error
    lock.acquire({ mode: 'read' }),
    // @ts-expect-error
    lock.tryAcquire({ mdoe: 'shared' }),
    // @ts-expect-error
    lock.tryAcquire({ timeoutMs: 5 }),
    // @ts-expect-error
    lock.exclusiveSync(() => {}, { timeout: 5 }),
    // @ts-expect-error
    lock.sharedSync(() => {}, { timeout: 5 }),
    // @ts-expect-error
    lock.acquireSync({ timeout: 5 }),
    // @ts-expect-error
    lock.close({ remov: true }),
  ],
  PgLock: (lock: PgLock) => [
    // @ts-expect-error
    new PgLock('postgres://a/b#c', { timeout: 5 }),
    // @ts-expect-error
    new PgLock('postgres://a/b', { nam: 'c' }),
    // @ts-expect-error
    lock.exclusive(() => {}, { timeout: 5 }),
    // @ts-expect-error
    lock.shared(async ({ token }) => token),
    // @ts-expect-error
    lock.acquire({ mod: 'shared' }),
    // @ts-expect-error
    lock.tryAcquire({ timeoutMs: 5 }),
  ],
  LockTree: (tree: LockTree) => [
    // @ts-expect-error
    new LockTree('a', { timeout: 5 }),
    // @ts-expect-error
    tree.exclusive('a', () => {}, { reson: '' }),
    // @ts-expect-error
    tree.shared('a', () => {}, { timeout: 5 }),
    // @ts-expect-error
    tree.acquire('a', { mdoe: 'shared' }),
    // @ts-expect-error
    tree.tryAcquire('a', { reasons: '' }),
  ],
  lowdb: (db: LockedLow<{ n: number }>, sync: LockedLowSync<{ n: number }>) => [
    // @ts-expect-error
    new LockedLow('a', { n: 1 }, { durabilty: 'disk' }),
    // @ts-expect-error
    new LockedLow('a', { n: 1 }, { durability: 'disc' }),
    // @ts-expect-error
    new LockedLow<{ n: number }>('a', { n: 1 }, { journl: true }),
    // @ts-expect-error
    new LockedLow(new JSONFile<object>('a'), {}, { timeout: 5 }),
    // @ts-expect-error
    new LockedLow({ url: 'a', nmae: 'b' }, { n: 1 }),
    // @ts-expect-error
    new LockedLow({ url: 'a', name: 'b', lockPath: 'c' }, { n: 1 }),
    // @ts-expect-error
    new LockedLow({ name: 'b' }, { n: 1 }),
    // @ts-expect-error
    LockedJSONFilePreset({ url: 'a', stale: 5 }, { n: 1 }),
    // @ts-expect-error
    new LockedLowSync({ url: 'a', name: 'b' }, { n: 1 }),
    // @ts-expect-error
    LockedJSONFileSyncPreset({ url: 'a', name: 'b' }, { n: 1 }),
    // @ts-expect-error
    new LockedLowSync('a', { n: 1 }, { durabilty: 'disk' }),
    // @ts-expect-error
    new LockedLowSync('a', { n: 1 }, { journal: true }),
    // @ts-expect-error
    new LockedLow('a', { n: 1 }, { memoryInTest: true }),
    // @ts-expect-error
    LockedJSONFilePreset('a', { n: 1 }, { memoryInTests: true }),
    // @ts-expect-error
    LockedJSONFilePreset('a', { n: 1 }, { jurnal: true }),
    // @ts-expect-error
    LockedJSONFileSyncPreset('a', { n: 1 }, { timeout: 5 }),
    // @ts-expect-error
    LockedJSONFileSyncPreset('a', { n: 1 }, { journal: true }),
    // @ts-expect-error
    db.transaction(() => {}, { retrys: 5 }),
    // @ts-expect-error
    db.transaction(async (tx) => tx.data.n, { timeout: 5 }),
    // @ts-expect-error
    db.view((tx) => tx.data.n, { timeout: 5 }),
    // @ts-expect-error
    db.view((tx) => tx.data.n, { retry: 5 }),
    // @ts-expect-error
    db.rollbackAfter(() => {}, { sginal: AbortSignal.timeout(5) }),
    // @ts-expect-error
    sync.transaction(() => {}, { timeout: 5 }),
    // @ts-expect-error
    sync.transaction(() => {}, { retry: 5 }),
    // @ts-expect-error
    sync.view(() => {}, { timeout: 5 }),
    // @ts-expect-error
    sync.rollbackAfter(() => {}, { timeout: 5 }),
    // @ts-expect-error
    db.dump('a', { override: true }),
    // @ts-expect-error
    db.close({ removes: true }),
    // @ts-expect-error
    sync.close({ removes: true }),
    // @ts-expect-error
    db.use({ befor: () => {} }),
    // @ts-expect-error
    db.use({ before: () => {}, afer: () => {} }),
  ],
  NeDB: (db: LockedNedb<{ n: number }>, store: LockedDatastore<{ _id: string; n: number }>) => [
    // @ts-expect-error
    new LockedNedb({ filename: 'a', durabilty: 'disk' }),
    // @ts-expect-error
    new LockedNedb({ fileName: 'a' }),
    // @ts-expect-error
    new LockedNedb<{ n: number }>({ filename: 'a', autolaod: true }),
    // @ts-expect-error
    new LockedNedb({ filename: 'a', journal: true }),
    // @ts-expect-error
    new LockedNedb({ filename: 'a', compaction: 'never' }),
    // @ts-expect-error
    new LockedNedb({ filename: 'a', modes: { filemode: 0o600, dirMode: 0o700 } }),
    // @ts-expect-error
    LockedDatastore.create({ filename: 'a', durabilty: 'disk' }),
    // @ts-expect-error
    LockedDatastore.create<{ _id: string }>({ filename: 'a', autolaod: true }),
    // @ts-expect-error
    LockedDatastore.create({ filename: 'a', timestampData: true, durabilty: 'disk' }),
    // @ts-expect-error
    new LockedDatastore({ filename: 'a', timestampdata: true }),
    // @ts-expect-error
    new LockedDatastore<{ _id: string }>({ filename: 'a', timeout: 5 }),
    // @ts-expect-error
    db.transaction(() => {}, { timeout: 5 }),
    // @ts-expect-error
    db.view(() => {}, { timeout: 5 }),
    // @ts-expect-error
    db.dump('a', { overwite: true }),
    // @ts-expect-error
    db.close({ removed: true }),
    // @ts-expect-error
    store.transaction(() => {}, { retrys: 5 }),
    // @ts-expect-error
    store.view(() => {}, { timeout: 5 }),
    // @ts-expect-error
    store.close({ removed: true }),
  ],
  LockedDb: (adapter: ImageAdapter<Shelf>, shelf: Shelf, low: Low<object>, sync: LowSync<object>) => [
    // @ts-expect-error
    new LockedDb(shelf, { adapter, path: 'a', durable: 'disk' }),
    // @ts-expect-error
    new LockedDb(shelf, { adapter, path: 'a', journal: true }),
    // @ts-expect-error
    new LockedDb(shelf, { adapter, path: 'a', compaction: 'auto' }),
    // @ts-expect-error
    new LockedDb(shelf, { adapter, paht: 'a' }),
    // @ts-expect-error
    new LockedDb(shelf, { adapter }),
    // @ts-expect-error
    new LockedDb(shelf, { adapter, path: 'a', url: 'b', name: 'c' }),
    // @ts-expect-error
    new LockedDb(shelf, { adapter, url: 'b', nmae: 'c' }),
    // @ts-expect-error
    new LockedDb(shelf, { adapter: { ...adapter, methods: { list: 'reads' } }, path: 'a' }),
    // @ts-expect-error
    new LockedDb(low, { adapter: lowdbAdapter, path: 'a', journl: true }),
    // @ts-expect-error
    new LockedDb(low, { adapter: lowdbAdapter, path: 'a', compaction: 'auto' }),
    // @ts-expect-error
    new LockedDb(sync, { adapter: lowdbAdapter, path: 'a', timeout: 5 }),
    // @ts-expect-error
    new LockedDb(new Vanilla.default(), { adapter: nedbAdapter, path: 'a', durabilty: 'disk' }),
    // @ts-expect-error
    new LockedDb(new Vanilla.default(), { adapter: nedbAdapter, path: 'a', journal: true }),
    // @ts-expect-error
    new LockedDb({} as LockedDatastore, { adapter: nedbPromisesAdapter, path: 'a', timeout: 5 }),
    // @ts-expect-error
    new LockedDb(shelf, { adapter, path: 'a' }).transaction(() => {}, { timeout: 5 }),
    // @ts-expect-error
    new LockedDb(shelf, { adapter, path: 'a' }).view(() => {}, { timeout: 5 }),
    // What is right is none.
    new LockedDb(low, { adapter: lowdbAdapter, path: 'a', journal: true, sliceMs: 5 }),
    new LockedDb(sync, { adapter: lowdbAdapter, path: 'a', durability: 'disk' }),
    new LockedDb(shelf, { adapter, url: 'b', name: 'c', staleMs: 5 }),
    new LockedDb(low, { adapter: lowdbAdapter, url: new URL('b:c'), durability: 'disk' }),
    new LockedDb(new Vanilla.default(), { adapter: nedbAdapter, path: 'a', compaction: 'manual' }),
    new LockedDb(new LowSync<object>(new JSONFileSync('a'), {}), { adapter: lowdbAdapter, path: 'a' }),
  ],
  'hooks and tables': (table: ReturnType<typeof tableOf>) => [
    // @ts-expect-error
    throttle({ writesPerSecond: 1, brust: 5 }),
    // @ts-expect-error
    throttle({ writesPerSecond: 1, maxDelay: 5 }),
    // @ts-expect-error
    throttle({ writesPerSecond: 1, per: 'computer' }),
    // @ts-expect-error
    table.create({ a: 'number', b: 'string' }, { mod: 'open' }),
    // @ts-expect-error
    table.create({ a: 'number', b: 'string' }, { mode: 'opened' }),
    // @ts-expect-error
    table.create({ a: { type: 'number', defualt: 5 }, b: 'string' }),
    // @ts-expect-error
    table.create({ a: 'number', b: 'string', c: 'string' }),
    // @ts-expect-error
    table.update({ a: 1 }, { a: 2 }, { versoin: 1 }),
    // @ts-expect-error
    table.update({ aa: 1 }, { a: 2 }),
    // @ts-expect-error
    table.delete({ a: 1 }, { versoin: 1 }),
  ],
}

function tableOf(db: LockedNedb) {
  return db.table<{ a: number; b: string }>('t')
}

describe('option names, in types', () => {
  for (const [name, call] of Object.entries(calls)) {
    it(`${name}: a mistyped one is a type error, which the compiler says`, () =>
      assert.equal(typeof call, 'function'))
  }
})
