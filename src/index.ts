/** The public names of 'pslock'. Stores are separate entries: 'pslock/lowdb', 'pslock/nedb', 'pslock/nedb-promises'. */

export type { LockPath } from './arguments.ts'
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
  type PgLockHolder,
  PsLockError,
  type PsLockErrorCode,
  type PsLockErrorDetails,
  SchemaError,
  type StageConflict,
  StaleWriteError,
  StoreIoError,
  StoreUnavailableError,
  ThrottledError,
  TransactionError,
  type TreeLockHolder,
  type TreeLockMode,
} from './errors.ts'
export type { DumpOptions } from './features/backup/backup.ts'
export type { Hook, HookEvent, HookOutcome } from './features/hooks/hooks.ts'
export { type ThrottleOptions, throttle } from './features/hooks/throttle.ts'
export type { StagedCursor } from './features/stages/cursor.ts'
export type {
  Stage,
  StageCommitOptions,
  StagedChange,
  StagedEdit,
  StageOptions,
} from './features/stages/stage.ts'
export type { StageCriteria, StageStats, StageSummary } from './features/stages/stages.ts'
export type { FieldType } from './features/tables/schema.ts'
export type {
  CreateOptions,
  Criteria,
  Fields,
  NewRecord,
  Stored,
  Table,
  VersionOptions,
} from './features/tables/table.ts'
export type { HeldLock } from './lock/held-lock.ts'
export type { LockEvent } from './lock/hold.ts'
export { PsLock } from './lock/lock.ts'
export type { AcquireOptions, CloseOptions, PsLockOptions } from './lock/options.ts'
export { LockTree } from './lock-tree/lock-tree.ts'
export type { LockTreeOptions, TreeAcquireOptions } from './lock-tree/request.ts'
export type { HeldTreeLock } from './lock-tree/tree-hold.ts'
export { LockedDb, type LockedDbOptions, type Promised } from './locked-db.ts'
export type {
  DeepReadonly,
  Dumps,
  LockedMembers,
  LockedSyncMembers,
  StageOverview,
  Transactions,
  ViewOf,
} from './members.ts'
export type { PgHeldLock, PgLockHold } from './postgres/lock/pg-hold.ts'
export { PgLock, type PgLockOptions } from './postgres/lock/pg-lock.ts'
export type {
  Adapter,
  Call,
  ImageAdapter,
  LogAdapter,
  LogMemory,
  LogSession,
  MethodKind,
  Methods,
  StagedDocument,
  Staging,
  TableStorage,
  // Its earlier name.
  TableStorage as TableRows,
  TreeAdapter,
  TreeFormat,
  TreeMemory,
  TreeSession,
} from './store/adapter.ts'
export type { Durability, LogOptions, StoreOptions, TreeOptions } from './store/options.ts'
export type { TransactionOptions } from './store/transaction.ts'
