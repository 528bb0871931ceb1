/** The public names of 'pslock'. Stores are separate entries: 'pslock/lowdb', 'pslock/nedb', 'pslock/nedb-promises'. */
export type {
  Adapter,
  ImageAdapter,
  LogAdapter,
  LogMemory,
  LogSession,
  MethodKind,
  Methods,
  TreeAdapter,
  TreeFormat,
  TreeMemory,
  TreeSession,
} from './db/adapter.ts'
export type { DumpOptions, Dumps } from './db/dump/dumps.ts'
export type { Call, Hook, HookEvent, HookOutcome } from './db/hooks/hook.ts'
export { type ThrottleOptions, throttle } from './db/hooks/throttle.ts'
export { LockedDb, type LockedDbOptions, type Promised } from './db/locked-db.ts'
export type { LockedMembers, LockedSyncMembers } from './db/members.ts'
export type { Durability, LogOptions, StoreOptions, TreeOptions } from './db/options.ts'
export type { DeepReadonly, ViewOf } from './db/read-only.ts'
export type { TableRows } from './db/table/rows.ts'
export type {
  CreateOptions,
  Criteria,
  Fields,
  FieldType,
  NewRecord,
  Stored,
  Table,
  VersionOptions,
} from './db/table/types.ts'
export type { TransactionOptions, Transactions } from './db/transaction.ts'
export {
  type AnyPsLockError,
  ClosedError,
  ConflictError,
  CorruptStoreError,
  LockDeadlockError,
  type LockHolder,
  LockIoError,
  LockLostError,
  type LockMode,
  LockTimeoutError,
  LockUnsupportedError,
  LockUpgradeError,
  PsLockError,
  type PsLockErrorCode,
  type PsLockErrorDetails,
  SchemaError,
  StaleWriteError,
  StoreIoError,
  ThrottledError,
  TransactionError,
  type TreeLockHolder,
  type TreeLockMode,
} from './errors.ts'
export type { LockEvent } from './lock/events.ts'
export type { HeldLock } from './lock/held-lock.ts'
export type { AcquireOptions, CloseOptions, LockPath, PsLockOptions } from './lock/options.ts'
export { PsLock } from './lock/ps-lock.ts'
export type { HeldTreeLock } from './lock/tree/held-tree-lock.ts'
export { LockTree } from './lock/tree/lock-tree.ts'
export type { LockTreeOptions, TreeAcquireOptions } from './lock/tree/options.ts'
