import type { Candidate } from './candidate.ts'

interface Entry {
  /** As it stands in the tables. */
  readonly title: string
  /** Rejects where its package is not installed or this Node does not have it. */
  load(): Promise<Candidate>
}

/** Every candidate that is a module of ours, by the name that `--only` takes. */
export const CANDIDATES = {
  pslock: { title: 'pslock', load: () => import('./pslock.ts') },
  polling: { title: 'polling, 1 to 50 ms', load: () => import('./polling.ts') },
  'ofd-turnstile': { title: 'OFD turnstile', load: () => import('./ofd-turnstile.ts') },
  'flock-child': { title: 'flock(1) child', load: () => import('./flock-child.ts') },
  'fs-ext-async': { title: 'fs-ext flock', load: () => import('./fs-ext-async.ts') },
  'fs-ext': { title: 'fs-ext flockSync', load: () => import('./fs-ext.ts') },
  'proper-lockfile': { title: 'proper-lockfile', load: () => import('./proper-lockfile.ts') },
  'web-locks': { title: 'Web Locks', load: () => import('./web-locks.ts') },
  none: { title: 'no lock (control)', load: () => import('./none.ts') },
} as const satisfies Record<string, Entry>

export type CandidateName = keyof typeof CANDIDATES
