import type { Peer } from './store.ts'

/** How a peer is called, and how it is loaded: only where it is measured. */
export interface KnownPeer {
  /** As it stands in the tables. */
  readonly title: string
  /** Rejects where its package is not installed. */
  readonly load: () => Promise<Peer>
}

/** Ours first. */
export const PEERS = {
  'locked-nedb': {
    title: 'LockedNedb',
    load: async () => (await import('./peers/locked-nedb.ts')).lockedNedb('process'),
  },
  sqlite: {
    title: 'better-sqlite3 WAL/NORMAL',
    load: async () => (await import('./peers/sqlite.ts')).sqlite('NORMAL'),
  },
} as const satisfies Record<string, KnownPeer>

export type PeerName = keyof typeof PEERS
