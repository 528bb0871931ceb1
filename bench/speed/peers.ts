import type { Peer } from './store.ts'

/** How a peer is called, and how it is loaded: only where it is measured. */
export interface KnownPeer {
  /** As it stands in the tables. */
  readonly title: string
  /** Made for one process: only measured with one, or where `--peers` names it. */
  readonly isForOne?: true
  /** What the environment of its processes has besides. */
  readonly env?: { readonly PSLOCK_BINDING: 'koffi' | 'native' }
  /** Rejects where what it needs is not installed. */
  readonly load: () => Promise<Peer>
}

/** What an install brings along; a checkout may have the addon too. */
const AS_INSTALLED = { PSLOCK_BINDING: 'koffi' } as const

/** Ours first. */
export const PEERS = {
  'locked-nedb': {
    title: 'LockedNedb',
    env: AS_INSTALLED,
    load: async () => (await import('./peers/locked-nedb.ts')).lockedNedb('process'),
  },
  'locked-nedb-disk': {
    title: "LockedNedb, durability 'disk'",
    env: AS_INSTALLED,
    load: async () => (await import('./peers/locked-nedb.ts')).lockedNedb('disk'),
  },
  'nedb-native': {
    title: 'LockedNedb with @pslock/native',
    env: { PSLOCK_BINDING: 'native' },
    load: async () => (await import('./peers/locked-nedb.ts')).nativeNedb('process'),
  },
  'nedb-native-disk': {
    title: "the same, durability 'disk'",
    env: { PSLOCK_BINDING: 'native' },
    load: async () => (await import('./peers/locked-nedb.ts')).nativeNedb('disk'),
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
    env: AS_INSTALLED,
    load: async () => (await import('./peers/locked-low.ts')).lockedLow(),
  },
  'lowdb-journal': {
    title: 'LockedLow, journal',
    env: AS_INSTALLED,
    load: async () => (await import('./peers/locked-low.ts')).journaledLow(),
  },
  'lowdb-flock': {
    title: 'lowdb + flock, read, write',
    env: AS_INSTALLED,
    load: async () => (await import('./peers/low-recipes.ts')).lowFlock,
  },
  'lowdb-flock-sync': {
    title: 'flock, read, write, fsync, rename',
    env: AS_INSTALLED,
    load: async () => (await import('./peers/low-recipes.ts')).lowFlockSync,
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
    env: AS_INSTALLED,
    load: async () => (await import('./peers/append.ts')).psLockAppend,
  },
  'pslock-sync': {
    title: '`PsLock.exclusiveSync`',
    env: AS_INSTALLED,
    load: async () => (await import('./peers/append.ts')).psLockAppendSync,
  },
  'fs-ext': {
    title: 'fs-ext: `flockSync`',
    load: async () => (await import('./peers/append.ts')).fsExtAppend(),
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

/** What the environment of a peer's processes has besides. */
export function envOf(peer: PeerName): NodeJS.ProcessEnv | undefined {
  return (PEERS[peer] as KnownPeer).env
}
