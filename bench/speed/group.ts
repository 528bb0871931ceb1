import { mkdirSync, rmSync } from 'node:fs'
import { dirname } from 'node:path'
import { type Lab, reasonOf, rotated, within } from '../lab/lab.ts'
import { type Cell, count, HANGS_MS, measure, type Result, warmUp } from './cell.ts'
import { Crew } from './crew.ts'
import type { PeerName } from './peers.ts'
import type { Group } from './plan.ts'

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

/**
 * Measures all peers of a group in turn, in processes of its own; who goes first changes from round to round. A peer that fails
 * is void, and the others are measured anew without it: nobody knows what the processes still had open.
 */
export async function measureGroup(lab: Lab, group: Group, options: GroupOptions): Promise<Outcome[]> {
  const outcomes = group.peers.map((peer): Outcome => ({ peer, results: [] }))
  for (let isOver = false; !isOver; ) {
    const crew = new Crew(group.processes, options.seed)
    const measured = outcomes.filter((outcome) => outcome.void === undefined)
    let current: Outcome | undefined
    const inTurn = async (
      order: readonly Outcome[],
      run: (cell: Cell, path: string, outcome: Outcome) => unknown,
    ) => {
      for (const outcome of order) {
        current = outcome
        await run({ ...group, peer: outcome.peer }, lab.path(outcome.peer), outcome)
      }
    }
    try {
      for (const { results } of measured) results.length = 0
      await inTurn(measured, async ({ peer, records }, path) => {
        rmSync(dirname(path), { recursive: true, force: true })
        mkdirSync(dirname(path))
        await within('preparation', HANGS_MS, crew.first.call('prepare', peer, path, records))
      })
      await inTurn(measured, (cell, path) => warmUp(crew, cell, path, options.forMs(cell.peer)))
      for (let round = 0; round < options.rounds; round++) {
        await inTurn(rotated(measured, round), async (cell, _, { results }) => {
          options.onCell(cell.peer)
          results.push(await measure(crew, cell, options.forMs(cell.peer)))
        })
      }
      await inTurn(measured, (cell, path) => count(crew, cell, path))
      isOver = true
      await crew.end('disconnect')
    } catch (error) {
      if (!current) throw error
      current.void = reasonOf(error)
      current.results.length = 0
      await crew.end('kill')
      isOver = measured.length === 1
    }
  }
  return outcomes
}
