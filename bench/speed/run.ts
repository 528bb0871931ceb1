import type { Result } from './cell.ts'
import type { Outcome } from './group.ts'
import type { PeerName } from './peers.ts'
import type { Group } from './plan.ts'
import type { Solos } from './solos.ts'

/** All that a run has measured. */
export interface Run {
  /** With which machine, settings and seed. */
  readonly how: string
  /** Whether nothing was left out on purpose. */
  readonly isWhole: boolean
  readonly groups: readonly { readonly group: Group; readonly outcomes: readonly Outcome[] }[]
  readonly solos: Solos
  /** Why something is missing, each in a sentence. */
  readonly leftOut: readonly string[]
}

export function isVoid({ groups }: Run): boolean {
  return groups.some(({ outcomes }) => outcomes.some((outcome) => outcome.void !== undefined))
}

/** Ours by theirs, round by round: what a shared machine does to one round it does to both. Empty where one is missing. */
export function ratios(
  ours: Outcome | undefined,
  theirs: Outcome | undefined,
  of: (result: Result) => number = ({ perSecond }) => perSecond,
): number[] {
  if (!ours || !theirs || ours.void !== undefined || theirs.void !== undefined) return []
  return ours.results.map((result, round) => of(result) / of(theirs.results[round] as Result))
}

/** What one peer did in the group of this workload, if that was measured. */
export function outcome(
  { groups }: Run,
  workload: Group['workload'],
  processes: number,
  records: number,
  peer: PeerName,
): Outcome | undefined {
  const found = groups.find(
    ({ group }) => group.workload === workload && group.processes === processes && group.records === records,
  )
  return found?.outcomes.find((each) => each.peer === peer)
}
