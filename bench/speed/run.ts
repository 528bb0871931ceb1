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
  /** Only the first operations were measured. */
  readonly isCold: boolean
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
  state: State = 'warm',
  of: (result: Result) => number = ({ perSecond }) => perSecond,
): number[] {
  const [mine, others] = [resultsOf(ours, state), resultsOf(theirs, state)]
  return others.length === 0 ? [] : mine.map((result, round) => of(result) / of(others[round] as Result))
}

/** Of the processes that are measured: whether these are their first operations. */
export type State = 'cold' | 'warm'

/** Empty where it is void, or was not measured. */
export function resultsOf(outcome: Outcome | undefined, state: State): readonly Result[] {
  if (!outcome || outcome.void !== undefined) return []
  return state === 'cold' ? outcome.firsts : outcome.results
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
