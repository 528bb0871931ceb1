import type { TreeLockMode } from '../errors.ts'

/** All modes of a node, weakest first: IS, IX, S, SIX, X. */
export const MODES: readonly TreeLockMode[] = [
  'intent-shared',
  'intent-exclusive',
  'shared',
  'shared-intent-exclusive',
  'exclusive',
]

/** Which modes two holders may have of one node at the same time (Gray 1975, table 1). */
const COMPATIBLE: Readonly<Record<TreeLockMode, readonly TreeLockMode[]>> = {
  'intent-shared': ['intent-shared', 'intent-exclusive', 'shared', 'shared-intent-exclusive'],
  'intent-exclusive': ['intent-shared', 'intent-exclusive'],
  shared: ['intent-shared', 'shared'],
  'shared-intent-exclusive': ['intent-shared'],
  exclusive: [],
}

export function areCompatible(one: TreeLockMode, other: TreeLockMode): boolean {
  return COMPATIBLE[one].includes(other)
}

/** The weakest mode that is as strong as both. Only S and IX are neither weaker nor stronger than each other. */
export function join(one: TreeLockMode, other: TreeLockMode): TreeLockMode {
  const pair = [one, other]
  if (pair.includes('shared') && pair.includes('intent-exclusive')) return 'shared-intent-exclusive'
  return MODES.indexOf(one) > MODES.indexOf(other) ? one : other
}

/** What a hold in this mode needs of every node above it. */
export function intention(mode: TreeLockMode): TreeLockMode {
  return mode === 'shared' || mode === 'intent-shared' ? 'intent-shared' : 'intent-exclusive'
}
