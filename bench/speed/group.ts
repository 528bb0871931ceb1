import { mkdirSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { type Lab, reasonOf, rotated, within } from '../lab/lab.ts'
import { type Cell, count, HANGS_MS, measure, measureFirst, type Result, warmUp } from './cell.ts'
import { Crew } from './crew.ts'
import { envOf, type PeerName } from './peers.ts'
import type { Group } from './plan.ts'

/** What one peer did, round by round, or why that does not count. */
export interface Outcome {
  readonly peer: PeerName
  /** Of processes that had just begun, and whose first operations these were; empty where that is not asked. */
  readonly firsts: Result[]
  /** Of processes that are warm. */
  readonly results: Result[]
  void?: string
}

export interface GroupOptions {
  readonly rounds: number
  readonly seed: number
  /** Only the first operations are measured. */
  readonly isCold: boolean
  /** For how long a peer is measured in a round. */
  readonly forMs: (peer: PeerName) => number
  /** Called before each measurement. */
  readonly onCell: (peer: PeerName) => void
}

/**
 * Measures all peers of a group in turn; who goes first changes from round to round. Each peer has processes of its own, which
 * wait while the others are measured: what V8 has learned of one is not for another, and is thrown away by too much of it.
 * Before that, where it is asked, the first operations of new processes are measured, of other ones in each round.
 * A peer that fails is void.
 */
export async function measureGroup(lab: Lab, group: Group, options: GroupOptions): Promise<Outcome[]> {
  const { rounds, seed, isCold, forMs, onCell } = options
  const outcomes = group.peers.map((peer): Outcome => ({ peer, firsts: [], results: [] }))
  const crews = new Map<PeerName, Crew>()
  const inTurn = async (
    order: readonly Outcome[],
    run: (crew: Crew, cell: Cell, path: string, outcome: Outcome) => unknown,
  ) => {
    for (const outcome of order) {
      const { peer } = outcome
      if (outcome.void !== undefined) continue
      const crew = crews.get(peer) ?? new Crew(group.processes, seed, envOf(peer))
      crews.set(peer, crew)
      try {
        await run(crew, { ...group, peer }, lab.path(peer), outcome)
      } catch (error) {
        outcome.void = reasonOf(error)
        outcome.results.length = 0
        outcome.firsts.length = 0
        await crew.end('kill')
      }
    }
  }
  const prepare = async (crew: Crew, { peer, records }: Cell, path: string) => {
    rmSync(dirname(path), { recursive: true, force: true })
    mkdirSync(dirname(path))
    await within('preparation', HANGS_MS, crew.first.call('prepare', peer, path, records))
  }
  const { first } = group
  for (let round = 0; first && round < rounds; round++) {
    const asked = outcomes.filter(({ peer }) => first.peers.includes(peer))
    await inTurn(rotated(asked, round), async (crew, cell, path, { firsts }) => {
      onCell(cell.peer)
      await prepare(crew, cell, path)
      firsts.push(await measureFirst(crew, cell, path, first.operations))
      await count(crew, cell, path)
      await crew.end('disconnect')
      crews.delete(cell.peer)
    })
  }
  if (isCold) return outcomes.filter(({ firsts, void: reason }) => firsts.length > 0 || reason !== undefined)
  await inTurn(outcomes, async (crew, cell, path) => {
    await prepare(crew, cell, path)
    await warmUp(crew, cell, path, forMs(cell.peer))
  })
  for (let round = 0; round < rounds; round++) {
    await inTurn(rotated(outcomes, round), async (crew, cell, _, { results }) => {
      onCell(cell.peer)
      results.push(await measure(crew, cell, forMs(cell.peer)))
    })
  }
  await inTurn(outcomes, count)
  for (const crew of crews.values()) await crew.end('disconnect')
  return outcomes
}
