import { cpSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { type Lab, reasonOf, rotated, within } from '../lab/lab.ts'
import { HANGS_MS, measure, type Result } from './cell.ts'
import { Crew } from './crew.ts'
import type { PeerName } from './peers.ts'
import type { Group } from './plan.ts'

/** Enough to open, and to do every operation on. */
const WARM_UP_RECORDS = 100

/** What one peer did, round by round, or why that does not count. */
export interface Outcome {
  readonly peer: PeerName
  readonly results: Result[]
  void?: string
}

export interface GroupOptions {
  readonly rounds: number
  readonly seed: number
  /** For how long a peer is measured in a round. */
  readonly forMs: (peer: PeerName) => number
  /** Called before each measurement. */
  readonly onCell: (peer: PeerName) => void
}

/** Measures all peers of a group in turn, in processes of its own; who goes first changes from round to round. */
export async function measureGroup(lab: Lab, group: Group, options: GroupOptions): Promise<Outcome[]> {
  const outcomes: Outcome[] = group.peers.map((peer) => ({ peer, results: [] }))
  const templates = new Templates(lab, group)
  let crew = new Crew(group.processes, options.seed)
  try {
    for (const outcome of outcomes) {
      await attempt(outcome, async () => {
        await within('preparation', HANGS_MS, templates.prepare(crew, outcome.peer))
        await within('warm-up', HANGS_MS, templates.warmUp(crew, outcome.peer))
      })
    }
    for (let round = 0; round < options.rounds; round++) {
      for (const outcome of rotated(outcomes, round)) {
        options.onCell(outcome.peer)
        if (outcome.void !== undefined) continue
        await attempt(outcome, async () => {
          const path = templates.copy(outcome.peer, 'measured')
          const cell = { ...group, peer: outcome.peer }
          outcome.results.push(await measure(crew, cell, path, options.forMs(outcome.peer)))
        })
        templates.remove('measured')
      }
    }
  } finally {
    await crew.end('disconnect')
  }
  return outcomes

  async function attempt(outcome: Outcome, run: () => Promise<void>): Promise<void> {
    try {
      await run()
    } catch (error) {
      outcome.void = reasonOf(error)
      // Nobody knows what these processes still have open.
      await crew.end('kill')
      crew = new Crew(group.processes, options.seed)
      for (const { peer } of outcomes.filter(
        (other) => other.results.length > 0 && other.void === undefined,
      )) {
        await within('warm-up', HANGS_MS, templates.warmUp(crew, peer))
      }
    }
  }
}

/** Stores that are made once and copied for each measurement. */
class Templates {
  readonly #lab: Lab
  readonly #group: Group

  constructor(lab: Lab, group: Group) {
    this.#lab = lab
    this.#group = group
  }

  async prepare({ first }: Crew, peer: PeerName): Promise<void> {
    this.remove(`${peer}-full`)
    this.remove(`${peer}-warm`)
    await first.call('prepare', peer, this.#path(`${peer}-full`), this.#group.records)
    await first.call('prepare', peer, this.#path(`${peer}-warm`), WARM_UP_RECORDS)
  }

  /** Each process for itself: otherwise they would wait for each other, and V8 would have compiled nothing. */
  async warmUp(crew: Crew, peer: PeerName): Promise<void> {
    const { workload } = this.#group
    await Promise.all(
      crew.members.map((member, i) =>
        member.call('warmUp', peer, this.copy(peer, `own-${i}`, 'warm'), WARM_UP_RECORDS, workload),
      ),
    )
    for (const i of crew.members.keys()) this.remove(`own-${i}`)
  }

  copy(peer: PeerName, to: string, which: 'full' | 'warm' = 'full'): string {
    const path = this.#path(to)
    this.remove(to)
    cpSync(dirname(this.#path(`${peer}-${which}`)), dirname(path), { recursive: true })
    return path
  }

  remove(name: string): void {
    rmSync(dirname(this.#path(name)), { recursive: true, force: true })
  }

  #path(name: string): string {
    return this.#lab.path(name)
  }
}
