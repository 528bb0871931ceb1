import type { Peer } from './store.ts'

/** How a peer is called, and how it is loaded: only where it is measured. */
export interface KnownPeer {
  /** As it stands in the tables. */
  readonly title: string
  /** Made for one process: only measured with one, or where `--peers` names it. */
  readonly isForOne?: true
  /** Rejects where what it needs is not installed. */
  readonly load: () => Promise<Peer>
}

/** Ours first. */
export const PEERS = {
  'locked-nedb': {
    title: 'LockedNedb',
    load: async () => (await import('./peers/locked-nedb.ts')).lockedNedb('process'),
  },
  'locked-nedb-disk': {
    title: "LockedNedb, durability 'disk'",
    load: async () => (await import('./peers/locked-nedb.ts')).lockedNedb('disk'),
  },
  sqlite: {
    title: 'better-sqlite3 WAL/NORMAL',
    load: async () => (await import('./peers/sqlite.ts')).sqlite('NORMAL'),
  },
  'sqlite-full': {
    title: 'better-sqlite3 WAL/FULL',
    load: async () => (await import('./peers/sqlite.ts')).sqlite('FULL'),
  },
  lmdb: {
    title: 'lmdb, never synced',
    load: async () => (await import('./peers/lmdb.ts')).lmdb(false),
  },
  'lmdb-durable': {
    title: 'lmdb, synced',
    load: async () => (await import('./peers/lmdb.ts')).lmdb(true),
  },
  'nedb-lockfile': {
    title: 'nedb + proper-lockfile',
    load: async () => (await import('./peers/nedb-lockfile.ts')).nedbLockfile,
  },
  'vanilla-nedb': {
    title: 'vanilla nedb',
    isForOne: true,
    load: async () => (await import('./peers/vanilla-nedb.ts')).vanillaNedb,
  },
  'locked-low': {
    title: 'LockedLow',
    load: async () => (await import('./peers/locked-low.ts')).lockedLow(),
  },
  'lowdb-journal': {
    title: 'LockedLow, journal',
    load: async () => (await import('./peers/locked-low.ts')).journaledLow(),
  },
  'lowdb-flock': {
    title: 'lowdb + flock, read, write',
    load: async () => (await import('./peers/low-recipes.ts')).lowFlock,
  },
  'lowdb-lockfile': {
    title: 'lowdb + proper-lockfile',
    load: async () => (await import('./peers/low-recipes.ts')).lowLockfile,
  },
  'vanilla-lowdb': {
    title: 'vanilla lowdb',
    isForOne: true,
    load: async () => (await import('./peers/low-recipes.ts')).vanillaLowdb,
  },
  pslock: {
    title: '`PsLock.exclusive`',
    load: async () => (await import('./peers/append.ts')).psLockAppend,
  },
  'pslock-sync': {
    title: '`PsLock.exclusiveSync`',
    load: async () => (await import('./peers/append.ts')).psLockAppendSync,
  },
  'proper-lockfile': {
    title: 'proper-lockfile',
    load: async () => (await import('./peers/append.ts')).lockfileAppend,
  },
  'c-flock': {
    title: 'C: flock(2) and write(2)',
    load: async () => (await import('./peers/append.ts')).flockAppend(),
  },
} as const satisfies Record<string, KnownPeer>

export type PeerName = keyof typeof PEERS

export function isForOne(peer: PeerName): boolean {
  return 'isForOne' in PEERS[peer]
}
